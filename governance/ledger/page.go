package ledger

import (
	"context"

	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/tlog"
)

// readPage reads what verifying needs of the next leaves, by hand: a model's fields cost
// more than hashing them.
func readPage(ctx context.Context, tx bun.Tx, from int64) ([]recordRow, error) {
	rows, err := tx.QueryContext(ctx, "SELECT n, id, tenant, body, digest FROM gov_record WHERE n >= ? ORDER BY n LIMIT 2000", from)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := make([]recordRow, 0, 2000)
	for rows.Next() {
		var r recordRow
		var n int64
		if err := rows.Scan(&n, &r.ID, &r.Tenant, &r.Body, &r.Digest); err != nil {
			return nil, err
		}
		r.N = &n
		out = append(out, r)
	}
	return out, rows.Err()
}

// page is the stored hashes from one place on, as far as they are there.
type page struct {
	from   int64
	hashes []tlog.Hash
	have   []bool
}

func (p *page) at(place int64) (tlog.Hash, bool) {
	i := place - p.from
	if i < 0 || i >= int64(len(p.hashes)) || !p.have[i] {
		return tlog.Hash{}, false
	}
	return p.hashes[i], true
}

// read reads the places from one until before another.
func (p *page) read(ctx context.Context, tx bun.IDB, from, to int64) error {
	var runs []hashRunRow
	if err := tx.NewSelect().Model(&runs).Where("first >= COALESCE((SELECT MAX(first) FROM gov_hash_run WHERE first <= ?), 0) AND first < ?", from, to).
		Order("first").Scan(ctx); err != nil {
		return err
	}
	p.from, p.hashes, p.have = from, make([]tlog.Hash, to-from), make([]bool, to-from)
	for _, run := range runs {
		for i := 0; i+tlog.HashSize <= len(run.Hashes); i += tlog.HashSize {
			if at := run.First + int64(i/tlog.HashSize) - from; at >= 0 && at < to-from {
				p.hashes[at], p.have[at] = tlog.Hash(run.Hashes[i:i+tlog.HashSize]), true
			}
		}
	}
	return nil
}

// disclosuresOf reads the personal values kept of the leaves from one until before
// another.
func disclosuresOf(ctx context.Context, db bun.IDB, from, to int64) ([]disclosureRow, error) {
	var out []disclosureRow
	err := db.NewSelect().Model(&out).Join("JOIN gov_record AS r ON r.id = disclosure_row.record").
		Where("r.n >= ? AND r.n < ?", from, to).Scan(ctx)
	return out, err
}
