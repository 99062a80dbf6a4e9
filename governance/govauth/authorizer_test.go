package govauth_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
)

// table says who holds what: a column for each role, in the order of the heading.
const table = `
                    super_admin gov_approver gov_auditor finance_viewer cs_agent support_key
	alert:ack         x           x            -           -              x        -
	alert:read        x           x            x           -              x        -
	alert:route       x           -            -           -              -        -
	alert:silence     x           x            -           -              -        -
	analytics:read    x           -            x           x              -        -
	analytics:write   x           -            -           -              -        -
	approval:read     x           x            x           -              x        -
	approval:vote     x           x            -           -              -        -
	evidence:build    x           -            x           -              -        -
	evidence:disclose x           -            -           -              -        -
	evidence:read     x           -            x           -              -        -
	integration:read  x           -            x           -              x        -
	integration:write x           -            -           -              -        -
	key:write         x           -            -           -              -        -
	ledger:erase      x           -            -           -              -        -
	ledger:read       x           x            x           -              -        -
	ledger:resume     x           -            -           -              -        -
	playbook:read     x           x            x           -              x        -
	playbook:run      x           -            -           -              -        -
	playbook:write    x           -            -           -              -        -
	policy:read       x           x            x           -              -        -
	policy:write      x           -            -           -              -        -
	retention:read    x           x            x           -              -        -
	retention:run     x           -            -           -              -        -
	retention:write   x           -            -           -              -        -
	runbook:read      x           x            x           -              x        -
	runbook:work      x           -            -           -              x        -
	session:end       x           -            -           -              x        -
	session:read      x           x            x           -              x        -
	session:review    x           x            -           -              -        -
	session:start     x           -            -           -              x        -
	siem:write        x           -            -           -              -        -
	support:lookup    x           -            -           -              -        x
	tenant:credit     x           -            -           -              x        -
	tenant:export     x           -            -           -              -        -
	tenant:plan       x           -            -           -              x        -
	tenant:read       x           x            x           -              x        -
	tenant:restrict   x           -            -           -              -        -
	user:read         x           -            x           -              -        -
	user:write        x           -            -           -              -        -
`

func newAuthorizer(t testing.TB, opts *govauth.AuthorizerOptions) *govauth.Authorizer {
	a, err := govauth.NewAuthorizer(opts)
	require.NoError(t, err)
	return a
}

func user(roles ...string) governance.Identity {
	return governance.Identity{Actor: governance.Actor{ID: "user:dana", Kind: governance.ActorUser, Person: "dana", Roles: roles}}
}

func TestAuthorizer_Table(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, nil)
	lines := strings.Split(strings.TrimSpace(table), "\n")
	roles := strings.Fields(lines[0])
	require.Equal(t, govauth.Roles(), roles)
	var permissions []string
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		permissions = append(permissions, cells[0])
		for i, role := range roles {
			err := a.Authorize(t.Context(), user(role), cells[0], governance.Target{})
			require.Equal(t, cells[i+1] == "x", err == nil, "%s %s: %v", role, cells[0], err)
		}
		require.Error(t, a.Authorize(t.Context(), user(), cells[0], governance.Target{}), "nobody without a role")
		require.Error(t, a.Authorize(t.Context(), user("gov_approverx", "Role::super_admin", ""), cells[0], governance.Target{}), "no role like it")
	}
	require.Equal(t, govauth.Permissions(), permissions)
	require.True(t, slices.IsSorted(permissions))
}

func TestAuthorizer_Forbids(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var reported []string
	a := newAuthorizer(t, &govauth.AuthorizerOptions{OnError: func(p string, faults []string) { reported = append(reported, p+" "+strings.Join(faults, ";")) }})

	require.NoError(t, a.Authorize(ctx, user("cs_agent", "finance_viewer"), "analytics:read", governance.Target{}), "roles add up")
	require.Error(t, a.Authorize(ctx, user("super_admin"), "tenant:destroy", governance.Target{}), "an unknown permission is nobody's")
	require.Error(t, a.Authorize(ctx, user("super_admin"), "Read", governance.Target{}))
	require.Len(t, reported, 2)
	require.Error(t, a.Authorize(ctx, governance.Identity{}, "tenant:read", governance.Target{}))

	representing := user("super_admin")
	representing.Subject = &governance.Actor{ID: "user:eve"}
	for _, p := range []string{"approval:vote", "policy:write", "user:write", "key:write", "session:start", "ledger:erase", "ledger:resume"} {
		require.Error(t, a.Authorize(ctx, representing, p, governance.Target{}), p)
	}
	require.NoError(t, a.Authorize(ctx, representing, "tenant:read", governance.Target{}))

	shared := governance.Identity{Actor: governance.Actor{ID: "key:1", Kind: governance.ActorKey, Roles: []string{"super_admin", "support_key"}}}
	require.Error(t, a.Authorize(ctx, shared, "approval:vote", governance.Target{}))
	require.Error(t, a.Authorize(ctx, shared, "tenant:read", governance.Target{}))
	require.NoError(t, a.Authorize(ctx, shared, "support:lookup", governance.Target{}))

	regional := user("cs_agent")
	regional.Actor.Region = "eu"
	require.NoError(t, a.Authorize(ctx, regional, "tenant:credit", governance.Target{Region: "eu"}))
	require.NoError(t, a.Authorize(ctx, regional, "tenant:credit", governance.Target{}))
	require.Error(t, a.Authorize(ctx, regional, "tenant:credit", governance.Target{Region: "us"}))

	playbook := governance.Identity{Actor: governance.Actor{ID: "playbook:nurture", Kind: governance.ActorPlaybook}}
	require.NoError(t, a.Authorize(ctx, playbook, "tenant:restrict", governance.Target{}))
	require.Error(t, a.Authorize(ctx, playbook, "approval:vote", governance.Target{}))
	require.Error(t, a.Authorize(ctx, playbook, "tenant:export", governance.Target{}))
}

func TestAuthorizer_Extra(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var reported []string
	hook := func(p string, faults []string) { reported = append(reported, faults...) }
	a := newAuthorizer(t, &govauth.AuthorizerOptions{Extra: `@id("no-exports") forbid (principal, action == Action::"tenant:export", resource);`, OnError: hook})
	err := a.Authorize(ctx, user("super_admin"), "tenant:export", governance.Target{})
	var denied *governance.DeniedError
	require.ErrorAs(t, err, &denied)
	require.Equal(t, "no-exports", denied.Rule)
	require.Empty(t, reported)

	// A forbid that asks for what is not there would be skipped by Cedar.
	a = newAuthorizer(t, &govauth.AuthorizerOptions{Extra: `forbid (principal, action, resource) when { context.mfa_age > 300 };`, OnError: hook})
	err = a.Authorize(ctx, user("super_admin"), "tenant:read", governance.Target{})
	require.ErrorAs(t, err, &denied)
	require.Equal(t, "authorizer", denied.Rule)
	require.NotEmpty(t, reported)

	_, err = govauth.NewAuthorizer(&govauth.AuthorizerOptions{Extra: `forbid (principal`})
	require.ErrorContains(t, err, "extra.cedar")
	_, err = govauth.NewAuthorizer(&govauth.AuthorizerOptions{Extra: `@id("cs-agent") permit (principal, action, resource);`})
	require.ErrorContains(t, err, "cs-agent", "a built-in policy is not replaced unseen")
}

func BenchmarkAuthorizer(b *testing.B) {
	a := newAuthorizer(b, nil)
	id := user("cs_agent")
	for b.Loop() {
		if err := a.Authorize(b.Context(), id, "tenant:credit", governance.Target{Tenant: "acme", Region: "eu"}); err != nil {
			b.Fatal(err)
		}
	}
}
