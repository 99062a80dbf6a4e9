// Package accessapi puts package access on a huma API: who held which role at an
// instant, and the campaigns that have it confirmed.
//
// Start with [Register]. Errors are those of package govapi.
package accessapi

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govauth/access"
)

type out[T any] struct{ Body T }

var tags = []string{"Access"}

type accessAt struct {
	At time.Time `query:"at" doc:"The instant; absent: now"`
}

type accessPerson struct {
	ID string `path:"id" minLength:"1" maxLength:"128" doc:"Id of the person"`
}

// AuthAccessCampaignID is the path of a campaign.
type AuthAccessCampaignID struct {
	ID string `path:"id" format:"uuid" doc:"Id of the campaign"`
}

type authAccessStart struct {
	govapi.Idempotent
	Body struct {
		Title     string    `json:"title" minLength:"1" maxLength:"200"`
		DueAt     time.Time `json:"due_at"`
		Reviewers []string  `json:"reviewers" minItems:"1" maxItems:"200" doc:"Ids of people; nobody reviews themself"`
		Reason    string    `json:"reason,omitempty" maxLength:"2000"`
	}
}

// AuthAccessStarted is the result of starting a campaign.
type AuthAccessStarted struct {
	Campaign string    `json:"campaign"`
	People   int       `json:"people"`
	DueAt    time.Time `json:"due_at"`
}

type authAccessDecide struct {
	AuthAccessCampaignID
	Person string `path:"person" minLength:"1" maxLength:"128" doc:"Id of the person"`
	Body   struct {
		Verdict string   `json:"verdict" enum:"confirm,revoke"`
		Keep    []string `json:"keep,omitempty" maxItems:"20" doc:"With revoke: the roles that may stay; none takes all access"`
		Version int64    `json:"version" minimum:"1" doc:"Of the access that the reviewer was shown"`
		Comment string   `json:"comment,omitempty" maxLength:"2000" doc:"Required to revoke"`
	}
}

type accessCSV struct {
	ContentType  string `header:"Content-Type"`
	Disposition  string `header:"Content-Disposition"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

func (p AuthAccessCampaignID) parse() (uuid.UUID, error) {
	id, err := uuid.Parse(p.ID)
	if err != nil {
		return id, governance.Invalid("path.id", "is not a UUID")
	}
	return id, nil
}

// Register adds the operations.
func Register(api huma.API, svc *access.Service) {
	a := govapi.New(api, svc.Kernel())
	lists(a, svc)
	campaigns(a, svc)
}

func lists(a *govapi.API, svc *access.Service) {
	at := func(in *accessAt) time.Time {
		if in.At.IsZero() {
			return svc.Kernel().Now()
		}
		return in.At
	}
	govapi.Register(a, access.PermissionRead, huma.Operation{OperationID: "auth-access-list", Method: http.MethodGet, Path: "/access", Summary: "List who held which role at an instant", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *accessAt) (*out[AuthAccessList], error) {
			l, err := svc.At(ctx, at(in))
			if err != nil {
				return nil, err
			}
			return &out[AuthAccessList]{wireList(l)}, nil
		})
	govapi.Register(a, access.PermissionRead, huma.Operation{OperationID: "auth-access-list-csv", Method: http.MethodGet, Path: "/access-csv", Summary: "Download who held which role at an instant", Tags: tags, Description: "That it was taken is recorded.",
		Responses: map[string]*huma.Response{"200": {Description: "The table", Content: map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: "string"}}}}}},
		func(ctx context.Context, id governance.Identity, in *accessAt) (*accessCSV, error) {
			var b bytes.Buffer
			if err := svc.Export(ctx, id, at(in), &b); err != nil {
				return nil, err
			}
			return &accessCSV{"text/csv; charset=utf-8", `attachment; filename="access.csv"`, "no-store", b.Bytes()}, nil
		})
	govapi.Register(a, access.PermissionRead, huma.Operation{OperationID: "auth-access-changes", Method: http.MethodGet, Path: "/access/people/{id}", Summary: "List every change of a person's access, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *accessPerson) (*out[govapi.List[AuthAccessLine]], error) {
			ls, err := svc.Changes(ctx, governance.PersonID(in.ID))
			if err != nil {
				return nil, err
			}
			items := make([]AuthAccessLine, len(ls))
			for i, l := range ls {
				items[i] = wireLine(l)
			}
			return &out[govapi.List[AuthAccessLine]]{govapi.NewList(items, "")}, nil
		})
}

func campaigns(a *govapi.API, svc *access.Service) {
	govapi.Register(a, access.PermissionRead, huma.Operation{OperationID: "auth-access-list-campaigns", Method: http.MethodGet, Path: "/access/campaigns", Summary: "List access reviews, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govapi.Page) (*out[govapi.List[AuthAccessCampaign]], error) {
			before, err := govapi.ParseIDCursor(in.Cursor)
			if err != nil {
				return nil, err
			}
			got, err := svc.Campaigns(ctx, before, in.Limit)
			if err != nil {
				return nil, err
			}
			items, next := make([]AuthAccessCampaign, len(got)), ""
			for i, c := range got {
				items[i] = wireCampaign(c)
			}
			if len(got) == in.Limit {
				next = govapi.Cursor(got[len(got)-1].ID.String())
			}
			return &out[govapi.List[AuthAccessCampaign]]{govapi.NewList(items, next)}, nil
		})
	govapi.GuardedResult[AuthAccessStarted](a, access.PermissionWrite, huma.Operation{OperationID: "auth-access-start-campaign", Method: http.MethodPost, Path: "/access/campaigns", Summary: "Start an access review of everybody", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authAccessStart) (governance.Outcome, error) {
			start := access.Start{Title: in.Body.Title, DueAt: in.Body.DueAt}
			for _, r := range in.Body.Reviewers {
				start.Reviewers = append(start.Reviewers, governance.PersonID(r))
			}
			return svc.Start(ctx, id, start, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
	govapi.Register(a, access.PermissionRead, huma.Operation{OperationID: "auth-access-get-campaign", Method: http.MethodGet, Path: "/access/campaigns/{id}", Summary: "Read an access review", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *AuthAccessCampaignID) (*out[AuthAccessCampaign], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			c, err := svc.Campaign(ctx, id)
			if err != nil {
				return nil, err
			}
			return &out[AuthAccessCampaign]{wireCampaign(c)}, nil
		})
	govapi.Register(a, access.PermissionRead, huma.Operation{OperationID: "auth-access-decide", Method: http.MethodPost, Path: "/access/campaigns/{id}/people/{person}", Summary: "Confirm or revoke a person's roles",
		Tags: tags, Description: "Only by a reviewer of the campaign. The verdict stands at once; the change that a revocation asks for may be held."},
		func(ctx context.Context, id governance.Identity, in *authAccessDecide) (*out[AuthAccessDecided], error) {
			cid, err := in.parse()
			if err != nil {
				return nil, err
			}
			b := in.Body
			err = svc.Decide(ctx, id, cid, governance.PersonID(in.Person), access.Decision{Verdict: access.Verdict(b.Verdict), Keep: b.Keep, Version: b.Version, Comment: b.Comment})
			done := AuthAccessDecided{Campaign: in.ID, Person: in.Person, Verdict: b.Verdict}
			if held, ok := errors.AsType[*governance.ApprovalRequiredError](err); ok {
				done.Approval, err = held.Approval.String(), nil
			}
			return &out[AuthAccessDecided]{done}, err
		})
}
