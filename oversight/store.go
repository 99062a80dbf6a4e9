package oversight

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

// Schema is the tables this package and package recorder need.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "oversight", FS: files}
	}
	return govdb.Schema{Name: "oversight", FS: sub}
}

type sessionRow struct {
	bun.BaseModel `bun:"table:oversight_session"`

	ID         uuid.UUID    `bun:"id,pk"`
	Tenant     string       `bun:"tenant"`
	User       string       `bun:"user_id"`
	Person     string       `bun:"person"`
	Actor      string       `bun:"actor"`
	Subject    string       `bun:"subject"`
	Scope      string       `bun:"scope"`
	Reason     string       `bun:"reason"`
	Ticket     string       `bun:"ticket"`
	Minutes    int64        `bun:"minutes"`
	State      string       `bun:"state"`
	TokenHash  string       `bun:"token_hash"`
	PausedWhy  string       `bun:"paused_why"`
	EndedWhy   string       `bun:"ended_why"`
	EndedBy    string       `bun:"ended_by"`
	Requests   int64        `bun:"requests"`
	Blocked    int64        `bun:"blocked"`
	Observer   bool         `bun:"observer"`
	PausedBy   string       `bun:"paused_by"`
	PausedAt   govdb.Micros `bun:"paused_at"`
	ReviewDue  govdb.Micros `bun:"review_due"`
	ReviewTold govdb.Micros `bun:"review_told"`
	ReviewedAt govdb.Micros `bun:"reviewed_at"`
	ReviewedBy string       `bun:"reviewed_by"`
	Verdict    string       `bun:"verdict"`
	ReviewNote string       `bun:"review_note"`
	CreatedAt  govdb.Micros `bun:"created_at"`
	OpenBy     govdb.Micros `bun:"open_by"`
	OpenedAt   govdb.Micros `bun:"opened_at"`
	ExpiresAt  govdb.Micros `bun:"expires_at"`
	SeenAt     govdb.Micros `bun:"seen_at"`
	EndedAt    govdb.Micros `bun:"ended_at"`
}

func (s *Service) session(r sessionRow) (Session, error) {
	out := Session{
		ID: r.ID, Tenant: governance.TenantID(r.Tenant), User: r.User, Scope: Scope(r.Scope), Reason: r.Reason, Ticket: r.Ticket, State: State(r.State),
		Observer: r.Observer, PausedBy: Cause(r.PausedBy), PausedWhy: r.PausedWhy, PausedAt: r.PausedAt.Time(),
		Review: Review{Due: r.ReviewDue.Time(), By: r.ReviewedBy, At: r.ReviewedAt.Time(), Verdict: Verdict(r.Verdict), Note: r.ReviewNote}, Ended: EndReason(r.EndedWhy), EndedBy: r.EndedBy, Requests: r.Requests, Blocked: r.Blocked,
		MaxDuration: time.Duration(r.Minutes) * time.Minute, CreatedAt: r.CreatedAt.Time(), OpenBy: r.OpenBy.Time(), OpenedAt: r.OpenedAt.Time(),
		ExpiresAt: r.ExpiresAt.Time(), SeenAt: r.SeenAt.Time(), EndedAt: r.EndedAt.Time(),
	}
	if err := errors.Join(json.Unmarshal([]byte(r.Actor), &out.Actor), json.Unmarshal([]byte(r.Subject), &out.Subject)); err != nil {
		return out, fmt.Errorf("session %s: %w", r.ID, err)
	}
	out.Review.State = out.Review.state(s.k.Now())
	if out.State == StateActive {
		out.IdleAt = out.SeenAt.Add(s.opts.Idle)
	}
	if out.State == StatePaused {
		out.GraceAt = out.PausedAt.Add(s.opts.Grace)
	}
	return out, nil
}

func (s *Service) readSession(ctx context.Context, db bun.IDB, where string, arg any) (Session, error) {
	var row sessionRow
	err := db.NewSelect().Model(&row).Where(where, arg).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Session{}, fmt.Errorf("session: %w", governance.ErrNotFound)
	}
	if err != nil {
		return Session{}, fmt.Errorf("session: %w", err)
	}
	return s.session(row)
}
