package explorer_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/explorer"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

type world struct {
	*govtest.Env
	svc *explorer.Service
	vic governance.Identity // reads the ledger
	sam governance.Identity // may do nothing
}

func each(t *testing.T, fn func(t *testing.T, w world)) {
	t.Helper()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{explorer.Schema()}}, func(t *testing.T, e *govtest.Env) {
		e.People.Put("vic", "auditor")
		e.People.Put("sam", "nobody")
		e.People.Put("kim", "root")
		e.People.Allow("auditor", explorer.PermissionRead)
		svc, err := explorer.New(e.Kernel)
		require.NoError(t, err)
		fn(t, world{e, svc, e.As("vic"), e.As("sam")})
	})
}

// write records n acts, every third of the tenant acme, and seals them.
func (w world) write(t *testing.T, n int) int64 {
	t.Helper()
	require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		for i := range n {
			tenant := governance.TenantID("")
			if i%3 == 0 {
				tenant = "acme"
			}
			if _, err := w.Kernel.RecordTx(ctx, tx, w.As("kim"), governance.Record{Action: "test.act", Tenant: tenant, Data: map[string]any{"i": i, "text": "ü < \" \\"}}); err != nil {
				return err
			}
		}
		return nil
	}))
	w.Drain(t)
	size, err := w.Kernel.Ledger().Sealed(t.Context())
	require.NoError(t, err)
	return size
}

func TestService_Verify(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w world) {
		w.write(t, 20)
		_, err := w.svc.Verify(t.Context(), w.sam)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		v, err := w.svc.Verify(t.Context(), w.vic)
		require.NoError(t, err)
		require.Equal(t, explorer.Waiting, v.State)
		again, err := w.svc.Verify(t.Context(), w.As("kim"))
		require.NoError(t, err)
		require.Equal(t, v, again, "one at a time")

		stopped, stop := context.WithCancel(t.Context())
		stop()
		require.ErrorIs(t, w.svc.Turn(stopped), context.Canceled)
		require.NoError(t, w.svc.Turn(t.Context()), "what a stopped server left is run again")
		require.NoError(t, w.svc.Turn(t.Context()), "and once")
		v, err = w.svc.Verification(t.Context(), w.vic, v.ID)
		require.NoError(t, err)
		require.Equal(t, explorer.Done, v.State)
		require.Empty(t, v.Problems)
		require.GreaterOrEqual(t, v.Records, int64(20))
		require.False(t, v.EndedAt.IsZero())
		require.Equal(t, 1, count(w.Actions(t), "ledger.verify observed"))
		require.Equal(t, 1, count(w.Actions(t), "ledger.verified observed"))
		_, err = w.svc.Verification(t.Context(), w.vic, uuid.New())
		require.ErrorIs(t, err, governance.ErrNotFound)

		// a record that is spoiled is found by the next one, and raises an alert
		w.spoil(t)
		second, err := w.svc.Verify(t.Context(), w.vic)
		require.NoError(t, err)
		require.NotEqual(t, v.ID, second.ID)
		require.NoError(t, w.svc.Turn(t.Context()))
		list, err := w.svc.Verifications(t.Context(), w.vic, uuid.Nil, 10)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, second.ID, list[0].ID)
		require.NotEmpty(t, list[0].Problems)
		alerts, err := w.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Len(t, alerts, 1)
		require.Equal(t, "ledger.broken", alerts[0].Key)
	})
}

// spoil changes a sealed record as somebody who owns the database would.
func (w world) spoil(t *testing.T) {
	t.Helper()
	drop, make := "DROP TRIGGER gov_record_update", ""
	if w.DB.Postgres() {
		drop, make = "ALTER TABLE gov_record DISABLE TRIGGER ALL", "ALTER TABLE gov_record ENABLE TRIGGER ALL"
	}
	require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, drop)
		if err == nil {
			_, err = tx.ExecContext(ctx, "UPDATE gov_record SET body = REPLACE(body, 'test.act', 'test.ACT') WHERE n = 3")
		}
		if err == nil && make != "" {
			_, err = tx.ExecContext(ctx, make)
		}
		return err
	}))
}

func count(in []string, s string) (n int) {
	for _, a := range in {
		if a == s {
			n++
		}
	}
	return n
}

func read(t *testing.T, f *explorer.File) []byte {
	t.Helper()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, f.Size, int64(len(b)))
	require.NoError(t, f.Close())
	return b
}

func TestService_ExportWhole(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w world) {
		w.write(t, 300)
		_, err := w.svc.Export(t.Context(), w.sam, explorer.Export{Kind: explorer.Whole})
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		for _, bad := range []explorer.Export{{}, {Kind: "all"}, {Kind: explorer.Whole, From: 1}, {Kind: explorer.Since, From: -1}, {Kind: explorer.Since, Tenant: "acme"}, {Kind: explorer.Tenant, Witnesses: 1}} {
			var invalid *governance.InvalidError
			_, err := w.svc.Export(t.Context(), w.vic, bad)
			require.ErrorAs(t, err, &invalid, "%+v", bad)
		}
		f, err := w.svc.Export(t.Context(), w.vic, explorer.Export{Kind: explorer.Whole})
		require.NoError(t, err)
		b := read(t, f)
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		require.NoError(t, err)
		rep, err := offline.Check(t.Context(), offline.Files{FS: z}, w.Kernel.Ledger().VerifierKey(), nil)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		require.True(t, rep.Manifest)
		require.GreaterOrEqual(t, rep.Head.Size, int64(300))
		require.Equal(t, 1, count(w.Actions(t), "ledger.export observed"))
		_, err = w.svc.Export(t.Context(), w.vic, explorer.Export{Kind: explorer.Whole, Witnesses: 1})
		require.ErrorIs(t, err, governance.ErrNotFound, "nobody cosigned")
	})
}

// TestService_ExportSince: what the log grew by, from every size, is what the checker
// takes, and nothing else is.
func TestService_ExportSince(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w world) {
		log := w.Kernel.Ledger()
		var kept []ledger.Checkpoint
		for _, n := range []int{5, 8, 13} {
			w.write(t, n)
			c, err := log.Checkpoint(t.Context())
			require.NoError(t, err)
			kept = append(kept, c)
		}
		size := kept[2].Size
		for from := int64(0); from <= size; from++ {
			var out bytes.Buffer
			got, err := log.WriteGrowth(t.Context(), from, &out)
			require.NoError(t, err)
			require.Equal(t, size, got)
			rep, err := offline.CheckGrowth(&out, log.VerifierKey(), nil, cosign.Policy{})
			require.NoError(t, err, "from %d", from)
			require.Equal(t, size, rep.Head.Size)
			if from == kept[0].Size || from == kept[1].Size || from == size {
				require.True(t, rep.Anchored, "from %d", from)
			}
		}
		_, err := log.WriteGrowth(t.Context(), size+1, io.Discard)
		require.ErrorIs(t, err, ledger.ErrNotFound)

		f, err := w.svc.Export(t.Context(), w.vic, explorer.Export{Kind: explorer.Since, From: kept[0].Size})
		require.NoError(t, err)
		require.Contains(t, f.Check, "reeve-verify growth")
		whole := read(t, f)
		check := func(b []byte, earlier ...string) error {
			_, err := offline.CheckGrowth(bytes.NewReader(b), log.VerifierKey(), earlier, cosign.Policy{})
			return err
		}
		require.NoError(t, check(whole, kept[0].Note))
		require.ErrorContains(t, check(whole, kept[1].Note), "begins after")
		lines := bytes.SplitAfter(whole, []byte("\n"))
		join := func(l ...[]byte) []byte { return bytes.Join(l, nil) }
		for name, forged := range map[string][]byte{
			"a record left out":     join(append(append([][]byte{}, lines[:3]...), lines[4:]...)...),
			"the last one left out": join(lines[:len(lines)-2]...),
			"two in other order":    join(append([][]byte{lines[0], lines[2], lines[1]}, lines[3:]...)...),
			"one more":              append(bytes.Clone(whole), lines[1]...),
			"a word changed":        bytes.Replace(whole, []byte("test.act"), []byte("test.axt"), 1),
			"nothing":               nil,
		} {
			require.ErrorIs(t, check(forged), offline.ErrBadProof, name)
		}
		for i := range whole {
			forged := bytes.Clone(whole)
			forged[i] ^= 1
			require.Error(t, check(forged), "byte %d of %q", i, whole[max(0, i-10):min(len(whole), i+10)])
		}
		_, other, err := ledger.GenerateKey("reeve.other")
		require.NoError(t, err)
		_, err = offline.CheckGrowth(bytes.NewReader(whole), other, nil, cosign.Policy{})
		require.ErrorIs(t, err, offline.ErrBadProof)
		require.False(t, errors.Is(check(whole), offline.ErrBadProof))
	})
}

func TestService_ExportTenant(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w world) {
		from := w.write(t, 9)
		w.write(t, 12)
		for _, at := range []int64{0, from} {
			f, err := w.svc.Export(t.Context(), w.vic, explorer.Export{Kind: explorer.Tenant, Tenant: "acme", From: at})
			require.NoError(t, err)
			var p ledger.TenantProof
			require.NoError(t, json.Unmarshal(read(t, f), &p))
			require.NoError(t, ledger.VerifyTenant(w.Kernel.Ledger().VerifierKey(), p))
			require.NotEmpty(t, p.Records)
			w.Drain(t) // the export is itself a record of the tenant
		}
		_, err := w.svc.Export(t.Context(), w.vic, explorer.Export{Kind: explorer.Tenant, Tenant: "acme", From: from + 1})
		require.ErrorIs(t, err, governance.ErrNotFound)
	})
}

func TestService_State(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w world) {
		st, err := w.svc.State(t.Context(), w.vic, 10)
		require.NoError(t, err)
		require.Nil(t, st.Checkpoint)
		require.Len(t, st.Keys, 1)
		w.write(t, 4)
		require.NoError(t, w.Kernel.Ledger().SetPublished(t.Context(), "file:/old", 2))
		st, err = w.svc.State(t.Context(), w.vic, 10)
		require.NoError(t, err)
		require.Equal(t, w.Kernel.Ledger().VerifierKey(), st.Keys[0].Key)
		require.EqualValues(t, -1, st.Keys[0].Until)
		require.Len(t, st.Sinks, 1)
		require.Equal(t, explorer.Removed, st.Sinks[0].State, "no publisher names it")
		require.Equal(t, st.Checkpoint.Size-2, st.Sinks[0].Lag)
		require.NotEmpty(t, st.Checkpoints)
		_, err = w.svc.State(t.Context(), w.sam, 10)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
	})
}

func TestService_SubjectsAndErasures(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w world) {
		require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			for i := range 3 {
				if _, err := w.Kernel.RecordTx(ctx, tx, w.As("kim"), governance.Record{Action: "test.act", Personal: map[string]string{"mail": fmt.Sprintf("olga%d@example.com", i)}, PersonalOf: "customer:olga"}); err != nil {
					return err
				}
			}
			return nil
		}))
		subs, err := w.svc.Subjects(t.Context(), w.vic, "customer:", "", 10)
		require.NoError(t, err)
		require.Len(t, subs, 1)
		require.Equal(t, "customer:olga", subs[0].Subject)
		require.EqualValues(t, 3, subs[0].Values)
		require.True(t, subs[0].Destroyed.IsZero())
		_, err = w.Kernel.Erase(t.Context(), w.As("kim"), governance.Erasure{Subject: "customer:olga", Basis: "DSR-7"}, nil)
		require.NoError(t, err)
		gone, err := w.svc.Subject(t.Context(), w.vic, "customer:olga")
		require.NoError(t, err)
		require.Zero(t, gone.Keys)
		require.Zero(t, gone.Values)
		require.False(t, gone.Destroyed.IsZero())
		es, err := w.svc.Erasures(t.Context(), w.vic, uuid.Nil, 10)
		require.NoError(t, err)
		require.Len(t, es, 1)
		require.EqualValues(t, 3, es[0].Values)
		require.Equal(t, "DSR-7", es[0].Basis)
		require.Equal(t, "customer:olga", es[0].Subject)
		require.Equal(t, governance.PersonID("kim"), es[0].Actor.Person)
		_, err = w.svc.Erasures(t.Context(), w.sam, uuid.Nil, 10)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
	})
}
