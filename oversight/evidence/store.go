package evidence

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the table this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "evidence", FS: files}
	}
	return govdb.Schema{Name: "evidence", FS: sub}
}

type packRow struct {
	bun.BaseModel `bun:"table:evidence_pack"`

	ID        uuid.UUID    `bun:"id,pk"`
	Kind      string       `bun:"kind"`
	Subject   uuid.UUID    `bun:"subject"`
	Tenant    string       `bun:"tenant"`
	Name      string       `bun:"name"`
	Reason    string       `bun:"reason"`
	State     string       `bun:"state"`
	Disclosed string       `bun:"disclosed"` // [{record, field}] of the personal values in it
	Records   int64        `bun:"records"`
	Files     int64        `bun:"files"`
	Bytes     int64        `bun:"bytes"`
	SHA256    string       `bun:"sha256"`
	Content   string       `bun:"content"`
	Blob      string       `bun:"blob"`
	Record    uuid.UUID    `bun:"record"`
	MadeBy    string       `bun:"made_by"`
	MadeAt    govdb.Micros `bun:"made_at"`
	ExpiresAt govdb.Micros `bun:"expires_at"`
}

// State says whether a pack can be downloaded.
type State string

// The states of a pack: building → ready → expired | erased, or building → failed.
const (
	StateBuilding State = "building"
	StateReady    State = "ready"
	StateFailed   State = "failed"  // it was not finished; its record stands
	StateExpired  State = "expired" // kept long enough
	StateErased   State = "erased"  // a personal value in it has been erased since
)

// Pack is one pack that was built.
type Pack struct {
	ID        uuid.UUID           `json:"id"`
	Kind      string              `json:"kind"`
	Subject   uuid.UUID           `json:"subject"`
	Tenant    governance.TenantID `json:"tenant,omitempty"`
	Name      string              `json:"name"`
	Reason    string              `json:"reason"`
	State     State               `json:"state"`
	Disclosed int                 `json:"disclosed"` // personal values in it
	Records   int64               `json:"records"`
	Files     int64               `json:"files"`
	Bytes     int64               `json:"bytes"`
	SHA256    string              `json:"sha256"`
	Content   string              `json:"content"`
	Record    uuid.UUID           `json:"record"` // the ledger record that it was built
	MadeBy    string              `json:"made_by"`
	MadeAt    time.Time           `json:"made_at"`
	ExpiresAt time.Time           `json:"expires_at"`

	blob      string
	disclosed []disclosed
}

type disclosed struct {
	Record uuid.UUID `json:"record"`
	Field  string    `json:"field"`
}

// FileName is what a download is called.
func (p Pack) FileName() string { return p.Kind + "-" + p.Subject.String() + ".evidence.zip" }

func (r packRow) pack() (Pack, error) {
	p := Pack{ID: r.ID, Kind: r.Kind, Subject: r.Subject, Tenant: governance.TenantID(r.Tenant), Name: r.Name, Reason: r.Reason, State: State(r.State),
		Records: r.Records, Files: r.Files, Bytes: r.Bytes, SHA256: r.SHA256, Content: r.Content, Record: r.Record, MadeBy: r.MadeBy,
		MadeAt: r.MadeAt.Time(), ExpiresAt: r.ExpiresAt.Time(), blob: r.Blob}
	if err := json.Unmarshal([]byte(r.Disclosed), &p.disclosed); err != nil {
		return p, fmt.Errorf("pack %s: %w", r.ID, err)
	}
	p.Disclosed = len(p.disclosed)
	return p, nil
}

// Filter selects packs, newest first; the zero value lists all.
type Filter struct {
	Subject uuid.UUID
	Before  uuid.UUID // the last id of the page before
	Limit   int       // default 50, at most 200
}

// Packs lists packs, newest first.
func (s *Service) Packs(ctx context.Context, id governance.Identity, f Filter) ([]Pack, error) {
	if err := s.k.Authorize(ctx, id, PermissionRead, governance.Target{}); err != nil {
		return nil, err
	}
	if f.Limit <= 0 {
		f.Limit = 50
	}
	var rows []packRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Order("made_at DESC", "id DESC").Limit(int64(min(f.Limit, 200)))
	if f.Subject != uuid.Nil {
		q = q.Where("subject = ?", f.Subject)
	}
	if f.Before != uuid.Nil {
		q = q.Where("(made_at, id) < (SELECT made_at, id FROM evidence_pack WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list packs: %w", err)
	}
	out := make([]Pack, 0, len(rows))
	for _, r := range rows {
		p, err := r.pack()
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Pack reads one pack's description.
func (s *Service) Pack(ctx context.Context, id governance.Identity, pack uuid.UUID) (Pack, error) {
	var row packRow
	err := s.k.DB().Handle().NewSelect().Model(&row).Where("id = ?", pack).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Pack{}, fmt.Errorf("pack %s: %w", pack, governance.ErrNotFound)
	}
	if err != nil {
		return Pack{}, fmt.Errorf("pack %s: %w", pack, err)
	}
	p, err := row.pack()
	if err != nil {
		return p, err
	}
	target, err := s.target(ctx, p.Tenant)
	if err != nil {
		return Pack{}, err
	}
	return p, s.k.Authorize(ctx, id, PermissionRead, target)
}
