package analytics

import (
	"embed"
	"io/fs"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables of facts and refreshes; those of the marts belong to the
// warehouse.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "analytics", FS: files} // names no migrations: Migrate says so
	}
	return govdb.Schema{Name: "analytics", FS: sub}
}

type batchRow struct {
	bun.BaseModel `bun:"table:analytics_batch"`

	ID         uuid.UUID    `bun:"id,pk"`
	Format     string       `bun:"format"`
	Facts      int          `bun:"facts"`
	Added      int          `bun:"added"`
	Corrected  int          `bun:"corrected"`
	Duplicate  int          `bun:"duplicate"`
	Late       int          `bun:"late"`
	Digest     string       `bun:"digest"`
	Actor      string       `bun:"actor"`
	RecordedAt govdb.Micros `bun:"recorded_at"`
}

type factRow struct {
	bun.BaseModel `bun:"table:analytics_fact,alias:f"`

	ID           uuid.UUID    `bun:"id,pk"`
	Source       string       `bun:"source"`
	Key          string       `bun:"key"`
	Revision     int          `bun:"revision"`
	Version      int64        `bun:"version"`
	Sequence     int64        `bun:"sequence"`
	Digest       string       `bun:"digest"`
	Kind         string       `bun:"kind"`
	Tenant       string       `bun:"tenant"`
	Subscription string       `bun:"subscription"`
	Plan         string       `bun:"plan"`
	Metric       string       `bun:"metric"`
	Ref          string       `bun:"ref"`
	Quantity     int64        `bun:"quantity"`
	Amount       int64        `bun:"amount"`
	Currency     string       `bun:"currency"`
	Rate         int64        `bun:"rate"`
	Day          int32        `bun:"day"`
	At           govdb.Micros `bun:"at"`
	Due          int32        `bun:"due"`
	Cancelled    bool         `bun:"cancelled"`
	Void         bool         `bun:"void"`
	Batch        uuid.UUID    `bun:"batch"`
	RecordedAt   govdb.Micros `bun:"recorded_at"`
}

func (f Fact) row(digest string) *factRow {
	return &factRow{ID: f.ID, Source: f.Source, Key: f.Key, Revision: f.Revision, Version: f.Version, Sequence: f.Sequence, Digest: digest,
		Kind: string(f.Kind), Tenant: string(f.Tenant), Subscription: f.Subscription, Plan: f.Plan, Metric: f.Metric, Ref: f.Ref,
		Quantity: f.Quantity, Amount: f.Amount, Currency: f.Currency, Rate: f.Rate, Day: int32(f.Day), At: govdb.At(f.At), Due: int32(f.Due),
		Cancelled: f.Cancelled, Void: f.Void, Batch: f.Batch, RecordedAt: govdb.At(f.RecordedAt)}
}

func (r factRow) fact() Fact {
	return Fact{ID: r.ID, Source: r.Source, Key: r.Key, Revision: r.Revision, Version: r.Version, Sequence: r.Sequence,
		Kind: Kind(r.Kind), Tenant: governance.TenantID(r.Tenant), Subscription: r.Subscription, Plan: r.Plan, Metric: r.Metric, Ref: r.Ref,
		Quantity: r.Quantity, Amount: r.Amount, Currency: r.Currency, Rate: r.Rate, Day: Day(r.Day), At: instant(r.At), Due: Day(r.Due),
		Cancelled: r.Cancelled, Void: r.Void, Batch: r.Batch, RecordedAt: r.RecordedAt.Time()}
}

// instant is the stored time of a fact; unlike elsewhere 0 is a time: 1970-01-01.
func instant(m govdb.Micros) time.Time { return time.UnixMicro(int64(m)).UTC() }

// current keeps the last revision of each fact as it was known at an instant, and
// leaves out what was taken back. It takes that instant twice.
var current = strings.Join(strings.Fields(`f.recorded_at <= ? AND NOT f.void AND NOT EXISTS (SELECT 1 FROM analytics_fact c
	WHERE c.source = f.source AND c.key = f.key AND c.revision = f.revision + 1 AND c.recorded_at <= ?)`), " ")

// sourceRow says that a source has told facts of a kind, and of a metric, at least once.
type sourceRow struct {
	bun.BaseModel `bun:"table:analytics_source"`

	Source string `bun:"source,pk"`
	Kind   string `bun:"kind,pk"`
	Metric string `bun:"metric,pk"`
}

type refreshRow struct {
	bun.BaseModel `bun:"table:analytics_refresh"`

	Gen        int64        `bun:"gen,pk"`
	ID         uuid.UUID    `bun:"id"`
	State      string       `bun:"state"`
	Actor      string       `bun:"actor"`
	Reason     string       `bun:"reason"`
	Through    int32        `bun:"through"`
	AsOf       govdb.Micros `bun:"as_of"`
	Body       string       `bun:"body"` // JSON of what a Refresh holds beside these columns
	StartedAt  govdb.Micros `bun:"started_at"`
	FinishedAt govdb.Micros `bun:"finished_at"`
}
