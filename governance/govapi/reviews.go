package govapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/governance"
)

// GovReview is an action that somebody else looks at afterwards.
type GovReview struct {
	ID        string     `json:"id"`
	Action    string     `json:"action" doc:"Id of the action"`
	Name      string     `json:"name" doc:"Of the action"`
	Kind      string     `json:"kind" enum:"policy,break_glass"`
	Policy    string     `json:"policy,omitempty"`
	Tenant    string     `json:"tenant,omitempty"`
	Actor     GovActor   `json:"actor" doc:"Who acted"`
	Reason    string     `json:"reason"`
	State     string     `json:"state" enum:"due,accepted,violation"`
	DueAt     time.Time  `json:"due_at"`
	DecidedBy string     `json:"decided_by,omitempty"`
	DecidedAt *time.Time `json:"decided_at,omitempty"`
	Note      string     `json:"note,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
}

func wireReview(r governance.Review) GovReview {
	return GovReview{r.ID.String(), r.Action.String(), r.Name, r.Kind, r.Policy, string(r.Tenant), wireActor(r.Actor), r.Reason, string(r.State), r.DueAt,
		string(r.DecidedBy), optional(r.DecidedAt), r.Note, r.CreatedAt}
}

type govListReviews struct {
	State string `query:"state" enum:"due,accepted,violation,all" default:"due"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type govDecideReview struct {
	ID   string `path:"id" format:"uuid"`
	Body struct {
		Verdict string `json:"verdict" enum:"accepted,violation"`
		Note    string `json:"note" minLength:"1" maxLength:"2000"`
	}
}

func reviews(a *API) {
	k := a.k
	tags := []string{"Reviews"}
	Register(a, "approval:read", huma.Operation{OperationID: "gov-list-reviews", Method: http.MethodGet, Path: "/reviews", Summary: "List what must be looked at afterwards, the most pressing first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govListReviews) (*body[List[GovReview]], error) {
			rs, err := k.Reviews(ctx, governance.ReviewFilter{State: governance.ReviewState(in.State), All: in.State == "all", Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			items := make([]GovReview, len(rs))
			for i, r := range rs {
				items[i] = wireReview(r)
			}
			return &body[List[GovReview]]{NewList(items, "")}, nil
		})
	Register(a, "approval:vote", huma.Operation{OperationID: "gov-decide-review", Method: http.MethodPost, Path: "/reviews/{id}/decision", Summary: "Say whether an act was right", Tags: tags},
		func(ctx context.Context, caller governance.Identity, in *govDecideReview) (*body[GovReview], error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			r, err := k.DecideReview(ctx, caller, id, governance.ReviewState(in.Body.Verdict), in.Body.Note)
			if err != nil {
				return nil, err
			}
			return &body[GovReview]{wireReview(r)}, nil
		})
}

// GovDelegation hands a membership of a deciding group to somebody else for a while.
type GovDelegation struct {
	ID        string    `json:"id"`
	Delegator string    `json:"delegator"`
	Delegate  string    `json:"delegate"`
	Group     string    `json:"group"`
	Reason    string    `json:"reason"`
	From      time.Time `json:"from"`
	Until     time.Time `json:"until"`
}

func wireDelegation(d governance.Delegation) GovDelegation {
	return GovDelegation{d.ID.String(), string(d.Delegator), string(d.Delegate), string(d.Group), d.Reason, d.From, d.Until}
}

type govDelegate struct {
	Body struct {
		Delegate string     `json:"delegate" minLength:"1" maxLength:"128" doc:"Person who votes meanwhile"`
		Group    string     `json:"group" minLength:"1" maxLength:"128" doc:"A group of your own"`
		Reason   string     `json:"reason" minLength:"1" maxLength:"2000"`
		From     *time.Time `json:"from,omitempty" doc:"Default now"`
		Until    time.Time  `json:"until" doc:"At most 31 days later"`
	}
}

func delegations(a *API) {
	k := a.k
	tags := []string{"Approvals"}
	Register(a, "approval:read", huma.Operation{OperationID: "gov-list-delegations", Method: http.MethodGet, Path: "/delegations", Summary: "List delegations that count now or will", Tags: tags},
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*body[List[GovDelegation]], error) {
			ds, err := k.Delegations(ctx)
			if err != nil {
				return nil, err
			}
			items := make([]GovDelegation, len(ds))
			for i, d := range ds {
				items[i] = wireDelegation(d)
			}
			return &body[List[GovDelegation]]{NewList(items, "")}, nil
		})
	Register(a, "approval:vote", huma.Operation{OperationID: "gov-delegate", Method: http.MethodPost, Path: "/delegations", Summary: "Let somebody else vote in your place for a while", Tags: tags},
		func(ctx context.Context, caller governance.Identity, in *govDelegate) (*body[GovDelegation], error) {
			d := governance.Delegation{Delegate: governance.PersonID(in.Body.Delegate), Group: governance.GroupID(in.Body.Group), Reason: in.Body.Reason, Until: in.Body.Until}
			if in.Body.From != nil {
				d.From = *in.Body.From
			}
			d, err := k.Delegate(ctx, caller, d)
			if err != nil {
				return nil, err
			}
			return &body[GovDelegation]{wireDelegation(d)}, nil
		})
	Register(a, "approval:vote", huma.Operation{OperationID: "gov-revoke-delegation", Method: http.MethodPost, Path: "/delegations/{id}/revoke", Summary: "End a delegation of yours, given or taken", Tags: tags, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, caller governance.Identity, in *struct {
			ID string `path:"id" format:"uuid"`
		}) (*struct{}, error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			return nil, k.RevokeDelegation(ctx, caller, id)
		})
}

type govBreakGlass struct {
	GovApprovalID
	Idempotent
	Body struct {
		Reason string `json:"reason" minLength:"10" maxLength:"2000"`
	}
}

func breakGlass(a *API) {
	GuardedResult[GovAny](a, "approval:read", huma.Operation{OperationID: "gov-break-glass", Method: http.MethodPost, Path: "/approvals/{id}/break-glass", Summary: "Do at once, in an emergency, what you asked for and waits", Tags: []string{"Approvals"}},
		func(ctx context.Context, caller governance.Identity, in *govBreakGlass) (governance.Outcome, error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return governance.Outcome{}, err
			}
			return a.k.BreakGlassOn(ctx, caller, id, governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
}

type govSettle struct {
	ID string `path:"id" format:"uuid" doc:"Id of the action"`
	Idempotent
	Body struct {
		Done   bool   `json:"done" doc:"The effect is there; false: it certainly is not"`
		Reason string `json:"reason" minLength:"10" maxLength:"2000" doc:"How you know"`
	}
}

func settlements(a *API) {
	GuardedResult[GovAny](a, "approval:vote", huma.Operation{OperationID: "gov-settle-action", Method: http.MethodPost, Path: "/actions/{id}/settle", Summary: "Say how a remote action ended whose outcome nobody knows", Tags: []string{"Approvals"},
		Description: "For who found out at the vendor. Who asked for it, whom they represented and who wrote the automation may not."},
		func(ctx context.Context, caller governance.Identity, in *govSettle) (governance.Outcome, error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return governance.Outcome{}, err
			}
			return a.k.SettleUnknown(ctx, caller, governance.Settlement{Action: id, Done: in.Body.Done, Reason: in.Body.Reason}, &governance.DoOptions{Key: in.Key})
		})
}

// GovBackTest is what a draft would have done to the actions of a period.
type GovBackTest struct {
	Hash      string            `json:"hash" doc:"What the policy carries into force as back_test"`
	Policy    string            `json:"policy"`
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to"`
	Whole     bool              `json:"whole" doc:"No act is older than the period"`
	Catalogue string            `json:"catalogue" doc:"Digest of the actions that the draft names"`
	Actions   int               `json:"actions" doc:"That the draft names"`
	Matched   int               `json:"matched" doc:"And whose condition holds"`
	Held      int               `json:"held"`
	Denied    int               `json:"denied"`
	Deadlocks int               `json:"deadlocks" doc:"Held, with nobody to approve"`
	Failed    int               `json:"failed" doc:"Could not be counted or answered, so refused"`
	Fresh     int               `json:"fresh" doc:"Held or denied, and were neither then"`
	Truncated bool              `json:"truncated"`
	Items     []GovBackTestItem `json:"items" doc:"The first 200 that would not have been let through"`
}

// GovBackTestItem is one action that would not have been let through.
type GovBackTestItem struct {
	Action   string    `json:"action"`
	Name     string    `json:"name"`
	Tenant   string    `json:"tenant,omitempty"`
	At       time.Time `json:"at"`
	Was      string    `json:"was" doc:"State that it really came to"`
	WasHeld  bool      `json:"was_held"`
	Effect   string    `json:"effect" enum:"hold,deny"`
	Why      string    `json:"why"`
	Deadlock bool      `json:"deadlock,omitempty"`
}

func wireBackTest(r governance.BackTestReport) GovBackTest {
	out := GovBackTest{string(r.Hash), r.Policy, r.From, r.To, r.Whole, string(r.Catalogue), r.Actions, r.Matched, r.Held, r.Denied, r.Deadlocks, r.Failed, r.Fresh, r.Truncated, []GovBackTestItem{}}
	for _, i := range r.Items {
		out.Items = append(out.Items, GovBackTestItem{i.Action.String(), i.Name, string(i.Tenant), i.At, string(i.Was), i.WasHeld, string(i.Effect), i.Why, i.Deadlock})
	}
	return out
}

type govBackTest struct {
	GovPolicyID
	Body struct {
		Policy GovPolicy `json:"policy" doc:"The draft"`
		From   time.Time `json:"from"`
		To     time.Time `json:"to" doc:"At most 366 days later"`
	}
}

func backTests(a *API) {
	Register(a, "policy:read", huma.Operation{OperationID: "gov-back-test", Method: http.MethodPost, Path: "/policies/{id}/back-tests", Summary: "Replay the actions of a period against a draft", Tags: []string{"Policies"},
		Description: "Nothing is held, denied or changed by it; the report is kept, so that the policy can carry its hash into force: for that it covers at least 30 days or all there is, and ended at most 7 days ago. Needs approval:read and ledger:read as well, since the counts tell about values of acts."},
		func(ctx context.Context, caller governance.Identity, in *govBackTest) (*body[GovBackTest], error) {
			if in.Body.Policy.ID != in.ID {
				return nil, governance.Invalid("body.policy.id", "is not the id in the path")
			}
			p, err := in.Body.Policy.policy()
			if err != nil {
				return nil, err
			}
			r, err := a.k.BackTest(ctx, caller, p, in.Body.From, in.Body.To)
			if err != nil {
				return nil, err
			}
			return &body[GovBackTest]{wireBackTest(r)}, nil
		})
}
