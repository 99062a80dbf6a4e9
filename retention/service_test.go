package retention_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/hostdata"
	"github.com/reevehq/reeve/internal/hostdata/hosttest"
	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/rulepack"
	"github.com/reevehq/reeve/retention/sqlsource"
)

// world is a service with a host database of the same engine as its own.
type world struct {
	*govtest.Env
	svc  *retention.Service
	host hosttest.Host
	step atomic.Pointer[func(string) error]
}

func (w *world) onStep(fn func(step string) error) { w.step.Store(&fn) }

func schemas() []govdb.Schema { return []govdb.Schema{retention.Schema()} }

func newWorld(t *testing.T, postgres bool, customers int, mappings []sqlsource.Mapping, opts retention.Options) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{}
	w.onStep(func(string) error { return nil })
	if postgres {
		w.Env, w.host = govtest.NewPostgres(t, &govtest.Options{Schemas: schemas()}), hosttest.Postgres(t)
	} else {
		w.Env, w.host = govtest.New(t, &govtest.Options{Schemas: schemas()}), hosttest.SQLite(t)
	}
	w.svc = newService(t, w.Env, opts)
	if mappings == nil {
		require.NoError(t, hostdata.Generate(ctx, w.host.DB, postgres, 1, customers, w.Now()))
		var err error
		mappings, err = hostdata.Mapping()
		require.NoError(t, err)
		require.NoError(t, w.svc.Install(ctx, nil, hostdata.Policies()))
		w.addSources(t, mappings)
	}
	return w
}

func newService(t testing.TB, e *govtest.Env, opts retention.Options) *retention.Service {
	t.Helper()
	ctx := context.Background()
	e.People.Put("ann", "root")
	e.People.Put("bob", "root", "gov_approver")
	e.People.Put("eve", "cs_agent")
	var err error
	opts.Jurisdictions, err = rulepack.Jurisdictions()
	require.NoError(t, err)
	if opts.CallFor == 0 {
		opts.CallFor = time.Minute
	}
	svc, err := retention.New(e.Kernel, &opts)
	require.NoError(t, err)
	require.NoError(t, e.Kernel.InstallPolicies(ctx, retention.Policies()...))
	rules, err := rulepack.Rules()
	require.NoError(t, err)
	require.NoError(t, svc.Install(ctx, rules, nil))
	return svc
}

func (w *world) addSources(t testing.TB, ms []sqlsource.Mapping) {
	t.Helper()
	for _, m := range ms {
		src, err := sqlsource.New(context.Background(), w.host.DB, m, &sqlsource.Options{Step: func(s string) error { return (*w.step.Load())(s) }, Now: w.Now})
		require.NoError(t, err)
		require.NoError(t, w.svc.AddSource(context.Background(), src))
	}
}

func both(t *testing.T, fn func(t *testing.T, postgres bool)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		fn(t, false)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		govtest.PostgresDSN(t)
		fn(t, true)
	})
}

func (w *world) plan(t testing.TB, source string) retention.Plan {
	t.Helper()
	p, err := w.svc.CreatePlan(context.Background(), w.As("ann"), retention.NewPlan{Source: source})
	require.NoError(t, err)
	return p
}

// approve lets bob approve what ann asked for, and gives the approval as it is then.
func (w *world) approve(t testing.TB, err error) governance.Approval {
	t.Helper()
	ctx := context.Background()
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	a, err := w.Kernel.Approval(ctx, held.Approval)
	require.NoError(t, err)
	_, err = w.Kernel.Decide(ctx, w.As("ann"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
	require.Error(t, err, "nobody approves their own purge")
	a, err = w.Kernel.Decide(ctx, w.As("bob"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest, Comment: "seen"})
	require.NoError(t, err)
	return a
}

func (w *world) purge(t testing.TB, p retention.Plan) (retention.Run, error) {
	t.Helper()
	ctx := context.Background()
	out, err := w.svc.Purge(ctx, w.As("ann"), retention.PurgeInput{Plan: p.ID, Digest: p.Digest}, &governance.DoOptions{Reason: "overdue"})
	if err != nil {
		return retention.Run{}, err
	}
	return w.run(t, out.Action.String()), nil
}

func (w *world) run(t testing.TB, id string) retention.Run {
	t.Helper()
	rid, err := governance.ParseID[retention.Run](id)
	require.NoError(t, err)
	r, err := w.svc.Run(context.Background(), rid)
	require.NoError(t, err)
	return r
}

func (w *world) approvedRun(t testing.TB, p retention.Plan) retention.Run {
	t.Helper()
	_, err := w.purge(t, p)
	a := w.approve(t, err)
	require.Equal(t, governance.StateExecuted, a.State, a.Error)
	return w.run(t, a.ID.String())
}

func (w *world) evidence(t testing.TB, r retention.Run) retention.Evidence {
	t.Helper()
	body, hash, err := w.svc.Evidence(context.Background(), r.ID)
	require.NoError(t, err)
	sum := sha256.Sum256(body)
	require.Equal(t, "sha256:"+hex.EncodeToString(sum[:]), hash)
	var e retention.Evidence
	require.NoError(t, json.Unmarshal(body, &e))
	return e
}

func balanced(t testing.TB, c retention.Counts) {
	t.Helper()
	require.Equal(t, c.Planned, c.Deleted+c.Anonymised+c.Held+c.Changed+c.Failed)
}

func TestJourney(t *testing.T) {
	both(t, func(t *testing.T, postgres bool) {
		ctx := context.Background()
		w := newWorld(t, postgres, 1500, nil, retention.Options{BatchSize: 50})
		before := w.host.Int(t, "SELECT COUNT(*) FROM crm_document")
		pagesBefore := w.host.Int(t, "SELECT COUNT(*) FROM crm_document_page")

		// A tenant is in court: its documents are kept.
		h, err := w.svc.PlaceHold(ctx, w.As("ann"), retention.NewHold{Matter: "Acme v. us", Reason: "letter of counsel", Selector: retention.Selector{Tenant: "t-7"}})
		require.NoError(t, err)
		require.Empty(t, h.Unfenced)
		heldBefore := w.host.Int(t, "SELECT COUNT(*) FROM crm_document d JOIN crm_customer c ON c.id = d.customer_id WHERE c.tenant = 't-7'")

		p := w.plan(t, "crm-documents")
		require.Greater(t, p.Rows, int64(200))
		require.Positive(t, p.Related)
		states := map[retention.State]int64{}
		for _, e := range p.Exceptions {
			states[e.State] += e.Count
			require.NotEmpty(t, e.Sample, "%s", e.State)
		}
		require.Positive(t, states[retention.Held])
		require.Positive(t, states[retention.UnknownCountry])
		require.Equal(t, before, w.host.Int(t, "SELECT COUNT(*) FROM crm_document"), "planning changes nothing")
		stored, err := w.svc.Plan(ctx, p.ID)
		require.NoError(t, err)
		require.Equal(t, p.Digest, stored.Digest)
		require.Equal(t, p.Groups, stored.Groups)

		// Refusals before anything runs.
		_, err = w.svc.Purge(ctx, w.As("ann"), retention.PurgeInput{Plan: p.ID, Digest: "sha256:00"}, nil)
		require.ErrorIs(t, err, governance.ErrConflict)
		var denied *governance.DeniedError
		_, err = w.svc.Purge(ctx, w.As("eve"), retention.PurgeInput{Plan: p.ID, Digest: p.Digest}, nil)
		require.ErrorAs(t, err, &denied)
		_, err = w.svc.CreatePlan(ctx, w.As("eve"), retention.NewPlan{Source: "crm-documents"})
		require.ErrorAs(t, err, &denied)
		_, err = w.svc.PlaceHold(ctx, w.As("eve"), retention.NewHold{Matter: "m", Reason: "r", Selector: retention.Selector{Tenant: "x"}})
		require.ErrorAs(t, err, &denied)
		_, err = w.svc.PlaceHold(ctx, w.As("ann"), retention.NewHold{Matter: "m", Reason: "r"})
		var invalid *governance.InvalidError
		require.ErrorAs(t, err, &invalid, "a hold on nothing is not a hold on everything")

		r := w.approvedRun(t, p)
		require.Equal(t, retention.RunExceptions, r.State, r.Error)
		balanced(t, r.Counts)
		require.Equal(t, p.Rows, r.Counts.Planned)
		require.Zero(t, r.Counts.Held, "rows that were held when planned were not planned")
		require.Positive(t, r.Counts.Failed, "disputed documents are refused by the host")
		require.EqualValues(t, before-int(r.Counts.Deleted), w.host.Int(t, "SELECT COUNT(*) FROM crm_document"))
		require.EqualValues(t, pagesBefore-int(r.Counts.Related), w.host.Int(t, "SELECT COUNT(*) FROM crm_document_page"))
		require.Equal(t, 0, w.host.Int(t, "SELECT COUNT(*) FROM crm_document_page WHERE document_id NOT IN (SELECT id FROM crm_document)"))
		require.Equal(t, heldBefore, w.host.Int(t, "SELECT COUNT(*) FROM crm_document d JOIN crm_customer c ON c.id = d.customer_id WHERE c.tenant = 't-7'"))
		items, err := w.svc.Items(ctx, r.ID, "", 1000)
		require.NoError(t, err)
		require.EqualValues(t, r.Counts.Failed+r.Counts.Changed+r.Counts.Held, len(items))
		page, err := w.svc.Items(ctx, r.ID, items[0].Cursor, 1)
		require.NoError(t, err)
		if len(items) > 1 {
			require.Equal(t, items[1], page[0])
		}

		e := w.evidence(t, r)
		require.True(t, e.Equation)
		require.Equal(t, governance.PersonID("bob"), e.Approvals[0].Person)
		require.Equal(t, p.Digest, e.PlanDigest)
		require.Zero(t, e.Verification.Unexplained)
		require.Zero(t, e.Verification.Late)
		require.Equal(t, e.Verification.StillDue-states[retention.Held], r.Counts.Failed)
		require.Len(t, e.Batches, r.Chunks)
		cited := false
		for _, l := range e.Law {
			cited = cited || l.ID == "de.invoice" && strings.Contains(l.Citation, "AO §147(3)")
		}
		require.True(t, cited)
		w.Drain(t)
		actions := w.Actions(t)
		require.Contains(t, actions, "retention.plan done")
		require.Contains(t, actions, "retention.purge held")
		require.Contains(t, actions, "retention.run.start done")
		require.Contains(t, actions, "retention.batch done")
		require.Contains(t, actions, "retention.run.end done")

		// A plan is executed once.
		_, err = w.purge(t, p)
		require.ErrorIs(t, err, governance.ErrConflict)

		d, err := w.svc.Dashboard(ctx)
		require.NoError(t, err)
		require.Equal(t, r.Counts.Failed, d.TotalOverdue, "what could not be deleted is still overdue")
		require.Equal(t, 1, d.Holds)
		require.Equal(t, []string{"crm-customers", "crm-tickets"}, d.Unplanned)

		// Customers are anonymised, in their own first run.
		p = w.plan(t, "crm-customers")
		r = w.approvedRun(t, p)
		require.Equal(t, retention.RunCompleted, r.State)
		require.Equal(t, p.Rows, r.Counts.Anonymised)
		require.EqualValues(t, r.Counts.Anonymised, w.host.Int(t, "SELECT COUNT(*) FROM crm_customer WHERE email LIKE '%@anonymised.invalid' AND phone IS NULL"))
		require.Equal(t, 0, w.host.Int(t, "SELECT COUNT(*) FROM crm_customer WHERE tenant = 't-7' AND phone IS NULL"))
		require.Zero(t, w.plan(t, "crm-customers").Rows)

		// The release waits for approval; afterwards the tenant's documents are due, and a
		// small second run needs nobody.
		_, err = w.svc.ReleaseHold(ctx, w.As("ann"), h.ID, "settled", nil)
		require.Equal(t, governance.StateExecuted, w.approve(t, err).State)
		p = w.plan(t, "crm-documents")
		r, err = w.purge(t, p)
		require.NoError(t, err)
		balanced(t, r.Counts)
		require.Positive(t, r.Counts.Deleted)
	})
}

func TestExplain(t *testing.T) {
	both(t, func(t *testing.T, postgres bool) {
		ctx := context.Background()
		w := newWorld(t, postgres, 300, nil, retention.Options{})
		p := w.plan(t, "crm-documents")
		x, err := w.svc.Explain(ctx, "crm-documents", p.Sample[0], time.Time{})
		require.NoError(t, err)
		require.Equal(t, retention.Due, x.Decision.State)
		require.NotEmpty(t, x.Decision.Trace[0].Citation)
		require.Contains(t, x.Decision.Why, "due since")
		x, err = w.svc.Explain(ctx, "crm-documents", p.Sample[0], time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC))
		require.NoError(t, err)
		require.Equal(t, retention.Kept, x.Decision.State)
		_, err = w.svc.Explain(ctx, "crm-documents", "no-such", time.Time{})
		require.ErrorIs(t, err, governance.ErrNotFound)
		_, err = w.svc.Explain(ctx, "crm-customers", "abc", time.Time{})
		require.ErrorIs(t, err, governance.ErrNotFound)
		_, err = w.svc.Explain(ctx, "crm-tickets", "7", time.Time{})
		var invalid *governance.InvalidError
		require.ErrorAs(t, err, &invalid)
		_, err = w.svc.Explain(ctx, "nope", "7", time.Time{})
		require.ErrorIs(t, err, governance.ErrNotFound)
	})
}

func TestChangesVoidPlans(t *testing.T) {
	both(t, func(t *testing.T, postgres bool) {
		ctx := context.Background()
		w := newWorld(t, postgres, 300, nil, retention.Options{})
		p := w.plan(t, "crm-documents")
		_, heldErr := w.purge(t, p)
		longer := retention.Rule{ID: "de.invoice", Jurisdiction: "DE", Class: "invoice", Kind: retention.Floor, Period: retention.Period{Years: 12}, Citation: "a new law", Status: retention.Contested}
		_, err := w.svc.PutRule(ctx, w.As("ann"), longer, nil)
		require.Equal(t, governance.StateExecuted, w.approve(t, err).State)
		// The purge that waited is superseded: its law is not the law any more.
		a := w.approve(t, heldErr)
		require.Equal(t, governance.StateSuperseded, a.State)
		_, err = w.purge(t, p)
		require.ErrorIs(t, err, governance.ErrConflict)
		require.Less(t, w.plan(t, "crm-documents").Rows, p.Rows)

		for name, r := range map[string]retention.Rule{
			"unknown place": {ID: "x", Jurisdiction: "ZZ", Class: "invoice", Kind: retention.Floor, Period: retention.Period{Years: 1}, Citation: "c", Status: retention.Contested},
			"no citation":   {ID: "x", Jurisdiction: "DE", Class: "invoice", Kind: retention.Floor, Period: retention.Period{Years: 1}, Status: retention.Contested},
		} {
			var invalid *governance.InvalidError
			_, err := w.svc.PutRule(ctx, w.As("ann"), r, nil)
			require.ErrorAs(t, err, &invalid, name)
		}
		// Two policies for one class, country and source would leave it open which counts.
		_, err = w.svc.PutPolicy(ctx, w.As("ann"), retention.Policy{ID: "other", Title: "t", Class: "invoice", Period: retention.Period{Years: 1}, Action: retention.Delete}, nil)
		require.NotEqual(t, governance.StateExecuted, w.approve(t, err).State)

		p = w.plan(t, "crm-tickets")
		w.Advance(8 * 24 * time.Hour)
		_, err = w.purge(t, p)
		require.ErrorIs(t, err, governance.ErrConflict, "a plan grows stale")
		w.plan(t, "crm-tickets")
		var chunks int
		require.NoError(t, w.DB.Read().NewRaw("SELECT COUNT(*) FROM retention_chunk WHERE plan = ?", p.ID.String()).Scan(ctx, &chunks))
		require.Zero(t, chunks, "the keys of a stale plan are not kept")
	})
}

// A hold that is placed while a run is going is in force when PlaceHold returns: no
// batch that began before it commits after it.
func TestHoldDuringRun(t *testing.T) {
	both(t, func(t *testing.T, postgres bool) {
		ctx := context.Background()
		w := newWorld(t, postgres, 800, nil, retention.Options{BatchSize: 20})
		p := w.plan(t, "crm-documents")
		var batches atomic.Int32
		var left atomic.Int64
		placed := make(chan error, 1)
		w.onStep(func(step string) error {
			if step == "decided" && batches.Add(1) == 3 {
				go func() {
					_, err := w.svc.PlaceHold(ctx, w.As("ann"), retention.NewHold{Matter: "m", Reason: "r", Selector: retention.Selector{Class: "invoice"}})
					left.Store(int64(w.host.Int(t, "SELECT COUNT(*) FROM crm_document")))
					placed <- err
				}()
			}
			return nil
		})
		r := w.approvedRun(t, p)
		require.NoError(t, <-placed)
		w.onStep(func(string) error { return nil })
		balanced(t, r.Counts)
		require.Positive(t, r.Counts.Held)
		require.Positive(t, r.Counts.Deleted)
		require.EqualValues(t, left.Load(), w.host.Int(t, "SELECT COUNT(*) FROM crm_document"), "something was deleted after the hold was in force")
		require.Zero(t, w.evidence(t, r).Verification.Unexplained)
	})
}

func TestStopping(t *testing.T) {
	both(t, func(t *testing.T, postgres bool) {
		ctx := context.Background()
		w := newWorld(t, postgres, 800, nil, retention.Options{BatchSize: 25})
		var id atomic.Value
		p := w.plan(t, "crm-documents")
		n := 0
		w.onStep(func(step string) error {
			if step != "committed" {
				return nil
			}
			if n++; n == 2 {
				return w.svc.SetPaused(ctx, w.As("ann"), true, "look first")
			}
			return nil
		})
		r := w.approvedRun(t, p)
		id.Store(r.ID.String())
		require.Equal(t, retention.RunRunning, r.State)
		require.Equal(t, 2, r.Batches)
		require.NoError(t, w.svc.Turn(ctx))
		require.Equal(t, 2, w.run(t, r.ID.String()).Batches, "paused is paused")
		require.NoError(t, w.svc.SetPaused(ctx, w.As("ann"), false, "go on"))
		n = -1000
		// A failing host is tried again, and what was done is not done twice.
		fails := 0
		w.onStep(func(step string) error {
			if step == "children" && fails < 3 {
				fails++
				return errors.New("the disk is slow")
			}
			return nil
		})
		for range 3 {
			require.Error(t, w.svc.Turn(ctx))
			require.NotContains(t, w.run(t, r.ID.String()).Error, "disk", "the host's text stays in the log")
		}
		require.NoError(t, w.svc.CancelRun(ctx, w.As("ann"), r.ID, "enough"))
		require.NoError(t, w.svc.Turn(ctx))
		r = w.run(t, r.ID.String())
		require.Equal(t, retention.RunCancelled, r.State)
		require.Equal(t, r.Counts.Planned, r.Counts.Done()+r.Remaining)
		require.Positive(t, r.Remaining)
		require.ErrorIs(t, w.svc.CancelRun(ctx, w.As("ann"), r.ID, "again"), governance.ErrConflict)
		require.ErrorIs(t, w.svc.CancelRun(ctx, w.As("ann"), governance.NewID[retention.Run](), "x"), governance.ErrNotFound)
		_, _, err := w.svc.Evidence(ctx, r.ID)
		require.ErrorIs(t, err, governance.ErrNotFound)

		// A host that never comes back ends a run, with an alert.
		p = w.plan(t, "crm-tickets")
		w.onStep(func(string) error { return errors.New("gone") })
		r = w.approvedRun(t, p)
		for range 10 {
			_ = w.svc.Turn(ctx)
		}
		r = w.run(t, r.ID.String())
		require.Equal(t, retention.RunFailed, r.State)
		require.Zero(t, r.Counts.Done())
	})
}

// Rows that multiplied since the plan stop the run before they are touched.
func TestBrake(t *testing.T) {
	both(t, func(t *testing.T, postgres bool) {
		w := newWorld(t, postgres, 300, nil, retention.Options{BatchSize: 5000})
		p := w.plan(t, "crm-documents")
		w.host.Exec(t, fmt.Sprintf(`INSERT INTO crm_document_page (document_id, page, body) WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT '%s', i, 'x' FROM n`,
			10+4*(p.Rows+p.Related), strings.Trim(p.Sample[0], `"`)))
		before := w.host.Int(t, "SELECT COUNT(*) FROM crm_document_page")
		r := w.approvedRun(t, p)
		require.Equal(t, retention.RunBraked, r.State)
		require.Zero(t, r.Counts.Touched())
		require.Equal(t, before, w.host.Int(t, "SELECT COUNT(*) FROM crm_document_page"))
	})
}

// A schema that changed under a plan stops its run.
func TestDrift(t *testing.T) {
	both(t, func(t *testing.T, postgres bool) {
		w := newWorld(t, postgres, 300, nil, retention.Options{})
		p := w.plan(t, "crm-documents")
		w.host.Exec(t, "ALTER TABLE crm_document ADD COLUMN secret TEXT")
		r := w.approvedRun(t, p)
		require.Equal(t, retention.RunFailed, r.State)
		require.Contains(t, r.Error, "schema")
	})
}

func TestDailyJob(t *testing.T) {
	w := newWorld(t, false, 300, nil, retention.Options{Unattended: true})
	jobs := w.svc.Jobs()
	require.Len(t, jobs, 1)
	require.NoError(t, jobs[0].Run(context.Background(), w.Now()))
	plans, err := w.svc.Plans(context.Background(), retention.PlanFilter{})
	require.NoError(t, err)
	require.Len(t, plans, 3)
	for _, p := range plans {
		require.NotEmpty(t, p.Approval, "a first run waits for approval, whoever asks")
	}
}

// BenchmarkPurge reports rows planned and purged per second on a host of 50,000
// customers, pages of the documents included.
func BenchmarkPurge(b *testing.B) {
	for _, postgres := range []bool{false, true} {
		b.Run(map[bool]string{false: "sqlite", true: "postgres"}[postgres], func(b *testing.B) {
			ctx := context.Background()
			var planned, purged float64
			for b.Loop() {
				b.StopTimer()
				e, host := govtest.New(b, &govtest.Options{Schemas: schemas()}), hosttest.Host{}
				if postgres {
					host = hosttest.Postgres(b)
				} else {
					host = hosttest.SQLite(b)
				}
				svc := newService(b, e, retention.Options{})
				require.NoError(b, hostdata.Generate(ctx, host.DB, postgres, 1, 50000, e.Now()))
				require.NoError(b, svc.Install(ctx, nil, hostdata.Policies()))
				w := &world{Env: e, svc: svc, host: host}
				w.onStep(func(string) error { return nil })
				ms, err := hostdata.Mapping()
				require.NoError(b, err)
				w.addSources(b, ms)
				b.StartTimer()
				start := time.Now()
				p := w.plan(b, "crm-documents")
				planned += float64(p.Rows) / time.Since(start).Seconds()
				start = time.Now()
				r := w.approvedRun(b, p)
				purged += float64(r.Counts.Touched()) / time.Since(start).Seconds()
			}
			b.ReportMetric(planned/float64(b.N), "planned-rows/s")
			b.ReportMetric(purged/float64(b.N), "purged-rows/s")
		})
	}
}
