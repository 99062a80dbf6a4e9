package findings_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/findings"
)

// TestScore compares with values computed by Python's statistics module from the
// formulas of the doc comment.
func TestScore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []int64
		x      int64
		median float64
		score  float64
	}{
		{[]int64{1, 2, 3, 4, 100}, 100, 3, 65.4265},
		{[]int64{3, 5, 4, 6, 2, 7, 5, 4, 9, 3}, 30, 4.5, 11.4665},
		{[]int64{12, 15, 11, 14, 13, 40, 12, 13}, 41, 13, 18.886},
		{[]int64{4, 4, 4, 4, 4, 9, 2}, 20, 4, 12.766154}, // MAD is 0
		{[]int64{5, 5, 5, 5}, 14, 5, 4.024922},           // all are equal
		{[]int64{0, 0, 0}, 3, 0, 3},
	} {
		b := findings.NewBaseline(c.values)
		require.InDelta(t, c.median, b.Median, 1e-9)
		require.InDelta(t, c.score, b.Score(c.x), 1e-6, "%v", c.values)
		require.Zero(t, findings.NewBaseline([]int64{7}).Score(7))
	}
	r, values := rand.New(rand.NewPCG(1, 2)), make([]int64, 20001)
	for i := range values {
		values[i] = int64(math.Round(r.NormFloat64()*1000)) + 50_000
	}
	b := findings.NewBaseline(values)
	require.InDelta(t, 3, b.Score(53_000), 0.1, "for normal values it is the plain z-score")
	b.MAD = 0
	require.InDelta(t, 3, b.Score(53_000), 0.1, "and so is what stands in for it")
}

const limit = 100_000

var options = &govtest.Options{Schemas: []govdb.Schema{oversight.Schema(), findings.Schema()}, Rates: map[string]int64{"USD→EUR": 900_000, "EUR→EUR": 1_000_000}, Start: time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC)}

type world struct {
	*govtest.Env
	svc    *findings.Service
	credit *governance.Action[oversight.Credit]
	r      *rand.Rand

	portion int    // most plain events between two turns, with between
	between func() // may be nil
}

func newWorld(t *testing.T, e *govtest.Env, opts *findings.Options) *world {
	t.Helper()
	w := &world{Env: e, r: rand.New(rand.NewPCG(42, 1))}
	w.credit = governance.Define(oversight.ActionCredit, oversight.CreditSpec(nil, "EUR", "USD"), func(context.Context, *governance.Tx, oversight.Credit) (governance.Result, error) {
		return governance.Result{}, nil
	})
	require.NoError(t, e.Kernel.Register(w.credit))
	day := governance.Duration{Duration: 24 * time.Hour}
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "credit-24h", Title: "Credits", Actions: []string{oversight.ActionCredit}, Mode: governance.Enforce,
		Limits:  []governance.Limit{{Unit: "EUR.cent", Max: limit, Window: day, By: governance.ByTenant, Convert: true}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
	for i := range 8 {
		e.People.Put(governance.PersonID(fmt.Sprintf("agent%d", i)), "cs_agent")
	}
	for i := range 6 {
		e.People.Put(governance.PersonID(fmt.Sprintf("appr%d", i)), "gov_approver", "cs_agent")
	}
	e.People.Put("root", "root")
	e.People.Allow("cs_agent", "tenant:credit")
	e.People.Allow("gov_approver", "approval:vote", "approval:read", "ledger:read")
	var err error
	w.svc, err = findings.New(e.Kernel, opts)
	require.NoError(t, err)
	return w
}

// event is something somebody does; without run it is a plain record.
type event struct {
	at           time.Time
	who          governance.PersonID
	action       string
	tenant       governance.TenantID
	run          func(t *testing.T)
	credit       int64
	currency     string
	approver     governance.PersonID
	decidesAfter time.Duration
}

// play lets events happen in their order, each at its time.
func (w *world) play(t *testing.T, events []event) {
	t.Helper()
	var votes []event
	for _, x := range events {
		if x.credit == 0 {
			votes = append(votes, x)
			continue
		}
		var held uuid.UUID
		x.run = func(t *testing.T) {
			_, err := w.credit.Do(t.Context(), w.Kernel, w.As(x.who), oversight.Credit{Tenant: x.tenant, Money: governance.Money{Minor: x.credit, Currency: x.currency}}, &governance.DoOptions{Reason: "goodwill"})
			if required, ok := err.(*governance.ApprovalRequiredError); ok { //nolint:errorlint // Do returns it bare
				held = required.Approval
				return
			}
			require.NoError(t, err)
		}
		votes = append(votes, x)
		if x.approver != "" {
			votes = append(votes, event{at: x.at.Add(x.decidesAfter), run: func(t *testing.T) {
				if held == uuid.Nil {
					return
				}
				ap, err := w.Kernel.Approval(t.Context(), held)
				require.NoError(t, err)
				_, err = w.Kernel.Decide(t.Context(), w.As(x.approver), held, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
				require.NoError(t, err)
			}})
		}
	}
	sort.SliceStable(votes, func(i, j int) bool { return votes[i].at.Before(votes[j].at) })
	reach := func(at time.Time) {
		if d := at.Sub(w.Clock.Now()); d > 0 {
			w.Advance(d)
		}
	}
	portion := 400
	if w.portion > 0 {
		portion = w.portion
	}
	for i := 0; i < len(votes); {
		if w.between != nil {
			w.Drain(t)
			w.between()
		}
		if run := votes[i].run; run != nil {
			reach(votes[i].at)
			run(t)
			i++
			continue
		}
		j := i
		for j < len(votes) && votes[j].run == nil && j-i < portion {
			j++
		}
		require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			for _, x := range votes[i:j] {
				reach(x.at)
				if _, err := w.Kernel.RecordTx(ctx, tx, w.As(x.who), governance.Record{Action: x.action, Tenant: x.tenant}); err != nil {
					return err
				}
			}
			return nil
		}))
		i = j
	}
	w.Drain(t)
}

func poisson(r *rand.Rand, mean float64) int {
	n, p := 0, r.Float64()
	for limit := math.Exp(-mean); p > limit; n++ {
		p *= r.Float64()
	}
	return n
}

// clean is days of ordinary work: hours, tenants and amounts vary, as people do.
func (w *world) clean(start time.Time, days int) []event {
	var out []event
	for day := range days {
		date := start.AddDate(0, 0, day)
		free := date.Weekday() == time.Saturday || date.Weekday() == time.Sunday
		for i := range 8 {
			who := governance.PersonID(fmt.Sprintf("agent%d", i))
			if free && i != 6 { // one has the weekend shift
				continue
			}
			if w.r.IntN(20) == 0 { // a day off
				continue
			}
			from := 7 + i%3
			for h := from; h < from+9; h++ {
				hour := date.Add(time.Duration(h) * time.Hour)
				for _, a := range []struct {
					name string
					mean float64
				}{{"tenant.read", 4}, {"ticket.reply", 2.5}, {"note.write", 0.4}} {
					for range poisson(w.r, a.mean) {
						tenant := (i*3 + w.r.IntN(8)) % 24
						if i%2 == 1 && w.r.IntN(40) == 0 { // some help out everywhere
							tenant = w.r.IntN(60)
						}
						out = append(out, event{at: hour.Add(time.Duration(w.r.IntN(3600)) * time.Second), who: who, action: a.name, tenant: governance.TenantID(fmt.Sprintf("t%d", tenant))})
					}
				}
			}
			if w.r.IntN(15) == 0 { // stays late
				out = append(out, event{at: date.Add(time.Duration((from+9+w.r.IntN(4))*3600+w.r.IntN(3600)) * time.Second), who: who, action: "ticket.reply", tenant: governance.TenantID(fmt.Sprintf("t%d", i*3))})
			}
			if w.r.IntN(2) == 0 {
				minor := int64(math.Exp(w.r.NormFloat64()*0.9+8.5)) + 1 // about 50, now and then over the limit
				if w.r.IntN(6) == 0 {
					minor = limit + int64(w.r.IntN(50_000))
				}
				currency := []string{"EUR", "USD"}[w.r.IntN(2)]
				out = append(out, event{at: date.Add(time.Duration(10*3600+w.r.IntN(4*3600)) * time.Second), who: who, tenant: governance.TenantID(fmt.Sprintf("t%d", (i*3+w.r.IntN(8))%24)), credit: minor, currency: currency,
					approver: governance.PersonID(fmt.Sprintf("appr%d", w.r.IntN(6))), decidesAfter: time.Duration(90+w.r.IntN(3000)) * time.Second})
			}
		}
		if !free {
			for i := range 6 { // approvers ask for credits as well, and all take turns
				if w.r.IntN(5) == 0 {
					other := (i + 1 + w.r.IntN(5)) % 6
					out = append(out, event{at: date.Add(time.Duration(9*3600+w.r.IntN(4*3600)) * time.Second), who: governance.PersonID(fmt.Sprintf("appr%d", i)), tenant: governance.TenantID(fmt.Sprintf("t%d", w.r.IntN(24))),
						credit: limit + 1, currency: "EUR", approver: governance.PersonID(fmt.Sprintf("appr%d", other)), decidesAfter: time.Duration(90+w.r.IntN(3000)) * time.Second})
				}
			}
		}
	}
	return out
}

func (w *world) all(t *testing.T) []findings.Finding {
	t.Helper()
	var out []findings.Finding
	f := findings.Filter{Limit: 200}
	for {
		got, err := w.svc.Findings(t.Context(), f)
		require.NoError(t, err)
		out = append(out, got...)
		if len(got) < 200 {
			return out
		}
		f.Before = got[len(got)-1].ID
	}
}

func lines(fs []findings.Finding) string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = fmt.Sprintf("%s %s who=%s others=%v tenant=%s acts=%d\n  %s\n  usual: %s\n  seen: %s", f.Kind, f.Severity, f.Who, f.Others, f.Tenant, f.ActCount, f.Title, f.Baseline, f.Value)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// TestDetectors plays seven weeks of ordinary work, on which the detectors are silent
// but for the rate printed, then plants one case of each kind, and each is found, with
// its acts, on exactly whom it is about. With -short, for the race detector under which
// SQLite in Go is ten times slower, it is four weeks.
func TestDetectors(t *testing.T) {
	t.Parallel()
	days := 49
	if testing.Short() {
		days = 28
	}
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		w := newWorld(t, e, nil)
		start := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
		events := w.clean(start, days)
		w.play(t, events)
		require.NoError(t, w.svc.Turn(t.Context()))
		clean := w.all(t)
		kinds := map[findings.Kind]int{}
		for _, f := range clean {
			kinds[f.Kind]++
		}
		t.Logf("clean history: %d events in %d days, findings %v: %.4f %% of the events", len(events), days, kinds, 100*float64(len(clean))/float64(len(events)))
		t.Log("\n" + lines(clean))
		for _, f := range clean {
			require.Equal(t, governance.Info, f.Severity, "nothing that would hold anybody up: %s", lines([]findings.Finding{f}))
		}
		require.LessOrEqual(t, float64(len(clean))/float64(len(events)), 0.001)

		monday := start.AddDate(0, 0, days)
		at := func(day, hour, minute int) time.Time {
			return monday.AddDate(0, 0, day).Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
		}
		var planted []event
		for i := range 60 {
			planted = append(planted, event{at: at(0, 11, i), who: "agent0", action: "ticket.reply", tenant: "t1"})
		}
		planted = append(planted, event{at: at(0, 11, 5), who: "agent2", action: "ticket.reply", tenant: "t99"}, event{at: at(0, 12, 5), who: "agent4", action: "backup.read", tenant: "t13"},
			event{at: at(1, 3, 10), who: "agent4", action: "ticket.reply", tenant: "t13"}, event{at: at(1, 3, 40), who: "agent4", action: "ticket.reply", tenant: "t13"})
		for i := range 4 { // several people, two currencies, in small pieces, each day just under
			for j := range 4 {
				c := event{at: at(i, 10+j, 7), who: governance.PersonID(fmt.Sprintf("appr%d", j)), tenant: "acme", credit: 24_000, currency: "EUR"}
				if j == 3 {
					c.credit, c.currency = 26_000, "USD"
				}
				planted = append(planted, c)
			}
		}
		for i := range 6 {
			planted = append(planted, event{at: at(i%5, 14, i*7), who: "agent5", tenant: governance.TenantID(fmt.Sprintf("s%d", i)), credit: limit + 5, currency: "EUR", approver: "appr5", decidesAfter: 3 * time.Second})
		}
		e.People.Put("rae", "gov_approver", "cs_agent")
		e.People.Put("roy", "gov_approver", "cs_agent")
		for i, c := range [][2]governance.PersonID{{"rae", "roy"}, {"roy", "rae"}, {"x", "y"}, {"y", "z"}, {"z", "x"}} {
			e.People.Put(c[0], "gov_approver", "cs_agent")
			for j := range 4 {
				planted = append(planted, event{at: at(j, 15, i*6), who: c[0], tenant: governance.TenantID(fmt.Sprintf("r%d-%d", i, j)), credit: limit + 7, currency: "EUR", approver: c[1], decidesAfter: 2 * time.Minute})
			}
		}
		w.play(t, planted)
		require.NoError(t, w.svc.Turn(t.Context()))
		known := map[uuid.UUID]bool{}
		for _, f := range clean {
			known[f.ID] = true
		}
		got := slices.DeleteFunc(w.all(t), func(f findings.Finding) bool { return known[f.ID] })
		t.Log("planted:\n" + lines(got))
		one := func(kind findings.Kind, who string, pick func(findings.Finding) bool) findings.Finding {
			t.Helper()
			i := slices.IndexFunc(got, func(f findings.Finding) bool { return f.Kind == kind && f.Who == who && (pick == nil || pick(f)) })
			require.GreaterOrEqual(t, i, 0, "%s of %s in\n%s", kind, who, lines(got))
			f := got[i]
			got = slices.Delete(got, i, i+1)
			require.NotEmpty(t, f.Acts)
			require.NotEmpty(t, f.Baseline)
			for _, a := range f.Acts { // each leads to a record that is there
				_, err := w.Kernel.Ledger().Record(t.Context(), a.Record)
				require.NoError(t, err)
			}
			return f
		}
		rate := one(findings.Rate, "agent0", nil)
		require.EqualValues(t, 60, rate.ActCount)
		require.Equal(t, governance.Critical, rate.Severity)
		require.Contains(t, rate.Value, "60 in the hour from "+monday.Format(time.DateOnly)+" 11:00 UTC")
		require.EqualValues(t, "t99", one(findings.Pair, "agent2", nil).Tenant)
		require.Contains(t, one(findings.Pair, "agent4", nil).Value, "backup.read")
		night := one(findings.OffHours, "agent4", nil)
		require.EqualValues(t, 2, night.ActCount)
		tenant := one(findings.Structuring, "", func(f findings.Finding) bool { return f.Tenant == "acme" })
		require.Equal(t, []string{"appr0", "appr1", "appr2", "appr3"}, tenant.Others)
		require.Contains(t, tenant.Value, "4 windows filled nearly to the limit")
		require.GreaterOrEqual(t, tenant.ActCount, int64(12))
		stamp := one(findings.RubberStamp, "appr5", nil)
		require.GreaterOrEqual(t, stamp.ActCount, int64(5))
		require.Equal(t, []string{"roy"}, one(findings.Ring, "rae", nil).Others)
		require.Equal(t, []string{"z", "y"}, one(findings.Ring, "x", nil).Others)
		for _, f := range got {
			require.Equal(t, governance.Info, f.Severity, lines(got))
		}
	})
}

// TestTurn_Portions: however the ledger is cut into portions, read again or read by
// several servers at once, the findings are the same.
func TestTurn_Portions(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	run := func(t *testing.T, e *govtest.Env, portion int) string {
		w := newWorld(t, e, &findings.Options{MinScore: 3, MinCount: 4, NearLimit: 50})
		events := w.clean(start, 18)
		sort.SliceStable(events, func(i, j int) bool { return events[i].at.Before(events[j].at) })
		events = append(events, event{at: start.AddDate(0, 0, 16).Add(12 * time.Hour), who: "agent2", action: "ticket.reply", tenant: "t99"})
		for i := range 9 {
			at := start.AddDate(0, 0, 17).Add(time.Duration(i*20) * time.Minute)
			events = append(events, event{at: at, who: "agent0", action: "ticket.reply", tenant: "t1"}, event{at: at, who: "appr1", tenant: governance.TenantID(fmt.Sprintf("x%d", i)), credit: 60_000, currency: "EUR"},
				event{at: at, who: "agent1", tenant: governance.TenantID(fmt.Sprintf("y%d", i)), credit: limit + 1, currency: "EUR", approver: "appr2", decidesAfter: time.Second})
		}
		sort.SliceStable(events, func(i, j int) bool { return events[i].at.Before(events[j].at) })
		turns := 0
		if portion > 0 {
			w.portion, w.between = portion, func() {
				if turns++; turns%3 > 0 { // so that portions begin and end anywhere
					return
				}
				errs := make(chan error, 3)
				for range 3 {
					go func() { errs <- w.svc.Turn(t.Context()) }()
				}
				for range 3 {
					require.NoError(t, <-errs)
				}
			}
		}
		w.play(t, events)
		require.NoError(t, w.svc.Turn(t.Context()))
		out := w.all(t)
		require.NoError(t, w.svc.Turn(t.Context()))
		require.Equal(t, lines(out), lines(w.all(t)), "again finds nothing else")
		for _, k := range findings.Kinds() {
			if k != findings.Ring {
				require.True(t, slices.ContainsFunc(out, func(f findings.Finding) bool { return f.Kind == k }), "a %s to compare", k)
			}
		}
		return lines(out)
	}
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		require.Equal(t, run(t, govtest.New(t, options), 0), run(t, e, 61))
	})
}

// TestRaise: a standing finding makes a sensitive act need people; it never makes one
// easier, and who it is about cannot be rid of it.
func TestRaise(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		ctx, day := t.Context(), governance.Duration{Duration: 24 * time.Hour}
		w := newWorld(t, e, &findings.Options{Raise: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}})
		e.People.Put("agent0", "cs_agent", "gov_approver")
		give := func(minor int64) error {
			_, err := w.credit.Do(ctx, w.Kernel, w.As("agent0"), oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: minor, Currency: "EUR"}}, nil)
			return err
		}
		require.NoError(t, give(1))
		var events []event
		for i := range 12 {
			for range 2 {
				events = append(events, event{at: w.Now().Add(time.Duration(i) * time.Hour), who: "agent0", action: "ticket.reply", tenant: "t1"})
			}
		}
		for i := range 40 {
			events = append(events, event{at: w.Now().Add(14*time.Hour + time.Duration(i)*time.Second), who: "agent0", action: "ticket.reply", tenant: "t1"})
		}
		w.play(t, events)
		require.NoError(t, w.svc.Turn(ctx))
		got := w.all(t)
		require.Len(t, got, 1, lines(got))
		f := got[0]
		alerts, err := w.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Equal(t, "finding:"+f.ID.String(), alerts[0].Key)
		require.Contains(t, e.Actions(t), "finding.raise observed")

		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, give(1), &held)
		require.Contains(t, held.Why[0], "Unusually many ticket.reply")
		_, err = w.credit.Do(ctx, w.Kernel, w.As("agent1"), oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: 1, Currency: "EUR"}}, nil)
		require.NoError(t, err, "nobody else is held up")
		require.NoError(t, w.Kernel.InstallPolicies(ctx, governance.Policy{ID: "no-credits", Title: "Frozen", Actions: []string{oversight.ActionCredit}, Mode: governance.Enforce, Deny: true}))
		var denied *governance.DeniedError
		require.ErrorAs(t, give(1), &denied, "what is denied stays denied")

		decide := func(who governance.PersonID, state findings.State, reason string) error {
			_, err := w.svc.Decide(ctx, w.As(who), findings.Decide{Finding: f.ID.String(), State: state}, &governance.DoOptions{Reason: reason})
			return err
		}
		require.ErrorAs(t, decide("agent0", findings.Dismissed, "it is fine"), &denied, "it is about them")
		require.ErrorAs(t, decide("agent1", findings.Dismissed, "it is fine"), &denied, "no permission")
		require.ErrorContains(t, decide("appr1", findings.Dismissed, " "), "say why")
		require.ErrorContains(t, decide("appr1", findings.Open, "x"), "neither dismissed nor confirmed")
		require.NoError(t, decide("appr1", findings.Confirmed, "a script of his"))
		require.ErrorIs(t, decide("appr1", findings.Dismissed, "changed my mind"), governance.ErrConflict)
		again, err := w.svc.Finding(ctx, f.ID)
		require.NoError(t, err)
		require.Equal(t, findings.Confirmed, again.State)
		require.Equal(t, "a script of his", again.Reason)
		require.NoError(t, w.svc.Turn(ctx))
		alerts, err = w.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.False(t, slices.ContainsFunc(alerts, func(a governance.Alert) bool { return strings.HasPrefix(a.Key, "finding:") }))
	})
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	for _, o := range []*findings.Options{{MinScore: 1}, {NearLimit: 101}, {Currency: "euro"}, {Hours: &findings.Hours{From: 18, To: 9, Days: []time.Weekday{1}}}, {Hours: &findings.Hours{From: 9, To: 18}}, {Raise: &governance.Require{}}} {
		_, err := findings.New(e.Kernel, o)
		require.Error(t, err)
	}
	_, err := findings.New(nil, nil)
	require.Error(t, err)
}

// TestOffHours_Configured: with hours of the house, work outside them is a finding
// from the first day on, in the zone of the house.
func TestOffHours_Configured(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("+5:30", 5*3600+1800)
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		w := newWorld(t, e, &findings.Options{Zone: zone, Hours: &findings.Hours{From: 9, To: 18, Days: []time.Weekday{time.Monday, time.Tuesday}}})
		var events []event
		for _, x := range []time.Time{time.Date(2026, 1, 6, 9, 0, 0, 0, zone), time.Date(2026, 1, 6, 17, 59, 0, 0, zone), time.Date(2026, 1, 12, 8, 59, 0, 0, zone), time.Date(2026, 1, 13, 18, 0, 0, 0, zone), time.Date(2026, 1, 14, 12, 0, 0, 0, zone)} {
			events = append(events, event{at: x, who: "agent1", action: "ticket.reply", tenant: "t1"})
		}
		w.play(t, events)
		require.NoError(t, w.svc.Turn(t.Context()))
		got := w.all(t)
		require.Len(t, got, 3, lines(got))
		require.Contains(t, got[2].Value, "Monday 2026-01-12 at 08:59")
		require.Equal(t, governance.Warning, got[0].Severity)
	})
}

// TestStructuring_Split: splitting over tenants is seen by who does it, splitting over
// people and currencies by the tenant; what fills one window, or stays well below, is not.
func TestStructuring_Split(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		w := newWorld(t, e, nil)
		start := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
		var events []event
		for i := range 3 {
			day := start.AddDate(0, 0, i)
			events = append(events,
				event{at: day, who: "agent0", tenant: governance.TenantID(fmt.Sprintf("own%d", i)), credit: 95_000, currency: "EUR"},
				event{at: day.Add(time.Hour), who: governance.PersonID(fmt.Sprintf("agent%d", 1+i)), tenant: "shared", credit: 50_000, currency: "EUR"},
				event{at: day.Add(time.Hour + time.Minute), who: "agent4", tenant: "shared", credit: 45_000, currency: "USD"}, // 405 EUR
				event{at: start.Add(time.Duration(i) * time.Minute), who: "agent5", tenant: "once", credit: 31_000, currency: "EUR"},
				event{at: day, who: "agent6", tenant: "small", credit: 80_000, currency: "EUR"})
			start = start.Add(time.Minute)
		}
		w.play(t, events)
		require.NoError(t, w.svc.Turn(t.Context()))
		got := w.all(t)
		require.Len(t, got, 2, lines(got))
		i := slices.IndexFunc(got, func(f findings.Finding) bool { return f.Tenant == "shared" })
		require.GreaterOrEqual(t, i, 0)
		require.Equal(t, []string{"agent1", "agent2", "agent3", "agent4"}, got[i].Others)
		require.Equal(t, "agent0", got[1-i].Who)
		require.Equal(t, []string{"own0", "own1", "own2"}, []string{got[1-i].Acts[0].Tenant, got[1-i].Acts[1].Tenant, got[1-i].Acts[2].Tenant})
	})
}
