// Package outbox carries events out of the transactions that caused them.
//
// Start with [Append], which writes an event in the caller's commit. A [Relay]
// numbers events after their commit, on one server at a time, and feeds durable
// consumers: each sees every event once, in order, and what it writes commits
// together with its cursor.
//
// On PostgreSQL numbers are assigned by one leader and never by the transactions
// themselves: commit order is not the order of ids or of a sequence, and a reader of
// "id > last" would skip what commits late. On SQLite, where one writer holds the lock
// until its commit, the events get their numbers as they are written. Tables: gov_event, gov_event_tenant,
// gov_consumer. Safe for concurrent use.
package outbox

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "outbox", FS: files}
	}
	return govdb.Schema{Name: "outbox", FS: sub}
}

// MaxData is the most bytes of Data in one event.
const MaxData = 256 << 10

// Event is something that happened, about a thing of a tenant or of none.
type Event struct {
	ID            uuid.UUID       `json:"id"`
	Type          string          `json:"type"`
	Tenant        string          `json:"tenant,omitempty"`
	TenantVersion int64           `json:"tenant_version,omitempty"` // the tenant's own version, by which consumers order
	Resource      string          `json:"resource,omitempty"`
	Actor         string          `json:"actor"`
	Causation     uuid.UUID       `json:"causation,omitzero"`
	Depth         int             `json:"depth,omitempty"`
	Data          json.RawMessage `json:"data"`
	At            time.Time       `json:"at"`
	N             int64           `json:"n,omitempty"`          // place in the whole, set by the relay
	TenantSeq     int64           `json:"tenant_seq,omitempty"` // place among the tenant's events, without gaps
}

type eventRow struct {
	bun.BaseModel `bun:"table:gov_event"`

	ID            uuid.UUID    `bun:"id,pk,type:uuid"`
	N             *int64       `bun:"n"`
	Type          string       `bun:"type"`
	Tenant        string       `bun:"tenant"`
	TenantVersion int64        `bun:"tenant_version"`
	TenantSeq     *int64       `bun:"tenant_seq"`
	Resource      string       `bun:"resource"`
	Actor         string       `bun:"actor"`
	Causation     uuid.UUID    `bun:"causation"`
	Depth         int          `bun:"depth"`
	Data          string       `bun:"data"`
	At            govdb.Micros `bun:"at"`
}

// Append writes events in tx's commit, together with those of its neighbours.
func Append(ctx context.Context, tx *govdb.Tx, evs ...Event) error {
	for i, e := range evs {
		switch {
		case e.ID == uuid.Nil || e.Type == "" || e.At.IsZero():
			return fmt.Errorf("outbox: event %d: ID, Type and At are required", i)
		case len(e.Data) > MaxData:
			return fmt.Errorf("outbox: event %s: data has %d bytes, at most %d are allowed", e.Type, len(e.Data), MaxData)
		case len(e.Data) == 0 || !utf8.Valid(e.Data) || !json.Valid(e.Data):
			return fmt.Errorf("outbox: event %s: data is not JSON", e.Type)
		}
		row := &eventRow{ID: e.ID, Type: e.Type, Tenant: e.Tenant, TenantVersion: e.TenantVersion, Resource: e.Resource,
			Actor: e.Actor, Causation: e.Causation, Depth: e.Depth, Data: string(e.Data), At: govdb.At(e.At)}
		if err := tx.Defer(ctx, "gov_event", flush, row); err != nil {
			return err
		}
	}
	return nil
}

func flush(ctx context.Context, tx *govdb.Tx, items []any) error {
	rows := make([]*eventRow, len(items))
	for i, it := range items {
		rows[i] = it.(*eventRow)
	}
	if !tx.DB().Postgres() { // one writer holds the lock until the commit: the order of its inserts is that of commits
		if err := number(ctx, tx, rows); err != nil {
			return err
		}
	}
	if err := govdb.InsertAll(ctx, tx, rows); err != nil {
		return fmt.Errorf("insert %d events: %w", len(rows), err)
	}
	return nil
}

func (r eventRow) event() Event {
	e := Event{ID: r.ID, Type: r.Type, Tenant: r.Tenant, TenantVersion: r.TenantVersion, Resource: r.Resource, Actor: r.Actor,
		Causation: r.Causation, Depth: r.Depth, Data: json.RawMessage(r.Data), At: r.At.Time()}
	if r.N != nil {
		e.N = *r.N
	}
	if r.TenantSeq != nil {
		e.TenantSeq = *r.TenantSeq
	}
	return e
}

// Filter selects numbered events; newest first unless After is set.
type Filter struct {
	Tenant     string // required, unless AllTenants
	AllTenants bool
	Type       string
	After      int64 // events with a greater N, oldest first
	Before     int64 // events with a smaller N, newest first
	Limit      int64 // default 50, at most 500
}

// Events lists numbered events.
func Events(ctx context.Context, db *govdb.DB, f Filter) ([]Event, error) {
	if f.Tenant == "" && !f.AllTenants { // forgetting the tenant must not mean every tenant
		return nil, fmt.Errorf("outbox: Tenant or AllTenants is required")
	}
	if f.Limit <= 0 {
		f.Limit = 50
	}
	var rows []eventRow
	q := db.Read().NewSelect().Model(&rows).Where("n IS NOT NULL").Limit(min(f.Limit, 500))
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.Type != "" {
		q = q.Where("type = ?", f.Type)
	}
	if f.Before > 0 {
		q = q.Where("n < ?", f.Before)
	}
	if f.After > 0 {
		q = q.Where("n > ?", f.After).Order("n")
	} else {
		q = q.Order("n DESC")
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	out := make([]Event, len(rows))
	for i, r := range rows {
		out[i] = r.event()
	}
	return out, nil
}
