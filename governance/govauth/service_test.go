package govauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

type env struct {
	*govtest.Env
	svc *govauth.Service
}

// each runs fn on both engines, with a kernel whose people are those of the package.
func each(t *testing.T, fn func(t *testing.T, e env)) {
	t.Parallel()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{govauth.Schema()}}, func(t *testing.T, base *govtest.Env) {
		fn(t, build(t, base, nil))
	})
}

func build(t *testing.T, base *govtest.Env, opts *govauth.Options) env {
	store, err := govauth.NewStore(base.DB)
	require.NoError(t, err)
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	base.Kernel, err = governance.New(base.DB, &governance.Options{Authorizer: newAuthorizer(t, nil), Directory: store, LedgerKey: skey, Rules: rules})
	require.NoError(t, err)
	svc, err := govauth.New(base.Kernel, store, opts)
	require.NoError(t, err)
	require.NoError(t, base.Kernel.InstallPolicies(t.Context(), govauth.Policies()...))
	return env{base, svc}
}

var here = governance.Origin{IP: "127.0.0.1", UserAgent: "test", RequestID: "r1"}

// add stores an active person and returns their identity.
func (e env) add(t *testing.T, name string, roles ...string) governance.Identity {
	t.Helper()
	_, err := e.svc.AddUser(t.Context(), govauth.User{ID: governance.PersonID(name), Name: name, Email: name + "@example.com", Roles: roles})
	require.NoError(t, err)
	return e.who(t, governance.PersonID(name))
}

func (e env) who(t *testing.T, id governance.PersonID) governance.Identity {
	p, err := e.Kernel.Directory().Resolve(t.Context(), id)
	require.NoError(t, err)
	return governance.Identity{Actor: governance.Actor{ID: "user:" + string(id), Kind: governance.ActorUser, Person: id, Name: p.Name, Roles: p.Roles, Groups: p.Groups}, Origin: here}
}

// cookie is a request with a session's cookie.
func (e env) cookie(in govauth.SignedIn, method string) *http.Request {
	w := httptest.NewRecorder()
	e.svc.SetCookie(w, in)
	r := httptest.NewRequest(method, "/", nil)
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

func bearer(key string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	return r
}

func count(list []string, what string) (n int) {
	for _, a := range list {
		if a == what {
			n++
		}
	}
	return n
}

func requireDenied(t *testing.T, err error, rule string) {
	t.Helper()
	var d *governance.DeniedError
	require.ErrorAs(t, err, &d)
	require.Equal(t, rule, d.Rule)
}

func TestService_Setup(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		first, err := e.svc.Setup(ctx, "Ada", "Ada@example.com")
		require.NoError(t, err)
		require.Equal(t, "/console/signin/"+first.Token, first.URL)
		open, err := e.Kernel.Bootstrap(ctx)
		require.NoError(t, err)
		require.True(t, open)

		again, err := e.svc.Setup(ctx, "Ada", "ada@example.com")
		require.NoError(t, err)
		require.NotEqual(t, first.Token, again.Token, "nobody signed in yet: the next start shows another link")
		require.Equal(t, first.Person, again.Person)

		for range 3 { // opening the page changes nothing
			info, err := e.svc.PeekLink(ctx, first.Token)
			require.NoError(t, err)
			require.Equal(t, "Ada", info.Name)
			require.Equal(t, govauth.LinkFirstRun, info.Kind)
		}
		_, err = e.svc.UseLink(ctx, first.Token, governance.Origin{IP: "192.0.2.7"})
		requireDenied(t, err, "loopback")
		in, err := e.svc.UseLink(ctx, first.Token, here)
		require.NoError(t, err)
		require.NotEmpty(t, in.Code)
		_, err = e.svc.UseLink(ctx, first.Token, here)
		requireDenied(t, err, "link")
		_, err = e.svc.UseLink(ctx, again.Token, here)
		requireDenied(t, err, "link")
		_, err = e.svc.PeekLink(ctx, first.Token)
		requireDenied(t, err, "link")
		require.Equal(t, 3, count(e.Actions(t), "signin denied"))

		done, err := e.svc.Setup(ctx, "Ada", "ada@example.com")
		require.NoError(t, err)
		require.Nil(t, done)
		id, err := e.svc.Identify(e.cookie(in, http.MethodGet))
		require.NoError(t, err)
		require.Equal(t, []string{govauth.RoleSuperAdmin}, id.Actor.Roles)
		require.Equal(t, governance.ActorUser, id.Actor.Kind)
		require.Equal(t, first.Person, id.Actor.Person)
	})
}

func TestService_Setup_Expires(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		first, err := e.svc.Setup(t.Context(), "Ada", "ada@example.com")
		require.NoError(t, err)
		e.Advance(15*time.Minute + time.Second)
		_, err = e.svc.UseLink(t.Context(), first.Token, here)
		requireDenied(t, err, "link")
		for _, token := range []string{"", "l_", first.Token + "x", strings.Replace(first.Token, first.Token[2:18], "0123456789abcdef", 1), first.Token[:len(first.Token)-3] + "abc"} {
			_, err = e.svc.UseLink(t.Context(), token, here)
			require.ErrorIs(t, err, govauth.ErrUnauthenticated)
		}
	})
}

func TestService_BootstrapEndsOnce(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		first, err := e.svc.Setup(ctx, "Ada", "ada@example.com")
		require.NoError(t, err)
		in, err := e.svc.UseLink(ctx, first.Token, here)
		require.NoError(t, err)
		ada, err := e.svc.Identify(e.cookie(in, http.MethodGet))
		require.NoError(t, err)

		const guests = 6
		tokens := make([]string, guests)
		for i := range guests {
			out, err := e.svc.Invite(ctx, ada, govauth.Invite{Name: fmt.Sprint("Guest ", i), Email: fmt.Sprintf("g%d@example.com", i), Roles: []string{"gov_approver"}}, nil)
			require.NoError(t, err)
			require.True(t, out.Bootstrap, "one person may act alone, and it is marked")
			var data struct{ Invitation governance.PersonID }
			require.NoError(t, out.Into(&data))
			link, err := e.svc.InvitationLink(ctx, ada, data.Invitation)
			require.NoError(t, err)
			tokens[i] = link.Token
		}
		_, err = e.svc.UseLink(ctx, tokens[0], here)
		require.NoError(t, err)
		open, err := e.Kernel.Bootstrap(ctx)
		require.NoError(t, err)
		require.True(t, open, "two people")

		var wg sync.WaitGroup
		errs := make([]error, guests)
		for i, token := range tokens[1:] { // the third person comes five times at once
			wg.Go(func() { _, errs[i] = e.svc.UseLink(context.WithoutCancel(ctx), token, here) })
		}
		wg.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		open, err = e.Kernel.Bootstrap(ctx)
		require.NoError(t, err)
		require.False(t, open)
		require.Equal(t, 1, count(e.Actions(t), "bootstrap.end done"))

		_, err = e.svc.Invite(ctx, ada, govauth.Invite{Name: "Eve", Email: "eve@example.com", Roles: []string{"super_admin"}}, nil)
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		_, err = e.svc.Invite(ctx, ada, govauth.Invite{Name: "Cid", Email: "cid@example.com", Roles: []string{"cs_agent"}}, nil)
		require.NoError(t, err)
		active, approvers, err := e.svc.People(ctx)
		require.NoError(t, err)
		require.Equal(t, []int{guests + 1, guests}, []int{active, approvers})
	})
}

func TestService_LinkUsedTwiceAtOnce(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		e.add(t, "ada", "super_admin")
		link, err := e.svc.MintSignInLink(t.Context(), "ada", time.Hour)
		require.NoError(t, err)
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() { _, errs[i] = e.svc.UseLink(context.Background(), link.Token, here) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			requireDenied(t, err, "link")
		}
		require.Equal(t, 1, won)
		sessions, err := e.svc.Sessions(t.Context(), "ada")
		require.NoError(t, err)
		require.Len(t, sessions, 1)
	})
}

func TestService_Invitation(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		ada, bob := e.add(t, "ada", "super_admin"), e.add(t, "bob", "super_admin")
		for _, bad := range []govauth.Invite{
			{Name: "Eve", Email: "eve@example.com"},
			{Name: "Eve", Email: "eve@example.com", Roles: []string{"root"}},
			{Name: "Eve", Email: "Eve <eve@example.com>", Roles: []string{"cs_agent"}},
			{Name: "E\x1b[31m", Email: "eve@example.com", Roles: []string{"cs_agent"}},
			{Name: " ", Email: "eve@example.com", Roles: []string{"cs_agent"}},
		} {
			_, err := e.svc.Invite(ctx, ada, bad, nil)
			var invalid *governance.InvalidError
			require.ErrorAs(t, err, &invalid)
		}
		_, err := e.svc.Invite(ctx, e.add(t, "cid", "cs_agent"), govauth.Invite{Name: "Eve", Email: "eve@example.com", Roles: []string{"cs_agent"}}, nil)
		requireDenied(t, err, "role")
		represented := ada
		represented.Subject = &governance.Actor{ID: "user:bob", Person: "bob"}
		_, err = e.svc.Invite(ctx, represented, govauth.Invite{Name: "Eve", Email: "eve@example.com", Roles: []string{"cs_agent"}}, nil)
		requireDenied(t, err, "impersonation")

		opts := &governance.DoOptions{Key: "k1"}
		in := govauth.Invite{Name: "Eve", Email: " Eve@Example.com ", Roles: []string{"cs_agent", "cs_agent"}, Region: "eu"}
		out, err := e.svc.Invite(ctx, ada, in, opts)
		require.NoError(t, err)
		replay, err := e.svc.Invite(ctx, ada, in, opts)
		require.NoError(t, err)
		require.True(t, replay.Replayed)
		require.Equal(t, out.Action, replay.Action)
		_, err = e.svc.Invite(ctx, ada, in, nil)
		require.ErrorIs(t, err, governance.ErrConflict, "one open invitation for an address")
		var data struct{ Invitation governance.PersonID }
		require.NoError(t, out.Into(&data))

		_, err = e.svc.InvitationLink(ctx, bob, data.Invitation)
		requireDenied(t, err, "inviter")
		old, err := e.svc.InvitationLink(ctx, ada, data.Invitation)
		require.NoError(t, err)
		link, err := e.svc.InvitationLink(ctx, ada, data.Invitation)
		require.NoError(t, err)
		_, err = e.svc.UseLink(ctx, old.Token, here)
		requireDenied(t, err, "link")
		got, err := e.svc.UseLink(ctx, link.Token, governance.Origin{IP: "192.0.2.1"})
		require.NoError(t, err, "invitations come from anywhere")
		require.Equal(t, data.Invitation, got.Person)
		eve, err := e.svc.User(ctx, data.Invitation)
		require.NoError(t, err)
		require.Equal(t, []string{"cs_agent"}, eve.Roles)
		require.Equal(t, []any{"eve@example.com", "eu", govauth.UserActive, governance.PersonID("ada")}, []any{eve.Email, eve.Region, eve.State, eve.InvitedBy})
		_, err = e.svc.UseLink(ctx, link.Token, here)
		requireDenied(t, err, "link")
		_, err = e.svc.Invite(ctx, ada, in, nil)
		require.ErrorIs(t, err, governance.ErrConflict)

		// Revoked, expired, or the inviter gone: the link is dead.
		second := func(mail string) govauth.OneTimeLink {
			out, err := e.svc.Invite(ctx, bob, govauth.Invite{Name: "X", Email: mail, Roles: []string{"cs_agent"}}, nil)
			require.NoError(t, err)
			require.NoError(t, out.Into(&data))
			link, err := e.svc.InvitationLink(ctx, bob, data.Invitation)
			require.NoError(t, err)
			return link
		}
		revoked := second("x1@example.com")
		require.NoError(t, e.svc.RevokeInvitation(ctx, ada, data.Invitation))
		require.ErrorIs(t, e.svc.RevokeInvitation(ctx, ada, data.Invitation), governance.ErrConflict)
		_, err = e.svc.UseLink(ctx, revoked.Token, here)
		requireDenied(t, err, "link")
		orphaned := second("x2@example.com")
		_, err = e.svc.Deactivate(ctx, ada, govauth.Deactivate{Person: "bob"}, nil)
		require.NoError(t, err)
		_, err = e.svc.UseLink(ctx, orphaned.Token, here)
		requireDenied(t, err, "link")
		list, err := e.svc.Invitations(ctx, govauth.InvitationFilter{Limit: 2})
		require.NoError(t, err)
		require.Len(t, list, 2)
		rest, err := e.svc.Invitations(ctx, govauth.InvitationFilter{Before: list[1].ID})
		require.NoError(t, err)
		require.Len(t, rest, 1)
		require.Equal(t, govauth.InvitationAccepted, rest[0].State)
	})
}

func TestService_Roles(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		ada, cleo := e.add(t, "ada", "super_admin"), e.add(t, "cleo", "gov_approver")
		e.add(t, "dan", "cs_agent")
		_, err := e.svc.SetRoles(ctx, ada, govauth.ChangeRoles{Person: "dan", Roles: []string{"super_admin"}}, nil)
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		before, err := e.svc.User(ctx, "dan")
		require.NoError(t, err)
		require.Equal(t, []string{"cs_agent"}, before.Roles)
		ap, err := e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		require.JSONEq(t, `{"after":["super_admin"],"before":["cs_agent"]}`, string(ap.Preview))
		done, err := e.Kernel.Decide(ctx, cleo, held.Approval, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, done.State)
		after, err := e.svc.User(ctx, "dan")
		require.NoError(t, err)
		require.Equal(t, []string{"super_admin"}, after.Roles)
		require.Equal(t, before.Version+1, after.Version)
		members, err := e.Kernel.Directory().Members(ctx, "super_admin")
		require.NoError(t, err)
		require.Len(t, members, 2)
		_, err = e.Kernel.Directory().Resolve(ctx, "nobody")
		require.ErrorIs(t, err, governance.ErrNotFound)

		// An approval waits while the person changes: it is void.
		_, err = e.svc.SetRoles(ctx, ada, govauth.ChangeRoles{Person: "dan", Roles: []string{"cs_agent"}}, nil)
		require.ErrorAs(t, err, &held)
		_, err = e.svc.Deactivate(ctx, ada, govauth.Deactivate{Person: "dan"}, nil)
		require.NoError(t, err)
		ap, err = e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		_, err = e.Kernel.Decide(ctx, cleo, held.Approval, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
		require.NoError(t, err)
		ap, err = e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		require.Equal(t, governance.StateSuperseded, ap.State)

		_, err = e.svc.Deactivate(ctx, ada, govauth.Deactivate{Person: "ada"}, nil)
		require.ErrorIs(t, err, governance.ErrConflict, "the last super admin")
		_, err = e.svc.Deactivate(ctx, ada, govauth.Deactivate{Person: "cleo"}, nil)
		require.ErrorIs(t, err, governance.ErrConflict, "the last approver: nobody could be made one any more")
		_, err = e.svc.Activate(ctx, ada, govauth.Activate{Person: "dan"}, nil)
		require.ErrorAs(t, err, &held)
		ap, err = e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		_, err = e.Kernel.Decide(ctx, cleo, held.Approval, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
		require.NoError(t, err)
		page, err := e.svc.Users(ctx, govauth.UserFilter{Limit: 2, State: govauth.UserActive})
		require.NoError(t, err)
		page2, err := e.svc.Users(ctx, govauth.UserFilter{AfterName: page[1].Name, AfterID: page[1].ID})
		require.NoError(t, err)
		require.Equal(t, []string{"ada", "cleo", "dan"}, []string{page[0].Name, page[1].Name, page2[0].Name})
	})
}

func TestService_DeactivatedAtOnce(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		ada := e.add(t, "ada", "super_admin")
		e.add(t, "dan", "cs_agent")
		key, err := e.svc.MintKey(ctx, govauth.CreateKey{Kind: govauth.KeyPersonal, Person: "dan", Name: "script"})
		require.NoError(t, err)
		link, err := e.svc.MintSignInLink(ctx, "dan", time.Hour)
		require.NoError(t, err)
		later, err := e.svc.MintSignInLink(ctx, "dan", time.Hour)
		require.NoError(t, err)
		in, err := e.svc.UseLink(ctx, link.Token, here)
		require.NoError(t, err)
		id, err := e.svc.Identify(e.cookie(in, http.MethodGet))
		require.NoError(t, err)
		code, err := e.svc.NewCode(ctx, id)
		require.NoError(t, err)
		_, err = e.svc.Identify(bearer(key))
		require.NoError(t, err)

		_, err = e.svc.Deactivate(ctx, ada, govauth.Deactivate{Person: "dan"}, nil)
		require.NoError(t, err)
		_, err = e.svc.Identify(e.cookie(in, http.MethodGet))
		require.ErrorIs(t, err, govauth.ErrUnauthenticated)
		_, err = e.svc.Identify(bearer(key))
		require.ErrorIs(t, err, govauth.ErrUnauthenticated)
		_, err = e.svc.SignIn(ctx, code, here)
		require.ErrorIs(t, err, govauth.ErrUnauthenticated)
		_, err = e.svc.UseLink(ctx, later.Token, here)
		requireDenied(t, err, "link")

		_, err = e.DB.Handle().ExecContext(ctx, "UPDATE auth_user SET state = 'active' WHERE id = 'dan'")
		require.NoError(t, err)
		_, err = e.svc.Identify(bearer(key))
		require.ErrorIs(t, err, govauth.ErrUnauthenticated, "coming back revives no key")
	})
}

func TestService_Keys(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		ada, bob := e.add(t, "ada", "super_admin", "finance_viewer"), e.add(t, "bob", "super_admin")
		dan := e.add(t, "dan", "cs_agent")
		create := func(by governance.Identity, in govauth.CreateKey) (string, error) {
			out, err := e.svc.CreateKey(ctx, by, in, nil)
			if err != nil {
				return "", err
			}
			var data struct{ Key string }
			require.NoError(t, out.Into(&data))
			return data.Key, nil
		}
		_, err := create(dan, govauth.CreateKey{Kind: govauth.KeyPersonal, Person: "dan", Name: "mine"})
		requireDenied(t, err, "role")
		var invalid *governance.InvalidError
		for _, bad := range []govauth.CreateKey{
			{Kind: govauth.KeyShared, Name: "x", Roles: []string{"super_admin"}},
			{Kind: govauth.KeyShared, Name: "x"},
			{Kind: govauth.KeyPersonal, Name: "x"},
			{Kind: govauth.KeyPersonal, Name: "x", Person: "nobody"},
			{Kind: "code", Name: "x", Person: "ada"},
			{Kind: govauth.KeyPersonal, Name: "x", Person: "ada", ExpiresAt: e.Now().Add(-time.Hour)},
			{Kind: govauth.KeyPersonal, Name: "x", Person: "ada", ExpiresAt: e.Now().Add(10000 * time.Hour)},
		} {
			_, err := create(ada, bad)
			require.ErrorAs(t, err, &invalid, "%+v", bad)
		}

		danKey, err := create(ada, govauth.CreateKey{Kind: govauth.KeyPersonal, Person: "dan", Name: "script"})
		require.NoError(t, err)
		_, err = e.svc.ShowKey(ctx, ada, danKey)
		requireDenied(t, err, "person")
		secret, err := e.svc.ShowKey(ctx, dan, danKey)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(secret, "reeve_"+danKey+"_"))
		_, err = e.svc.ShowKey(ctx, dan, danKey)
		require.ErrorIs(t, err, governance.ErrConflict)
		id, err := e.svc.Identify(bearer(secret))
		require.NoError(t, err)
		require.Equal(t, governance.ActorKey, id.Actor.Kind)
		require.Equal(t, governance.PersonID("dan"), id.Actor.Person)
		require.Equal(t, []string{"cs_agent"}, id.Actor.Roles)
		_, err = e.svc.NewCode(ctx, id)
		requireDenied(t, err, "person")

		// The key follows its person, at most as far as it was narrowed.
		_, err = e.DB.Handle().ExecContext(ctx, `UPDATE auth_user SET roles = '["gov_auditor"]' WHERE id = 'dan'`)
		require.NoError(t, err)
		id, err = e.svc.Identify(bearer(secret))
		require.NoError(t, err)
		require.Equal(t, []string{"gov_auditor"}, id.Actor.Roles)
		narrow, err := e.svc.MintKey(ctx, govauth.CreateKey{Kind: govauth.KeyPersonal, Person: "ada", Name: "reports", Roles: []string{"finance_viewer", "gov_auditor"}})
		require.NoError(t, err)
		id, err = e.svc.Identify(bearer(narrow))
		require.NoError(t, err)
		require.Equal(t, []string{"finance_viewer"}, id.Actor.Roles)
		wide, err := create(ada, govauth.CreateKey{Kind: govauth.KeyPersonal, Person: "ada", Name: "all"})
		require.NoError(t, err)
		_, err = e.svc.ShowKey(ctx, id, wide)
		requireDenied(t, err, "role")

		shared, err := create(ada, govauth.CreateKey{Kind: govauth.KeyShared, Name: "helpdesk", Roles: []string{"support_key"}})
		require.NoError(t, err)
		_, err = e.svc.ShowKey(ctx, bob, shared)
		requireDenied(t, err, "creator")
		helpdesk, err := e.svc.ShowKey(ctx, ada, shared)
		require.NoError(t, err)
		id, err = e.svc.Identify(bearer(helpdesk))
		require.NoError(t, err)
		require.Empty(t, id.Actor.Person)
		require.Equal(t, []string{"support_key"}, id.Actor.Roles)
		_, err = e.Kernel.Decide(ctx, id, uuid.New(), governance.Vote{Decision: governance.Approve})
		var d *governance.DeniedError
		require.ErrorAs(t, err, &d)

		require.NoError(t, e.svc.RevokeKey(ctx, dan, danKey, "left on a train"))
		require.ErrorIs(t, e.svc.RevokeKey(ctx, dan, danKey, ""), governance.ErrConflict)
		requireDenied(t, e.svc.RevokeKey(ctx, e.who(t, "dan"), shared, ""), "role")
		_, err = e.svc.Identify(bearer(secret))
		require.ErrorIs(t, err, govauth.ErrUnauthenticated)
		e.Advance(366 * 24 * time.Hour)
		_, err = e.svc.Identify(bearer(helpdesk))
		require.ErrorIs(t, err, govauth.ErrUnauthenticated, "expired")

		_, err = e.svc.Keys(ctx, govauth.KeyFilter{})
		require.Error(t, err)
		keys, err := e.svc.Keys(ctx, govauth.KeyFilter{Person: "ada"})
		require.NoError(t, err)
		require.Len(t, keys, 2)
		all, err := e.svc.Keys(ctx, govauth.KeyFilter{Everybody: true, Limit: 3})
		require.NoError(t, err)
		rest, err := e.svc.Keys(ctx, govauth.KeyFilter{Everybody: true, Before: all[2].ID})
		require.NoError(t, err)
		require.Len(t, rest, 1)
		require.Equal(t, danKey, rest[0].ID)

		// No secret is written down anywhere.
		records, err := e.Kernel.Ledger().Records(ctx, ledger.Filter{AllTenants: true, Limit: 200})
		require.NoError(t, err)
		var stored strings.Builder
		for _, r := range records {
			stored.Write(r.Body)
		}
		for _, q := range []string{"SELECT input || result FROM gov_action", "SELECT data FROM gov_event", "SELECT hash FROM auth_key"} {
			var texts []string
			require.NoError(t, e.DB.Read().NewRaw(q).Scan(ctx, &texts))
			stored.WriteString(strings.Join(texts, "\n"))
		}
		for _, s := range []string{secret, narrow, helpdesk} {
			require.NotContains(t, stored.String(), s[len(s)-43:])
		}
	})
}

func TestService_SignIn(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		ada, cleo := e.add(t, "ada", "super_admin"), e.add(t, "cleo", "gov_approver")
		code, err := e.svc.NewCode(ctx, cleo)
		require.NoError(t, err)
		second, err := e.svc.NewCode(ctx, cleo)
		require.NoError(t, err)
		_, err = e.svc.SignIn(ctx, code, here)
		require.ErrorIs(t, err, govauth.ErrUnauthenticated, "replaced")
		in, err := e.svc.SignIn(ctx, second, here)
		require.NoError(t, err)
		key, err := e.svc.MintKey(ctx, govauth.CreateKey{Kind: govauth.KeyPersonal, Person: "cleo", Name: "k"})
		require.NoError(t, err)
		_, err = e.svc.SignIn(ctx, key, here)
		require.ErrorIs(t, err, govauth.ErrUnauthenticated, "a key is no sign-in: it would vote as a person")
		_, err = e.svc.Identify(bearer(second))
		require.ErrorIs(t, err, govauth.ErrUnauthenticated, "a code is no key")
		id, err := e.svc.Identify(e.cookie(in, http.MethodPost))
		require.NoError(t, err)
		require.Equal(t, []string{"pwd"}, id.Actor.AMR)
		require.Equal(t, "192.0.2.1", id.Origin.IP)

		// A link for somebody else needs an approver, and is shown once to the one who asked.
		_, err = e.svc.MakeSignInLink(ctx, ada, "cleo", nil)
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		dora := e.add(t, "dora", "gov_approver")
		ap, err := e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		ap, err = e.Kernel.Decide(ctx, dora, held.Approval, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, ap.State)
		name := strings.Split(strings.SplitN(string(ap.Result), `"link":"`, 2)[1], `"`)[0]
		_, err = e.svc.ShowSignInLink(ctx, e.add(t, "bob", "super_admin"), name)
		require.ErrorIs(t, err, governance.ErrNotFound)
		link, err := e.svc.ShowSignInLink(ctx, ada, name)
		require.NoError(t, err)
		_, err = e.svc.ShowSignInLink(ctx, ada, name)
		require.ErrorIs(t, err, governance.ErrConflict)
		_, err = e.svc.UseLink(ctx, link.Token, here)
		require.NoError(t, err)
		alerts, err := e.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Len(t, alerts, 1)

		sessions, err := e.svc.Sessions(ctx, "cleo")
		require.NoError(t, err)
		require.Len(t, sessions, 2)
		requireDenied(t, e.svc.EndSession(ctx, dora, sessions[0].ID), "role")
		require.NoError(t, e.svc.EndSession(ctx, ada, sessions[0].ID))
		require.NoError(t, e.svc.SignOut(ctx, e.cookie(in, http.MethodPost)))
		require.NoError(t, e.svc.SignOut(ctx, e.cookie(in, http.MethodPost)), "twice is no error")
		_, err = e.svc.Identify(e.cookie(in, http.MethodGet))
		require.ErrorIs(t, err, govauth.ErrUnauthenticated)
	})
}

func TestService_SessionLimits(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		e.add(t, "ada", "super_admin")
		start := func() *http.Request {
			link, err := e.svc.MintSignInLink(ctx, "ada", time.Hour)
			require.NoError(t, err)
			in, err := e.svc.UseLink(ctx, link.Token, here)
			require.NoError(t, err)
			return e.cookie(in, http.MethodGet)
		}
		idle := start()
		e.Advance(8*time.Hour + time.Second)
		_, err := e.svc.Identify(idle)
		require.ErrorIs(t, err, govauth.ErrUnauthenticated)

		busy := start()
		seen := func() string {
			var at string
			require.NoError(t, e.DB.Read().NewRaw("SELECT MAX(seen_at) FROM auth_session").Scan(ctx, &at))
			return at
		}
		began := seen()
		for range 30 {
			_, err := e.svc.Identify(busy)
			require.NoError(t, err)
		}
		require.NoError(t, e.svc.Flush(ctx))
		require.Equal(t, began, seen(), "not written within a minute")
		e.Advance(2 * time.Minute)
		_, err = e.svc.Identify(busy)
		require.NoError(t, err)
		require.Equal(t, began, seen(), "not written by the request")
		require.NoError(t, e.svc.Flush(ctx))
		require.NotEqual(t, began, seen())
		for range 24 { // never idle, but not for ever
			e.Advance(7 * time.Hour)
			if _, err = e.svc.Identify(busy); err != nil {
				break
			}
			require.NoError(t, e.svc.Flush(ctx))
		}
		require.ErrorIs(t, err, govauth.ErrUnauthenticated)
		e.Advance(40 * 24 * time.Hour)
		require.NoError(t, e.svc.Flush(ctx))
		var left int
		require.NoError(t, e.DB.Read().NewRaw("SELECT COUNT(*) FROM auth_session").Scan(ctx, &left))
		require.Zero(t, left)
	})
}

func TestService_Middleware(t *testing.T) {
	each(t, func(t *testing.T, e env) {
		ctx := t.Context()
		e.add(t, "ada", "super_admin")
		key, err := e.svc.MintKey(ctx, govauth.CreateKey{Kind: govauth.KeyPersonal, Person: "ada", Name: "k"})
		require.NoError(t, err)
		link, err := e.svc.MintSignInLink(ctx, "ada", time.Hour)
		require.NoError(t, err)
		in, err := e.svc.UseLink(ctx, link.Token, here)
		require.NoError(t, err)
		h := e.svc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := governance.IdentityFrom(r.Context())
			_, _ = w.Write([]byte(id.Actor.ID))
		}))
		call := func(r *http.Request) (int, string) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.NotEmpty(t, w.Header().Get("X-Request-Id"))
			return w.Code, w.Body.String()
		}
		code, body := call(httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, []any{200, ""}, []any{code, body})
		code, body = call(e.cookie(in, http.MethodPost))
		require.Equal(t, []any{200, "user:ada"}, []any{code, body})
		code, body = call(bearer(key))
		require.Equal(t, 200, code)
		require.True(t, strings.HasPrefix(body, "key:"))

		bad := e.cookie(in, http.MethodGet)
		bad.Header.Set("Authorization", "Bearer "+key+"x")
		for _, r := range []*http.Request{bad, bearer(""), bearer("x"), bearer(key[:len(key)-1] + "*"), bearer(in.Cookie), bearer(link.Token)} {
			code, body = call(r)
			require.Equal(t, 401, code)
			require.NotContains(t, body, key)
		}
		basic := httptest.NewRequest(http.MethodGet, "/", nil)
		basic.SetBasicAuth("ada", key)
		code, _ = call(basic)
		require.Equal(t, 401, code)

		for _, change := range []func(r *http.Request){ // a cookie alone changes nothing
			func(r *http.Request) { r.Header.Del("Sec-Fetch-Site") },
			func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
			func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "https://evil.example") },
		} {
			r := e.cookie(in, http.MethodPost)
			change(r)
			code, body = call(r)
			require.Equal(t, []any{200, ""}, []any{code, body})
		}

		log := e.cookie(in, http.MethodGet)
		log.Header.Set("X-Request-Id", "a\nb")
		log.Header.Set("User-Agent", "x\x1b[31m"+strings.Repeat("y", 500))
		id, err := e.svc.Identify(log)
		require.NoError(t, err)
		require.NotContains(t, id.Origin.RequestID, "\n")
		require.Len(t, id.Origin.UserAgent, 200)
		require.NotContains(t, id.Origin.UserAgent, "\x1b")

		broken, cancel := context.WithCancel(ctx)
		cancel()
		code, _ = call(bearer(key).WithContext(broken))
		require.Equal(t, 503, code, "who cannot be looked up is nobody")
	})
}

func TestService_Cookie(t *testing.T) {
	t.Parallel()
	e := build(t, govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{govauth.Schema()}}), &govauth.Options{Secure: true})
	w := httptest.NewRecorder()
	e.svc.SetCookie(w, govauth.SignedIn{Cookie: "v", Expires: e.Now().Add(time.Hour)})
	set := w.Header().Get("Set-Cookie")
	for _, part := range []string{"__Host-reeve=v", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		require.Contains(t, set, part)
	}
	require.NotContains(t, set, "Domain")
}
