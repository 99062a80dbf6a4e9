package console

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/findings"
)

type findingBench struct {
	*govtest.Env
	svc     *findings.Service
	section Section
	h       http.Handler
}

func newFindingBench(t *testing.T) *findingBench {
	t.Helper()
	b := &findingBench{Env: govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{oversight.Schema(), findings.Schema()}})}
	b.People.Put("dana", "cs_agent")
	b.People.Put("kim", "gov_approver")
	b.People.Put("vic", "finance_viewer")
	b.People.Allow("gov_approver", "approval:vote", "approval:read", "ledger:read", "session:read")
	b.People.Allow("cs_agent", "tenant:credit")
	var err error
	b.svc, err = findings.New(b.Kernel, &findings.Options{Hours: &findings.Hours{From: 9, To: 11, Days: []time.Weekday{time.Monday}}})
	require.NoError(t, err)
	b.section = Findings(b.svc)
	b.h, err = New(&Options{Kernel: b.Kernel, Sections: []Section{b.section}})
	require.NoError(t, err)
	return b
}

func TestFindingStories(t *testing.T) {
	t.Parallel()
	b := newFindingBench(t)
	requireStories(t, b.Kernel, b.section)
}

// TestFindings_Journey goes from an act at night to its judgement, by keyboard and forms
// alone.
func TestFindings_Journey(t *testing.T) {
	t.Parallel()
	b := newFindingBench(t)
	kim := browse(t, b.h, b.As("kim"))
	require.Contains(t, kim.get("/findings", 200).body, "Nothing is unlike before")
	for _, path := range []string{"/findings", "/audit", "/audit/samples", "/audit/approvers", "/audit/share.csv"} {
		browse(t, b.h, b.As("vic")).get(path, 403)
	}
	for _, who := range []governance.PersonID{"dana", "kim"} {
		require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := b.Kernel.RecordTx(ctx, tx, b.As(who), governance.Record{Action: "note.<b>write"})
			return err
		}))
	}
	b.Drain(t)
	require.NoError(t, b.svc.Turn(t.Context()))
	fs, err := b.svc.Findings(t.Context(), findings.Filter{Who: "dana"})
	require.NoError(t, err)
	require.Len(t, fs, 1)
	at := "/findings/" + fs[0].ID.String()
	page := kim.get("/findings?state=open&kind=off_hours", 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, at)
	require.Contains(t, kim.get("/findings?kind=ring", 200).body, "No finding matches")
	page = kim.get(at, 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "work is from 09:00 to 11:00")
	require.NotContains(t, page.body, "note.<b>")
	require.Contains(t, page.body, "/ledger/"+fs[0].Acts[0].Record.String())
	browse(t, b.h, b.As("vic")).get(at, 403)
	browse(t, b.h, b.As("dana")).post(at+"/decide", http.StatusForbidden, "state", "dismissed", "reason", "fine")
	kim.post(at+"/decide", http.StatusUnprocessableEntity, "state", "dismissed", "reason", " ")
	kim.post(at+"/decide", http.StatusSeeOther, "state", "confirmed", "reason", "she told us")
	page = kim.get(at, 200)
	require.Contains(t, page.body, "she told us")
	require.NotContains(t, page.body, `value="dismissed"`)
	kim.get("/findings/x", 404)

	own, err := b.svc.Findings(t.Context(), findings.Filter{Who: "kim"})
	require.NoError(t, err)
	require.Len(t, own, 1)
	self := "/findings/" + own[0].ID.String()
	require.Contains(t, kim.get(self, 200).body, "It is about you")
	kim.post(self+"/decide", http.StatusForbidden, "state", "dismissed", "reason", "I know")
}

// TestAudit_Walk: the numbers of the audit page lead to pages that show as many actions.
func TestAudit_Walk(t *testing.T) {
	t.Parallel()
	b := newFindingBench(t)
	credit := governance.Define(oversight.ActionCredit, oversight.CreditSpec(nil, "EUR"), func(context.Context, *governance.Tx, oversight.Credit) (governance.Result, error) {
		return governance.Result{}, nil
	})
	require.NoError(t, b.Kernel.Register(credit))
	kim := browse(t, b.h, b.As("kim"))
	require.Contains(t, kim.get("/audit", 200).body, "Nothing sensitive ran")
	require.NoError(t, b.Kernel.InstallPolicies(t.Context(), oversight.Policies(nil)...))
	for i, minor := range []int64{60_000, 30_000, 60_000} {
		_, err := credit.Do(t.Context(), b.Kernel, b.As("dana"), oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: minor, Currency: "EUR"}}, &governance.DoOptions{Reason: "bad & <worse>"})
		if i < 2 {
			require.NoError(t, err)
			continue
		}
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		b.Advance(4 * time.Second)
		ap, err := b.Kernel.Approval(t.Context(), held.Approval)
		require.NoError(t, err)
		_, err = b.Kernel.Decide(t.Context(), b.As("kim"), held.Approval, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
		require.NoError(t, err)
	}
	page := kim.get("/audit", 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "€900.00")
	require.Contains(t, page.body, "€600.00")
	require.Contains(t, page.body, "3 of 3 sensitive actions")
	under := kim.get("/audit/samples?credits=yes&who=dana&limit=not_over", 200)
	requireMarkup(t, under.body)
	require.Contains(t, under.body, "2 actions from")
	over := kim.get("/audit/samples?credits=yes&limit=over&reason=bad+%26+%3Cworse%3E", 200)
	require.Contains(t, over.body, "1 actions from")
	require.Contains(t, over.body, "/approvals/")
	csv := kim.get("/audit/samples.csv?credits=yes&limit=not_over", 200)
	require.Equal(t, 3, strings.Count(csv.body, "\n"))
	require.Contains(t, csv.header.Get("Content-Disposition"), "samples.csv")
	kim.get("/audit/credits.csv", 200)
	kim.get("/audit/nothing.csv", 404)
	kim.get("/audit?from=yesterday", 422)
	kim.get("/audit?from=2026-02-01&to=2026-01-01", 422)

	health := kim.get("/audit/approvers", 200)
	requireMarkup(t, health.body)
	require.Contains(t, health.body, "1 (100.0")
	require.Contains(t, health.body, "everybody is needed")
}
