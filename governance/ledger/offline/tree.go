package offline

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// nodeHash is tlog.NodeHash without an allocation.
func nodeHash(left, right *tlog.Hash) tlog.Hash {
	var b [1 + 2*tlog.HashSize]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+tlog.HashSize:], right[:])
	return sha256.Sum256(b[:])
}

// fold is the root of the full binary tree over hashes, whose number is a power of
// two. It uses hashes as its scratch space.
func fold(hashes []tlog.Hash) tlog.Hash {
	for n := len(hashes); n > 1; n /= 2 {
		for i := range n / 2 {
			hashes[i] = nodeHash(&hashes[2*i], &hashes[2*i+1])
		}
	}
	return hashes[0]
}

func foldCopy(hashes []tlog.Hash) tlog.Hash {
	var scratch [Width]tlog.Hash
	return fold(scratch[:copy(scratch[:], hashes)])
}

// peaks adds the full subtrees of an incomplete tile, largest first.
func peaks(to, hashes []tlog.Hash) []tlog.Hash {
	for bit := Width / 2; bit > 0; bit /= 2 {
		if len(hashes)&bit != 0 {
			to, hashes = append(to, foldCopy(hashes[:bit])), hashes[bit:]
		}
	}
	return to
}

// rootOf joins subtrees, largest first, into the root of their tree.
func rootOf(subtrees []tlog.Hash) tlog.Hash {
	if len(subtrees) == 0 {
		return sha256.Sum256(nil)
	}
	root := subtrees[len(subtrees)-1]
	for i := len(subtrees) - 2; i >= 0; i-- {
		root = nodeHash(&subtrees[i], &root)
	}
	return root
}
