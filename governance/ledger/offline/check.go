package offline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

// ManifestFile names every other file of an export with its SHA-256, signed with the
// log's key. A log that is served has none.
const ManifestFile = "manifest"

// ManifestHeader is the manifest's first line: no checkpoint begins like this.
const ManifestHeader = "reeve-export/v1"

// Options tunes Check. The zero value is ready to use.
type Options struct {
	Witnesses []string // keys whose cosignatures are checked
	Quorum    int      // how many of them must have signed the newest head
	Earlier   []string // checkpoints kept from before, which the log must still contain
	// Entry sees each entry that is as it was signed, in order.
	Entry func(n int64, body []byte)
}

// Report is what Check found.
type Report struct {
	Head     Head
	Bytes    int64
	Tenants  int64 // 0 when the checkpoint does not speak of them
	Manifest bool
	Problems []string // empty: every byte is as it was signed
}

const maxProblems = 100

// Check reads a whole log and compares each byte with what its head signs. What it
// finds is in the report; an error means that it could not finish.
func Check(ctx context.Context, src Source, vkey string, opts *Options) (Report, error) {
	c := &checker{ctx: ctx, src: src, heads: map[string]*TenantHead{}}
	if opts != nil {
		c.opts = *opts
	}
	if _, err := note.NewVerifier(vkey); err != nil {
		return c.rep, errors.New("offline: the verification key does not parse")
	}
	policy := cosign.Policy{Witnesses: c.opts.Witnesses, Quorum: c.opts.Quorum}
	if _, err := policy.Verifiers(); err != nil {
		return c.rep, fmt.Errorf("offline: %w", err)
	}
	keys, err := c.keys(vkey)
	if err != nil {
		return c.rep, err
	}
	if err := c.manifest(keys[len(keys)-1]); err != nil {
		return c.rep, err
	}
	text, err := src.Read(ctx, CheckpointFile)
	if err != nil {
		return c.rep, fmt.Errorf("offline: %w", err)
	}
	c.rep.Bytes += int64(len(text))
	for i := len(keys) - 1; i >= 0; i-- { // nothing may have been signed yet under the newest
		if c.rep.Head, err = ParseWitnessed(text, keys[i], policy); err == nil {
			break
		}
	}
	if err != nil {
		c.problem("%s: %v", CheckpointFile, err)
		return c.rep, nil
	}
	if err := c.tree(); err != nil {
		return c.rep, err
	}
	c.tenants()
	if err := c.earlier(keys); err != nil {
		return c.rep, err
	}
	return c.rep, ctx.Err()
}

type checker struct {
	ctx    context.Context
	src    Source
	opts   Options
	rep    Report
	heads  map[string]*TenantHead
	broken bool // some entry could not be read: what depends on all of them is left out
}

func (c *checker) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(c.rep.Problems) < maxProblems && !slices.Contains(c.rep.Problems, text) {
		c.rep.Problems = append(c.rep.Problems, text)
	}
}

// keys are those that the log has had from vkey on.
func (c *checker) keys(vkey string) ([]string, error) {
	text, err := c.src.Read(c.ctx, KeysFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("offline: %w", err)
	}
	keys, err := Follow(vkey, text)
	if err != nil {
		c.problem("%s: %v", KeysFile, err)
		return []string{vkey}, nil
	}
	return keys, nil
}

// manifest compares the files with those that were exported, when there is one.
func (c *checker) manifest(vkey string) error {
	text, err := c.src.Read(c.ctx, ManifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c.rep.Manifest = true
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	n, err := cosign.OpenNote(text, verifier)
	if err == nil && len(n.UnverifiedSigs) > 0 {
		err = errors.New("it is signed by somebody else as well")
	}
	var lines []string
	if err == nil {
		lines = strings.Split(strings.TrimSuffix(n.Text, "\n"), "\n")
		if lines[0] != ManifestHeader {
			err = errors.New("it is no manifest")
		}
	}
	if err != nil {
		c.problem("%s: %v", ManifestFile, err)
		return nil
	}
	named := map[string]bool{ManifestFile: true}
	for _, line := range lines[1:] {
		sum, path, ok := strings.Cut(line, " ")
		if !ok || !fs.ValidPath(path) {
			c.problem("%s: a line is malformed", ManifestFile)
			continue
		}
		named[path] = true
		b, err := c.src.Read(c.ctx, path)
		if errors.Is(err, fs.ErrNotExist) {
			c.problem("%s: the file is missing", path)
			continue
		}
		if err != nil {
			return err
		}
		if have := sha256.Sum256(b); hex.EncodeToString(have[:]) != sum {
			c.problem("%s: the file is not as it was exported", path)
		}
	}
	if l, ok := c.src.(lister); ok {
		files, err := l.List()
		if err != nil {
			return fmt.Errorf("offline: %w", err)
		}
		for _, f := range files {
			if !named[f] {
				c.problem("%s: the file was not exported", f)
			}
		}
	}
	return nil
}

// read is nil when the file is not there, which is a problem of the log.
func (c *checker) read(path string) ([]byte, error) {
	b, err := c.src.Read(c.ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		c.problem("%s: the file is missing", path)
		return nil, nil
	}
	c.rep.Bytes += int64(len(b))
	return b, err
}

// hashes reads a tile, nil when it is missing or has another length.
func (c *checker) hashes(level int, n int64, width int) ([]tlog.Hash, error) {
	path := TilePath(level, n, width)
	b, err := c.read(path)
	if err != nil || b == nil {
		return nil, err
	}
	if len(b) != width*tlog.HashSize {
		c.problem("%s: it has %d bytes, want %d", path, len(b), width*tlog.HashSize)
		return nil, nil
	}
	out := make([]tlog.Hash, width)
	for i := range out {
		out[i] = tlog.Hash(b[i*tlog.HashSize:])
	}
	return out, nil
}

type edgeTile struct {
	level  int
	n      int64
	width  int
	hashes []tlog.Hash
}

// tree goes from the signed root down: what stands above is known to be right when
// what stands below is looked at, so that the wrong one of the two is named.
func (c *checker) tree() error {
	var edge []edgeTile
	var err error
	Edge(c.rep.Head.Size, func(level int, n int64, width int) {
		if err == nil {
			var hs []tlog.Hash
			hs, err = c.hashes(level, n, width)
			edge = append(edge, edgeTile{level, n, width, hs})
		}
	})
	if err != nil {
		return err
	}
	if !c.rooted(edge) {
		if err := c.repair(edge); err != nil {
			return err
		}
		if !c.rooted(edge) {
			c.problem("%s: no records with this root are here", CheckpointFile)
			for i := range edge {
				edge[i].hashes = nil
			}
		}
	}
	for _, e := range edge {
		if err := c.visit(e.level, e.n, e.width, e.hashes, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) rooted(edge []edgeTile) bool {
	var subtrees []tlog.Hash
	for _, e := range edge {
		if e.hashes == nil {
			return false
		}
		subtrees = peaks(subtrees, e.hashes)
	}
	return rootOf(subtrees) == c.rep.Head.Root
}

// repair finds the tile of the edge that differs from what stands below it, and takes
// what stands below for right when that leads to the signed root.
func (c *checker) repair(edge []edgeTile) error {
	below := make([]edgeTile, len(edge))
	for i, e := range edge {
		hs, err := c.below(e)
		if err != nil {
			return err
		}
		below[i] = e
		below[i].hashes = hs
	}
	if !c.rooted(below) { // more is wrong than the edge: take it piece by piece
		for i, e := range edge {
			try := slices.Clone(edge)
			try[i] = below[i]
			if c.rooted(try) {
				c.problem("%s: its hashes are not those of what it stands for", TilePath(e.level, e.n, e.width))
				edge[i] = below[i]
				return nil
			}
		}
		return nil
	}
	for i, e := range edge {
		if !slices.Equal(e.hashes, below[i].hashes) {
			c.problem("%s: its hashes are not those of what it stands for", TilePath(e.level, e.n, e.width))
		}
		edge[i] = below[i]
	}
	return nil
}

func (c *checker) below(e edgeTile) ([]tlog.Hash, error) {
	if e.level == 0 {
		_, leaves, err := c.bundle(e.n, e.width)
		return leaves, err
	}
	out := make([]tlog.Hash, e.width)
	for i := range out {
		hs, err := c.hashes(e.level-1, e.n*Width+int64(i), Width)
		if err != nil || hs == nil {
			return nil, err
		}
		out[i] = fold(hs)
	}
	return out, nil
}

// visit looks at what stands below a tile whose hashes are known to be right; or, when
// they are nil, at what must fold to want.
func (c *checker) visit(level int, n int64, width int, hashes []tlog.Hash, want *tlog.Hash) error {
	if level == 0 {
		return c.entries(n, width, hashes, want)
	}
	for i := range width {
		child := n*Width + int64(i)
		hs, err := c.hashes(level-1, child, Width)
		if err != nil {
			return err
		}
		var known *tlog.Hash
		if hashes != nil {
			known = &hashes[i]
			if hs != nil && foldCopy(hs) != *known {
				c.problem("%s: its hashes do not add up to what stands above it", TilePath(level-1, child, Width))
				hs = nil
			}
		}
		if err := c.visit(level-1, child, Width, hs, known); err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// bundle reads entries with their hashes; both are nil when it cannot be cut.
func (c *checker) bundle(n int64, width int) (bodies [][]byte, leaves []tlog.Hash, err error) {
	path := TilePath(EntriesLevel, n, width)
	b, err := c.read(path)
	if err != nil || b == nil {
		return nil, nil, err
	}
	bodies, leaves = make([][]byte, 0, width), make([]tlog.Hash, 0, width)
	for at := 0; at < len(b); {
		size := -1
		if at+2 <= len(b) {
			size = int(binary.BigEndian.Uint16(b[at:]))
		}
		if size < 0 || at+2+size > len(b) || len(bodies) == width {
			c.problem("%s: it cannot be cut into entries at or before record %d", path, n*Width+int64(len(bodies)))
			return nil, nil, nil
		}
		b[at+1] = 0 // a leaf's hash begins with a zero byte, and the length is read
		leaves = append(leaves, sha256.Sum256(b[at+1:at+2+size]))
		bodies = append(bodies, b[at+2:at+2+size])
		at += 2 + size
	}
	if len(bodies) != width {
		c.problem("%s: it has %d entries, want %d", path, len(bodies), width)
		return nil, nil, nil
	}
	return bodies, leaves, nil
}

func (c *checker) entries(n int64, width int, hashes []tlog.Hash, want *tlog.Hash) error {
	bodies, leaves, err := c.bundle(n, width)
	if err != nil {
		return err
	}
	if bodies == nil {
		c.broken = true
		return nil
	}
	path := TilePath(EntriesLevel, n, width)
	switch {
	case hashes != nil:
		for i := range leaves {
			if leaves[i] != hashes[i] {
				c.problem("%s: record %d is not what was signed", path, n*Width+int64(i))
				c.broken = true
			}
		}
	case want == nil:
		c.broken = true // its tile was named already, and nothing signed is left to compare with
	case foldCopy(leaves) != *want:
		c.problem("%s: its records, %d to %d, do not add up to what was signed", path, n*Width, n*Width+int64(width)-1)
		c.broken = true
	}
	for i, body := range bodies {
		at := n*Width + int64(i)
		if hashes != nil && leaves[i] != hashes[i] {
			continue
		}
		c.follow(body).Add(at, leaves[i])
		if c.opts.Entry != nil {
			c.opts.Entry(at, body)
		}
	}
	return c.ctx.Err()
}

func (c *checker) follow(body []byte) *TenantHead {
	tenant := TenantOf(body)
	h := c.heads[tenant]
	if h == nil {
		h = &TenantHead{Tenant: tenant, N: -1}
		c.heads[tenant] = h
	}
	return h
}

// tenants compares every tenant's sequence with what the checkpoint signed about it.
func (c *checker) tenants() {
	i := slices.IndexFunc(c.rep.Head.Extension, func(s string) bool { return strings.HasPrefix(s, extensionPrefix) })
	if i < 0 || c.broken {
		return
	}
	m := NewTenantMap()
	for _, h := range c.heads {
		m.Set(*h)
	}
	c.rep.Tenants = m.count
	if m.Extension() != c.rep.Head.Extension[i] {
		c.problem("%s: it signs other sequences of the tenants than the records have", CheckpointFile)
	}
}

// earlier checks that heads kept from before are heads of this tree.
func (c *checker) earlier(keys []string) error {
	for i, text := range c.opts.Earlier {
		old, err := parseAny([]byte(text), keys, cosign.Policy{})
		if err != nil {
			c.problem("earlier checkpoint %d: %v", i+1, err)
			continue
		}
		if old.Size > c.rep.Head.Size {
			c.problem("earlier checkpoint %d: it is of %d records, the log has %d", i+1, old.Size, c.rep.Head.Size)
			continue
		}
		var subtrees []tlog.Hash
		Edge(old.Size, func(level int, n int64, width int) {
			full := Width // of the tile as it is in the log now
			if count := c.rep.Head.Size >> (8 * level); n == count/Width {
				full = int(count % Width)
			}
			var hs []tlog.Hash
			if err == nil {
				hs, err = c.hashes(level, n, full)
			}
			if hs != nil {
				subtrees = peaks(subtrees, hs[:width])
			}
		})
		if err != nil {
			return err
		}
		if rootOf(subtrees) != old.Root {
			c.problem("earlier checkpoint %d: the log does not contain the %d records it signed", i+1, old.Size)
		}
	}
	return nil
}
