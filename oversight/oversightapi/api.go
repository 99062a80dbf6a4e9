// Package oversightapi puts package oversight on a huma API: impersonation sessions
// and their recordings, the feed of sensitive actions, and evidence.
//
// Start with [Register]. Errors are those of package govapi.
package oversightapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

type out[T any] struct{ Body T }

// OversightSessionID is the path of a session.
type OversightSessionID struct {
	ID string `path:"id" format:"uuid" doc:"Id of the session"`
}

func (p OversightSessionID) parse() (uuid.UUID, error) { return parseUUID("path.id", p.ID) }

func parseUUID(field, s string) (uuid.UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return u, governance.Invalid(field, "is not a UUID")
	}
	return u, nil
}

type oversightListSessions struct {
	govapi.Page
	State  []string `query:"state" enum:"ready,active,paused,ended" doc:"Those that wait for approval are approvals"`
	Review string   `query:"review" enum:"due,overdue,reviewed"`
	Tenant string   `query:"tenant" maxLength:"128"`
	Person string   `query:"person" maxLength:"128" doc:"Who impersonated"`
}

type oversightStart struct {
	govapi.Idempotent
	Body struct {
		Tenant  string `json:"tenant" minLength:"1" maxLength:"128"`
		User    string `json:"user" minLength:"1" maxLength:"200" doc:"The product's id of the user to represent"`
		Scope   string `json:"scope,omitempty" enum:"read,write" default:"read"`
		Minutes int    `json:"minutes,omitempty" minimum:"1" maximum:"60" doc:"Absent: the longest allowed"`
		Reason  string `json:"reason" minLength:"3" maxLength:"500"`
		Ticket  string `json:"ticket,omitempty" maxLength:"200"`
		// Observer asks that somebody watches.
		Observer bool `json:"observer,omitempty" doc:"Somebody has to watch; a policy of the server may want it anyway"`
	}
}

// OversightStarted is the result of asking for a session.
type OversightStarted struct {
	Session  string    `json:"session"`
	User     string    `json:"user"`
	Scope    string    `json:"scope"`
	Minutes  int       `json:"minutes"`
	Observer bool      `json:"observer" doc:"Somebody has to watch"`
	OpenBy   time.Time `json:"open_by" doc:"Until when it can be opened"`
}

type oversightOpened struct {
	SetCookie    http.Cookie `header:"Set-Cookie" doc:"Carries the session to the product"`
	CacheControl string      `header:"Cache-Control"`
	Body         OversightSession
}

type oversightEnd struct {
	OversightSessionID
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

type oversightReview struct {
	OversightSessionID
	Body struct {
		Verdict string `json:"verdict" enum:"accepted,violation"`
		Note    string `json:"note,omitempty" maxLength:"500" doc:"Required for a violation"`
	}
}

type oversightAccessLog struct {
	govapi.Page
	Tenant string `path:"id" maxLength:"128" doc:"Id of the tenant"`
}

type oversightFrame struct {
	OversightSessionID
	N int `path:"n" minimum:"1" doc:"Number of the frame, from 1"`
}

type oversightPage struct {
	ContentType    string `header:"Content-Type"`
	ContentPolicy  string `header:"Content-Security-Policy"`
	NoSniff        string `header:"X-Content-Type-Options"`
	ReferrerPolicy string `header:"Referrer-Policy"`
	CacheControl   string `header:"Cache-Control"`
	Body           []byte
}

type oversightListActs struct {
	govapi.Page
	Action []string `query:"action" maxItems:"20" doc:"Names of actions; absent: every guarded action"`
	State  []string `query:"state" enum:"pending,approved,executing,executed,unknown,failed,denied,expired,cancelled,lapsed,superseded"`
	Tenant string   `query:"tenant" maxLength:"128"`
	Person string   `query:"person" maxLength:"128" doc:"Who asked"`
}

// Register adds the operations. rec may be nil, then there are none about
// recordings.
func Register(api huma.API, svc *oversight.Service, rec *recorder.Recorder) {
	a := govapi.New(api, svc.Kernel())
	sessions(a, svc)
	watching(a, svc)
	acts(a, svc)
	if rec != nil {
		recordings(a, svc, rec)
	}
}

var tags = []string{"Oversight"}

func sessions(a *govapi.API, svc *oversight.Service) {
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-list-sessions", Method: http.MethodGet, Path: "/sessions", Summary: "List impersonation sessions, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *oversightListSessions) (*out[govapi.List[OversightSession]], error) {
			f := oversight.Filter{Tenant: governance.TenantID(in.Tenant), Person: governance.PersonID(in.Person), Review: oversight.ReviewState(in.Review), Limit: in.Limit}
			for _, s := range in.State {
				f.States = append(f.States, oversight.State(s))
			}
			var err error
			if f.Before, err = before(in.Cursor); err != nil {
				return nil, err
			}
			got, err := svc.Sessions(ctx, f)
			if err != nil {
				return nil, err
			}
			return page(got, in.Limit, wireSession, func(s oversight.Session) uuid.UUID { return s.ID }), nil
		})
	govapi.GuardedResult[OversightStarted](a, oversight.PermissionStart, huma.Operation{OperationID: "oversight-start-session", Method: http.MethodPost, Path: "/sessions",
		Summary: "Ask for an impersonation session", Tags: tags, Description: "Needs a fresh sign-in. The session is ready when this is done; opening it gives the cookie and starts its clock."},
		func(ctx context.Context, id governance.Identity, in *oversightStart) (governance.Outcome, error) {
			b := in.Body
			return svc.Start(ctx, id, oversight.Request{Tenant: governance.TenantID(b.Tenant), User: b.User, Scope: oversight.Scope(b.Scope),
				For: time.Duration(b.Minutes) * time.Minute, Reason: b.Reason, Ticket: b.Ticket, Observer: b.Observer, Key: in.Key})
		})
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-get-session", Method: http.MethodGet, Path: "/sessions/{id}", Summary: "Read a session", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *OversightSessionID) (*out[OversightSession], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			s, err := svc.Session(ctx, id)
			if err != nil {
				return nil, err
			}
			return &out[OversightSession]{wireSession(s)}, nil
		})
	govapi.Register(a, oversight.PermissionStart, huma.Operation{OperationID: "oversight-open-session", Method: http.MethodPost, Path: "/sessions/{id}/open",
		Summary: "Begin a session that is ready", Tags: tags, Description: "Once, and only by who asked for it."},
		func(ctx context.Context, caller governance.Identity, in *OversightSessionID) (*oversightOpened, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			s, token, err := svc.Open(ctx, caller, id)
			if err != nil {
				return nil, err
			}
			return &oversightOpened{*svc.Cookie(s, token), "no-store", wireSession(s)}, nil
		})
	// Whose session it is may end it without the permission, so the door asks for none.
	govapi.Register(a, "", huma.Operation{OperationID: "oversight-end-session", Method: http.MethodPost, Path: "/sessions/{id}/end", Summary: "End a session at once", Tags: tags,
		DefaultStatus: http.StatusNoContent, Description: "One's own always; another's with session:end."},
		func(ctx context.Context, caller governance.Identity, in *oversightEnd) (*struct{}, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			return nil, svc.End(ctx, caller, id, strings.TrimSpace(in.Body.Reason))
		})
}

func watching(a *govapi.API, svc *oversight.Service) {
	govapi.Register(a, oversight.PermissionEnd, huma.Operation{OperationID: "oversight-observe-session", Method: http.MethodPost, Path: "/sessions/{id}/observe", Summary: "Watch a session, or say that one still does", Tags: tags,
		DefaultStatus: http.StatusNoContent, Description: "Counts for a minute: call it again before. Whoever watches can end the session."},
		func(ctx context.Context, caller governance.Identity, in *OversightSessionID) (*struct{}, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			return nil, svc.Observe(ctx, caller, id)
		})
	govapi.Register(a, oversight.PermissionEnd, huma.Operation{OperationID: "oversight-leave-session", Method: http.MethodPost, Path: "/sessions/{id}/leave", Summary: "Watch a session no more", Tags: tags,
		DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, caller governance.Identity, in *OversightSessionID) (*struct{}, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			return nil, svc.Leave(ctx, caller, id)
		})
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-list-observers", Method: http.MethodGet, Path: "/sessions/{id}/observers", Summary: "List who watches a session and who did", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *OversightSessionID) (*out[govapi.List[OversightObserver]], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			if _, err := svc.Session(ctx, id); err != nil {
				return nil, err
			}
			got, err := svc.Observers(ctx, id)
			if err != nil {
				return nil, err
			}
			items := make([]OversightObserver, len(got))
			for i, o := range got {
				items[i] = OversightObserver{wireActor(o.Actor), o.Since, o.SeenAt, o.Present}
			}
			return &out[govapi.List[OversightObserver]]{Body: govapi.NewList(items, "")}, nil
		})
	govapi.Register(a, oversight.PermissionReview, huma.Operation{OperationID: "oversight-review-session", Method: http.MethodPost, Path: "/sessions/{id}/review", Summary: "Say what a review of a session found", Tags: tags,
		DefaultStatus: http.StatusNoContent, Description: "Once, and by another person than the one who worked in it."},
		func(ctx context.Context, caller governance.Identity, in *oversightReview) (*struct{}, error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			return nil, svc.Review(ctx, caller, id, oversight.Verdict(in.Body.Verdict), in.Body.Note)
		})
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-access-log", Method: http.MethodGet, Path: "/tenants/{id}/access-log", Summary: "List the impersonations in a tenant as its people may read them", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *oversightAccessLog) (*out[govapi.List[OversightAccess]], error) {
			from, err := before(in.Cursor)
			if err != nil {
				return nil, err
			}
			if _, err := svc.Kernel().Tenant(ctx, governance.TenantID(in.Tenant)); err != nil {
				return nil, err
			}
			got, err := svc.AccessLog(ctx, governance.TenantID(in.Tenant), from, in.Limit)
			if err != nil {
				return nil, err
			}
			return page(got, in.Limit, wireAccess, func(x oversight.Access) uuid.UUID { return x.Session }), nil
		})
}

func before(cursor string) (uuid.UUID, error) {
	parts, err := govapi.ParseCursor(cursor, 1)
	if err != nil || parts[0] == "" {
		return uuid.Nil, err
	}
	return parseUUID("query.cursor", parts[0])
}

// page makes a list; a page that is not full is the last.
func page[T, W any](got []T, limit int, wire func(T) W, key func(T) uuid.UUID) *out[govapi.List[W]] {
	items, next := make([]W, len(got)), ""
	for i, g := range got {
		items[i] = wire(g)
	}
	if limit > 0 && len(got) == limit {
		next = govapi.Cursor(key(got[len(got)-1]).String())
	}
	return &out[govapi.List[W]]{Body: govapi.NewList(items, next)}
}

func acts(a *govapi.API, svc *oversight.Service) {
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-list-acts", Method: http.MethodGet, Path: "/sensitive-actions",
		Summary: "List guarded actions with what the policies said, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *oversightListActs) (*out[govapi.List[OversightAct]], error) {
			f := governance.ActionFilter{Names: in.Action, Tenant: governance.TenantID(in.Tenant), Person: governance.PersonID(in.Person), Limit: in.Limit}
			for _, s := range in.State {
				f.States = append(f.States, governance.State(s))
			}
			var err error
			if f.Before, err = before(in.Cursor); err != nil {
				return nil, err
			}
			got, err := svc.Acts(ctx, f)
			if err != nil {
				return nil, err
			}
			return page(got, in.Limit, wireAct, func(x oversight.Act) uuid.UUID { return x.ID }), nil
		})
}

func recordings(a *govapi.API, svc *oversight.Service, rec *recorder.Recorder) {
	// watched reads the session and writes down that its recording is looked at.
	watched := func(ctx context.Context, id governance.Identity, in OversightSessionID) (oversight.Session, error) {
		sid, err := in.parse()
		if err != nil {
			return oversight.Session{}, err
		}
		s, err := svc.Session(ctx, sid)
		if err != nil {
			return s, err
		}
		return s, rec.Watch(ctx, id, s)
	}
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-list-frames", Method: http.MethodGet, Path: "/sessions/{id}/frames", Summary: "List what a session did and was shown", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *OversightSessionID) (*out[govapi.List[OversightFrameInfo]], error) {
			s, err := watched(ctx, id, *in)
			if err != nil {
				return nil, err
			}
			fs, err := rec.Frames(ctx, s.ID)
			if err != nil {
				return nil, err
			}
			items := make([]OversightFrameInfo, len(fs))
			for i, f := range fs {
				items[i] = OversightFrameInfo(f)
			}
			return &out[govapi.List[OversightFrameInfo]]{Body: govapi.NewList(items, "")}, nil
		})
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-get-frame", Method: http.MethodGet, Path: "/sessions/{id}/frames/{n}", Summary: "Read one frame, masked as it was recorded", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *oversightFrame) (*out[OversightFrame], error) {
			s, err := watched(ctx, id, in.OversightSessionID)
			if err != nil {
				return nil, err
			}
			f, err := rec.Frame(ctx, s.ID, in.N)
			if err != nil {
				return nil, err
			}
			return &out[OversightFrame]{OversightFrame(f)}, nil
		})
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-replay-frame", Method: http.MethodGet, Path: "/sessions/{id}/frames/{n}/page",
		Summary: "Show one frame as a page in which nothing runs", Tags: tags,
		Responses: map[string]*huma.Response{"200": {Description: "The page", Content: map[string]*huma.MediaType{"text/html": {Schema: &huma.Schema{Type: "string"}}}}}},
		func(ctx context.Context, id governance.Identity, in *oversightFrame) (*oversightPage, error) {
			s, err := watched(ctx, id, in.OversightSessionID)
			if err != nil {
				return nil, err
			}
			f, err := rec.Frame(ctx, s.ID, in.N)
			if err != nil {
				return nil, err
			}
			return &oversightPage{"text/html; charset=utf-8", recorder.ReplayPolicy, "nosniff", "no-referrer", "no-store", []byte(recorder.ReplayHTML(f))}, nil
		})
	govapi.Register(a, oversight.PermissionRead, huma.Operation{OperationID: "oversight-verify-recording", Method: http.MethodGet, Path: "/sessions/{id}/verification", Summary: "Compare a recording with the ledger", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *OversightSessionID) (*out[OversightRecording], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			rep, err := rec.Verify(ctx, id)
			if err != nil {
				return nil, err
			}
			return &out[OversightRecording]{wireRecording(rep)}, nil
		})
	govapi.Register(a, "ledger:read", huma.Operation{OperationID: "oversight-session-evidence", Method: http.MethodGet, Path: "/sessions/{id}/evidence",
		Summary: "Download a session's records with proofs, and the hashes of its recording", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *OversightSessionID) (*oversightEvidenceOutput, error) {
			sid, err := in.parse()
			if err != nil {
				return nil, err
			}
			e, err := rec.Evidence(ctx, id, sid)
			if err != nil {
				return nil, err
			}
			return &oversightEvidenceOutput{fmt.Sprintf("attachment; filename=\"session-%s.json\"", sid), wireEvidence(e)}, nil
		})
}
