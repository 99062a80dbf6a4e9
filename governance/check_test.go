package governance_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

// TestCheck_FindsWhatCannotBe breaks each invariant by hand and wants it named.
func TestCheck_FindsWhatCannotBe(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
		w := newCreditWorld(t, e)
		_, err := w.credit.Do(ctx, e.Kernel, e.As("ann"), creditInput{Tenant: "acme", Cents: 50}, &governance.DoOptions{Reason: "small"})
		require.NoError(t, err)
		_, err = w.credit.Do(ctx, e.Kernel, e.As("ann"), creditInput{Tenant: "acme", Cents: 5000}, &governance.DoOptions{Reason: "large"})
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		a, err := e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		_, err = e.Kernel.Decide(ctx, e.As("bob"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
		require.NoError(t, err)
		e.Drain(t)
		report, err := e.Kernel.Check(ctx)
		require.NoError(t, err)
		require.True(t, report.Sound(), "%v", report)

		require.Len(t, e.Kernel.Jobs(), 2)
		daily := func() int {
			t.Helper()
			require.NoError(t, e.Kernel.Jobs()[0].Run(ctx, e.Now()))
			e.Drain(t)
			open, err := e.Kernel.Alerts(ctx, governance.AlertFilter{})
			require.NoError(t, err)
			return len(open)
		}
		require.Zero(t, daily())
		_, err = e.DB.Handle().ExecContext(ctx, "UPDATE gov_vote SET groups = '[]'")
		require.NoError(t, err)
		require.Equal(t, 1, daily())
		_, err = e.DB.Handle().ExecContext(ctx, `UPDATE gov_vote SET groups = '["gov_approver"]'`)
		require.NoError(t, err)
		require.Zero(t, daily())

		cases := []struct{ rule, breaks, mends string }{
			{"an action and the records of it", "UPDATE gov_action SET state = 'failed' WHERE NOT held", "UPDATE gov_action SET state = 'executed' WHERE NOT held"},
			{"a record of an action that is not there", "UPDATE gov_action SET id = '" + uuid.Nil.String() + "' WHERE NOT held", "UPDATE gov_action SET id = " + quoteID(w.first(t, e)) + " WHERE NOT held"},
			{"a local action that is seen executing", "UPDATE gov_action SET state = 'executing' WHERE held", "UPDATE gov_action SET state = 'executed' WHERE held"},
			{"a reservation that does not fit", "UPDATE gov_reservation SET state = 'pending' WHERE action = " + quoteID(a.ID), "UPDATE gov_reservation SET state = 'posted' WHERE action = " + quoteID(a.ID)},
			{"an action went on without its approval", "UPDATE gov_vote SET groups = '[]'", `UPDATE gov_vote SET groups = '["gov_approver"]'`},
			{"an action went on without its approval", "UPDATE gov_vote SET person = 'ann'", "UPDATE gov_vote SET person = 'bob'"},
			{"places of events have a gap", "UPDATE gov_event SET n = n + 1000 WHERE n = (SELECT MAX(n) FROM gov_event)", "UPDATE gov_event SET n = n - 1000 WHERE n > 1000"},
			{"places of a tenant's events", "UPDATE gov_event_tenant SET last_seq = last_seq + 1", "UPDATE gov_event_tenant SET last_seq = last_seq - 1"},
			{"a vote on something that was never held", "UPDATE gov_action SET held = FALSE", "UPDATE gov_action SET held = TRUE WHERE id = " + quoteID(a.ID)},
			{"a vote and its record", "DELETE FROM gov_vote", ""},
		}
		for _, c := range cases {
			_, err := e.DB.Handle().ExecContext(ctx, c.breaks)
			require.NoError(t, err, c.rule)
			found, err := governance.Check(ctx, e.DB)
			require.NoError(t, err)
			require.Contains(t, fmt.Sprint(found), c.rule)
			if c.mends == "" {
				continue
			}
			_, err = e.DB.Handle().ExecContext(ctx, c.mends)
			require.NoError(t, err, c.rule)
			found, err = governance.Check(ctx, e.DB)
			require.NoError(t, err)
			require.Empty(t, found, "after mending: "+c.rule)
		}
	})
}

func quoteID(id uuid.UUID) string { return "'" + strings.ToLower(id.String()) + "'" }

type creditInput struct {
	Tenant governance.TenantID `json:"tenant"`
	Cents  int64               `json:"cents"`
}

type creditWorld struct {
	credit *governance.Action[creditInput]
}

// newCreditWorld has an action that gives credit, a limit of 100 a day for each
// tenant, ann who gives and bob who approves.
func newCreditWorld(t *testing.T, e *govtest.Env) creditWorld {
	t.Helper()
	e.People.Put("ann", "root")
	e.People.Put("bob", "gov_approver", "root")
	e.People.Put("cleo", "gov_approver", "root")
	w := creditWorld{governance.Define("test.credit", governance.Spec[creditInput]{
		Permission: "tenant:credit",
		Tenant:     func(in creditInput) governance.TenantID { return in.Tenant },
		Resource:   func(in creditInput) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
		Measures: func(_ context.Context, _ *governance.Tx, in creditInput) ([]governance.Measure, error) {
			return []governance.Measure{{Unit: "EUR.cent", Value: in.Cents}}, nil
		},
	}, func(_ context.Context, _ *governance.Tx, in creditInput) (governance.Result, error) {
		ev, err := governance.NewEvent("tenant.credited", in.Tenant, 0, governance.Ref{Kind: "tenant", ID: string(in.Tenant)}, in)
		return governance.Result{Data: in, Events: []governance.Event{ev}}, err
	})}
	require.NoError(t, e.Kernel.Register(w.credit))
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), governance.Policy{
		ID: "credit", Title: "Credit above the day's limit", Actions: []string{"test.credit"}, Mode: governance.Enforce,
		Limits: []governance.Limit{{Unit: "EUR.cent", Max: 100, Window: governance.Duration{Duration: 24 * time.Hour}, By: governance.ByTenant}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 24 * time.Hour}, ExecuteWithin: governance.Duration{Duration: 24 * time.Hour}},
	}))
	return w
}

// first is the action that was not held.
func (creditWorld) first(t *testing.T, e *govtest.Env) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	require.NoError(t, e.DB.Handle().NewRaw("SELECT id FROM gov_action WHERE NOT held").Scan(t.Context(), &id))
	return id
}
