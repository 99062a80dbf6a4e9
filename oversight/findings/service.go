package findings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/schedule"
	"github.com/reevehq/reeve/oversight"
)

// PermissionRead sees findings and the auditor's figures.
const PermissionRead = "ledger:read"

// PermissionDecide dismisses and confirms findings.
const PermissionDecide = "approval:vote"

// Hours are when people are expected to work. Without them each person's own past says.
type Hours struct {
	From, To int // hours of the day, From included, To not
	Days     []time.Weekday
}

// Options tunes a Service. The zero value is ready to use and raises no requirement.
type Options struct {
	Zone  *time.Location // of hours and days; default UTC
	Hours *Hours

	MinScore  float64 // robust z-score of a rate finding; default 6
	MinCount  int64   // acts in an hour below which no rate is a finding; default 10
	NearLimit int     // percent of a limit from which an act lands just under it; default 85

	Fast     time.Duration // a decision within less was not read; default 10s
	Currency string        // of the auditor's figures; default EUR

	// Catalogue names acts that count as sensitive beside those marked so. Default: plan
	// changes, impersonation and policy edits.
	Catalogue []string

	// Raise is asked for sensitive actions while a finding of at least a warning stands on
	// whoever acts, or on the tenant: while it is open, and for 30 days after it was
	// confirmed. Nil raises nothing.
	Raise *governance.Require
}

const (
	lookBack   = 30 * 24 * time.Hour // how far a baseline goes back
	keepFor    = 65 * 24 * time.Hour // how long the copies of acts are kept
	confirmed  = 30 * 24 * time.Hour // how long a confirmed finding raises
	readBatch  = 500
	judgeBatch = 2000
)

// Service finds, and lets people judge. Use [New].
type Service struct {
	k      *governance.Kernel
	db     *govdb.DB
	opts   Options
	decide *governance.Action[Decide]
}

// New makes a Service and registers its action with the kernel, and with Options.Raise
// its say in the kernel's decisions.
func New(k *governance.Kernel, opts *Options) (*Service, error) {
	if k == nil {
		return nil, errors.New("findings: a kernel is required")
	}
	s := &Service{k: k, db: k.DB()}
	if opts != nil {
		s.opts = *opts
	}
	o := &s.opts
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.MinScore == 0 {
		o.MinScore = 6
	}
	if o.MinCount == 0 {
		o.MinCount = 10
	}
	if o.NearLimit == 0 {
		o.NearLimit = 85
	}
	if o.Fast == 0 {
		o.Fast = 10 * time.Second
	}
	if o.Currency == "" {
		o.Currency = "EUR"
	}
	if o.Catalogue == nil {
		o.Catalogue = []string{oversight.ActionPlan, oversight.ActionStart, governance.ActionPutPolicy}
	}
	switch h := o.Hours; {
	case h != nil && (h.From < 0 || h.To > 24 || h.From >= h.To || len(h.Days) == 0):
		return nil, fmt.Errorf("findings: Hours want 0 ≤ From < To ≤ 24 and at least one day, not %d to %d on %d days", h.From, h.To, len(h.Days))
	case o.MinScore < 3:
		return nil, fmt.Errorf("findings: MinScore is %g, want at least 3", o.MinScore)
	case o.NearLimit < 50 || o.NearLimit > 100:
		return nil, fmt.Errorf("findings: NearLimit is %d, want 50 to 100", o.NearLimit)
	case !governance.ValidCurrency(o.Currency):
		return nil, fmt.Errorf("findings: currency %q is not an ISO 4217 code", o.Currency)
	}
	if r := o.Raise; r != nil {
		err := governance.Policy{ID: "raise", Title: "raise", Actions: []string{"*"}, Mode: governance.Enforce, Require: r}.Validate()
		if err != nil {
			return nil, fmt.Errorf("findings: Raise: %w", err)
		}
	}
	s.decide = s.decideAction()
	if err := k.Register(s.decide); err != nil {
		return nil, fmt.Errorf("findings: %w", err)
	}
	if o.Raise != nil {
		k.RaiseBy(s.raise)
	}
	return s, nil
}

// Kernel is the kernel the service works with.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Jobs is the scheduled work.
func (s *Service) Jobs() []schedule.Job {
	return []schedule.Job{
		{Name: "findings", Spec: schedule.Spec{Every: time.Minute}, Run: func(ctx context.Context, _ time.Time) error { return s.Turn(ctx) }},
		{Name: "findings.prune", Spec: schedule.Spec{Every: 24 * time.Hour}, Run: func(ctx context.Context, _ time.Time) error { return s.Prune(ctx) }},
	}
}

// Turn reads what the ledger has that was not read, and judges it. Called again, or by
// two servers at once, it finds the same once.
func (s *Service) Turn(ctx context.Context) error {
	for {
		n, err := s.read(ctx)
		if errors.Is(err, governance.ErrConflict) {
			return nil // another server is at it
		}
		if err != nil {
			return err
		}
		if err := s.judge(ctx); err != nil {
			if errors.Is(err, governance.ErrConflict) {
				return nil
			}
			return err
		}
		if n < readBatch {
			return nil
		}
	}
}

// Prune forgets copies of acts that no baseline reaches any more. Findings stay.
func (s *Service) Prune(ctx context.Context) error {
	var last govdb.Micros
	if err := s.db.Read().NewRaw("SELECT COALESCE(MAX(at), 0) FROM finding_act").Scan(ctx, &last); err != nil {
		return fmt.Errorf("findings: %w", err)
	}
	before := govdb.At(last.Time().Add(-keepFor)) // by the ledger's time, not the clock's: the same on every server
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		for _, table := range []string{"finding_act", "finding_limit", "finding_vote"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM ? WHERE at < ?", bun.Ident(table), before); err != nil {
				return fmt.Errorf("prune %s: %w", table, err)
			}
		}
		return nil
	})
}

// moveTx moves a cursor that still stands where it was read.
func moveTx(ctx context.Context, tx *governance.Tx, name string, from, to int64) error {
	res, err := tx.ExecContext(ctx, "UPDATE finding_state SET n = ? WHERE name = ? AND n = ?", to, name, from)
	if err != nil {
		return fmt.Errorf("findings: cursor %s: %w", name, err)
	}
	if n, _ := res.RowsAffected(); n != 1 {
		return fmt.Errorf("findings: cursor %s moved meanwhile: %w", name, governance.ErrConflict)
	}
	return nil
}

func (s *Service) cursors(ctx context.Context) (read, judged int64, err error) {
	var rows []struct {
		Name string
		N    int64
	}
	if err := s.db.Handle().NewRaw("SELECT name, n FROM finding_state").Scan(ctx, &rows); err != nil {
		return 0, 0, fmt.Errorf("findings: cursors: %w", err)
	}
	for _, r := range rows {
		if r.Name == "read" {
			read = r.N
		} else {
			judged = r.N
		}
	}
	return read, judged, nil
}

// raise is the findings' say in a decision; see [Options.Raise].
func (s *Service) raise(ctx context.Context, tx *governance.Tx, a governance.Asked) ([]governance.Raise, error) {
	if a.Identity.Actor.Kind == governance.ActorSystem || !a.Sensitive && !slices.Contains(s.opts.Catalogue, a.Action) {
		return nil, nil
	}
	who := whoOf(a.Identity.Actor)
	var rows []findingRow
	q := tx.NewSelect().Model(&rows).Where("severity <> ? AND (state = ? OR state = ? AND decided_at > ?)", governance.Info, Open, Confirmed, govdb.At(s.k.Now().Add(-confirmed)))
	if a.Tenant != "" {
		q = q.Where("(who = ? OR tenant = ? OR others LIKE ? ESCAPE '!')", who, a.Tenant, containing(who))
	} else {
		q = q.Where("(who = ? OR others LIKE ? ESCAPE '!')", who, containing(who))
	}
	if err := q.Order("at", "id").Limit(20).Scan(ctx); err != nil {
		return nil, fmt.Errorf("findings about %s: %w", who, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	why := rows[0].Title
	if len(rows) > 1 {
		why = fmt.Sprintf("%s, and %d more findings", why, len(rows)-1)
	}
	return []governance.Raise{{Source: "finding", Why: why, Require: *s.opts.Raise}}, nil
}
