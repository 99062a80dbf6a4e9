package analytics

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
)

// PermissionIngest is what [Service.Ingest] asks the caller for.
const PermissionIngest = "analytics:write"

// MaxBatch is the most facts in one batch: it is one transaction, and while it
// writes nobody else does on SQLite. Send more in several batches; what was taken
// already is recognised.
const MaxBatch = 20_000

// IngestOptions says more about a batch. The zero value is ready to use.
type IngestOptions struct {
	Format string                               // "json", "csv", the name of an importer; for the record
	Place  func(index int, field string) string // names a field of a fact in errors; default "facts[3].currency"
}

// Ingested is what became of a batch.
type Ingested struct {
	Batch     uuid.UUID `json:"batch"`
	Facts     int       `json:"facts"`
	Added     int       `json:"added"`     // new
	Corrected int       `json:"corrected"` // new, in the place of an earlier one
	Duplicate int       `json:"duplicate"` // known already
	Late      int       `json:"late"`      // of a version lower than is known, not taken
}

// Ingest takes a batch of facts, all of them or none: bad rows are named one by one
// and nothing is kept. A fact that is known already is counted and changes nothing,
// so a batch may be sent again.
func (s *Service) Ingest(ctx context.Context, id governance.Identity, facts []Fact, opts *IngestOptions) (Ingested, error) {
	var o IngestOptions
	if opts != nil {
		o = *opts
	}
	if o.Place == nil {
		o.Place = func(i int, field string) string { return fmt.Sprintf("facts[%d].%s", i, field) }
	}
	if err := s.k.Authorize(ctx, id, PermissionIngest, governance.Target{}); err != nil {
		return Ingested{}, err
	}
	in, err := s.prepare(facts, o)
	if err != nil {
		return Ingested{}, err
	}
	var got Ingested
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
		got, err = s.ingestTx(ctx, tx, id, in, len(facts), o)
		return err
	})
	if err != nil {
		return Ingested{}, fmt.Errorf("ingest %d facts: %w", len(facts), err)
	}
	return got, nil
}

// prepared is a fact that is well formed.
type prepared struct {
	Fact
	digest string
}

func (s *Service) prepare(facts []Fact, o IngestOptions) ([]prepared, error) {
	if len(facts) == 0 {
		return nil, governance.Invalid("facts", "at least one is required")
	}
	if len(facts) > MaxBatch {
		return nil, governance.Invalid("facts", "%d are too many for one batch, at most %d are allowed", len(facts), MaxBatch)
	}
	type name struct{ source, key string }
	seen := make(map[name]int, len(facts))
	out := make([]prepared, 0, len(facts))
	digests := make(map[name]string, len(facts))
	var errs []error
	now := s.k.Now()
	for i, f := range facts {
		if len(errs) >= maxErrors {
			errs = append(errs, governance.Invalid("facts", "more rows are wrong; the first %d errors are listed", maxErrors))
			break
		}
		if err := f.validate(now, func(field string) string { return o.Place(i, field) }); err != nil {
			errs = append(errs, err)
			continue
		}
		f.At = f.At.UTC()
		f.Day = DayOf(f.At, s.opts.Zone)
		p := prepared{f, f.digest()}
		n := name{f.Source, f.Key}
		if _, ok := seen[n]; ok {
			if digests[n] != p.digest {
				errs = append(errs, governance.Invalid(o.Place(i, "key"), "the batch has another fact of this source and key, with other content: send a correction in a batch of its own"))
			}
			continue // told twice in one batch: counted as a duplicate
		}
		seen[n], digests[n] = i, p.digest
		out = append(out, p)
	}
	return out, errors.Join(errs...)
}

// known is what the store holds of one source and key.
type known struct {
	Key      string `bun:"key"`
	Revision int    `bun:"revision"`
	Version  int64  `bun:"version"`
	Digest   string `bun:"digest"`
}

// chunk is how many rows go into one statement.
const chunk = 500

func (s *Service) ingestTx(ctx context.Context, tx *governance.Tx, id governance.Identity, in []prepared, told int, o IngestOptions) (Ingested, error) {
	got := Ingested{Batch: uuid.Must(uuid.NewV7()), Facts: told, Duplicate: told - len(in)}
	now := s.k.Now()
	have, err := knownTx(ctx, tx, in)
	if err != nil {
		return got, err
	}
	rows := make([]*factRow, 0, len(in))
	all := sha256.New()
	sources := map[string]bool{}
	for _, p := range in {
		all.Write([]byte(p.digest))
		sources[p.Source] = true
		revision := 1
		duplicate, late := false, false
		for _, k := range have[p.Source][p.Key] {
			revision = max(revision, k.Revision+1)
			duplicate = duplicate || k.Digest == p.digest
			late = late || k.Version > p.Version
		}
		switch {
		case duplicate:
			got.Duplicate++
			continue
		case late:
			got.Late++
			continue
		case revision > 1:
			got.Corrected++
		default:
			got.Added++
		}
		f := p.Fact
		f.ID, f.Revision, f.Batch, f.RecordedAt = uuid.Must(uuid.NewV7()), revision, got.Batch, now
		rows = append(rows, f.row(p.digest))
	}
	for part := range chunks(rows, chunk) {
		if _, err := tx.NewInsert().Model(&part).Exec(ctx); err != nil {
			if governance.IsUnique(err) { // another server took a fact of the same key meanwhile
				return got, fmt.Errorf("%w: %w", governance.ErrRetry, err)
			}
			return got, err
		}
	}
	if err := putSourcesTx(ctx, tx, rows); err != nil {
		return got, err
	}
	batch := &batchRow{ID: got.Batch, Format: o.Format, Facts: got.Facts, Added: got.Added, Corrected: got.Corrected, Duplicate: got.Duplicate,
		Late: got.Late, Digest: "sha256:" + hex.EncodeToString(all.Sum(nil)), Actor: id.Actor.ID, RecordedAt: s.at(now)}
	if _, err := tx.NewInsert().Model(batch).Exec(ctx); err != nil {
		return got, err
	}
	_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "analytics.ingest", Resource: governance.RefTo("batch", got.Batch),
		Data: map[string]any{"format": o.Format, "digest": batch.Digest, "facts": got.Facts, "added": got.Added, "corrected": got.Corrected,
			"duplicate": got.Duplicate, "late": got.Late, "sources": sorted(sources)}})
	return got, err
}

// putSourcesTx remembers which source tells what.
func putSourcesTx(ctx context.Context, tx *governance.Tx, rows []*factRow) error {
	set := map[sourceRow]bool{}
	for _, r := range rows {
		set[sourceRow{Source: r.Source, Kind: r.Kind, Metric: r.Metric}] = true
	}
	sources := slices.Collect(maps.Keys(set))
	if len(sources) == 0 {
		return nil
	}
	// In order: two servers that put the same ones would wait for each other.
	slices.SortFunc(sources, func(a, b sourceRow) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Metric, b.Metric))
	})
	if _, err := tx.NewInsert().Model(&sources).On("CONFLICT DO NOTHING").Exec(ctx); err != nil {
		return fmt.Errorf("sources: %w", err)
	}
	return nil
}

func knownTx(ctx context.Context, tx *governance.Tx, in []prepared) (map[string]map[string][]known, error) {
	keys := map[string][]string{}
	for _, p := range in {
		keys[p.Source] = append(keys[p.Source], p.Key)
	}
	have := map[string]map[string][]known{}
	for source, all := range keys {
		have[source] = map[string][]known{}
		for part := range chunks(all, chunk) {
			var rows []known
			err := tx.NewSelect().TableExpr("analytics_fact").Column("key", "revision", "version", "digest").
				Where("source = ? AND key IN (?)", source, bun.List(part)).Scan(ctx, &rows)
			if err != nil {
				return nil, fmt.Errorf("look up known facts: %w", err)
			}
			for _, r := range rows {
				have[source][r.Key] = append(have[source][r.Key], r)
			}
		}
	}
	return have, nil
}

// FactFilter selects facts; newest first.
type FactFilter struct {
	Tenant       governance.TenantID
	Subscription string
	Kind         Kind
	IDs          []uuid.UUID // these alone
	Month        Month       // of Day; 0: every month
	History      bool        // with the revisions that were corrected or taken back
	Before       uuid.UUID   // the last id of the page before
	Limit        int         // default 50, at most 500
}

// Facts lists facts as they were taken, the latest taken first.
func (s *Service) Facts(ctx context.Context, f FactFilter) ([]Fact, error) {
	var rows []factRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Order("f.id DESC").Limit(limit(f.Limit, 50, 500))
	for column, v := range map[string]string{"tenant": string(f.Tenant), "subscription": f.Subscription, "kind": string(f.Kind)} {
		if v != "" {
			q = q.Where("f.? = ?", bun.Ident(column), v)
		}
	}
	if f.IDs != nil {
		if len(f.IDs) == 0 {
			return []Fact{}, nil
		}
		q = q.Where("f.id IN (?)", bun.List(f.IDs))
	}
	if f.Month != 0 {
		q = q.Where("f.day BETWEEN ? AND ?", f.Month.First(), f.Month.Last())
	}
	if !f.History {
		now := s.at(s.k.Now())
		q = q.Where(current, now, now)
	}
	if f.Before != uuid.Nil {
		q = q.Where("f.id < ?", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list facts: %w", err)
	}
	out := make([]Fact, len(rows))
	for i, r := range rows {
		out[i] = r.fact()
	}
	return out, nil
}

// Batch is one call of [Service.Ingest].
type Batch struct {
	Ingested
	Format     string `json:"format"`
	Actor      string `json:"actor"`
	Digest     string `json:"digest"`
	RecordedAt string `json:"recorded_at"`
}

// Batches lists the latest batches.
func (s *Service) Batches(ctx context.Context, n int) ([]Batch, error) {
	var rows []batchRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Order("recorded_at DESC", "id DESC").Limit(limit(n, 20, 200)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	out := make([]Batch, len(rows))
	for i, r := range rows {
		out[i] = Batch{Ingested{r.ID, r.Facts, r.Added, r.Corrected, r.Duplicate, r.Late}, r.Format, r.Actor, r.Digest,
			r.RecordedAt.Time().Format("2006-01-02T15:04:05Z")}
	}
	return out, nil
}

func limit(n, usual, most int) int64 {
	if n <= 0 {
		return int64(usual)
	}
	return int64(min(n, most))
}

// clean tells whether a text may go into a query or a page.
func clean(s string) bool { return len(s) <= maxText && !strings.ContainsRune(s, 0) }
