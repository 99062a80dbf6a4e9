// Package evidenceapi puts package evidence on a huma API: building, listing,
// downloading and verifying packs, and the coverage report.
//
// Start with [Register]. Errors are those of package govapi.
package evidenceapi

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/oversight/evidence"
)

type out[T any] struct{ Body T }

func parseUUID(field, s string) (uuid.UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return u, governance.Invalid(field, "is not a UUID")
	}
	return u, nil
}

// EvidencePackID is the path of a pack.
type EvidencePackID struct {
	ID string `path:"id" format:"uuid" doc:"Id of the pack"`
}

type evidenceSubject struct {
	Kind    string `query:"kind" required:"true" enum:"session,action"`
	Subject string `query:"subject" required:"true" format:"uuid" doc:"Id of the session, or of the action or approval"`
}

type evidenceBuild struct {
	Body struct {
		Kind      string `json:"kind" enum:"session,action"`
		Subject   string `json:"subject" format:"uuid" doc:"Id of the session, or of the action or approval"`
		Reason    string `json:"reason" minLength:"3" maxLength:"500" doc:"Stands in the pack and in the ledger"`
		Disclose  bool   `json:"disclose,omitempty" doc:"Put personal values in; needs evidence:disclose"`
		Recording *bool  `json:"recording,omitempty" doc:"Put the recording's chunks in; default true. Their hashes are in it anyway"`
	}
}

type evidenceList struct {
	govapi.Page
	Subject string `query:"subject" format:"uuid" doc:"Only packs about this"`
}

type evidenceFile struct {
	ContentType  string `header:"Content-Type"`
	Disposition  string `header:"Content-Disposition"`
	CacheControl string `header:"Cache-Control"`
	NoSniff      string `header:"X-Content-Type-Options"`
	Body         []byte
}

func file(typ, name string, body []byte) *evidenceFile {
	return &evidenceFile{typ, `attachment; filename="` + name + `"`, "no-store", "nosniff", body}
}

type evidenceUpload struct {
	RawBody []byte `contentType:"application/zip"`
}

// EvidencePeriod is what a report counts over.
type EvidencePeriod struct {
	From  time.Time `query:"from" required:"true" doc:"Begin of the period"`
	Until time.Time `query:"until" required:"true" doc:"End of the period, not itself in it; at most 400 days later"`
}

type evidenceLine struct {
	EvidencePeriod
	govapi.Page
	Key  string `path:"key" maxLength:"40" doc:"Key of the line"`
	Have string `query:"have" enum:"true,false" default:"true" doc:"Those that have what the line asks for, or those that lack it"`
}

// MaxUpload is the largest pack that is taken for verification.
const MaxUpload = 64 << 20

var tags = []string{"Evidence"}

func binary(doc, typ string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: doc, Content: map[string]*huma.MediaType{typ: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}}
}

// Register adds the operations.
func Register(api huma.API, svc *evidence.Service) {
	a := govapi.New(api, svc.Kernel())
	packs(a, svc)
	coverage(a, svc)
}

func packs(a *govapi.API, svc *evidence.Service) {
	govapi.Register(a, evidence.PermissionRead, huma.Operation{OperationID: "evidence-outline", Method: http.MethodGet, Path: "/evidence/outline", Summary: "Say what a pack would hold", Tags: tags,
		Description: "For who may build it: it needs evidence:build."},
		func(ctx context.Context, id governance.Identity, in *evidenceSubject) (*out[EvidenceOutline], error) {
			subject, err := parseUUID("query.subject", in.Subject)
			if err != nil {
				return nil, err
			}
			o, err := svc.Outline(ctx, id, evidence.Request{Kind: in.Kind, Subject: subject})
			if err != nil {
				return nil, err
			}
			return &out[EvidenceOutline]{EvidenceOutline(o)}, nil
		})
	govapi.Register(a, evidence.PermissionBuild, huma.Operation{OperationID: "evidence-build", Method: http.MethodPost, Path: "/evidence/packs", Summary: "Build a pack about a session or an action", Tags: tags,
		DefaultStatus: http.StatusCreated, Description: "Waits until the ledger has signed that the pack was built.", Errors: []int{http.StatusServiceUnavailable}},
		func(ctx context.Context, id governance.Identity, in *evidenceBuild) (*out[EvidencePack], error) {
			subject, err := parseUUID("body.subject", in.Body.Subject)
			if err != nil {
				return nil, err
			}
			p, err := svc.Build(ctx, id, evidence.Request{Kind: in.Body.Kind, Subject: subject, Reason: in.Body.Reason, Disclose: in.Body.Disclose,
				NoRecording: in.Body.Recording != nil && !*in.Body.Recording})
			if err != nil {
				return nil, err
			}
			return &out[EvidencePack]{wirePack(p)}, nil
		})
	govapi.Register(a, evidence.PermissionRead, huma.Operation{OperationID: "evidence-list-packs", Method: http.MethodGet, Path: "/evidence/packs", Summary: "List packs, newest first", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *evidenceList) (*out[govapi.List[EvidencePack]], error) {
			f := evidence.Filter{Limit: in.Limit}
			parts, err := govapi.ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			if parts[0] != "" {
				if f.Before, err = parseUUID("query.cursor", parts[0]); err != nil {
					return nil, err
				}
			}
			if in.Subject != "" {
				if f.Subject, err = parseUUID("query.subject", in.Subject); err != nil {
					return nil, err
				}
			}
			got, err := svc.Packs(ctx, id, f)
			if err != nil {
				return nil, err
			}
			items, next := make([]EvidencePack, len(got)), ""
			for i, p := range got {
				items[i] = wirePack(p)
			}
			if len(got) == in.Limit {
				next = govapi.Cursor(got[len(got)-1].ID.String())
			}
			return &out[govapi.List[EvidencePack]]{Body: govapi.NewList(items, next)}, nil
		})
	govapi.Register(a, evidence.PermissionRead, huma.Operation{OperationID: "evidence-get-pack", Method: http.MethodGet, Path: "/evidence/packs/{id}", Summary: "Read a pack's description", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *EvidencePackID) (*out[EvidencePack], error) {
			pid, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			p, err := svc.Pack(ctx, id, pid)
			if err != nil {
				return nil, err
			}
			return &out[EvidencePack]{wirePack(p)}, nil
		})
	govapi.Register(a, evidence.PermissionRead, huma.Operation{OperationID: "evidence-download-pack", Method: http.MethodGet, Path: "/evidence/packs/{id}/file", Summary: "Download a pack", Tags: tags,
		Description: "Each download is recorded. A pack with personal values needs evidence:disclose.", Responses: binary("The pack", "application/zip")},
		func(ctx context.Context, id governance.Identity, in *EvidencePackID) (*evidenceFile, error) {
			pid, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			p, data, err := svc.Download(ctx, id, pid)
			if err != nil {
				return nil, err
			}
			return file("application/zip", p.FileName(), data), nil
		})
	govapi.Register(a, evidence.PermissionRead, huma.Operation{OperationID: "evidence-verify-pack", Method: http.MethodPost, Path: "/evidence/verification", Summary: "Check a pack with the log's key and nothing else", Tags: tags,
		MaxBodyBytes: MaxUpload, Description: "Nothing is kept, and nothing of this server's data is looked at."},
		func(_ context.Context, _ governance.Identity, in *evidenceUpload) (*out[EvidenceVerification], error) {
			rep, err := svc.Verify(bytes.NewReader(in.RawBody), int64(len(in.RawBody)))
			if err != nil {
				return nil, err
			}
			return &out[EvidenceVerification]{wireReport(rep)}, nil
		})
}

func coverage(a *govapi.API, svc *evidence.Service) {
	count := func(ctx context.Context, id governance.Identity, in *EvidencePeriod) (evidence.Coverage, error) {
		return svc.Coverage(ctx, id, in.From, in.Until)
	}
	govapi.Register(a, evidence.PermissionRead, huma.Operation{OperationID: "evidence-coverage", Method: http.MethodGet, Path: "/evidence/coverage", Summary: "Count what the records of a period carry, control by control", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *EvidencePeriod) (*out[EvidenceCoverage], error) {
			c, err := count(ctx, id, in)
			if err != nil {
				return nil, err
			}
			return &out[EvidenceCoverage]{wireCoverage(c)}, nil
		})
	for _, form := range []struct {
		name, typ string
		render    func(evidence.Coverage) ([]byte, error)
	}{{"csv", "text/csv; charset=utf-8", evidence.Coverage.CSV}, {"html", "text/html; charset=utf-8", evidence.Coverage.HTML}} {
		govapi.Register(a, evidence.PermissionRead, huma.Operation{OperationID: "evidence-coverage-" + form.name, Method: http.MethodGet, Path: "/evidence/coverage/" + form.name,
			Summary: "The same as " + map[string]string{"csv": "a table", "html": "a page"}[form.name], Tags: tags, Responses: binary("The report", form.typ)},
			func(ctx context.Context, id governance.Identity, in *EvidencePeriod) (*evidenceFile, error) {
				c, err := count(ctx, id, in)
				if err != nil {
					return nil, err
				}
				b, err := form.render(c)
				if err != nil {
					return nil, err
				}
				return file(form.typ, "coverage."+form.name, b), nil
			})
	}
	govapi.Register(a, evidence.PermissionRead, huma.Operation{OperationID: "evidence-coverage-records", Method: http.MethodGet, Path: "/evidence/coverage/{key}/records",
		Summary: "Walk one number of the report down to its records, oldest first", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *evidenceLine) (*out[govapi.List[EvidenceRecord]], error) {
			parts, err := govapi.ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			after := uuid.Nil
			if parts[0] != "" {
				if after, err = parseUUID("query.cursor", parts[0]); err != nil {
					return nil, err
				}
			}
			got, _, err := svc.CoverageRecords(ctx, id, in.From, in.Until, in.Key, in.Have != "false", after, in.Limit)
			if err != nil {
				return nil, err
			}
			items, next := make([]EvidenceRecord, len(got)), ""
			for i, r := range got {
				items[i] = EvidenceRecord{r.ID.String(), r.At, r.Action, string(r.Outcome), string(r.Tenant), r.Resource.String(), r.Actor.ID}
			}
			if len(got) == in.Limit {
				next = govapi.Cursor(got[len(got)-1].ID.String())
			}
			return &out[govapi.List[EvidenceRecord]]{Body: govapi.NewList(items, next)}, nil
		})
}
