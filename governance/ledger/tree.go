package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
)

// hashRunRow holds hashes whose places in the stored tree follow each other: those
// that one seal added.
type hashRunRow struct {
	bun.BaseModel `bun:"table:gov_hash_run"`

	First  int64  `bun:"first,pk"`
	Hashes []byte `bun:"hashes"`
}

// treeSize is the number of leaves.
func treeSize(ctx context.Context, tx bun.IDB) (int64, error) {
	var size int64
	if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(n) + 1, 0) FROM gov_record WHERE n IS NOT NULL").Scan(&size); err != nil {
		return 0, fmt.Errorf("size of the tree: %w", err)
	}
	return size, nil
}

// grow makes rows the next leaves of a tree of size leaves and stores its new hashes.
func grow(ctx context.Context, tx *govdb.Tx, tree *hashes, size int64, rows []*recordRow) error {
	run := &hashRunRow{First: tlog.StoredHashIndex(0, size)}
	for i, row := range rows {
		n := size + int64(i)
		row.N = &n
		stored, err := tlog.StoredHashesForRecordHash(n, tlog.RecordHash([]byte(row.Body)), tree)
		if err != nil {
			return fmt.Errorf("hashes of leaf %d: %w", n, err)
		}
		for _, h := range stored {
			tree.fresh[run.First+int64(len(run.Hashes)/tlog.HashSize)] = h
			run.Hashes = append(run.Hashes, h[:]...)
		}
	}
	if err := govdb.InsertAll(ctx, tx, []*hashRunRow{run}); err != nil {
		return fmt.Errorf("insert hashes: %w", err)
	}
	return nil
}

// hashes reads stored hashes, those it has seen from memory.
type hashes struct {
	ctx   context.Context
	db    bun.IDB
	fresh map[int64]tlog.Hash
}

func newHashes(ctx context.Context, db bun.IDB) *hashes {
	return &hashes{ctx: ctx, db: db, fresh: map[int64]tlog.Hash{}}
}

// ReadHashes implements tlog.HashReader.
func (h *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var want []string
	for _, x := range indexes {
		if _, ok := h.fresh[x]; !ok {
			want = append(want, fmt.Sprintf("(%d)", x))
		}
	}
	if len(want) > 0 {
		if err := h.read(want); err != nil {
			return nil, err
		}
	}
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		s, ok := h.fresh[x]
		if !ok {
			return nil, fmt.Errorf("hash %d is missing: %w", x, ErrForked)
		}
		out[i] = s
	}
	return out, nil
}

// read finds each place in the run that begins at it or most closely before it.
func (h *hashes) read(places []string) error {
	var rows []struct {
		Place int64
		Hash  []byte
	}
	err := h.db.NewRaw("WITH w (place) AS (VALUES "+strings.Join(places, ", ")+") SELECT place, "+
		"(SELECT SUBSTR(hashes, CAST((place - first) * 32 + 1 AS INTEGER), 32) FROM gov_hash_run WHERE first <= place ORDER BY first DESC LIMIT 1) AS hash FROM w").Scan(h.ctx, &rows)
	if err != nil {
		return fmt.Errorf("read hashes: %w", err)
	}
	for _, r := range rows {
		if len(r.Hash) == tlog.HashSize {
			h.fresh[r.Place] = tlog.Hash(r.Hash)
		}
	}
	return nil
}
