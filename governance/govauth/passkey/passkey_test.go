package passkey_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth/passkey"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/internal/softkey"
)

const origin = "https://reeve.example.com"

type note struct {
	Text string `json:"text"`
}

type rig struct {
	*govtest.Env
	svc   *passkey.Service
	store *passkey.Store
	act   *governance.Action[note]
	site  passkey.Site
}

// late is the verifier that a kernel is made with before its database is known here.
type late struct{ *passkey.Store }

func options(l *late) *govtest.Options {
	return &govtest.Options{Schemas: []govdb.Schema{passkey.Schema()}, Kernel: func(o *governance.Options) { o.Votes = l }}
}

func newRig(t *testing.T, e *govtest.Env, l *late) *rig {
	t.Helper()
	r := &rig{Env: e, site: passkey.SiteOf(origin)}
	var err error
	r.store, err = passkey.NewStore(e.DB, func() passkey.Site { return r.site })
	require.NoError(t, err)
	l.Store = r.store
	r.svc, err = passkey.New(e.Kernel, r.store, nil)
	require.NoError(t, err)
	e.People.Put("dana", "agent")
	for _, p := range []governance.PersonID{"fay", "fin", "flo"} {
		e.People.Put(p, "finance")
	}
	e.People.Put("root", "root")
	e.People.Allow("agent", "note:write")
	e.People.Allow("finance", "approval:vote", "approval:read")
	r.act = governance.Define("note.write", governance.Spec[note]{Permission: "note:write", Sensitive: true, Tenant: func(note) governance.TenantID { return "" },
		Resource: func(note) governance.Ref { return governance.Ref{Kind: "note", ID: "1"} },
	}, func(_ context.Context, _ *governance.Tx, in note) (governance.Result, error) {
		return governance.Result{Data: in}, nil
	})
	require.NoError(t, e.Kernel.Register(r.act))
	return r
}

func policy(approvals int, manual bool) governance.Policy {
	day := governance.Duration{Duration: 24 * time.Hour}
	return governance.Policy{ID: "notes", Title: "Signed", Actions: []string{"note.write"}, Mode: governance.Enforce, Require: &governance.Require{
		AllOf: []governance.Quorum{{Group: "finance", Approvals: approvals}}, DecideWithin: day, ExecuteWithin: day, Signed: true, Manual: manual}}
}

// each runs fn on both engines with an installed policy.
func each(t *testing.T, p governance.Policy, fn func(t *testing.T, r *rig)) {
	t.Helper()
	run := func(t *testing.T, make func(testing.TB, *govtest.Options) *govtest.Env) {
		t.Parallel()
		l := &late{}
		r := newRig(t, make(t, options(l)), l)
		require.NoError(t, r.Kernel.InstallPolicies(t.Context(), p))
		fn(t, r)
	}
	t.Run("sqlite", func(t *testing.T) { run(t, govtest.New) })
	t.Run("postgres", func(t *testing.T) { run(t, govtest.NewPostgres) })
}

func (r *rig) enrol(t *testing.T, p governance.PersonID, alg int) (*softkey.Key, passkey.Key) {
	t.Helper()
	soft := softkey.New(t, alg, origin)
	opts, err := r.svc.BeginEnrol(t.Context(), r.As(p))
	require.NoError(t, err)
	key, err := r.svc.FinishEnrol(t.Context(), r.As(p), "key of "+string(p), soft.Create(t, opts))
	require.NoError(t, err)
	return soft, key
}

func (r *rig) ask(t *testing.T, text string) governance.Approval {
	t.Helper()
	_, err := r.act.Do(t.Context(), r.Kernel, r.As("dana"), note{text}, nil)
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	a, err := r.Kernel.Approval(t.Context(), held.Approval)
	require.NoError(t, err)
	return a
}

func (r *rig) begin(t *testing.T, p governance.PersonID, a governance.Approval, d governance.VoteDecision) json.RawMessage {
	t.Helper()
	opts, err := r.svc.BeginVote(t.Context(), r.As(p), a.ID, d, a.Digest)
	require.NoError(t, err)
	return opts
}

func (r *rig) cast(t *testing.T, p governance.PersonID, a governance.Approval, d governance.VoteDecision, assertion json.RawMessage) (governance.Approval, error) {
	t.Helper()
	return r.Kernel.Decide(t.Context(), r.As(p), a.ID, governance.Vote{Decision: d, Digest: a.Digest, Assertion: assertion})
}

func (r *rig) records(t *testing.T, action string) (out []governance.RecordView) {
	t.Helper()
	rs, err := r.Kernel.Ledger().Records(t.Context(), ledger.Filter{AllTenants: true, Limit: 200})
	require.NoError(t, err)
	for _, x := range rs {
		v, err := governance.ReadRecord(x.Body)
		require.NoError(t, err)
		if v.Action == action {
			out = append(out, v)
		}
	}
	return out
}

func TestVote_Signed(t *testing.T) {
	t.Parallel()
	for name, alg := range map[string]int{"ES256": softkey.ES256, "EdDSA": softkey.EdDSA, "RS256": softkey.RS256} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, policy(1, false), func(t *testing.T, r *rig) {
				soft, key := r.enrol(t, "fay", alg)
				a := r.ask(t, "x")
				done, err := r.cast(t, "fay", a, governance.Approve, soft.Get(t, r.begin(t, "fay", a, governance.Approve)))
				require.NoError(t, err)
				require.Equal(t, governance.StateExecuted, done.State)
				sig := done.Votes[0].Signature
				require.Equal(t, key.ID.String(), sig.Key)
				require.Equal(t, soft.COSE(), sig.PublicKey)
				hash, err := sig.Hash()
				require.NoError(t, err)

				var vote struct {
					Signature struct{ Key, Credential, Assertion, PublicKey string }
				}
				raw := strings.ReplaceAll(string(r.records(t, "approval.vote")[0].Data), "public_key", "PublicKey")
				require.NoError(t, json.Unmarshal([]byte(raw), &vote))
				require.Equal(t, string(hash), vote.Signature.Assertion, "the record of the vote commits to what was signed")
				require.Equal(t, key.Credential, vote.Signature.Credential)
				enrolled := r.records(t, "passkey.enrol")[0]
				require.Contains(t, string(enrolled.Data), string(governance.PublicKeyDigest(soft.COSE())), "the record of the key commits to its public key")
				require.Equal(t, governance.PersonID("fay"), enrolled.Actor.Person)
				require.Equal(t, vote.Signature.PublicKey, string(governance.PublicKeyDigest(soft.COSE())))
				problems, err := governance.Check(t.Context(), r.DB)
				require.NoError(t, err)
				require.Empty(t, problems)

				_, err = r.DB.Handle().ExecContext(t.Context(), "UPDATE gov_vote SET signature = ''")
				require.NoError(t, err)
				problems, err = governance.Check(t.Context(), r.DB)
				require.NoError(t, err)
				require.Len(t, problems, 1, "a vote that was signed and is not any more")
			})
		})
	}
}

// Every way in which an answer of an authenticator does not count: the vote is refused,
// said why, written down, and leaves nothing.
func TestVote_Refused(t *testing.T) {
	t.Parallel()
	type try struct {
		r     *rig
		soft  *softkey.Key
		other *softkey.Key // of fin
		a, b  governance.Approval
	}
	cases := map[string]struct {
		why    string
		answer func(t *testing.T, x try) json.RawMessage
	}{
		"no signature": {"wants your vote signed", func(*testing.T, try) json.RawMessage { return nil }},
		"no answer":    {"cannot be read", func(*testing.T, try) json.RawMessage { return json.RawMessage(`{"id":1}`) }},
		"huge":         {"bytes", func(*testing.T, try) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", 20<<10) + `"`) }},
		"wrong challenge": {"answers no challenge", func(t *testing.T, x try) json.RawMessage {
			return x.soft.Get(t, json.RawMessage(`{"challenge":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","rpId":"reeve.example.com"}`))
		}},
		"another approval": {"another approval", func(t *testing.T, x try) json.RawMessage {
			return x.soft.Get(t, x.r.begin(t, "fay", x.b, governance.Approve))
		}},
		"another decision": {"another decision", func(t *testing.T, x try) json.RawMessage {
			return x.soft.Get(t, x.r.begin(t, "fay", x.a, governance.Reject))
		}},
		"another payload": {"another payload", func(t *testing.T, x try) json.RawMessage {
			opts := x.r.begin(t, "fay", x.a, governance.Approve)
			_, err := x.r.DB.Handle().ExecContext(t.Context(), "UPDATE passkey_challenge SET digest = 'sha256:00'")
			require.NoError(t, err)
			return x.soft.Get(t, opts)
		}},
		"a challenge that was rewritten in the database": {"validating challenge", func(t *testing.T, x try) json.RawMessage {
			opts := x.r.begin(t, "fay", x.b, governance.Approve)
			_, err := x.r.DB.Handle().ExecContext(t.Context(), "UPDATE passkey_challenge SET approval = ?, digest = ?", x.a.ID.String(), string(x.a.Digest))
			require.NoError(t, err)
			return x.soft.Get(t, opts)
		}},
		"somebody else's challenge": {"challenge of somebody else", func(t *testing.T, x try) json.RawMessage {
			return x.soft.Get(t, x.r.begin(t, "fin", x.a, governance.Approve))
		}},
		"somebody else's key": {"no key of yours", func(t *testing.T, x try) json.RawMessage {
			return x.other.Get(t, x.r.begin(t, "fay", x.a, governance.Approve))
		}},
		"somebody else's key under one's own id": {"signature", func(t *testing.T, x try) json.RawMessage {
			x.other.ID = x.soft.ID
			return x.other.Get(t, x.r.begin(t, "fay", x.a, governance.Approve))
		}},
		"no user verification": {"did not verify who used it", func(t *testing.T, x try) json.RawMessage {
			x.soft.NoUser = true
			return x.soft.Get(t, x.r.begin(t, "fay", x.a, governance.Approve))
		}},
		"another origin": {"origin", func(t *testing.T, x try) json.RawMessage {
			x.soft.Origin = "https://reeve.example.com.evil.example"
			return x.soft.Get(t, x.r.begin(t, "fay", x.a, governance.Approve))
		}},
		"another domain": {"another domain than", func(t *testing.T, x try) json.RawMessage {
			x.soft.RPID = "evil.example"
			return x.soft.Get(t, x.r.begin(t, "fay", x.a, governance.Approve))
		}},
		"too late": {"answers no challenge", func(t *testing.T, x try) json.RawMessage {
			opts := x.r.begin(t, "fay", x.a, governance.Approve)
			x.r.Advance(5*time.Minute + time.Second)
			return x.soft.Get(t, opts)
		}},
		"a revoked key": {"no key of yours, or by one that was revoked", func(t *testing.T, x try) json.RawMessage {
			opts := x.r.begin(t, "fay", x.a, governance.Approve)
			keys, err := x.r.svc.Keys(t.Context(), "fay")
			require.NoError(t, err)
			require.NoError(t, x.r.svc.Revoke(t.Context(), x.r.As("fay"), passkey.Revoke{Key: keys[0].ID, Reason: "old", Retired: true}))
			return x.soft.Get(t, opts)
		}},
		"a counter that goes backwards": {"backwards", func(t *testing.T, x try) json.RawMessage {
			_, err := x.r.cast(t, "fay", x.b, governance.Approve, x.soft.Get(t, x.r.begin(t, "fay", x.b, governance.Approve)))
			require.NoError(t, err)
			x.soft.Counter = 0
			return x.soft.Get(t, x.r.begin(t, "fay", x.a, governance.Approve))
		}},
		"a replay on another approval": {"answers no challenge", func(t *testing.T, x try) json.RawMessage {
			answer := x.soft.Get(t, x.r.begin(t, "fay", x.b, governance.Approve))
			_, err := x.r.cast(t, "fay", x.b, governance.Approve, answer)
			require.NoError(t, err)
			return answer
		}},
	}
	each(t, policy(2, false), func(t *testing.T, r *rig) {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				x := try{r: r, a: r.ask(t, "a "+name), b: r.ask(t, "b "+name)}
				for _, p := range []governance.PersonID{"fay", "fin"} {
					keys, err := r.svc.Keys(t.Context(), p)
					require.NoError(t, err)
					for _, k := range keys {
						if k.RevokedAt.IsZero() {
							require.NoError(t, r.svc.Revoke(t.Context(), r.As("root"), passkey.Revoke{Key: k.ID, Reason: "next test"}))
						}
					}
				}
				x.soft, _ = r.enrol(t, "fay", softkey.ES256)
				x.other, _ = r.enrol(t, "fin", softkey.ES256)
				answer := c.answer(t, x)
				before := len(r.records(t, "approval.vote"))
				_, err := r.cast(t, "fay", x.a, governance.Approve, answer)
				var denied *governance.DeniedError
				require.ErrorAs(t, err, &denied)
				require.Contains(t, strings.ToLower(denied.Reason), c.why)
				got, err := r.Kernel.Approval(t.Context(), x.a.ID)
				require.NoError(t, err)
				require.Empty(t, got.Votes)
				require.Equal(t, governance.StatePending, got.State)
				votes := r.records(t, "approval.vote")
				require.Len(t, votes, before+1)
				require.Equal(t, governance.OutcomeDenied, votes[0].Outcome)

				alerts, err := r.Kernel.Alerts(t.Context(), governance.AlertFilter{})
				require.NoError(t, err)
				copied := false
				for _, al := range alerts {
					copied = copied || strings.Contains(al.Title, "copied")
				}
				if name == "a counter that goes backwards" {
					require.True(t, copied, "it raises an alert")
					for _, al := range alerts {
						if strings.Contains(al.Title, "copied") {
							require.Equal(t, governance.Critical, al.Severity)
						}
					}
				}
			})
		}
	})
}

func TestVote_AgainstNeedsNoKey(t *testing.T) {
	t.Parallel()
	each(t, policy(1, false), func(t *testing.T, r *rig) {
		a := r.ask(t, "x")
		yes, why := r.Kernel.CanApprove(t.Context(), r.As("fay"), a)
		require.False(t, yes)
		require.Contains(t, why, "no security key")
		yes, _ = r.Kernel.CanVote(t.Context(), r.As("fay"), a)
		require.True(t, yes, "whoever lost their key can still stop it")
		_, err := r.svc.BeginVote(t.Context(), r.As("fay"), a.ID, governance.Approve, a.Digest)
		require.ErrorContains(t, err, "no security key")
		done, err := r.cast(t, "fay", a, governance.Reject, nil)
		require.NoError(t, err)
		require.Equal(t, governance.StateDenied, done.State)
	})
}

// A key that was revoked between the vote and the act: compromised takes the vote along,
// retired leaves it, and retired may become compromised later.
func TestRevoke_BeforeTheAct(t *testing.T) {
	t.Parallel()
	each(t, policy(1, true), func(t *testing.T, r *rig) {
		voted := func(t *testing.T) (governance.Approval, passkey.Key) {
			soft, key := r.enrol(t, "fay", softkey.ES256)
			a := r.ask(t, uuid.NewString())
			a, err := r.cast(t, "fay", a, governance.Approve, soft.Get(t, r.begin(t, "fay", a, governance.Approve)))
			require.NoError(t, err)
			require.Equal(t, governance.StateApproved, a.State)
			return a, key
		}
		execute := func(a governance.Approval) (governance.Outcome, error) {
			return r.Kernel.Execute(t.Context(), r.As("fay"), a.ID)
		}
		t.Run("retired", func(t *testing.T) {
			a, key := voted(t)
			require.NoError(t, r.svc.Revoke(t.Context(), r.As("fay"), passkey.Revoke{Key: key.ID, Reason: "a new one came", Retired: true}))
			require.ErrorIs(t, r.svc.Revoke(t.Context(), r.As("fay"), passkey.Revoke{Key: key.ID, Reason: "again", Retired: true}), governance.ErrConflict)
			out, err := execute(a)
			require.NoError(t, err)
			require.Equal(t, governance.StateExecuted, out.State)
		})
		t.Run("compromised, by somebody else", func(t *testing.T) {
			a, key := voted(t)
			require.ErrorContains(t, r.svc.Revoke(t.Context(), r.As("root"), passkey.Revoke{Key: key.ID, Reason: "left", Retired: true}), "only its person")
			require.NoError(t, r.svc.Revoke(t.Context(), r.As("root"), passkey.Revoke{Key: key.ID, Reason: "stolen"}))
			_, err := execute(a)
			require.ErrorContains(t, err, "signature does not hold any more")
			got, err := r.Kernel.Approval(t.Context(), a.ID)
			require.NoError(t, err)
			require.Equal(t, governance.StateSuperseded, got.State)
		})
		t.Run("retired, then found compromised", func(t *testing.T) {
			a, key := voted(t)
			require.NoError(t, r.svc.Revoke(t.Context(), r.As("fay"), passkey.Revoke{Key: key.ID, Reason: "a new one came", Retired: true}))
			require.NoError(t, r.svc.Revoke(t.Context(), r.As("fay"), passkey.Revoke{Key: key.ID, Reason: "it was taken from the drawer"}))
			_, err := execute(a)
			require.ErrorContains(t, err, "signature does not hold any more")
		})
		t.Run("what was stored is not what was signed", func(t *testing.T) {
			for _, change := range []func(*governance.VoteSignature){
				func(s *governance.VoteSignature) { s.Signature[len(s.Signature)-1] ^= 1 },
				func(s *governance.VoteSignature) { s.ClientData = []byte(`{}`) },
				func(s *governance.VoteSignature) { s.Nonce = "x" },
				func(s *governance.VoteSignature) { s.Key = uuid.NewString() },
			} {
				a, _ := voted(t)
				sig := *a.Votes[0].Signature
				change(&sig)
				b, err := governance.Canonical(sig)
				require.NoError(t, err)
				_, err = r.DB.Handle().ExecContext(t.Context(), "UPDATE gov_vote SET signature = ? WHERE approval = ?", string(b), a.ID)
				require.NoError(t, err)
				_, err = execute(a)
				require.ErrorContains(t, err, "signature does not hold any more")
			}
		})
	})
}

func TestEnrol_Refused(t *testing.T) {
	t.Parallel()
	each(t, policy(1, false), func(t *testing.T, r *rig) {
		ctx := t.Context()
		begin := func(id governance.Identity) error {
			_, err := r.svc.BeginEnrol(ctx, id)
			return err
		}
		old := r.As("fay")
		r.Advance(5*time.Minute + time.Second)
		require.ErrorContains(t, begin(old), "sign in again")
		require.False(t, r.svc.Fresh(old))
		key := r.As("fay")
		key.Actor.Kind = governance.ActorKey
		require.ErrorContains(t, begin(key), "only a person who is signed in")
		as := r.As("root")
		fay := r.As("fay").Actor
		as.Subject = &fay
		require.ErrorContains(t, begin(as), "impersonating")

		opts, err := r.svc.BeginEnrol(ctx, r.As("fay"))
		require.NoError(t, err)
		finish := func(p governance.PersonID, name string, answer json.RawMessage) error {
			_, err := r.svc.FinishEnrol(ctx, r.As(p), name, answer)
			return err
		}
		soft := softkey.New(t, softkey.ES256, origin)
		require.ErrorContains(t, finish("fin", "mine", soft.Create(t, opts)), "no challenge that is out for you", "nobody adds a key of theirs for somebody else, or the other way round")
		require.ErrorContains(t, finish("fay", " ", soft.Create(t, opts)), "name")
		require.ErrorContains(t, finish("fay", "mine", json.RawMessage(`{}`)), "cannot be read")
		bad := softkey.New(t, softkey.ES256, "https://evil.example")
		require.Error(t, finish("fay", "mine", bad.Create(t, opts)))
		bad = softkey.New(t, softkey.ES256, origin)
		bad.NoUser = true
		require.Error(t, finish("fay", "mine", bad.Create(t, opts)))
		require.NoError(t, finish("fay", "mine", soft.Create(t, opts)), "what was refused did not use the challenge up")
		require.ErrorContains(t, finish("fay", "mine", soft.Create(t, opts)), "no challenge", "and it works once")
		opts, err = r.svc.BeginEnrol(ctx, r.As("fin"))
		require.NoError(t, err)
		require.ErrorIs(t, finish("fin", "mine", soft.Create(t, opts)), governance.ErrConflict, "one key is one person's")
		require.Len(t, r.records(t, "passkey.enrol"), 1)

		keys, err := r.svc.Keys(ctx, "fay")
		require.NoError(t, err)
		require.Error(t, r.svc.Revoke(ctx, r.As("fin"), passkey.Revoke{Key: keys[0].ID, Reason: "why not"}))
		require.ErrorContains(t, r.svc.Revoke(ctx, r.As("fay"), passkey.Revoke{Key: keys[0].ID}), "reason")
		require.ErrorIs(t, r.svc.Revoke(ctx, r.As("root"), passkey.Revoke{Key: uuid.New(), Reason: "x"}), governance.ErrNotFound)
		require.NoError(t, r.svc.Revoke(ctx, r.As("fay"), passkey.Revoke{Key: keys[0].ID, Reason: "lost"}))
		require.Len(t, r.records(t, "passkey.revoke"), 1)

		r.site = passkey.SiteOf("http://192.0.2.1:8080")
		require.ErrorContains(t, begin(r.As("fay")), "IP address")
	})
}

// A policy that wants signatures needs people who have keys, and a kernel that checks.
func TestPolicy_Signed(t *testing.T) {
	t.Parallel()
	l := &late{}
	r := newRig(t, govtest.New(t, options(l)), l)
	ctx := t.Context()
	_, err := r.Kernel.PutPolicy(ctx, r.As("root"), policy(1, false), nil)
	require.ErrorContains(t, err, "without a security key")
	_, key := r.enrol(t, "fay", softkey.ES256)
	_, err = r.Kernel.PutPolicy(ctx, r.As("root"), policy(1, false), nil)
	require.NoError(t, err)
	require.NoError(t, r.svc.Revoke(ctx, r.As("fay"), passkey.Revoke{Key: key.ID, Reason: "lost"}))
	require.NoError(t, r.Kernel.CheckReach(ctx))
	alerts, err := r.Kernel.Alerts(ctx, governance.AlertFilter{})
	require.NoError(t, err)
	require.Len(t, alerts, 1)

	bare := govtest.New(t, nil)
	require.ErrorContains(t, bare.Kernel.InstallPolicies(ctx, policy(1, false)), "checks no signatures")
	bare.People.Put("root", "root")
	_, err = bare.Kernel.PutPolicy(ctx, bare.As("root"), policy(1, false), nil)
	require.ErrorContains(t, err, "require.signed")
}

func TestSiteOf(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]passkey.Site{
		"https://reeve.example.com": {RPID: "reeve.example.com", Origins: []string{"https://reeve.example.com"}},
		"http://127.0.0.1:8080":     {RPID: "localhost", Origins: []string{"http://localhost:8080"}},
		"http://[::1]:8080":         {RPID: "localhost", Origins: []string{"http://localhost:8080"}},
		"http://192.0.2.1:8080":     {},
		"":                          {},
	} {
		require.Equal(t, want, passkey.SiteOf(in), in)
	}
}

// A server that was started without a verifier, on a database whose policy wants
// signatures, lets nothing through.
func TestVote_WithoutAVerifier(t *testing.T) {
	t.Parallel()
	each(t, policy(1, true), func(t *testing.T, r *rig) {
		ctx := t.Context()
		soft, _ := r.enrol(t, "fay", softkey.ES256)
		signed, open := r.ask(t, "signed"), r.ask(t, "open")
		signed, err := r.cast(t, "fay", signed, governance.Approve, soft.Get(t, r.begin(t, "fay", signed, governance.Approve)))
		require.NoError(t, err)
		require.Equal(t, governance.StateApproved, signed.State)
		answer := soft.Get(t, r.begin(t, "fay", open, governance.Approve))

		skey, _, err := ledger.GenerateKey("reeve.test")
		require.NoError(t, err)
		bare, err := governance.New(r.DB, &governance.Options{Authorizer: r.People, Directory: r.People, LedgerKey: skey})
		require.NoError(t, err)
		require.NoError(t, bare.Register(r.act))
		yes, why := bare.CanApprove(ctx, r.As("fay"), open)
		require.False(t, yes)
		require.Contains(t, why, "this server checks no signatures")
		for _, a := range []json.RawMessage{nil, answer} {
			_, err = bare.Decide(ctx, r.As("fay"), open.ID, governance.Vote{Decision: governance.Approve, Digest: open.Digest, Assertion: a})
			var denied *governance.DeniedError
			require.ErrorAs(t, err, &denied)
			require.Contains(t, denied.Reason, "checks no")
		}
		_, err = bare.Execute(ctx, r.As("fay"), signed.ID)
		require.ErrorContains(t, err, "signature does not hold any more")
	})
}

// Where one policy wants votes signed and another asks the tenant, whose people have no
// keys, nobody is made to wait for a consent that could not be given.
func TestVote_SignedAndTheTenant(t *testing.T) {
	t.Parallel()
	each(t, policy(1, false), func(t *testing.T, r *rig) {
		ctx, day := t.Context(), governance.Duration{Duration: 24 * time.Hour}
		uma := governance.Contact{ID: "uma", Since: r.Now().Add(-time.Hour)}
		r.Kernel.ContactsBy(func(context.Context, governance.TenantID) ([]governance.Contact, error) {
			return []governance.Contact{uma}, nil
		})
		act := governance.Define("note.share", governance.Spec[note]{Permission: "note:write", Tenant: func(note) governance.TenantID { return "acme" },
			Resource: func(note) governance.Ref { return governance.Ref{Kind: "note", ID: "1"} },
		}, func(context.Context, *governance.Tx, note) (governance.Result, error) {
			return governance.Result{}, nil
		})
		require.NoError(t, r.Kernel.Register(act))
		two := func(id string, signed bool, group governance.GroupID) governance.Policy {
			return governance.Policy{ID: id, Title: id, Actions: []string{"note.share"}, Mode: governance.Enforce, Require: &governance.Require{
				AllOf: []governance.Quorum{{Group: group, Approvals: 1}}, DecideWithin: day, ExecuteWithin: day, Signed: signed}}
		}
		require.NoError(t, r.Kernel.InstallPolicies(ctx, two("share-signed", true, "finance"), two("share-asked", false, governance.GroupTenant)))
		_, err := act.Do(ctx, r.Kernel, r.As("dana"), note{"x"}, nil)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		require.Equal(t, "consent", denied.Rule)
	})
}

// TestVote_CopiesAtOnce: a key and its copy that sign with the same counter at the same
// time do not both count.
func TestVote_CopiesAtOnce(t *testing.T) {
	t.Parallel()
	each(t, policy(1, false), func(t *testing.T, r *rig) {
		soft, _ := r.enrol(t, "fay", softkey.ES256)
		for range 8 {
			var answers []json.RawMessage
			var as []governance.Approval
			counter := soft.Counter
			for range 2 {
				a := r.ask(t, uuid.NewString())
				soft.Counter = counter
				as, answers = append(as, a), append(answers, soft.Get(t, r.begin(t, "fay", a, governance.Approve)))
			}
			errs := make([]error, 2)
			var wg sync.WaitGroup
			id := r.As("fay")
			for i := range as {
				wg.Go(func() {
					_, errs[i] = r.Kernel.Decide(context.Background(), id, as[i].ID, governance.Vote{Decision: governance.Approve, Digest: as[i].Digest, Assertion: answers[i]})
				})
			}
			wg.Wait()
			refused := 0
			for _, err := range errs {
				var denied *governance.DeniedError
				if errors.As(err, &denied) {
					require.Contains(t, denied.Reason, "backwards")
					refused++
				} else {
					require.NoError(t, err)
				}
			}
			require.Equal(t, 1, refused)
		}
	})
}
