package integrations

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs, beside the kernel's.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "integrations", FS: files} // names no migrations: Migrate says so
	}
	return govdb.Schema{Name: "integrations", FS: sub}
}

type targetRow struct {
	bun.BaseModel `bun:"table:integration_target"`

	ID           uuid.UUID    `bun:"id,pk"`
	Name         string       `bun:"name"`
	Kind         string       `bun:"kind"`
	Connector    string       `bun:"connector"`
	Config       string       `bun:"config"`
	Sealed       string       `bun:"sealed"`
	PublicKey    string       `bun:"public_key"`
	Events       string       `bun:"events"`
	Mode         string       `bun:"mode"`
	State        string       `bun:"state"`
	Cause        string       `bun:"cause"`
	Detail       string       `bun:"detail"`
	PausedAt     govdb.Micros `bun:"paused_at"`
	HoldUntil    govdb.Micros `bun:"hold_until"`
	Failures     int64        `bun:"failures"`
	FailingSince govdb.Micros `bun:"failing_since"`
	Version      int64        `bun:"version"`
	CreatedAt    govdb.Micros `bun:"created_at"`
	UpdatedAt    govdb.Micros `bun:"updated_at"`
}

type messageRow struct {
	bun.BaseModel `bun:"table:integration_message"`

	ID   uuid.UUID `bun:"id,pk"`
	Body string    `bun:"body"`
}

type deliveryRow struct {
	bun.BaseModel `bun:"table:integration_delivery"`

	ID           uuid.UUID    `bun:"id,pk"`
	Target       uuid.UUID    `bun:"target"`
	Tenant       string       `bun:"tenant"`
	Event        uuid.UUID    `bun:"event"`
	Type         string       `bun:"type"`
	Version      int64        `bun:"version"`
	Seq          int64        `bun:"seq"`
	State        string       `bun:"state"`
	Round        int64        `bun:"round"`
	Step         int          `bun:"step"`
	Attempts     int          `bun:"attempts"`
	NextAt       govdb.Micros `bun:"next_at"`
	Code         string       `bun:"code"`
	Detail       string       `bun:"detail"`
	MergedInto   string       `bun:"merged_into"`
	SentVersion  int64        `bun:"sent_version"`
	WaitingSince govdb.Micros `bun:"waiting_since"`
	CreatedAt    govdb.Micros `bun:"created_at"`
	DoneAt       govdb.Micros `bun:"done_at"`
}

type attemptRow struct {
	bun.BaseModel `bun:"table:integration_attempt"`

	ID         uuid.UUID    `bun:"id,pk"`
	Delivery   uuid.UUID    `bun:"delivery"`
	Target     uuid.UUID    `bun:"target"`
	Tenant     string       `bun:"tenant"`
	N          int          `bun:"n"`
	Fence      int64        `bun:"fence"`
	Idem       string       `bun:"idem"`
	StartedAt  govdb.Micros `bun:"started_at"`
	EndedAt    govdb.Micros `bun:"ended_at"`
	DurationUS int64        `bun:"duration_us"`
	Status     int          `bun:"status"`
	Code       string       `bun:"code"`
	Excerpt    string       `bun:"excerpt"`
}

type laneRow struct {
	bun.BaseModel `bun:"table:integration_lane"`

	Target       uuid.UUID    `bun:"target,pk"`
	Tenant       string       `bun:"tenant,pk"`
	NextAt       govdb.Micros `bun:"next_at"`
	LeaseUntil   govdb.Micros `bun:"lease_until"`
	Fence        int64        `bun:"fence"`
	Rounds       int64        `bun:"rounds"`
	ToldVersion  int64        `bun:"told_version"`
	ToldType     string       `bun:"told_type"`
	ToldAt       govdb.Micros `bun:"told_at"`
	ToldDelivery string       `bun:"told_delivery"`
	RemoteID     string       `bun:"remote_id"`
	RemoteURL    string       `bun:"remote_url"`
}

type callRow struct {
	bun.BaseModel `bun:"table:integration_call"`

	Idem      string       `bun:"idem,pk"`
	Op        string       `bun:"op,pk"`
	Target    uuid.UUID    `bun:"target"`
	Tenant    string       `bun:"tenant"`
	Subject   string       `bun:"subject"`
	State     string       `bun:"state"`
	Attempts  int          `bun:"attempts"`
	Code      string       `bun:"code"`
	Detail    string       `bun:"detail"`
	Result    string       `bun:"result"`
	CreatedAt govdb.Micros `bun:"created_at"`
	EndedAt   govdb.Micros `bun:"ended_at"`
}

func (r targetRow) target() (Target, error) {
	t := Target{
		ID: governance.ID[Target]{UUID: r.ID}, Name: r.Name, Kind: Kind(r.Kind), Connector: r.Connector, PublicKey: r.PublicKey, Mode: Mode(r.Mode),
		State: TargetState(r.State), Cause: PauseCause(r.Cause), Detail: r.Detail, PausedAt: r.PausedAt.Time(), HoldUntil: r.HoldUntil.Time(),
		Failures: r.Failures, FailingSince: r.FailingSince.Time(), Version: r.Version, CreatedAt: r.CreatedAt.Time(), UpdatedAt: r.UpdatedAt.Time(),
	}
	if err := json.Unmarshal([]byte(r.Config), &t.Config); err != nil {
		return t, fmt.Errorf("target %s: config: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(r.Events), &t.Events); err != nil {
		return t, fmt.Errorf("target %s: events: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(r.Sealed), &t.sealed); err != nil {
		return t, fmt.Errorf("target %s: secrets: %w", r.ID, err)
	}
	t.Secrets = secretNames(t.sealed)
	return t, nil
}

func (r deliveryRow) delivery() Delivery {
	return Delivery{
		ID: governance.ID[Delivery]{UUID: r.ID}, Target: governance.ID[Target]{UUID: r.Target}, Tenant: governance.TenantID(r.Tenant), Event: r.Event, Type: r.Type,
		Version: r.Version, State: DeliveryState(r.State), Attempts: r.Attempts, NextAt: r.NextAt.Time(), Code: Code(r.Code), Detail: r.Detail,
		MergedInto: r.MergedInto, SentVersion: r.SentVersion, CreatedAt: r.CreatedAt.Time(), DoneAt: r.DoneAt.Time(), Replayed: r.Round > 0,
	}
}

func (r attemptRow) attempt() Attempt {
	return Attempt{ID: r.ID, N: r.N, Idempotency: r.Idem, StartedAt: r.StartedAt.Time(), EndedAt: r.EndedAt.Time(),
		Micros: r.DurationUS, Status: r.Status, Code: Code(r.Code), Excerpt: r.Excerpt}
}
