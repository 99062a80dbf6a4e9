package console

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
)

func TestApprovals_SettleByHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	remote := governance.DefineRemote("vendor.refund", governance.Spec[creditInput]{Permission: "tenant:credit",
		Tenant:   func(in creditInput) governance.TenantID { return in.Tenant },
		Resource: func(in creditInput) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
	}, governance.Remote[creditInput]{
		Call: func(context.Context, string, creditInput) (governance.Result, error) {
			return governance.Result{}, errors.New("connection lost")
		},
		Lookup: func(context.Context, string, creditInput) (governance.Result, bool, error) {
			return governance.Result{}, false, errors.New("nobody answers")
		},
	})
	require.NoError(t, b.Kernel.Register(remote))
	day := governance.Duration{Duration: 24 * time.Hour}
	require.NoError(t, b.Kernel.InstallPolicies(ctx, governance.Policy{ID: "vendor", Title: "Refunds", Actions: []string{"vendor.refund"}, Mode: governance.Enforce,
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
	_, err := remote.Do(ctx, b.Kernel, b.As("sam"), creditInput{"acme", governance.Money{Minor: 100, Currency: "EUR"}}, nil)
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	a, err := b.Kernel.Approval(ctx, held.Approval)
	require.NoError(t, err)
	path := "/approvals/" + a.ID.String()
	require.NotContains(t, b.as(t, "dana").get(path, 200).body, path+"/settle", "it is not unknown")
	b.as(t, "dana").post(path+"/vote", http.StatusSeeOther, "decision", "approve", "digest", string(a.Digest))
	page := b.as(t, "omar").get(path, 200).body
	requireMarkup(t, page)
	require.Contains(t, page, path+"/settle")
	require.NotContains(t, b.as(t, "sam").get(path, 200).body, path+"/settle")

	b.as(t, "sam").post(path+"/settle", http.StatusForbidden, "outcome", "done", "reason", "the vendor says that it is there")
	b.as(t, "omar").post(path+"/settle", http.StatusUnprocessableEntity, "outcome", "maybe", "reason", "the vendor says that it is there")
	b.as(t, "omar").post(path+"/settle", http.StatusUnprocessableEntity, "outcome", "done", "reason", "so")
	require.Equal(t, path, b.as(t, "omar").post(path+"/settle", http.StatusSeeOther, "outcome", "done", "reason", "the vendor says that it is there").location)
	now, err := b.Kernel.Approval(ctx, a.ID)
	require.NoError(t, err)
	require.Equal(t, governance.StateExecuted, now.State)
	b.as(t, "omar").post(path+"/settle", http.StatusConflict, "outcome", "not", "reason", "the vendor says that it is not")
}
