package governance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// dump is everything that the tables of personal values hold.
func dump(t *testing.T, e *govtest.Env) string {
	t.Helper()
	var all strings.Builder
	for _, q := range []string{"SELECT * FROM gov_disclosure", "SELECT * FROM gov_subject_key", "SELECT * FROM gov_record"} {
		rows, err := e.DB.Read().QueryContext(t.Context(), q)
		require.NoError(t, err)
		columns, err := rows.Columns()
		require.NoError(t, err)
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new([]byte)
			}
			require.NoError(t, rows.Scan(values...))
			for _, v := range values {
				all.Write(*v.(*[]byte))
			}
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
	}
	return all.String()
}

func TestErase(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx, k := t.Context(), e.Kernel
		e.People.Put("ada", "root")
		e.People.Put("ben", "cs")
		write := func(id governance.Identity, r governance.Record) uuid.UUID {
			var receipt governance.Receipt
			require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
				var err error
				receipt, err = k.RecordTx(ctx, tx, id, r)
				return err
			}))
			return receipt.ID
		}
		ada := e.As("ada")
		about := write(ada, governance.Record{Action: "test.mail", Personal: map[string]string{"email": "zoe@example.com"}, PersonalOf: "customer:7"})
		again := write(ada, governance.Record{Action: "test.mail", Personal: map[string]string{"email": "zoe@example.org"}, PersonalOf: "customer:7"})
		other := write(ada, governance.Record{Action: "test.mail", Personal: map[string]string{"email": "yan@example.com"}, PersonalOf: "customer:8"})
		alone := write(ada, governance.Record{Action: "test.mail", Personal: map[string]string{"email": "xia@example.com"}})
		e.Drain(t)
		for _, clear := range []string{"example.com", "example.org"} {
			require.NotContains(t, dump(t, e), clear, "nothing stands in clear")
		}
		values := func(id uuid.UUID) map[string]string {
			r, err := k.Ledger().Record(ctx, id)
			require.NoError(t, err)
			out := map[string]string{}
			for _, d := range r.Disclosures {
				out[d.Field] = d.Value
			}
			return out
		}
		require.Equal(t, map[string]string{"email": "zoe@example.com", "actor_name": "ada"}, values(about))
		before, err := k.Ledger().ProveOpened(ctx, about)
		require.NoError(t, err)

		_, err = k.Erase(ctx, e.As("ben"), governance.Erasure{Subject: "customer:7", Basis: "DSR-1"}, nil)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		_, err = k.Erase(ctx, ada, governance.Erasure{Subject: "customer:9", Basis: "DSR-1"}, nil)
		require.ErrorIs(t, err, governance.ErrNotFound)
		_, err = k.Erase(ctx, ada, governance.Erasure{Subject: "customer:7"}, nil)
		require.ErrorContains(t, err, "basis")
		_, err = k.Erase(ctx, ada, governance.Erasure{Subject: "customer:7", Basis: "DSR-1"}, nil)
		require.NoError(t, err)
		_, err = k.Erase(ctx, ada, governance.Erasure{Subject: ledger.RecordSubject(alone), Basis: "DSR-2"}, nil)
		require.NoError(t, err)
		e.Drain(t)
		require.Equal(t, map[string]string{"actor_name": "ada"}, values(about))
		require.Equal(t, map[string]string{"actor_name": "ada"}, values(again))
		require.Equal(t, map[string]string{"actor_name": "ada"}, values(alone))
		require.Equal(t, map[string]string{"email": "yan@example.com", "actor_name": "ada"}, values(other))
		rep, err := k.Ledger().Verify(ctx)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		require.Contains(t, e.Actions(t), "ledger.erased done", "erasing is a record")

		// What was proved before still holds, and what is proved now says by which record
		// the value went.
		key := k.Ledger().VerifierKey()
		fields, err := offline.VerifyOpened(key, before)
		require.NoError(t, err)
		require.Contains(t, fields, offline.Field{Name: "email", Value: "zoe@example.com", Known: true, ErasedBy: -1})
		after, err := k.Ledger().ProveOpened(ctx, about)
		require.NoError(t, err)
		fields, err = offline.VerifyOpened(key, after)
		require.NoError(t, err)
		require.Len(t, fields, 2)
		require.Equal(t, "email", fields[1].Name)
		require.False(t, fields[1].Known)
		require.GreaterOrEqual(t, fields[1].ErasedBy, int64(4))
		raw, err := json.Marshal(after)
		require.NoError(t, err)
		require.NotContains(t, string(raw), "zoe@")
		for name, change := range map[string]func(o *ledger.Opened){
			"another value":   func(o *ledger.Opened) { o.Disclosures[0].Value = "eve" },
			"another salt":    func(o *ledger.Opened) { o.Disclosures[0].Salt = make([]byte, 16) },
			"another field":   func(o *ledger.Opened) { o.Disclosures[0].Field = "email" },
			"no such field":   func(o *ledger.Opened) { o.Disclosures[0].Field = "x" },
			"a false erasure": func(o *ledger.Opened) { o.Erasures[0].Body = strings.Replace(o.Erasures[0].Body, "DSR-1", "DSR-9", 1) },
		} {
			bad := after
			bad.Disclosures = append([]ledger.Disclosure{}, after.Disclosures...)
			bad.Erasures = append([]ledger.Proof{}, after.Erasures...)
			change(&bad)
			_, err := offline.VerifyOpened(key, bad)
			require.ErrorIs(t, err, ledger.ErrBadProof, name)
		}

		// Who comes back gets another key.
		back := write(ada, governance.Record{Action: "test.mail", Personal: map[string]string{"email": "zoe@example.net"}, PersonalOf: "customer:7"})
		require.Equal(t, "zoe@example.net", values(back)["email"])
	})
}

// TestErase_Many: more values than one record of an erasure lists.
func TestErase_Many(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	e.People.Put("ada", "root")
	for i := range 3 {
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			for n := range 400 {
				if _, err := e.Kernel.RecordTx(ctx, tx, e.As("ada"), governance.Record{Action: "test.mail", Personal: map[string]string{"email": fmt.Sprint(i, n)}, PersonalOf: "customer:7"}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	_, err := e.Kernel.Erase(t.Context(), e.As("ada"), governance.Erasure{Subject: "customer:7", Basis: "x"}, nil)
	require.NoError(t, err)
	e.Drain(t)
	var n, records int
	require.NoError(t, e.DB.Read().NewRaw("SELECT COUNT(*), COUNT(DISTINCT record) FROM gov_erasure").Scan(t.Context(), &n, &records))
	require.Equal(t, 1200, n)
	require.Equal(t, 3, records)
	rep, err := e.Kernel.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, rep.Problems)
}

// TestErase_OlderThanKeys: values that an earlier version kept in clear are erased with
// their record.
func TestErase_OlderThanKeys(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		e.People.Put("ada", "root")
		id, d := uuid.Must(uuid.NewV7()), ledger.NewDisclosure("email", "zoe@example.com", "")
		body, err := governance.Canonical(map[string]any{"personal": map[string]string{"email": d.Digest()}})
		require.NoError(t, err)
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			if _, err := e.Kernel.Ledger().Append(ctx, tx, ledger.Entry{ID: id, Kind: "old", At: e.Now(), Body: body}); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO gov_disclosure (record, field, salt, value) VALUES (?, 'email', ?, ?)", id, d.Salt, d.Value)
			return err
		}))
		e.Drain(t)
		r, err := e.Kernel.Ledger().Record(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, "zoe@example.com", r.Disclosures[0].Value)
		_, err = e.Kernel.Erase(t.Context(), e.As("ada"), governance.Erasure{Subject: ledger.RecordSubject(id), Basis: "x"}, nil)
		require.NoError(t, err)
		e.Drain(t)
		require.NotContains(t, dump(t, e), "zoe@")
		o, err := e.Kernel.Ledger().ProveOpened(t.Context(), id)
		require.NoError(t, err)
		fields, err := offline.VerifyOpened(e.Kernel.Ledger().VerifierKey(), o)
		require.NoError(t, err)
		require.EqualValues(t, 1, fields[0].ErasedBy)
	})
}
