package findings

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Kind says which detector made a finding.
type Kind string

// The kinds of finding.
const (
	Rate        Kind = "rate"
	Pair        Kind = "pair"
	OffHours    Kind = "off_hours"
	Structuring Kind = "structuring"
	Ring        Kind = "ring"
	RubberStamp Kind = "rubber_stamp"
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{Rate, Pair, OffHours, Structuring, Ring, RubberStamp} }

// State is what people made of a finding.
type State string

// The states: open → dismissed | confirmed.
const (
	Open      State = "open"
	Dismissed State = "dismissed"
	Confirmed State = "confirmed"
)

// Finding is something unlike what was before, with why.
type Finding struct {
	ID        uuid.UUID
	Kind      Kind
	Severity  governance.Severity
	Who       string   // the person, or the actor behind whom there is none; empty: about a tenant
	Others    []string // the others of a ring, or of acts on one tenant
	Tenant    governance.TenantID
	Title     string
	Dimension string // what was measured
	Baseline  string // what is usual
	Value     string // what was seen
	Acts      []Act  // the latest of them
	ActCount  int64  // how many there are
	At        time.Time
	State     State
	Reason    string
	DecidedBy string
	DecidedAt time.Time
	Version   int64

	key string
}

// Act is one record behind a finding.
type Act struct {
	Record   uuid.UUID `json:"record"`
	At       time.Time `json:"at"`
	Who      string    `json:"who"`
	Action   string    `json:"action"`
	Tenant   string    `json:"tenant,omitempty"`
	ActionID string    `json:"action_id,omitempty"` // of the guarded action, when it is one
}

const maxActs = 50

// about tells whether a finding is about a person or actor.
func (f Finding) about(who string) bool {
	return who != "" && (f.Who == who || slices.Contains(f.Others, who))
}

// Filter selects findings; the zero value lists all, newest first.
type Filter struct {
	States []State
	Kinds  []Kind
	Who    string
	Tenant governance.TenantID
	Before uuid.UUID
	Limit  int // default 50, at most 200
}

// Findings lists findings, newest first.
func (s *Service) Findings(ctx context.Context, f Filter) ([]Finding, error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	var rows []findingRow
	q := s.db.Read().NewSelect().Model(&rows).Order("at DESC", "id DESC").Limit(int64(f.Limit))
	if len(f.States) > 0 {
		q = q.Where("state IN (?)", bun.List(f.States))
	}
	if len(f.Kinds) > 0 {
		q = q.Where("kind IN (?)", bun.List(f.Kinds))
	}
	if f.Who != "" {
		q = q.Where("who = ?", f.Who)
	}
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.Before != uuid.Nil {
		q = q.Where("(at, id) < (SELECT at, id FROM finding WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list findings: %w", err)
	}
	out := make([]Finding, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.finding(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Finding reads one finding.
func (s *Service) Finding(ctx context.Context, id uuid.UUID) (Finding, error) {
	return findingOf(ctx, s.db.Read(), id)
}

func findingOf(ctx context.Context, db bun.IDB, id uuid.UUID) (Finding, error) {
	var row findingRow
	err := db.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return Finding{}, fmt.Errorf("finding %s: %w", id, err)
	}
	return row.finding()
}

// ActionDecide says what people made of a finding.
const ActionDecide = "finding.decide"

// Decide is the input of [ActionDecide]; the reason is that of the call.
type Decide struct {
	Finding string `json:"finding"`
	State   State  `json:"state"` // dismissed or confirmed
}

func (s *Service) decideAction() *governance.Action[Decide] {
	read := func(ctx context.Context, tx *governance.Tx, in Decide) (Finding, error) {
		id, err := uuid.Parse(in.Finding)
		if err != nil {
			return Finding{}, governance.Invalid("finding", "is not a UUID")
		}
		return findingOf(ctx, tx, id)
	}
	return governance.Define(ActionDecide, governance.Spec[Decide]{
		Summary:    "Closes a finding.",
		Unheld:     "It changes nothing of what the finding is about.",
		Permission: PermissionDecide, Sensitive: true,
		Tenant:   func(Decide) governance.TenantID { return "" },
		Resource: func(in Decide) governance.Ref { return governance.Ref{Kind: "finding", ID: in.Finding} },
		Validate: func(in Decide) error {
			if in.State != Dismissed && in.State != Confirmed {
				return governance.Invalid("state", "%q is neither dismissed nor confirmed", in.State)
			}
			return nil
		},
		Version: func(ctx context.Context, tx *governance.Tx, in Decide) (int64, error) {
			f, err := read(ctx, tx, in)
			return f.Version, err
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in Decide) (any, error) {
			f, err := read(ctx, tx, in)
			return map[string]any{"finding": f.Title, "value": f.Value, "baseline": f.Baseline, "before": f.State, "after": in.State}, err
		},
	}, func(ctx context.Context, tx *governance.Tx, in Decide) (governance.Result, error) {
		f, err := read(ctx, tx, in)
		if err != nil {
			return governance.Result{}, err
		}
		e, _ := governance.ExecutionFrom(ctx)
		if err := mayDecide(e.Identity, f); err != nil {
			return governance.Result{}, err
		}
		if f.State != Open {
			return governance.Result{}, fmt.Errorf("finding %s is %s: %w", f.ID, f.State, governance.ErrConflict)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE finding SET state = ?, reason = ?, decided_by = ?, decided_at = ?, version = version + 1 WHERE id = ?",
			in.State, e.Reason, e.Identity.Actor.ID, govdb.At(s.k.Now()), f.ID); err != nil {
			return governance.Result{}, fmt.Errorf("finding %s: %w", f.ID, err)
		}
		return governance.Result{Data: map[string]any{"finding": f.ID, "state": in.State}}, s.k.ResolveAlertTx(ctx, tx, alertKey(f.ID))
	})
}

func mayDecide(id governance.Identity, f Finding) error {
	if f.about(string(id.Actor.Person)) || f.about(id.Actor.ID) {
		return &governance.DeniedError{Action: ActionDecide, Rule: "self", Reason: "it is about you"}
	}
	if id.Actor.Person == "" {
		return &governance.DeniedError{Action: ActionDecide, Rule: "person", Reason: "only a person judges a finding"}
	}
	return nil
}

// Decide dismisses or confirms an open finding, with a reason. Nobody decides on what
// is about themself.
func (s *Service) Decide(ctx context.Context, id governance.Identity, in Decide, opts *governance.DoOptions) (governance.Outcome, error) {
	if opts == nil || strings.TrimSpace(opts.Reason) == "" {
		return governance.Outcome{}, governance.Invalid("reason", "say why")
	}
	u, err := uuid.Parse(in.Finding)
	if err != nil {
		return governance.Outcome{}, governance.Invalid("finding", "is not a UUID")
	}
	f, err := s.Finding(ctx, u)
	if err != nil {
		return governance.Outcome{}, err
	}
	if err := mayDecide(id, f); err != nil {
		return governance.Outcome{}, err
	}
	return s.decide.Do(ctx, s.k, id, in, opts)
}

func alertKey(id uuid.UUID) string { return "finding:" + id.String() }

var findingNamespace = uuid.MustParse("0b6c4c5e-0c53-5d0f-9a0c-6b6a3a5a2f77")

// putTx stores what a detector found; what is known already and still open is brought
// up to date. A finding that people decided on stays as they saw it.
func (s *Service) putTx(ctx context.Context, tx *governance.Tx, f Finding) error {
	f.ID = uuid.NewSHA1(findingNamespace, []byte(f.key))
	f.ActCount = max(f.ActCount, int64(len(f.Acts)))
	if len(f.Acts) > maxActs {
		f.Acts = f.Acts[len(f.Acts)-maxActs:]
	}
	acts, err := json.Marshal(append([]Act{}, f.Acts...))
	if err != nil {
		return fmt.Errorf("finding %s: %w", f.key, err)
	}
	others, err := json.Marshal(append([]string{}, f.Others...))
	if err != nil {
		return fmt.Errorf("finding %s: %w", f.key, err)
	}
	row := &findingRow{ID: f.ID, Key: f.key, Kind: string(f.Kind), Severity: string(f.Severity), Who: f.Who, Others: string(others), Tenant: string(f.Tenant), Title: f.Title,
		Dimension: f.Dimension, Baseline: f.Baseline, Value: f.Value, Acts: string(acts), ActCount: f.ActCount, At: govdb.At(f.At), State: string(Open), Version: 1, CreatedAt: govdb.At(s.k.Now())}
	var have findingRow
	err = tx.NewSelect().Model(&have).Where("key = ?", f.key).Scan(ctx)
	switch {
	case err == nil && (have.State != string(Open) || have.Value == row.Value && have.Acts == row.Acts && have.Others == row.Others):
		return nil
	case err == nil:
		row.CreatedAt, row.Version = have.CreatedAt, have.Version+1
		if _, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("finding %s: %w", f.key, err)
		}
		return nil
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("finding %s: %w", f.key, err)
	}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return fmt.Errorf("finding %s: %w", f.key, err)
	}
	records := make([]uuid.UUID, 0, 10)
	for _, a := range f.Acts[:min(len(f.Acts), 10)] {
		records = append(records, a.Record)
	}
	receipt, err := s.k.RecordTx(ctx, tx, governance.System("findings"), governance.Record{Action: "finding.raise", Outcome: governance.OutcomeObserved, Tenant: f.Tenant,
		Resource: governance.RefTo("finding", f.ID), Data: map[string]any{"kind": f.Kind, "severity": f.Severity, "who": f.Who, "others": append([]string{}, f.Others...), "dimension": f.Dimension,
			"baseline": f.Baseline, "value": f.Value, "acts": f.ActCount, "records": records}})
	if err != nil || f.Severity == governance.Info {
		return err
	}
	_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: alertKey(f.ID), Severity: f.Severity, Title: f.Title, Body: f.Value + "\nUsual: " + f.Baseline, Tenant: f.Tenant,
		Links: []governance.Link{{Title: "Finding", Kind: "finding", ID: f.ID.String()}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
	return err
}
