package console

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth/passkey"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/softkey"
)

type lateVotes struct{ *passkey.Store }

func TestPasskeys(t *testing.T) {
	t.Parallel()
	const origin = "https://example.com" // where the test's browser is
	votes := &lateVotes{}
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{passkey.Schema()}, Kernel: func(o *governance.Options) { o.Votes = votes }})
	site := passkey.SiteOf(origin)
	var err error
	votes.Store, err = passkey.NewStore(e.DB, func() passkey.Site { return site })
	require.NoError(t, err)
	svc, err := passkey.New(e.Kernel, votes.Store, nil)
	require.NoError(t, err)
	e.People.Put("dana", "agent")
	e.People.Put("fay", "finance")
	e.People.Allow("agent", "note:write", "approval:read")
	e.People.Allow("finance", "approval:vote", "approval:read")
	type note struct{}
	act := governance.Define("note.write", governance.Spec[note]{Permission: "note:write", Tenant: func(note) governance.TenantID { return "" }, Resource: func(note) governance.Ref { return governance.Ref{Kind: "note", ID: "1"} }},
		func(context.Context, *governance.Tx, note) (governance.Result, error) {
			return governance.Result{}, nil
		})
	require.NoError(t, e.Kernel.Register(act))
	day := governance.Duration{Duration: 24 * time.Hour}
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "notes", Title: "Notes", Actions: []string{"note.write"}, Mode: governance.Enforce,
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "finance", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day, Signed: true}}))
	h, err := New(&Options{Kernel: e.Kernel, Sections: []Section{Passkeys(svc)}})
	require.NoError(t, err)
	fay := browse(t, h, e.As("fay"))

	_, err = act.Do(t.Context(), e.Kernel, e.As("dana"), note{}, nil)
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	at := "/approvals/" + held.Approval.String()
	page := fay.get(at, 200).body
	require.Contains(t, page, "You cannot vote for it: the policy wants your vote signed, and you have no security key registered")
	require.NotContains(t, page, "data-needs-key")

	require.Contains(t, fay.get("/passkeys", 200).body, "data-needs-key")
	require.Contains(t, fay.post("/passkeys", 422, "name", "mine").body, "needs JavaScript")
	require.Contains(t, fay.post("/passkeys", 422, "name", "mine", "assertion", "{}").body, "cannot be read")
	soft := softkey.New(t, softkey.ES256, origin)
	got := fay.post("/passkeys/options", 200)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	fay.post("/passkeys", 303, "name", "My <b>key</b>", "assertion", string(soft.Create(t, json.RawMessage(got.body))))
	require.Contains(t, fay.get("/passkeys", 200).body, "My &lt;b&gt;key&lt;/b&gt;")

	page = fay.get(at, 200).body
	require.Contains(t, page, "data-needs-key")
	require.Contains(t, page, "a signed vote needs JavaScript")
	a, err := e.Kernel.Approval(t.Context(), held.Approval)
	require.NoError(t, err)
	vote := []string{"approval", held.Approval.String(), "decision", "approve", "digest", string(a.Digest)}
	require.Contains(t, fay.post(at+"/vote", 403, vote...).body, "signed by your security key")
	require.Contains(t, fay.post("/passkeys/vote-options", 409, "approval", "x").body, `{"error":`)
	require.Contains(t, fay.post("/passkeys/vote-options", 422, "approval", held.Approval.String(), "digest", string(a.Digest)).body, `{"error":`)
	options := fay.post("/passkeys/vote-options", 200, vote...).body
	fay.post(at+"/vote", 303, append(vote, "assertion", string(soft.Get(t, json.RawMessage(options))))...)
	require.Contains(t, fay.get(at, 200).body, ", signed")
	require.Contains(t, fay.post("/passkeys/vote-options", 403, vote...).body, "it is executed")

	keys, err := svc.Keys(t.Context(), "fay")
	require.NoError(t, err)
	revoke := "/passkeys/" + keys[0].ID.String() + "/revoke"
	dana := browse(t, h, e.As("dana"))
	dana.post(revoke, 403, "reason", "why not")
	fay.post(revoke, 422)
	fay.post(revoke, 303, "reason", "a new one came", "retired", "yes")
	require.Contains(t, fay.get("/passkeys", 200).body, "It was stolen")
	fay.post(revoke, 303, "reason", "it was taken")
	require.Contains(t, fay.get("/passkeys", 200).body, "Compromised")

	old := e.As("fay")
	e.Advance(6 * time.Minute)
	require.Contains(t, browse(t, h, old).get("/passkeys", 200).body, "Sign in again to register a key")
	require.Contains(t, browse(t, h, old).post("/passkeys/options", 403).body, "sign in again")
	site = passkey.SiteOf("http://127.0.0.1:8080")
	require.Contains(t, browse(t, h, e.As("fay")).get("/passkeys", 200).body, "Open this page at http://localhost:8080")
	site = passkey.Site{}
	require.Contains(t, browse(t, h, e.As("fay")).get("/passkeys", 200).body, "Security keys do not work on this server")
	shared := e.As("fay")
	shared.Actor.Person = ""
	browse(t, h, shared).get("/passkeys", 403)
}
