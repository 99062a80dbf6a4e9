package evidence_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

func each(t *testing.T, fn func(t *testing.T, r *evidencetest.Rig)) {
	t.Helper()
	govtest.Each(t, evidencetest.Options(), func(t *testing.T, e *govtest.Env) { fn(t, evidencetest.New(t, e)) })
}

func verify(t *testing.T, r *evidencetest.Rig, data []byte) pack.Report {
	t.Helper()
	rep, err := pack.Verify(bytes.NewReader(data), int64(len(data)), r.Kernel.Ledger().VerifierKey())
	require.NoError(t, err)
	return rep
}

func TestBuild_Action(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		a := r.Executed(t, "goodwill")
		rep := verify(t, r, r.Build(t, pack.KindAction, a.ID))
		require.Empty(t, rep.Problems)
		require.Equal(t, 3, rep.Votes)
		require.Equal(t, pack.Subject{Kind: "action", ID: a.ID.String(), Tenant: "acme", Name: "tenant.credit"}, rep.Subject)
		require.Equal(t, 5, rep.Records, "held, three votes, done")
		require.Subset(t, r.Actions(t), []string{"evidence.build done", "evidence.download observed"})

		// Other ends of an action make packs that hold as well.
		denied := r.Vote(t, r.Ask(t, 5000, "again"), governance.Reject, "fay")
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, denied.ID)).Problems)
		cancelled := r.Ask(t, 5000, "third")
		require.NoError(t, r.Kernel.Cancel(t.Context(), r.As("dana"), cancelled.ID, "not needed"))
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, cancelled.ID)).Problems)
		expired := r.Ask(t, 5000, "fourth")
		r.Vote(t, expired, governance.Approve, "both")
		r.Advance(25 * time.Hour)
		require.NoError(t, r.Kernel.Sweep(t.Context()))
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, expired.ID)).Problems)
		free, err := r.Credit.Do(t.Context(), r.Kernel, r.As("dana"), evidencetest.Credit{Tenant: "acme", Cents: 10}, &governance.DoOptions{Reason: "small"})
		require.NoError(t, err)
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, free.Action)).Problems)
		// Without measures, and about no tenant.
		policy := governance.Policy{ID: "more", Title: "More", Actions: []string{"x.*"}, Mode: governance.Shadow, NeedWhy: true}
		out, err := r.Kernel.PutPolicy(t.Context(), r.As("root"), policy, &governance.DoOptions{Reason: "new"})
		require.NoError(t, err)
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, out.Action)).Problems)
	})
}

func TestBuild_Session(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		s := r.Session(t, 3)
		data := r.Build(t, pack.KindSession, s.ID)
		rep := verify(t, r, data)
		require.Empty(t, rep.Problems)
		require.Equal(t, 4, rep.Chunks)
		require.Equal(t, 4, rep.Requests)
		require.NotContains(t, string(data), "User One", "no personal value")

		p, err := r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: "session", Subject: s.ID, Reason: "short", NoRecording: true})
		require.NoError(t, err)
		_, data, err = r.Evidence.Download(t.Context(), r.As("root"), p.ID)
		require.NoError(t, err)
		rep = verify(t, r, data)
		require.Empty(t, rep.Problems)
		require.Zero(t, rep.Chunks)
		require.Contains(t, strings.Join(rep.Notes, "\n"), "chunk 1 of the recording is withheld")

		// An open session makes a pack that says so.
		out, err := r.Svc.Start(t.Context(), r.As("dana"), oversightRequest)
		require.NoError(t, err)
		_, _, err = r.Svc.Open(t.Context(), r.As("dana"), out.Action)
		require.NoError(t, err)
		rep = verify(t, r, r.Build(t, pack.KindSession, out.Action))
		require.Empty(t, rep.Problems)
		require.Contains(t, rep.Notes, "the session had not ended when the pack was built")
	})
}

// TestBuild_SameContentSameBytes: what is written depends on contents and seal alone.
func TestBuild_SameContentSameBytes(t *testing.T) {
	t.Parallel()
	r := evidencetest.New(t, govtest.New(t, evidencetest.Options()))
	s := r.Session(t, 2)
	p, err := r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: "session", Subject: s.ID, Reason: "audit"})
	require.NoError(t, err)
	_, first, err := r.Evidence.Download(t.Context(), r.As("root"), p.ID)
	require.NoError(t, err)
	_, again, err := r.Evidence.Download(t.Context(), r.As("root"), p.ID)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, p.SHA256, pack.Hash(first))
	require.EqualValues(t, len(first), p.Bytes)
}

func TestBuild_PersonalValues(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		ctx := t.Context()
		a := r.Executed(t, "goodwill")
		req := evidence.Request{Kind: "action", Subject: a.ID, Reason: "request of the court", Disclose: true}
		_, err := r.Evidence.Build(ctx, r.As("aud"), req)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		p, err := r.Evidence.Build(ctx, r.As("root"), req)
		require.NoError(t, err)
		require.Equal(t, 8, p.Disclosed, "the names of dana (twice) and three voters, and three addresses")
		_, _, err = r.Evidence.Download(ctx, r.As("aud"), p.ID)
		require.ErrorAs(t, err, &denied, "whoever may not disclose gets no pack that does")
		_, data, err := r.Evidence.Download(ctx, r.As("root"), p.ID)
		require.NoError(t, err)
		require.Empty(t, verify(t, r, data).Problems)
		require.Contains(t, string(data), "192.0.2.7")

		// Erasing takes the stored pack along; one built afterwards says so and holds.
		require.NoError(t, r.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := r.Kernel.Ledger().ShredTx(ctx, tx, "person:fay")
			return err
		}))
		_, _, err = r.Evidence.Download(ctx, r.As("root"), p.ID)
		require.ErrorIs(t, err, governance.ErrNotFound)
		_, err = r.Blobs.Get(ctx, "evidence/"+p.ID.String()+".evidence.zip")
		require.ErrorIs(t, err, governance.ErrNotFound, "its bytes are gone")
		got, err := r.Evidence.Pack(ctx, r.As("root"), p.ID)
		require.NoError(t, err)
		require.Equal(t, evidence.StateErased, got.State)
		p, err = r.Evidence.Build(ctx, r.As("root"), req)
		require.NoError(t, err)
		_, data, err = r.Evidence.Download(ctx, r.As("root"), p.ID)
		require.NoError(t, err)
		rep := verify(t, r, data)
		require.Empty(t, rep.Problems)
		require.Contains(t, strings.Join(rep.Notes, "\n"), "2 personal values were erased")
		require.Contains(t, r.Actions(t), "evidence.erased done")
	})
}

func TestBuild_WhoMay(t *testing.T) {
	t.Parallel()
	r := evidencetest.New(t, govtest.New(t, evidencetest.Options()))
	ctx := t.Context()
	a := r.Executed(t, "goodwill")
	req := evidence.Request{Kind: "action", Subject: a.ID, Reason: "audit"}
	var denied *governance.DeniedError
	var invalid *governance.InvalidError
	for _, who := range []governance.PersonID{"dana", "fay", "nobody"} {
		_, err := r.Evidence.Build(ctx, r.As(who), req)
		require.ErrorAs(t, err, &denied, who)
		_, err = r.Evidence.Outline(ctx, r.As(who), req)
		require.ErrorAs(t, err, &denied, who)
		_, err = r.Evidence.Packs(ctx, r.As(who), evidence.Filter{})
		require.ErrorAs(t, err, &denied, who)
	}
	_, err := r.Evidence.Build(ctx, r.As("aud"), req)
	require.NoError(t, err)
	acting := r.As("aud")
	acting.Subject = &governance.Actor{ID: "product:u1"}
	_, err = r.Evidence.Build(ctx, acting, req)
	require.ErrorAs(t, err, &denied)
	for _, bad := range []evidence.Request{{Kind: "action", Subject: a.ID}, {Kind: "action", Subject: a.ID, Reason: "x\x00yz"}, {Subject: a.ID, Reason: "audit"}, {Kind: "tenant", Subject: a.ID, Reason: "audit"}} {
		_, err := r.Evidence.Build(ctx, r.As("root"), bad)
		require.ErrorAs(t, err, &invalid)
	}
	_, err = r.Evidence.Build(ctx, r.As("root"), evidence.Request{Kind: "action", Subject: uuid.New(), Reason: "audit"})
	require.ErrorIs(t, err, governance.ErrNotFound)
	_, err = r.Evidence.Build(ctx, r.As("root"), evidence.Request{Kind: "session", Subject: a.ID, Reason: "audit"})
	require.ErrorIs(t, err, governance.ErrNotFound)

	// What the builder may not read is not in it.
	r.People.Put("half", "half")
	r.People.Allow("half", "ledger:read", "approval:read", evidence.PermissionBuild, evidence.PermissionRead)
	p, err := r.Evidence.Build(ctx, r.As("half"), req)
	require.NoError(t, err)
	_, data, err := r.Evidence.Download(ctx, r.As("half"), p.ID)
	require.NoError(t, err)
	rep := verify(t, r, data)
	require.Empty(t, rep.Problems)
	require.Contains(t, rep.Notes, "left out: alerts: the builder may not read them")
	require.NotContains(t, string(data), "waits for approval")
}

// TestBuild_RefusesWhatDoesNotHold: a table that was edited gives no pack, and the
// error names what disagrees.
func TestBuild_RefusesWhatDoesNotHold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"payload":  {"UPDATE gov_action SET input = '{\"cents\":9000,\"tenant\":\"acme\"}' WHERE held", "payload"},
		"vote":     {"UPDATE gov_vote SET comment = 'never seen' WHERE person = 'fay'", "the vote of fay"},
		"groups":   {"UPDATE gov_vote SET groups = '[\"finance\",\"security\"]' WHERE person = 'fay'", "the vote of fay"},
		"no vote":  {"DELETE FROM gov_vote WHERE person = 'sue'", "leaves out the vote"},
		"clock":    {"UPDATE gov_action SET decide_by = decide_by + 3600000000 WHERE held", "more time to decide"},
		"state":    {"UPDATE gov_action SET state = 'failed' WHERE held", "is failed"},
		"policy":   {"UPDATE gov_policy SET body = REPLACE(body, '\"max\":1000', '\"max\":9000')", "policies"},
		"who":      {"UPDATE gov_action SET requester = REPLACE(requester, 'user:dana', 'user:eve') WHERE held", "requester"},
		"ack":      {"UPDATE gov_alert SET acked_by = 'user:eve', acked_at = last_at", "was taken by"},
		"personal": {"UPDATE gov_disclosure SET sealed = (SELECT digest FROM gov_record WHERE n = 0) WHERE field = 'actor_name'", "personal.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, r *evidencetest.Rig) {
				a := r.Executed(t, "goodwill")
				_, err := r.DB.Handle().ExecContext(t.Context(), c.sql)
				require.NoError(t, err)
				_, err = r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: "action", Subject: a.ID, Reason: "audit", Disclose: true})
				require.ErrorIs(t, err, evidence.ErrDoesNotHold)
				require.ErrorContains(t, err, c.want)
				ps, err := r.Evidence.Packs(t.Context(), r.As("root"), evidence.Filter{})
				require.NoError(t, err)
				for _, p := range ps {
					require.Equal(t, evidence.StateFailed, p.State)
				}
			})
		})
	}
}

func TestBuild_RecordingThatIsGoneOrChanged(t *testing.T) {
	t.Parallel()
	r := evidencetest.New(t, govtest.New(t, evidencetest.Options()))
	ctx := t.Context()
	s := r.Session(t, 3)
	var blobs []string
	require.NoError(t, r.DB.Handle().NewRaw("SELECT blob FROM oversight_chunk WHERE session = ? ORDER BY seq", s.ID).Scan(ctx, &blobs))
	old, err := r.Blobs.Get(ctx, blobs[1])
	require.NoError(t, err)
	require.NoError(t, r.Blobs.Delete(ctx, blobs[1]))
	rep := verify(t, r, r.Build(t, pack.KindSession, s.ID))
	require.Empty(t, rep.Problems)
	require.Contains(t, strings.Join(rep.Notes, "\n"), "chunk 2 of the recording is missing")
	require.NoError(t, r.Blobs.Put(ctx, blobs[1], bytes.Replace(old, []byte("None."), []byte("Some."), 1)))
	_, err = r.Evidence.Build(ctx, r.As("root"), evidence.Request{Kind: "session", Subject: s.ID, Reason: "audit"})
	require.ErrorIs(t, err, evidence.ErrDoesNotHold)
	require.ErrorContains(t, err, "chunk 2")
}

func TestSweep(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		ctx := t.Context()
		a := r.Executed(t, "goodwill")
		p, err := r.Evidence.Build(ctx, r.As("root"), evidence.Request{Kind: "action", Subject: a.ID, Reason: "audit"})
		require.NoError(t, err)
		require.NoError(t, r.Evidence.Sweep(ctx))
		_, _, err = r.Evidence.Download(ctx, r.As("root"), p.ID)
		require.NoError(t, err)
		r.Advance(8 * 24 * time.Hour)
		require.NoError(t, r.Evidence.Sweep(ctx))
		_, _, err = r.Evidence.Download(ctx, r.As("root"), p.ID)
		require.ErrorIs(t, err, governance.ErrNotFound)
		p, err = r.Evidence.Pack(ctx, r.As("root"), p.ID)
		require.NoError(t, err)
		require.Equal(t, evidence.StateExpired, p.State)
	})
}

func TestOutline(t *testing.T) {
	t.Parallel()
	r := evidencetest.New(t, govtest.New(t, evidencetest.Options()))
	s := r.Session(t, 3)
	before := len(r.Actions(t))
	o, err := r.Evidence.Outline(t.Context(), r.As("aud"), evidence.Request{Kind: "session", Subject: s.ID})
	require.NoError(t, err)
	require.Equal(t, 4, o.Chunks)
	require.Equal(t, 2, o.Actions, "the start and the act in the session")
	require.Positive(t, o.Personal)
	require.Equal(t, before, len(r.Actions(t)), "looking writes nothing")
}

var oversightRequest = oversight.Request{Tenant: "acme", User: "u1", Scope: oversight.ReadOnly, Reason: "looking again"}
