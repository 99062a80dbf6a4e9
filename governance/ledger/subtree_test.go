package ledger_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/internal/sharedtest"
)

var errSubtree = errors.New("the proof does not hold")

// validSubtree tells whether the leaves from start until end are a part of a tree that has
// a hash of its own in every larger one, or the end of one: start is a multiple of the
// smallest power of two that holds them all.
func validSubtree(start, end int64) bool {
	return 0 <= start && start < end && start%(1<<bits.Len64(uint64(end-start-1))) == 0
}

// subtreeConsistent checks that a subtree is part of a tree of size leaves, by the hashes
// beside the way from its last leaf to the root.
func subtreeConsistent(start, end, size int64, node, root tlog.Hash, proof []tlog.Hash) error {
	if !validSubtree(start, end) || end > size {
		return errSubtree
	}
	first, last, edge := start, end-1, size-1
	up := func() { first, last, edge = first>>1, last>>1, edge>>1 }
	for first != last && (last == edge || last&1 == 1) {
		up()
	}
	part, whole := node, node
	if first != last {
		if len(proof) == 0 {
			return errSubtree
		}
		part, whole, proof = proof[0], proof[0], proof[1:]
	}
	for _, p := range proof {
		if edge == 0 {
			return errSubtree
		}
		if last&1 == 1 || last == edge {
			if first < last {
				part = tlog.NodeHash(p, part)
			}
			whole = tlog.NodeHash(p, whole)
			for last&1 == 0 {
				up()
			}
		} else {
			whole = tlog.NodeHash(whole, p)
		}
		up()
	}
	if edge != 0 || part != node || whole != root {
		return errSubtree
	}
	return nil
}

// TestVectors_Subtrees lets the hashing of our tiles answer the published vectors about
// parts of trees: every tile is such a part.
func TestVectors_Subtrees(t *testing.T) {
	t.Parallel()
	dir := sharedtest.Path(t, "merkle", "testdata")
	seen := map[string]int{}
	for _, kind := range []string{"subtreeinclusion", "subtreeconsistency"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(dir, kind), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".json") {
				return err
			}
			var v struct {
				LeafIdx, Start, End, Size    uint64
				Root, LeafHash, Root1, Root2 []byte
				Proof                        [][]byte
				Desc                         string
				WantErr                      bool
			}
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, &v), path)
			if kind == "subtreeconsistency" && !v.WantErr && (v.Start == v.End || len(v.Root1) != tlog.HashSize) {
				seen["left out"]++ // parts without a leaf, which have no tile, and roots that are no hash
				return nil
			}
			proof := make([]tlog.Hash, len(v.Proof))
			got := error(nil)
			hash := func(b []byte) (h tlog.Hash) {
				if copy(h[:], b) != tlog.HashSize || len(b) != tlog.HashSize {
					got = errSubtree
				}
				return h
			}
			for i, p := range v.Proof {
				proof[i] = hash(p)
			}
			start, end, leaf, size := int64(v.Start), int64(v.End), int64(v.LeafIdx), int64(v.Size)
			if kind == "subtreeinclusion" {
				root, leafHash := hash(v.Root), hash(v.LeafHash)
				switch {
				case got != nil:
				case !validSubtree(start, end) || leaf < start || leaf >= end:
					got = errSubtree
				default:
					got = tlog.CheckRecord(proof, end-start, root, leaf-start, leafHash)
				}
			} else {
				node, root := hash(v.Root1), hash(v.Root2)
				if got == nil {
					got = subtreeConsistent(start, end, size, node, root, proof)
				}
				if start == 0 && 0 < end && end < size { // then it is the growth that checkpoints prove
					require.Equal(t, got == nil, tlog.CheckTree(proof, size, root, end, node) == nil && len(v.Root1) == tlog.HashSize && len(v.Root2) == tlog.HashSize, path)
				}
			}
			require.Equal(t, v.WantErr, got != nil, "%s: %s: %v", path, v.Desc, got)
			seen[kind]++
			return nil
		}))
	}
	require.Less(t, seen["left out"], 12)
	require.Greater(t, seen["subtreeinclusion"], 50)
	require.Greater(t, seen["subtreeconsistency"], 50)
}
