package findings

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

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "findings", FS: files}
	}
	return govdb.Schema{Name: "findings", FS: sub}
}

type actRow struct {
	bun.BaseModel `bun:"table:finding_act"`

	N        int64        `bun:"n,pk"`
	Record   uuid.UUID    `bun:"record"`
	At       govdb.Micros `bun:"at"`
	Who      string       `bun:"who"`
	Person   bool         `bun:"person"`
	Action   string       `bun:"action"`
	Tenant   string       `bun:"tenant"`
	Outcome  string       `bun:"outcome"`
	ActionID string       `bun:"action_id"`
}

type pairRow struct {
	bun.BaseModel `bun:"table:finding_pair"`

	Who       string       `bun:"who,pk"`
	Dimension string       `bun:"dimension,pk"`
	Value     string       `bun:"value,pk"`
	N         int64        `bun:"n"`
	At        govdb.Micros `bun:"at"`
}

type limitRow struct {
	bun.BaseModel `bun:"table:finding_limit"`

	N      int64        `bun:"n,pk"`
	I      int64        `bun:"i,pk"`
	At     govdb.Micros `bun:"at"`
	Who    string       `bun:"who"`
	Tenant string       `bun:"tenant"`
	Rule   string       `bun:"rule"`
	Budget string       `bun:"budget"`
	Unit   string       `bun:"unit"`
	Amount int64        `bun:"amount"`
	Total  int64        `bun:"total"`
	Most   int64        `bun:"most"`
	Span   int64        `bun:"span"` // the limit's window, in microseconds
}

type voteRow struct {
	bun.BaseModel `bun:"table:finding_vote"`

	N         int64        `bun:"n,pk"`
	At        govdb.Micros `bun:"at"`
	Voter     string       `bun:"voter"`
	Requester string       `bun:"requester"`
	Decision  string       `bun:"decision"`
	Spare     int64        `bun:"spare"` // how long there was to look at it, in microseconds
}

type findingRow struct {
	bun.BaseModel `bun:"table:finding"`

	ID        uuid.UUID    `bun:"id,pk"`
	Key       string       `bun:"key"`
	Kind      string       `bun:"kind"`
	Severity  string       `bun:"severity"`
	Who       string       `bun:"who"`
	Others    string       `bun:"others"`
	Tenant    string       `bun:"tenant"`
	Title     string       `bun:"title"`
	Dimension string       `bun:"dimension"`
	Baseline  string       `bun:"baseline"`
	Value     string       `bun:"value"`
	Acts      string       `bun:"acts"`
	ActCount  int64        `bun:"act_count"`
	At        govdb.Micros `bun:"at"`
	State     string       `bun:"state"`
	Reason    string       `bun:"reason"`
	DecidedBy string       `bun:"decided_by"`
	DecidedAt govdb.Micros `bun:"decided_at"`
	Version   int64        `bun:"version"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

func (r findingRow) finding() (Finding, error) {
	f := Finding{ID: r.ID, Kind: Kind(r.Kind), Severity: governance.Severity(r.Severity), Who: r.Who, Tenant: governance.TenantID(r.Tenant), Title: r.Title,
		Dimension: r.Dimension, Baseline: r.Baseline, Value: r.Value, ActCount: r.ActCount, At: r.At.Time(), State: State(r.State), Reason: r.Reason,
		DecidedBy: r.DecidedBy, DecidedAt: r.DecidedAt.Time(), Version: r.Version, key: r.Key}
	if err := json.Unmarshal([]byte(r.Acts), &f.Acts); err != nil {
		return f, fmt.Errorf("finding %s: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(r.Others), &f.Others); err != nil {
		return f, fmt.Errorf("finding %s: %w", r.ID, err)
	}
	return f, nil
}
