package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/tlog"
)

// ProveAll proves records against one checkpoint, the newest, in the order of ids.
// ErrNotFound: one of them is not covered by it yet.
func (l *Log) ProveAll(ctx context.Context, ids ...uuid.UUID) ([]Proof, error) {
	return l.ProveWitnessed(ctx, 0, ids...)
}

// ProveWitnessed is ProveAll against the newest checkpoint that at least so many
// witnesses signed, with what they signed below it.
func (l *Log) ProveWitnessed(ctx context.Context, atLeast int, ids ...uuid.UUID) ([]Proof, error) {
	c, err := l.Witnessed(ctx, atLeast)
	if err != nil {
		return nil, err
	}
	rows := make(map[uuid.UUID]recordRow, len(ids))
	for start := 0; start < len(ids); start += 500 {
		var page []recordRow
		if err := l.db.Read().NewSelect().Model(&page).Where("id IN (?)", bun.List(ids[start:min(start+500, len(ids))])).Scan(ctx); err != nil {
			return nil, fmt.Errorf("prove: %w", err)
		}
		for _, r := range page {
			rows[r.ID] = r
		}
	}
	tree := newHashes(ctx, l.db.Read())
	out := make([]Proof, len(ids))
	for i, id := range ids {
		r, ok := rows[id]
		if !ok || r.N == nil || *r.N >= c.Size {
			return nil, fmt.Errorf("record %s is not under the checkpoint of %d: %w", id, c.Size, ErrNotFound)
		}
		path, err := tlog.ProveRecord(c.Size, *r.N, tree)
		if err != nil {
			return nil, fmt.Errorf("prove %s: %w", id, err)
		}
		out[i] = Proof{Body: r.Body, N: *r.N, Checkpoint: c.Note, Path: make([]string, len(path))}
		for j, h := range path {
			out[i].Path[j] = base64.StdEncoding.EncodeToString(h[:])
		}
	}
	return out, nil
}

// ErrSpoiled says that a personal value is there and cannot be read with its key.
var ErrSpoiled = errors.New("ledger: a personal value does not open")

// ReadDisclosures gives the texts still kept of records, by record; one that was
// altered is ErrSpoiled.
func (l *Log) ReadDisclosures(ctx context.Context, ids ...uuid.UUID) (map[uuid.UUID][]Disclosure, error) {
	out := map[uuid.UUID][]Disclosure{}
	for start := 0; start < len(ids); start += 500 {
		var page []disclosureRow
		if err := l.db.Read().NewSelect().Model(&page).Where("record IN (?)", bun.List(ids[start:min(start+500, len(ids))])).Order("record", "field").Scan(ctx); err != nil {
			return nil, fmt.Errorf("disclosures: %w", err)
		}
		var spoiled error
		open, err := openAll(ctx, l.db.Read(), page, func(r disclosureRow, why error) {
			if spoiled == nil {
				spoiled = fmt.Errorf("%w: %s of record %s: %w", ErrSpoiled, r.Field, r.Record, why)
			}
		})
		if err = errors.Join(err, spoiled); err != nil {
			return nil, err
		}
		maps.Copy(out, open)
	}
	return out, nil
}
