package pack_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// cosigner is a witness by a program that is not ours.
type cosigner struct{ *torchwood.CosignatureSigner }

func newCosigner(t *testing.T, name string) cosigner {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	s, err := torchwood.NewCosignatureSigner(name, private)
	require.NoError(t, err)
	return cosigner{s}
}

func (c cosigner) key() string { return c.Verifier().String() }

// line is what the witness puts below a checkpoint.
func (c cosigner) line(t *testing.T, checkpoint string) string {
	t.Helper()
	text, _, ok := strings.Cut(checkpoint, "\n\n")
	require.True(t, ok)
	signed, err := note.Sign(&note.Note{Text: text + "\n"}, c)
	require.NoError(t, err)
	_, line, _ := strings.Cut(string(signed), "\n\n")
	return line
}

// with adds lines below the pack's checkpoint, as anybody can who has the pack.
func with(b []byte, lines ...string) []byte {
	f := pack.Take(b)
	f.Files["seal/checkpoint"] = []byte(string(f.Files["seal/checkpoint"]) + strings.Join(lines, ""))
	return f.Zip()
}

// TestVerifyWitnessed: cosignatures are checked by the keys that are given: unknown ones
// say nothing, wrong ones are refused by name, and a quorum is of distinct witnesses.
func TestVerifyWitnessed(t *testing.T) {
	t.Parallel()
	r, vkey := rig(t)
	a := r.Ask(t, 5000, "goodwill")
	b := r.Build(t, pack.KindAction, a.ID)
	checkpoint := string(pack.Take(b).Files["seal/checkpoint"])
	one, two, foreign := newCosigner(t, "one.example"), newCosigner(t, "two.example"), newCosigner(t, "foreign.example")
	twin := newCosigner(t, "one.example") // the name of a witness with another key
	verify := func(b []byte, quorum int, keys ...string) pack.Report {
		t.Helper()
		rep, err := pack.VerifyWitnessed(bytes.NewReader(b), int64(len(b)), vkey, cosign.Policy{Witnesses: keys, Quorum: quorum})
		require.NoError(t, err)
		return rep
	}
	both := with(b, one.line(t, checkpoint), two.line(t, checkpoint))
	rep := verify(both, 2, one.key(), two.key())
	require.Empty(t, texts(rep))
	require.Len(t, rep.Cosigned, 2)
	require.InDelta(t, time.Now().Unix(), rep.Cosigned[0].Time, 60)
	require.Empty(t, texts(verify(both, 2, one.key(), two.key(), foreign.key())), "two of three")

	for name, c := range map[string]struct {
		pack   []byte
		quorum int
		keys   []string
		want   string
	}{
		"no cosignature":            {b, 1, []string{one.key()}, "cosignatures of 0 known witnesses, 1 are wanted"},
		"one of two":                {with(b, one.line(t, checkpoint)), 2, []string{one.key(), two.key()}, "cosignatures of 1 known"},
		"of a foreign witness":      {with(b, foreign.line(t, checkpoint)), 1, []string{one.key()}, "cosignatures of 0 known"},
		"the name, and another key": {with(b, twin.line(t, checkpoint)), 1, []string{one.key()}, "cosignatures of 0 known"},
		"of another checkpoint":     {with(b, one.line(t, "reeve.test\n1\n"+strings.Repeat("A", 43)+"=\n\n")), 0, []string{one.key()}, "the signature of one.example does not hold"},
		"the same one twice":        {with(b, one.line(t, checkpoint), one.line(t, checkpoint)), 0, []string{one.key()}, "twice"},
		"with another time":         {with(b, retimed(t, one.line(t, checkpoint))), 0, []string{one.key()}, "the signature of one.example does not hold"},
	} {
		require.Contains(t, texts(verify(c.pack, c.quorum, c.keys...)), "seal/checkpoint: ", name)
		require.Contains(t, texts(verify(c.pack, c.quorum, c.keys...)), c.want, name)
	}
	unknown := verify(with(b, foreign.line(t, checkpoint)), 0)
	require.Empty(t, texts(unknown))
	require.Equal(t, []string{"foreign.example"}, unknown.Unknown)
	require.Contains(t, strings.Join(unknown.Notes, "\n"), `"foreign.example" by a key that was not given`)

	size := int64(len(b))
	for name, p := range map[string]cosign.Policy{
		"a quorum that nobody reaches": {Witnesses: []string{one.key()}, Quorum: 2},
		"one witness twice":            {Witnesses: []string{one.key(), one.key()}, Quorum: 2},
		"no key":                       {Witnesses: []string{"nonsense"}},
		"a negative quorum":            {Quorum: -1},
	} {
		_, err := pack.VerifyWitnessed(bytes.NewReader(b), size, vkey, p)
		require.ErrorContains(t, err, "evidence pack: ", name)
	}
}

// retimed changes the time that a witness states, without its key.
func retimed(t *testing.T, line string) string {
	t.Helper()
	head, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "example ")
	raw, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	raw[11] ^= 1
	return head + "example " + base64.StdEncoding.EncodeToString(raw) + "\n"
}

// TestBuild_WaitsForWitnesses: a pack is proven to a checkpoint that the quorum signed.
func TestBuild_WaitsForWitnesses(t *testing.T) {
	t.Parallel()
	w := newCosigner(t, "one.example")
	e := govtest.New(t, evidencetest.Options())
	r := evidencetest.New(t, e)
	a := r.Ask(t, 5000, "goodwill")
	svc, err := evidence.New(r.Kernel, nil, nil, r.Blobs, &evidence.Options{Wait: 3 * time.Second, Witnesses: cosign.Policy{Witnesses: []string{w.key()}, Quorum: 1}})
	require.NoError(t, err)
	req := evidence.Request{Kind: pack.KindAction, Subject: a.ID, Reason: "audit 2026"}
	log := r.Kernel.Ledger()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // what a publisher does, of which the test needs one signature
		defer close(done)
		for ctx.Err() == nil {
			c, err := log.Checkpoint(ctx)
			if err != nil {
				continue
			}
			if size, err := log.Cosigned(ctx, w.key()); err == nil && size < c.Size {
				_ = log.Cosign(ctx, c, w.key(), w.line(t, c.Note)) // what it could not sign is missed below
			}
		}
	}()
	p, err := svc.Build(t.Context(), r.As("root"), req)
	stop()
	<-done
	require.NoError(t, err)
	_, data, err := svc.Download(t.Context(), r.As("root"), p.ID)
	require.NoError(t, err)
	rep, err := svc.Verify(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	require.Empty(t, texts(rep))
	require.Equal(t, "one.example", rep.Cosigned[0].Witness)

	_, err = svc.Build(t.Context(), r.As("root"), req)
	require.ErrorIs(t, err, evidence.ErrUnsealed, "nobody signs any more")
}
