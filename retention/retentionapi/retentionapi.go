// Package retentionapi puts package retention on a huma API: law, policies, holds,
// plans, purges with their evidence, and the reason for a single row.
//
// Start with [Register]. Errors are those of package govapi.
package retentionapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/retention"
)

const (
	tag   = "Retention"
	read  = "retention:read"
	write = "retention:write"
	work  = "retention:run"
)

type out[T any] struct{ Body T }

type list[T any] = out[govapi.List[T]]

type none struct{}

// RetentionID is the path of a thing with a UUID.
type RetentionID struct {
	ID string `path:"id" format:"uuid"`
}

// RetentionName is the path of a rule or policy.
type RetentionName struct {
	ID string `path:"id" maxLength:"100" pattern:"^[a-z0-9][a-z0-9._-]*$"`
}

func op(method, path, id, summary, description string) huma.Operation {
	return huma.Operation{OperationID: "retention-" + id, Method: method, Path: "/retention" + path, Summary: summary, Description: description, Tags: []string{tag}}
}

// page cuts one page of a list that is in memory, by the id of each item.
func page[T any](items []T, in govapi.Page, id func(T) string) (*list[T], error) {
	cursor, err := govapi.ParseCursor(in.Cursor, 1)
	if err != nil {
		return nil, err
	}
	if cursor[0] != "" {
		i := slices.IndexFunc(items, func(t T) bool { return id(t) == cursor[0] })
		if i < 0 {
			return nil, governance.Invalid("query.cursor", "is not a cursor of this list")
		}
		items = items[i+1:]
	}
	return cut(items, in, id), nil
}

// cut makes a page of up to Limit items, with a cursor when there are more.
func cut[T any](items []T, in govapi.Page, id func(T) string) *list[T] {
	next := ""
	if len(items) > in.Limit {
		items = items[:in.Limit]
		next = govapi.Cursor(id(items[len(items)-1]))
	}
	return &list[T]{govapi.NewList(items, next)}
}

func each[T, U any](items []T, fn func(T) U) []U {
	out := make([]U, len(items))
	for i, it := range items {
		out[i] = fn(it)
	}
	return out
}

// Register adds the operations, with paths below /retention.
func Register(api huma.API, svc *retention.Service) {
	a := govapi.New(api, svc.Kernel())
	registerLaw(a, svc)
	registerHolds(a, svc)
	registerPlans(a, svc)
	registerRuns(a, svc)
	govapi.Register(a, read, op(http.MethodGet, "/dashboard", "dashboard", "What is overdue", ""),
		func(ctx context.Context, _ governance.Identity, _ *none) (*out[RetentionDashboard], error) {
			d, err := svc.Dashboard(ctx)
			return &out[RetentionDashboard]{dashboard(d)}, err
		})
	govapi.Register(a, read, op(http.MethodGet, "/sources", "list-sources", "List sources", ""),
		func(ctx context.Context, _ governance.Identity, in *govapi.Page) (*list[RetentionSource], error) {
			return page(each(svc.Sources(ctx), source), *in, func(s RetentionSource) string { return s.Name })
		})
	govapi.Register(a, read, op(http.MethodGet, "/decision", "explain", "Why a row is kept or due", "The whole trace of the decision about one row, as of now or another instant."),
		func(ctx context.Context, _ governance.Identity, in *struct {
			Source string    `query:"source" required:"true" maxLength:"100"`
			Key    string    `query:"key" required:"true" minLength:"1" maxLength:"500" doc:"The row's key: 42, or [\"a\",1]"`
			AsOf   time.Time `query:"as_of"`
		}) (*out[RetentionExplanation], error) {
			e, err := svc.Explain(ctx, in.Source, in.Key, in.AsOf)
			return &out[RetentionExplanation]{explanation(e)}, err
		})
}

func registerLaw(a *govapi.API, svc *retention.Service) {
	govapi.Register(a, read, op(http.MethodGet, "/rules", "list-rules", "List rules of law", "Every rule with its citation. None is advice: see status."),
		func(ctx context.Context, _ governance.Identity, in *struct {
			govapi.Page
			Jurisdiction string `query:"jurisdiction" maxLength:"10"`
			Class        string `query:"class" maxLength:"100"`
		}) (*list[RetentionRule], error) {
			rs, err := svc.Rules(ctx, retention.RuleFilter{Jurisdiction: in.Jurisdiction, Class: in.Class})
			if err != nil {
				return nil, err
			}
			return page(each(rs, rule), in.Page, func(r RetentionRule) string { return r.ID })
		})
	govapi.GuardedResult[RetentionRule](a, write, op(http.MethodPut, "/rules/{id}", "put-rule", "Store the next version of a rule", "Every plan made before is void."),
		func(ctx context.Context, id governance.Identity, in *struct {
			govapi.Idempotent
			RetentionName
			Body RetentionRuleBody
		}) (governance.Outcome, error) {
			r, err := in.Body.parse(in.ID)
			if err != nil {
				return governance.Outcome{}, err
			}
			return svc.PutRule(ctx, id, r, &governance.DoOptions{Key: in.Key})
		})
	govapi.Register(a, read, op(http.MethodGet, "/policies", "list-policies", "List policies", ""),
		func(ctx context.Context, _ governance.Identity, in *govapi.Page) (*list[RetentionPolicy], error) {
			ps, err := svc.RetentionPolicies(ctx)
			if err != nil {
				return nil, err
			}
			return page(each(ps, policy), *in, func(p RetentionPolicy) string { return p.ID })
		})
	govapi.GuardedResult[RetentionPolicy](a, write, op(http.MethodPut, "/policies/{id}", "put-policy", "Store the next version of a policy", "Every plan made before is void."),
		func(ctx context.Context, id governance.Identity, in *struct {
			govapi.Idempotent
			RetentionName
			Body RetentionPolicyBody
		}) (governance.Outcome, error) {
			p, err := in.Body.parse(in.ID)
			if err != nil {
				return governance.Outcome{}, err
			}
			return svc.PutPolicy(ctx, id, p, &governance.DoOptions{Key: in.Key})
		})
}

func registerHolds(a *govapi.API, svc *retention.Service) {
	govapi.Register(a, read, op(http.MethodGet, "/holds", "list-holds", "List legal holds", ""),
		func(ctx context.Context, _ governance.Identity, in *struct {
			govapi.Page
			Released bool `query:"released" doc:"Also those that were released"`
		}) (*list[RetentionHold], error) {
			cursor, err := govapi.ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			hs, err := svc.Holds(ctx, retention.HoldFilter{Released: in.Released, Limit: in.Limit + 1, Before: cursor[0]})
			if err != nil {
				return nil, err
			}
			return cut(each(hs, hold), in.Page, func(h RetentionHold) string { return h.ID }), nil
		})
	place := op(http.MethodPost, "/holds", "place-hold", "Place a legal hold", "When it answers without unfenced sources, no purge that does not know the hold can commit any more.")
	place.DefaultStatus = http.StatusCreated
	govapi.Register(a, write, place,
		func(ctx context.Context, id governance.Identity, in *struct {
			govapi.Idempotent
			Body struct {
				Matter   string            `json:"matter" minLength:"1" maxLength:"200"`
				Reason   string            `json:"reason" minLength:"1" maxLength:"2000"`
				Selector RetentionSelector `json:"selector"`
			}
		}) (*out[RetentionHold], error) {
			h, err := svc.PlaceHold(ctx, id, retention.NewHold{Matter: in.Body.Matter, Reason: in.Body.Reason, Selector: retention.Selector(in.Body.Selector), Key: in.Key})
			return &out[RetentionHold]{hold(h)}, err
		})
	govapi.Register(a, read, op(http.MethodGet, "/holds/{id}", "get-hold", "Read a legal hold", ""),
		func(ctx context.Context, _ governance.Identity, in *RetentionID) (*out[RetentionHold], error) {
			id, err := governance.ParseID[retention.Hold](in.ID)
			if err != nil {
				return nil, err
			}
			h, err := svc.Hold(ctx, id)
			return &out[RetentionHold]{hold(h)}, err
		})
	govapi.Guarded(a, write, op(http.MethodPost, "/holds/{id}/release", "release-hold", "Release a legal hold", "What it kept is due by the next plan, never by one made before."),
		func(ctx context.Context, id governance.Identity, in *struct {
			govapi.Idempotent
			RetentionID
			Body struct {
				Reason string `json:"reason" minLength:"1" maxLength:"2000"`
			}
		}) (governance.Outcome, error) {
			h, err := governance.ParseID[retention.Hold](in.ID)
			if err != nil {
				return governance.Outcome{}, err
			}
			return svc.ReleaseHold(ctx, id, h, in.Body.Reason, &governance.DoOptions{Key: in.Key})
		})
}

func registerPlans(a *govapi.API, svc *retention.Service) {
	govapi.Register(a, read, op(http.MethodGet, "/plans", "list-plans", "List plans", "Newest first."),
		func(ctx context.Context, _ governance.Identity, in *struct {
			govapi.Page
			Source string `query:"source" maxLength:"100"`
		}) (*list[RetentionPlan], error) {
			cursor, err := govapi.ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			ps, err := svc.Plans(ctx, retention.PlanFilter{Source: in.Source, Limit: in.Limit + 1, Before: cursor[0]})
			if err != nil {
				return nil, err
			}
			return cut(each(ps, plan), in.Page, func(p RetentionPlan) string { return p.ID }), nil
		})
	create := op(http.MethodPost, "/plans", "create-plan", "Find what is due in a source", "Nothing is changed in the host.")
	create.DefaultStatus = http.StatusCreated
	govapi.Register(a, work, create,
		func(ctx context.Context, id governance.Identity, in *struct {
			govapi.Idempotent
			Body struct {
				Source string `json:"source" minLength:"1" maxLength:"100"`
			}
		}) (*out[RetentionPlan], error) {
			p, err := svc.CreatePlan(ctx, id, retention.NewPlan{Source: in.Body.Source, Key: in.Key})
			return &out[RetentionPlan]{plan(p)}, err
		})
	govapi.Register(a, read, op(http.MethodGet, "/plans/{id}", "get-plan", "Read a plan", ""),
		func(ctx context.Context, _ governance.Identity, in *RetentionID) (*out[RetentionPlan], error) {
			id, err := governance.ParseID[retention.Plan](in.ID)
			if err != nil {
				return nil, err
			}
			p, err := svc.Plan(ctx, id)
			return &out[RetentionPlan]{plan(p)}, err
		})
	govapi.GuardedResult[RetentionRun](a, work, op(http.MethodPost, "/plans/{id}/purge", "purge", "Execute a plan", "Bound to the plan's digest. A long run goes on after the answer; see its state."),
		func(ctx context.Context, id governance.Identity, in *struct {
			govapi.Idempotent
			RetentionID
			Body struct {
				Digest string `json:"digest" minLength:"1" maxLength:"200"`
				Reason string `json:"reason,omitempty" maxLength:"2000"`
			}
		}) (governance.Outcome, error) {
			p, err := governance.ParseID[retention.Plan](in.ID)
			if err != nil {
				return governance.Outcome{}, err
			}
			return svc.Purge(ctx, id, retention.PurgeInput{Plan: p, Digest: governance.Digest(in.Body.Digest)}, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
}

type evidenceOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	ETag        string `header:"ETag" doc:"SHA-256 of the document; the ledger record of the run's end holds the same"`
	Body        []byte
}

func registerRuns(a *govapi.API, svc *retention.Service) {
	govapi.Register(a, read, op(http.MethodGet, "/runs", "list-runs", "List runs", "Newest first."),
		func(ctx context.Context, _ governance.Identity, in *struct {
			govapi.Page
			Source string `query:"source" maxLength:"100"`
		}) (*list[RetentionRun], error) {
			cursor, err := govapi.ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			rs, err := svc.Runs(ctx, retention.RunFilter{Source: in.Source, Limit: in.Limit + 1, Before: cursor[0]})
			if err != nil {
				return nil, err
			}
			return cut(each(rs, run), in.Page, func(r RetentionRun) string { return r.ID }), nil
		})
	govapi.Register(a, read, op(http.MethodGet, "/runs/{id}", "get-run", "Read a run", ""),
		func(ctx context.Context, _ governance.Identity, in *RetentionID) (*out[RetentionRun], error) {
			id, err := governance.ParseID[retention.Run](in.ID)
			if err != nil {
				return nil, err
			}
			r, err := svc.Run(ctx, id)
			return &out[RetentionRun]{run(r)}, err
		})
	govapi.Register(a, read, op(http.MethodGet, "/runs/{id}/exceptions", "list-run-exceptions", "List the rows a run left alone", ""),
		func(ctx context.Context, _ governance.Identity, in *struct {
			RetentionID
			govapi.Page
		}) (*list[RetentionItem], error) {
			id, err := governance.ParseID[retention.Run](in.ID)
			if err != nil {
				return nil, err
			}
			cursor, err := govapi.ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			items, err := svc.Items(ctx, id, cursor[0], in.Limit+1)
			if err != nil {
				return nil, err
			}
			next := ""
			if len(items) > in.Limit {
				items = items[:in.Limit]
				next = govapi.Cursor(items[in.Limit-1].Cursor)
			}
			return &list[RetentionItem]{govapi.NewList(each(items, func(it retention.RunItem) RetentionItem {
				return RetentionItem{it.Key, string(it.Outcome), it.Reason}
			}), next)}, nil
		})
	evidence := op(http.MethodGet, "/runs/{id}/evidence", "get-evidence", "Download the evidence of a run", "The bytes whose SHA-256 stands in the ledger.")
	evidence.Responses = map[string]*huma.Response{"200": {Description: "The evidence", Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object", AdditionalProperties: true}}}}}
	govapi.Register(a, read, evidence,
		func(ctx context.Context, _ governance.Identity, in *RetentionID) (*evidenceOutput, error) {
			id, err := governance.ParseID[retention.Run](in.ID)
			if err != nil {
				return nil, err
			}
			body, hash, err := svc.Evidence(ctx, id)
			return &evidenceOutput{"application/json", `attachment; filename="evidence-` + id.String() + `.json"`, `"` + hash + `"`, body}, err
		})
	cancel := op(http.MethodPost, "/runs/{id}/cancel", "cancel-run", "Stop a run before its next batch", "What was done stays done and accounted for.")
	cancel.DefaultStatus = http.StatusNoContent
	govapi.Register(a, work, cancel,
		func(ctx context.Context, id governance.Identity, in *struct {
			RetentionID
			Body struct {
				Reason string `json:"reason" minLength:"1" maxLength:"500"`
			}
		}) (*none, error) {
			r, err := governance.ParseID[retention.Run](in.ID)
			if err != nil {
				return nil, err
			}
			return nil, svc.CancelRun(ctx, id, r, in.Body.Reason)
		})
	pause := op(http.MethodPut, "/paused", "pause", "Stop every run between two batches, or let them go on", "")
	pause.DefaultStatus = http.StatusNoContent
	govapi.Register(a, work, pause,
		func(ctx context.Context, id governance.Identity, in *struct {
			Body struct {
				Paused bool   `json:"paused"`
				Reason string `json:"reason" minLength:"1" maxLength:"2000"`
			}
		}) (*none, error) {
			return nil, svc.SetPaused(ctx, id, in.Body.Paused, in.Body.Reason)
		})
}
