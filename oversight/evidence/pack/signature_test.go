package pack_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth/passkey"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/internal/softkey"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// lateKeys is the verifier that a kernel is made with before its database is known here.
type lateKeys struct{ *passkey.Store }

type signedRig struct {
	*evidencetest.Rig
	keys *passkey.Service
	soft map[governance.PersonID]*softkey.Key

	t       *testing.T
	current governance.Approval
}

const site = "https://reeve.example.com"

// signing is a rig whose renames need two signed votes of finance.
func signing(t *testing.T) (*signedRig, string) {
	t.Helper()
	opts, late := evidencetest.Options(), &lateKeys{}
	opts.Schemas = append(opts.Schemas, passkey.Schema())
	opts.Kernel = func(o *governance.Options) { o.Votes = late }
	env := govtest.New(t, opts)
	var err error
	late.Store, err = passkey.NewStore(env.DB, func() passkey.Site { return passkey.SiteOf(site) })
	require.NoError(t, err)
	s := &signedRig{Rig: evidencetest.New(t, env), soft: map[governance.PersonID]*softkey.Key{}}
	s.keys, err = passkey.New(env.Kernel, late.Store, nil)
	require.NoError(t, err)
	day := governance.Duration{Duration: 24 * time.Hour}
	require.NoError(t, s.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "renames", Title: "Renames", Actions: []string{"tenant.rename"}, Mode: governance.Enforce,
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "finance", Approvals: 2}}, DecideWithin: day, ExecuteWithin: day, Signed: true}}))
	for p, alg := range map[governance.PersonID]int{"fay": softkey.ES256, "fin": softkey.EdDSA, "both": softkey.RS256} {
		s.soft[p] = softkey.New(t, alg, site)
		o, err := s.keys.BeginEnrol(t.Context(), s.As(p))
		require.NoError(t, err)
		_, err = s.keys.FinishEnrol(t.Context(), s.As(p), "key", s.soft[p].Create(t, o))
		require.NoError(t, err)
	}
	return s, s.Kernel.Ledger().VerifierKey()
}

func (s *signedRig) ask(t *testing.T, name string) governance.Approval {
	t.Helper()
	_, err := s.Rename.Do(t.Context(), s.Kernel, s.As("dana"), evidencetest.Rename{Tenant: "acme", Name: name}, &governance.DoOptions{Reason: "asked for", Ticket: "T-1"})
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	a, err := s.Kernel.Approval(t.Context(), held.Approval)
	require.NoError(t, err)
	return a
}

func (s *signedRig) sign(t *testing.T, a governance.Approval, people ...governance.PersonID) governance.Approval {
	t.Helper()
	for _, p := range people {
		o, err := s.keys.BeginVote(t.Context(), s.As(p), a.ID, governance.Approve, a.Digest)
		require.NoError(t, err)
		a, err = s.Kernel.Decide(t.Context(), s.As(p), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest, Assertion: s.soft[p].Get(t, o)})
		require.NoError(t, err)
		s.Advance(2 * time.Minute)
	}
	return a
}

func TestVerify_SignedVotes(t *testing.T) {
	t.Parallel()
	s, vkey := signing(t)
	s.Advance(2 * time.Minute)
	a := s.sign(t, s.ask(t, "One"), "fay", "fin")
	b := s.sign(t, s.ask(t, "Two"), "fay", "both")
	require.Equal(t, governance.StateExecuted, b.State)
	whole := s.Build(t, pack.KindAction, a.ID)
	rep := check(t, vkey, whole)
	require.Empty(t, rep.Problems)
	require.Contains(t, strings.Join(rep.Notes, "\n"), "2 votes on action "+a.ID.String()+" are signed")
	rep = check(t, vkey, s.Build(t, pack.KindAction, b.ID))
	require.Empty(t, rep.Problems)

	name, second := "actions/"+a.ID.String()+"/signatures.json", pack.Take(s.Build(t, pack.KindAction, b.ID))
	edit := func(change func(x *pack.Assertion)) func(f *pack.Forgery) {
		return func(f *pack.Forgery) {
			pack.Edit(f, name, func(all *[]pack.Signature) { change(&(*all)[0].Signed) })
		}
	}
	const other = "its signature is not the one that the record commits to"
	for what, c := range map[string]struct {
		change func(f *pack.Forgery)
		want   string
	}{
		"the signature is changed":       {edit(func(x *pack.Assertion) { x.Signature[9] ^= 1 }), other},
		"the public key is changed":      {edit(func(x *pack.Assertion) { x.PublicKey[20] ^= 1 }), other},
		"the client data is changed":     {edit(func(x *pack.Assertion) { x.ClientData[20] ^= 1 }), other},
		"the authenticator's is changed": {edit(func(x *pack.Assertion) { x.AuthenticatorData[32] ^= 4 }), other},
		"the nonce is changed":           {edit(func(x *pack.Assertion) { x.Nonce += "x" }), other},
		"the domain is changed":          {edit(func(x *pack.Assertion) { x.RPID = "example.com" }), other},
		"it is moved from another approval": {func(f *pack.Forgery) {
			var from []pack.Signature
			require.NoError(t, json.Unmarshal(second.Files["actions/"+b.ID.String()+"/signatures.json"], &from))
			pack.Edit(f, name, func(all *[]pack.Signature) { (*all)[0].Signed = from[0].Signed })
		}, other},
		"two are swapped": {func(f *pack.Forgery) {
			pack.Edit(f, name, func(all *[]pack.Signature) {
				(*all)[0].Signed, (*all)[1].Signed = (*all)[1].Signed, (*all)[0].Signed
			})
		}, other},
		"one is missing": {func(f *pack.Forgery) {
			pack.Edit(f, name, func(all *[]pack.Signature) { *all = (*all)[1:] })
		}, "its signature is missing"},
		"all are missing": {func(f *pack.Forgery) { delete(f.Files, name) }, "its signature is missing"},
		"one is there twice": {func(f *pack.Forgery) {
			pack.Edit(f, name, func(all *[]pack.Signature) { *all = append(*all, (*all)[0]) })
		}, "which is no vote on action"},
		"the registration is left out": {func(f *pack.Forgery) {
			for range 2 {
				dropRecord(f, recordOf(t, f, "passkey.enrol", "done"))
			}
		}, "no record says that its key was registered before"},
	} {
		t.Run(what, func(t *testing.T) {
			f := pack.Take(whole)
			c.change(f)
			require.Contains(t, texts(check(t, vkey, f.Zip())), name+": ", what)
			require.Contains(t, texts(check(t, vkey, f.Zip())), c.want)
		})
	}
}

// Records that are genuine leaves of the log do not make a signed vote of what is none:
// whoever can write the database and the log still lacks the voter's key.
func TestVerify_SignaturesOfAnInsider(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(s *signedRig, v *governance.VoteSignature)
		before func(t *testing.T, s *signedRig, v governance.VoteSignature)
		want   string
	}{
		"moved from another approval": {want: "is about another approval, payload, decision or person"},
		"nothing at all": {func(_ *signedRig, v *governance.VoteSignature) { *v = governance.VoteSignature{} },
			nil, "the policy wants it signed, and it is not"},
		"a key that was never registered": {func(s *signedRig, v *governance.VoteSignature) {
			st := governance.VoteStatement{Approval: s.current.ID, Digest: s.current.Digest, Decision: governance.Approve, Person: "fay", Nonce: v.Nonce}
			*v = s.forge(st, *v)
		}, nil, "its key is not the one that record"},
		"another site": {func(s *signedRig, v *governance.VoteSignature) {
			s.soft["fay"].Origin = "https://evil.example"
			st := governance.VoteStatement{Approval: s.current.ID, Digest: s.current.Digest, Decision: governance.Approve, Person: "fay", Nonce: v.Nonce}
			*v = s.signWith(s.soft["fay"], st, *v)
		}, nil, "made on another site"},
		"nobody verified": {func(s *signedRig, v *governance.VoteSignature) {
			s.soft["fay"].NoUser = true
			st := governance.VoteStatement{Approval: s.current.ID, Digest: s.current.Digest, Decision: governance.Approve, Person: "fay", Nonce: v.Nonce}
			*v = s.signWith(s.soft["fay"], st, *v)
		}, nil, "did not verify who used it"},
		"a key that was revoked before": {func(s *signedRig, v *governance.VoteSignature) {
			st := governance.VoteStatement{Approval: s.current.ID, Digest: s.current.Digest, Decision: governance.Approve, Person: "fay", Nonce: v.Nonce}
			*v = s.signWith(s.soft["fay"], st, *v)
		}, func(t *testing.T, s *signedRig, _ governance.VoteSignature) {
			keys, err := s.keys.Keys(t.Context(), "fay")
			require.NoError(t, err)
			require.NoError(t, s.keys.Revoke(t.Context(), s.As("fay"), passkey.Revoke{Key: keys[0].ID, Reason: "lost"}))
			s.Advance(2 * time.Minute)
		}, "its key was revoked before"},
		"honest": {func(s *signedRig, v *governance.VoteSignature) {
			st := governance.VoteStatement{Approval: s.current.ID, Digest: s.current.Digest, Decision: governance.Approve, Person: "fay", Nonce: v.Nonce}
			*v = s.signWith(s.soft["fay"], st, *v)
		}, nil, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s, _ := signing(t)
			s.t = t
			s.Advance(2 * time.Minute)
			from := s.sign(t, s.ask(t, "One"), "fay")
			s.current = s.sign(t, s.ask(t, "Two"), "fin")
			sig := *from.Votes[0].Signature
			if c.change != nil {
				c.change(s, &sig)
			}
			if c.before != nil {
				c.before(t, s, sig)
			}
			s.plant(t, "fay", sig)
			_, err := s.Evidence.Build(t.Context(), s.As("root"), evidence.Request{Kind: pack.KindAction, Subject: s.current.ID, Reason: "audit"})
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, evidence.ErrDoesNotHold)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// A vote whose key was found to be compromised before the act does not count, and takes
// nothing from an act that others carried.
func TestVerify_CompromisedAndReplaced(t *testing.T) {
	t.Parallel()
	s, vkey := signing(t)
	s.Advance(2 * time.Minute)
	a := s.sign(t, s.ask(t, "One"), "fay")
	keys, err := s.keys.Keys(t.Context(), "fay")
	require.NoError(t, err)
	require.NoError(t, s.keys.Revoke(t.Context(), s.As("fay"), passkey.Revoke{Key: keys[0].ID, Reason: "stolen"}))
	s.Advance(2 * time.Minute)
	a = s.sign(t, a, "fin")
	require.Equal(t, governance.StatePending, a.State, "one vote counts")
	a = s.sign(t, a, "both")
	require.Equal(t, governance.StateExecuted, a.State)
	whole := s.Build(t, pack.KindAction, a.ID)
	rep := check(t, vkey, whole)
	require.Empty(t, rep.Problems)
	require.Contains(t, strings.Join(rep.Notes, "\n"), "the vote of fay does not count")
	require.Contains(t, strings.Join(rep.Notes, "\n"), "2 votes on action "+a.ID.String()+" are signed")
}

type urlBytes []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *urlBytes) UnmarshalText(text []byte) (err error) {
	*b, err = base64.RawURLEncoding.DecodeString(string(text))
	return err
}

// signWith makes a real signature for a statement, past the server.
func (s *signedRig) signWith(k *softkey.Key, st governance.VoteStatement, v governance.VoteSignature) governance.VoteSignature {
	challenge, err := st.Challenge()
	require.NoError(s.t, err)
	o, err := json.Marshal(map[string]string{"challenge": base64.RawURLEncoding.EncodeToString(challenge), "rpId": v.RPID})
	require.NoError(s.t, err)
	var answer struct {
		Response struct{ ClientDataJSON, AuthenticatorData, Signature urlBytes }
	}
	require.NoError(s.t, json.Unmarshal(k.Get(s.t, o), &answer))
	v.ClientData, v.AuthenticatorData, v.Signature, v.PublicKey = answer.Response.ClientDataJSON, answer.Response.AuthenticatorData, answer.Response.Signature, k.COSE()
	return v
}

// forge signs with a key of the insider's own.
func (s *signedRig) forge(st governance.VoteStatement, v governance.VoteSignature) governance.VoteSignature {
	return s.signWith(softkey.New(s.t, softkey.ES256, site), st, v)
}

// plant writes a vote and what follows from it, past the kernel.
func (s *signedRig) plant(t *testing.T, person governance.PersonID, v governance.VoteSignature) {
	t.Helper()
	a := s.current
	require.NoError(t, s.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		hash, err := v.Hash()
		require.NoError(t, err)
		text, err := governance.Canonical(v)
		require.NoError(t, err)
		data := map[string]any{"decision": "approve", "comment": "", "groups": []string{"finance"}, "state": "approved", "action": a.Action,
			"signature": map[string]any{"key": v.Key, "credential": v.Credential, "assertion": hash, "public_key": governance.PublicKeyDigest(v.PublicKey)}}
		if v.Key == "" {
			text = nil
			delete(data, "signature")
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO gov_vote (approval, person, actor, decision, digest, comment, groups, created_at, signature) VALUES (?, ?, ?, 'approve', ?, '', ?, ?, ?)",
			a.ID, person, `{"id":"user:`+string(person)+`","kind":"user"}`, a.Digest, `["finance"]`, govdb.At(s.Now()), string(text)); err != nil {
			return err
		}
		if _, err := s.Kernel.RecordTx(ctx, tx, s.As(person), governance.Record{Action: "approval.vote", Tenant: "acme", Resource: governance.RefTo("approval", a.ID), ActionID: a.ID, Digest: a.Digest, Data: data}); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE gov_action SET state = 'executed', executed_at = ?0, execute_by = ?0 WHERE id = ?1", govdb.At(s.Now()), a.ID); err != nil {
			return err
		}
		_, err = s.Kernel.RecordTx(ctx, tx, s.As("dana"), governance.Record{Action: a.Action, Tenant: "acme", Resource: governance.ParseRef(a.Resource), ActionID: a.ID, Digest: a.Digest,
			Data: map[string]any{"result": nil, "approved_by": []string{"fay", "fin"}, "policy_hash": a.Decision.Hash}})
		return err
	}))
}
