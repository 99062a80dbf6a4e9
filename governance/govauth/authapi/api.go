package authapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govauth"
)

type body[T any] struct{ Body T }

// Register adds the operations to a host's API.
func Register(api huma.API, svc *govauth.Service) {
	a := govapi.New(api, svc.Kernel())
	me(a, svc)
	users(a, svc)
	invitations(a, svc)
	keys(a, svc)
}

// AuthMe is the caller.
type AuthMe struct {
	Actor       string    `json:"actor"`
	Kind        string    `json:"kind" enum:"user,key"`
	Person      string    `json:"person,omitempty" doc:"Absent for a shared key"`
	Name        string    `json:"name,omitempty"`
	Roles       []string  `json:"roles"`
	Permissions []string  `json:"permissions" doc:"What the roles allow; an act may still need the approval of others"`
	AuthTime    time.Time `json:"auth_time"`
	Subject     string    `json:"subject,omitempty" doc:"Who is represented while impersonating"`
	Bootstrap   bool      `json:"bootstrap" doc:"Fewer than three people: one acts alone, and it is marked"`
}

// AuthSession is a sign-in.
type AuthSession struct {
	ID        string    `json:"id"`
	Method    string    `json:"method" doc:"RFC 8176: otp is a one-time link, pwd a sign-in code"`
	IP        string    `json:"ip"`
	UserAgent string    `json:"user_agent"`
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at" doc:"To about a minute"`
	ExpiresAt time.Time `json:"expires_at"`
}

// AuthID is the path of a thing.
type AuthID struct {
	ID string `path:"id" maxLength:"64"`
}

func me(a *govapi.API, svc *govauth.Service) {
	tags := []string{"Me"}
	govapi.Register(a, "", huma.Operation{OperationID: "auth-me", Method: http.MethodGet, Path: "/me", Summary: "Who am I, and what may I do?", Tags: tags},
		func(ctx context.Context, id governance.Identity, _ *struct{}) (*body[AuthMe], error) {
			open, err := svc.Kernel().Bootstrap(ctx)
			if err != nil {
				return nil, err
			}
			out := AuthMe{Actor: id.Actor.ID, Kind: string(id.Actor.Kind), Person: string(id.Actor.Person), Name: id.Actor.Name, Roles: append([]string{}, id.Actor.Roles...),
				Permissions: svc.Permitted(ctx, id), AuthTime: id.Actor.AuthTime, Bootstrap: open}
			if id.Subject != nil {
				out.Subject = id.Subject.ID
			}
			return &body[AuthMe]{out}, nil
		})
	govapi.Register(a, "", huma.Operation{OperationID: "auth-my-keys", Method: http.MethodGet, Path: "/me/keys", Summary: "My keys, newest first", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *govapi.Page) (*body[govapi.List[AuthKey]], error) {
			if id.Actor.Person == "" {
				return &body[govapi.List[AuthKey]]{govapi.NewList[AuthKey](nil, "")}, nil
			}
			return listKeys(ctx, svc, govauth.KeyFilter{Person: id.Actor.Person}, in)
		})
	govapi.Register(a, "", huma.Operation{OperationID: "auth-my-sessions", Method: http.MethodGet, Path: "/me/sessions", Summary: "Where I am signed in, the last used first", Tags: tags},
		func(ctx context.Context, id governance.Identity, _ *struct{}) (*body[govapi.List[AuthSession]], error) {
			if id.Actor.Person == "" {
				return &body[govapi.List[AuthSession]]{govapi.NewList[AuthSession](nil, "")}, nil
			}
			ss, err := svc.Sessions(ctx, id.Actor.Person)
			if err != nil {
				return nil, err
			}
			items := make([]AuthSession, len(ss))
			for i, s := range ss {
				items[i] = AuthSession{s.ID, s.Method, s.IP, s.UserAgent, s.CreatedAt, s.SeenAt, s.ExpiresAt}
			}
			return &body[govapi.List[AuthSession]]{govapi.NewList(items, "")}, nil
		})
	govapi.Register(a, "", huma.Operation{OperationID: "auth-end-session", Method: http.MethodPost, Path: "/me/sessions/{id}/end", Summary: "Sign out there",
		Description: "One's own session, or with user:write anybody's.", DefaultStatus: http.StatusNoContent, Tags: tags},
		func(ctx context.Context, id governance.Identity, in *AuthID) (*struct{}, error) {
			return nil, svc.EndSession(ctx, id, in.ID)
		})
}

// AuthUser is a person.
type AuthUser struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	Email         string     `json:"email"`
	Roles         []string   `json:"roles"`
	Region        string     `json:"region,omitempty"`
	State         string     `json:"state" enum:"active,deactivated"`
	Version       int64      `json:"version"`
	InvitedBy     string     `json:"invited_by,omitempty"`
	CreatedAt     time.Time  `json:"created_at"`
	DeactivatedAt *time.Time `json:"deactivated_at,omitempty"`
}

func wireUser(u govauth.User) AuthUser {
	return AuthUser{string(u.ID), u.Name, u.Email, u.Roles, u.Region, string(u.State), u.Version, string(u.InvitedBy), u.CreatedAt, optional(u.DeactivatedAt)}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// AuthWhy is why somebody asks for something.
type AuthWhy struct {
	Reason string `json:"reason,omitempty" maxLength:"2000"`
	Ticket string `json:"ticket,omitempty" maxLength:"200"`
}

type authUserAct struct {
	AuthID
	govapi.Idempotent
	Body AuthWhy
}

type authUserRoles struct {
	AuthID
	govapi.Idempotent
	Body struct {
		AuthWhy
		Roles []string `json:"roles" minItems:"1" maxItems:"5" enum:"super_admin,gov_approver,gov_auditor,finance_viewer,cs_agent"`
	}
}

type authListUsers struct {
	govapi.Page
	State string `query:"state" enum:"active,deactivated"`
}

// AuthPersonResult is a person after a change.
type AuthPersonResult struct {
	Person  string   `json:"person"`
	Roles   []string `json:"roles"`
	State   string   `json:"state"`
	Version int64    `json:"version"`
}

// AuthLinkResult names a sign-in link, which is shown by another operation.
type AuthLinkResult struct {
	Link   string `json:"link"`
	Person string `json:"person"`
}

// AuthOneTimeLink is a link as it is shown once.
type AuthOneTimeLink struct {
	URL       string    `json:"url" doc:"Opening it changes nothing; the button on its page uses it up"`
	ExpiresAt time.Time `json:"expires_at"`
}

func do(key govapi.Idempotent, why AuthWhy) *governance.DoOptions {
	return &governance.DoOptions{Key: key.Key, Reason: why.Reason, Ticket: why.Ticket}
}

func users(a *govapi.API, svc *govauth.Service) {
	tags := []string{"Users"}
	govapi.Register(a, "user:read", huma.Operation{OperationID: "auth-list-users", Method: http.MethodGet, Path: "/users", Summary: "List people by name", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *authListUsers) (*body[govapi.List[AuthUser]], error) {
			cur, err := govapi.ParseCursor(in.Cursor, 2)
			if err != nil {
				return nil, err
			}
			us, err := svc.Users(ctx, govauth.UserFilter{State: govauth.UserState(in.State), AfterName: cur[0], AfterID: governance.PersonID(cur[1]), Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			items := make([]AuthUser, len(us))
			for i, u := range us {
				items[i] = wireUser(u)
			}
			next := ""
			if len(items) == in.Limit {
				last := items[len(items)-1]
				next = govapi.Cursor(last.Name, last.ID)
			}
			return &body[govapi.List[AuthUser]]{govapi.NewList(items, next)}, nil
		})
	govapi.Register(a, "user:read", huma.Operation{OperationID: "auth-get-user", Method: http.MethodGet, Path: "/users/{id}", Summary: "Read a person", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *AuthID) (*body[AuthUser], error) {
			u, err := svc.User(ctx, governance.PersonID(in.ID))
			if err != nil {
				return nil, err
			}
			return &body[AuthUser]{wireUser(u)}, nil
		})
	govapi.GuardedResult[AuthPersonResult](a, "user:write", huma.Operation{OperationID: "auth-set-roles", Method: http.MethodPost, Path: "/users/{id}/roles", Summary: "Replace a person's roles", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authUserRoles) (governance.Outcome, error) {
			return svc.SetRoles(ctx, id, govauth.ChangeRoles{Person: governance.PersonID(in.ID), Roles: in.Body.Roles}, do(in.Idempotent, in.Body.AuthWhy))
		})
	govapi.GuardedResult[AuthPersonResult](a, "user:write", huma.Operation{OperationID: "auth-deactivate-user", Method: http.MethodPost, Path: "/users/{id}/deactivate", Summary: "Lock a person out at once",
		Description: "Sessions, keys and links end in the same commit.", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authUserAct) (governance.Outcome, error) {
			return svc.Deactivate(ctx, id, govauth.Deactivate{Person: governance.PersonID(in.ID)}, do(in.Idempotent, in.Body))
		})
	govapi.GuardedResult[AuthPersonResult](a, "user:write", huma.Operation{OperationID: "auth-activate-user", Method: http.MethodPost, Path: "/users/{id}/activate", Summary: "Let a person back in", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authUserAct) (governance.Outcome, error) {
			return svc.Activate(ctx, id, govauth.Activate{Person: governance.PersonID(in.ID)}, do(in.Idempotent, in.Body))
		})
	govapi.GuardedResult[AuthLinkResult](a, "user:write", huma.Operation{OperationID: "auth-make-sign-in-link", Method: http.MethodPost, Path: "/users/{id}/sign-in-link", Summary: "Make a sign-in link for somebody else", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authUserAct) (governance.Outcome, error) {
			return svc.MakeSignInLink(ctx, id, governance.PersonID(in.ID), do(in.Idempotent, in.Body))
		})
	govapi.Register(a, "user:write", huma.Operation{OperationID: "auth-show-sign-in-link", Method: http.MethodPost, Path: "/sign-in-links/{id}/show", Summary: "Show a sign-in link once, to whoever asked for it", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *AuthID) (*body[AuthOneTimeLink], error) {
			return oneTime(svc.ShowSignInLink(ctx, id, in.ID))
		})
}

func oneTime(l govauth.OneTimeLink, err error) (*body[AuthOneTimeLink], error) {
	if err != nil {
		return nil, err
	}
	return &body[AuthOneTimeLink]{AuthOneTimeLink{l.URL, l.ExpiresAt}}, nil
}

// AuthInvitation is an invitation; its id is the one the person will have.
type AuthInvitation struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Email     string     `json:"email"`
	Roles     []string   `json:"roles"`
	Region    string     `json:"region,omitempty"`
	State     string     `json:"state" enum:"open,accepted,revoked"`
	InvitedBy string     `json:"invited_by,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	ClosedAt  *time.Time `json:"closed_at,omitempty"`
}

// AuthInvitationResult names an invitation, whose link is shown by another operation.
type AuthInvitationResult struct {
	Invitation string    `json:"invitation"`
	Roles      []string  `json:"roles"`
	ExpiresAt  time.Time `json:"expires_at"`
}

type authInvite struct {
	govapi.Idempotent
	Body struct {
		AuthWhy
		Name   string   `json:"name" minLength:"1" maxLength:"100"`
		Email  string   `json:"email" format:"email" maxLength:"200"`
		Roles  []string `json:"roles" minItems:"1" maxItems:"5" enum:"super_admin,gov_approver,gov_auditor,finance_viewer,cs_agent"`
		Region string   `json:"region,omitempty" maxLength:"100" doc:"Acts on tenants of this region only"`
	}
}

type authListInvitations struct {
	govapi.Page
	State string `query:"state" enum:"open,accepted,revoked"`
}

func invitations(a *govapi.API, svc *govauth.Service) {
	tags := []string{"Invitations"}
	govapi.Register(a, "user:read", huma.Operation{OperationID: "auth-list-invitations", Method: http.MethodGet, Path: "/invitations", Summary: "List invitations, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *authListInvitations) (*body[govapi.List[AuthInvitation]], error) {
			cur, err := govapi.ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			is, err := svc.Invitations(ctx, govauth.InvitationFilter{State: govauth.InvitationState(in.State), Before: governance.PersonID(cur[0]), Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			items := make([]AuthInvitation, len(is))
			for i, v := range is {
				items[i] = AuthInvitation{string(v.ID), v.Name, v.Email, v.Roles, v.Region, string(v.State), string(v.InvitedBy), v.CreatedAt, v.ExpiresAt, optional(v.ClosedAt)}
			}
			next := ""
			if len(items) == in.Limit {
				next = govapi.Cursor(items[len(items)-1].ID)
			}
			return &body[govapi.List[AuthInvitation]]{govapi.NewList(items, next)}, nil
		})
	govapi.GuardedResult[AuthInvitationResult](a, "user:write", huma.Operation{OperationID: "auth-invite", Method: http.MethodPost, Path: "/invitations", Summary: "Invite somebody", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authInvite) (governance.Outcome, error) {
			return svc.Invite(ctx, id, govauth.Invite{Name: in.Body.Name, Email: in.Body.Email, Roles: in.Body.Roles, Region: in.Body.Region}, do(in.Idempotent, in.Body.AuthWhy))
		})
	govapi.Register(a, "user:write", huma.Operation{OperationID: "auth-invitation-link", Method: http.MethodPost, Path: "/invitations/{id}/link", Summary: "Make the invitation's link and show it once",
		Description: "To the inviter alone. A link made before stops working.", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *AuthID) (*body[AuthOneTimeLink], error) {
			return oneTime(svc.InvitationLink(ctx, id, governance.PersonID(in.ID)))
		})
	govapi.Register(a, "user:write", huma.Operation{OperationID: "auth-revoke-invitation", Method: http.MethodPost, Path: "/invitations/{id}/revoke", Summary: "Close an invitation",
		DefaultStatus: http.StatusNoContent, Tags: tags},
		func(ctx context.Context, id governance.Identity, in *AuthID) (*struct{}, error) {
			return nil, svc.RevokeInvitation(ctx, id, governance.PersonID(in.ID))
		})
}

// AuthKey is an API key without its secret.
type AuthKey struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind" enum:"personal,shared"`
	Person    string     `json:"person,omitempty"`
	Name      string     `json:"name"`
	Roles     []string   `json:"roles" doc:"Of a personal key: no more than these of the person's; empty: all of them"`
	CreatedBy string     `json:"created_by,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	ShownAt   *time.Time `json:"shown_at,omitempty" doc:"Absent: the secret was not shown yet, and the key does not work"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
	UsedAt    *time.Time `json:"used_at,omitempty" doc:"To about a minute"`
}

// AuthKeyResult names a key, whose secret is shown by another operation.
type AuthKeyResult struct {
	Key       string    `json:"key"`
	Kind      string    `json:"kind"`
	Person    string    `json:"person"`
	Roles     []string  `json:"roles"`
	ExpiresAt time.Time `json:"expires_at"`
}

// AuthSecret is the secret of a key.
type AuthSecret struct {
	Secret string `json:"secret" doc:"Shown this once; send it as Authorization: Bearer …"`
}

type authCreateKey struct {
	govapi.Idempotent
	Body struct {
		AuthWhy
		Kind      string     `json:"kind" enum:"personal,shared"`
		Person    string     `json:"person,omitempty" maxLength:"64" doc:"Whose personal key it is; absent: the caller's"`
		Name      string     `json:"name" minLength:"1" maxLength:"100"`
		Roles     []string   `json:"roles,omitempty" maxItems:"5" enum:"super_admin,gov_approver,gov_auditor,finance_viewer,cs_agent,support_key"`
		ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"Absent: in 90 days"`
	}
}

type authListKeys struct {
	govapi.Page
	Person string `query:"person" maxLength:"64" doc:"Absent: everybody's, and the shared ones"`
}

type authRevokeKey struct {
	AuthID
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500"`
	}
}

func listKeys(ctx context.Context, svc *govauth.Service, f govauth.KeyFilter, page *govapi.Page) (*body[govapi.List[AuthKey]], error) {
	cur, err := govapi.ParseCursor(page.Cursor, 1)
	if err != nil {
		return nil, err
	}
	f.Before, f.Limit = cur[0], page.Limit
	ks, err := svc.Keys(ctx, f)
	if err != nil {
		return nil, err
	}
	items := make([]AuthKey, len(ks))
	for i, k := range ks {
		items[i] = AuthKey{k.ID, k.Kind, string(k.Person), k.Name, k.Roles, string(k.CreatedBy), k.CreatedAt, k.ExpiresAt, optional(k.IssuedAt), optional(k.RevokedAt), optional(k.UsedAt)}
	}
	next := ""
	if len(items) == page.Limit {
		next = govapi.Cursor(items[len(items)-1].ID)
	}
	return &body[govapi.List[AuthKey]]{govapi.NewList(items, next)}, nil
}

func keys(a *govapi.API, svc *govauth.Service) {
	tags := []string{"Keys"}
	govapi.Register(a, "user:read", huma.Operation{OperationID: "auth-list-keys", Method: http.MethodGet, Path: "/keys", Summary: "List keys, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *authListKeys) (*body[govapi.List[AuthKey]], error) {
			return listKeys(ctx, svc, govauth.KeyFilter{Person: governance.PersonID(in.Person), Everybody: in.Person == ""}, &in.Page)
		})
	govapi.GuardedResult[AuthKeyResult](a, "key:write", huma.Operation{OperationID: "auth-create-key", Method: http.MethodPost, Path: "/keys", Summary: "Make a key",
		Description: "Its secret is shown once by /keys/{id}/show: of a personal key to its person alone.", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authCreateKey) (governance.Outcome, error) {
			k := govauth.CreateKey{Kind: in.Body.Kind, Person: governance.PersonID(in.Body.Person), Name: in.Body.Name, Roles: in.Body.Roles}
			if k.Kind == govauth.KeyPersonal && k.Person == "" {
				k.Person = id.Actor.Person
			}
			if in.Body.ExpiresAt != nil {
				k.ExpiresAt = *in.Body.ExpiresAt
			}
			return svc.CreateKey(ctx, id, k, do(in.Idempotent, in.Body.AuthWhy))
		})
	govapi.Register(a, "", huma.Operation{OperationID: "auth-show-key", Method: http.MethodPost, Path: "/keys/{id}/show", Summary: "Show a key's secret once",
		Description: "A personal key's to its person, a shared key's to whoever made it.", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *AuthID) (*body[AuthSecret], error) {
			secret, err := svc.ShowKey(ctx, id, in.ID)
			if err != nil {
				return nil, err
			}
			return &body[AuthSecret]{AuthSecret{secret}}, nil
		})
	govapi.Register(a, "", huma.Operation{OperationID: "auth-revoke-key", Method: http.MethodPost, Path: "/keys/{id}/revoke", Summary: "End a key at once",
		Description: "One's own, or with key:write anybody's.", DefaultStatus: http.StatusNoContent, Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authRevokeKey) (*struct{}, error) {
			return nil, svc.RevokeKey(ctx, id, in.ID, in.Body.Reason)
		})
}
