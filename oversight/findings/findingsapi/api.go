// Package findingsapi puts package findings on a huma API: the queue of findings, the
// figures an auditor samples, and how approving works.
//
// Start with [Register]. Errors are those of package govapi.
package findingsapi

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/oversight/findings"
)

type out[T any] struct{ Body T }

var tags = []string{"Findings"}

type findingList struct {
	govapi.Page
	State  []string `query:"state" enum:"open,dismissed,confirmed"`
	Kind   []string `query:"kind" enum:"rate,pair,off_hours,structuring,ring,rubber_stamp"`
	Who    string   `query:"who" maxLength:"200" doc:"The person it is about"`
	Tenant string   `query:"tenant" maxLength:"128"`
}

// OversightFindingID is the path of a finding.
type OversightFindingID struct {
	ID string `path:"id" format:"uuid" doc:"Id of the finding"`
}

type oversightDecideFinding struct {
	OversightFindingID
	govapi.Idempotent
	Body struct {
		State  string `json:"state" enum:"dismissed,confirmed"`
		Reason string `json:"reason" minLength:"3" maxLength:"2000"`
	}
}

// OversightFindingDecided is the result of judging a finding.
type OversightFindingDecided struct {
	Finding string `json:"finding"`
	State   string `json:"state" enum:"dismissed,confirmed"`
}

// OversightFindingPeriod is the period that figures are of.
type OversightFindingPeriod struct {
	From time.Time `query:"from" doc:"Beginning, included; absent: 30 days before the end"`
	To   time.Time `query:"to" doc:"End, not included; absent: now"`
}

func (p OversightFindingPeriod) bounds(svc *findings.Service) (from, to time.Time) {
	from, to = p.From, p.To
	if to.IsZero() {
		to = svc.Kernel().Now()
	}
	if from.IsZero() {
		from = to.AddDate(0, 0, -30)
	}
	return from, to
}

type findingSamples struct {
	OversightFindingPeriod
	Action   string `query:"action" maxLength:"200"`
	Who      string `query:"who" maxLength:"200"`
	Enforced string `query:"enforced" enum:"yes,no" doc:"Whether a policy in force had a say"`
	Over     string `query:"limit_state" enum:"none,under,over,not_over"`
	Credits  bool   `query:"credits" doc:"Credits and refunds only"`
	Limit    int    `query:"limit" minimum:"1" maximum:"5000" default:"1000"`
}

func (in findingSamples) filter(svc *findings.Service) findings.SampleFilter {
	from, to := in.bounds(svc)
	f := findings.SampleFilter{From: from, To: to, Action: in.Action, Who: in.Who, Limit: findings.Limit(in.Over), Credits: in.Credits, Limited: in.Limit}
	if in.Enforced != "" {
		yes := in.Enforced == "yes"
		f.Enforced = &yes
	}
	return f
}

type findingCSV struct {
	ContentType  string `header:"Content-Type"`
	Disposition  string `header:"Content-Disposition"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

// Register adds the operations.
func Register(api huma.API, svc *findings.Service) {
	a := govapi.New(api, svc.Kernel())
	queue(a, svc)
	figures(a, svc)
}

func queue(a *govapi.API, svc *findings.Service) {
	govapi.Register(a, findings.PermissionRead, huma.Operation{OperationID: "oversight-list-findings", Method: http.MethodGet, Path: "/findings", Summary: "List findings, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *findingList) (*out[govapi.List[OversightFinding]], error) {
			f := findings.Filter{Who: in.Who, Tenant: governance.TenantID(in.Tenant), Limit: in.Limit}
			for _, s := range in.State {
				f.States = append(f.States, findings.State(s))
			}
			for _, k := range in.Kind {
				f.Kinds = append(f.Kinds, findings.Kind(k))
			}
			var err error
			if f.Before, err = govapi.ParseIDCursor(in.Cursor); err != nil {
				return nil, err
			}
			got, err := svc.Findings(ctx, f)
			if err != nil {
				return nil, err
			}
			items, next := make([]OversightFinding, len(got)), ""
			for i, g := range got {
				items[i] = wireFinding(g)
			}
			if len(got) == in.Limit {
				next = govapi.Cursor(got[len(got)-1].ID.String())
			}
			return &out[govapi.List[OversightFinding]]{govapi.NewList(items, next)}, nil
		})
	govapi.Register(a, findings.PermissionRead, huma.Operation{OperationID: "oversight-get-finding", Method: http.MethodGet, Path: "/findings/{id}", Summary: "Read a finding", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *OversightFindingID) (*out[OversightFinding], error) {
			id, err := uuid.Parse(in.ID)
			if err != nil {
				return nil, governance.Invalid("path.id", "is not a UUID")
			}
			f, err := svc.Finding(ctx, id)
			if err != nil {
				return nil, err
			}
			return &out[OversightFinding]{wireFinding(f)}, nil
		})
	govapi.GuardedResult[OversightFindingDecided](a, findings.PermissionDecide, huma.Operation{OperationID: "oversight-decide-finding", Method: http.MethodPost, Path: "/findings/{id}/decision",
		Summary: "Dismiss or confirm a finding", Tags: tags, Description: "Never by a person it is about."},
		func(ctx context.Context, id governance.Identity, in *oversightDecideFinding) (governance.Outcome, error) {
			return svc.Decide(ctx, id, findings.Decide{Finding: in.ID, State: findings.State(in.Body.State)}, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
}

func figures(a *govapi.API, svc *findings.Service) {
	govapi.Register(a, findings.PermissionRead, huma.Operation{OperationID: "oversight-audit-samples", Method: http.MethodGet, Path: "/audit/samples", Summary: "List sensitive actions executed in a period", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *findingSamples) (*out[govapi.List[OversightAuditSample]], error) {
			got, err := svc.Samples(ctx, in.filter(svc))
			if err != nil {
				return nil, err
			}
			items := make([]OversightAuditSample, len(got))
			for i, g := range got {
				items[i] = wireSample(g)
			}
			return &out[govapi.List[OversightAuditSample]]{govapi.NewList(items, "")}, nil
		})
	govapi.Register(a, findings.PermissionRead, huma.Operation{OperationID: "oversight-audit-share", Method: http.MethodGet, Path: "/audit/share", Summary: "Count the sensitive actions that ran under a policy in force", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *OversightFindingPeriod) (*out[OversightAuditShare], error) {
			from, to := in.bounds(svc)
			got, err := svc.Share(ctx, from, to)
			if err != nil {
				return nil, err
			}
			return &out[OversightAuditShare]{wireShare(got)}, nil
		})
	govapi.Register(a, findings.PermissionRead, huma.Operation{OperationID: "oversight-audit-credits", Method: http.MethodGet, Path: "/audit/credits", Summary: "Sum credits and refunds by person and by reason, over and under the limit", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *OversightFindingPeriod) (*out[OversightAuditCredits], error) {
			from, to := in.bounds(svc)
			got, err := svc.Credits(ctx, from, to)
			if err != nil {
				return nil, err
			}
			return &out[OversightAuditCredits]{wireCredits(got)}, nil
		})
	govapi.Register(a, findings.PermissionRead, huma.Operation{OperationID: "oversight-audit-approvers", Method: http.MethodGet, Path: "/audit/approvers", Summary: "Say how fast approvers decide, and who can fill each quorum", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *OversightFindingPeriod) (*out[OversightAuditApprovers], error) {
			from, to := in.bounds(svc)
			got, err := svc.Health(ctx, from, to)
			if err != nil {
				return nil, err
			}
			return &out[OversightAuditApprovers]{wireHealth(got)}, nil
		})
	download(a, "oversight-audit-samples-csv", "/audit/samples-csv", "Download sensitive actions of a period", func(ctx context.Context, id governance.Identity, in *findingSamples, b *bytes.Buffer) error {
		f := in.filter(svc)
		f.Limited = 0
		return svc.Export(ctx, id, f, b)
	})
	download(a, "oversight-audit-share-csv", "/audit/share-csv", "Download the share of a period", func(ctx context.Context, id governance.Identity, in *OversightFindingPeriod, b *bytes.Buffer) error {
		from, to := in.bounds(svc)
		return svc.ExportShare(ctx, id, from, to, b)
	})
	download(a, "oversight-audit-credits-csv", "/audit/credits-csv", "Download the credits of a period", func(ctx context.Context, id governance.Identity, in *OversightFindingPeriod, b *bytes.Buffer) error {
		from, to := in.bounds(svc)
		return svc.ExportCredits(ctx, id, from, to, b)
	})
}

func download[I any](a *govapi.API, op, path, summary string, write func(ctx context.Context, id governance.Identity, in *I, b *bytes.Buffer) error) {
	govapi.Register(a, findings.PermissionRead, huma.Operation{OperationID: op, Method: http.MethodGet, Path: path, Summary: summary, Tags: tags, Description: "That it was taken is recorded.",
		Responses: map[string]*huma.Response{"200": {Description: "The table", Content: map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: "string"}}}}}},
		func(ctx context.Context, id governance.Identity, in *I) (*findingCSV, error) {
			var b bytes.Buffer
			if err := write(ctx, id, in, &b); err != nil {
				return nil, err
			}
			return &findingCSV{"text/csv; charset=utf-8", `attachment; filename="` + op[:len(op)-4] + `.csv"`, "no-store", b.Bytes()}, nil
		})
}
