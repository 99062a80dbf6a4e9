package governance_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

func TestReadRecord(t *testing.T) {
	t.Parallel()
	t.Run("gives back what was recorded, both identities included", func(t *testing.T) {
		t.Parallel()
		e := govtest.New(t, nil)
		e.People.Put("dana", "root")
		id := e.As("dana")
		id.Subject = &governance.Actor{ID: "user:acme-admin", Kind: governance.ActorUser, Person: "acme-admin"}
		id.SessionID = "s-1"
		wrote := governance.Record{Action: "tenant.note", Outcome: governance.OutcomeObserved, Tenant: "acme", Resource: governance.Ref{Kind: "note", ID: "7"},
			Reason: "asked by phone", Ticket: "T-9", ActionID: uuid.New(), Digest: "sha256:00", Data: map[string]any{"n": 1}, Personal: map[string]string{"phone": "+49 1"}}
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := e.Kernel.RecordTx(ctx, tx, id, wrote)
			return err
		}))
		rs, err := e.Kernel.Ledger().Records(t.Context(), ledger.Filter{Tenant: "acme"})
		require.NoError(t, err)
		require.Len(t, rs, 1)
		v, err := governance.ReadRecord(rs[0].Body)
		require.NoError(t, err)
		require.Equal(t, rs[0].ID, v.ID)
		require.WithinDuration(t, rs[0].At, v.At, 0)
		require.Equal(t, []any{wrote.Action, wrote.Outcome, wrote.Tenant, wrote.Resource, wrote.Reason, wrote.Ticket, wrote.ActionID.String(), wrote.Digest},
			[]any{v.Action, v.Outcome, v.Tenant, v.Resource, v.Reason, v.Ticket, v.ActionID, v.Digest})
		require.Equal(t, governance.PersonID("dana"), v.Actor.Person)
		require.Equal(t, "user:acme-admin", v.Subject.ID)
		require.Equal(t, "s-1", v.Session)
		require.JSONEq(t, `{"n":1}`, string(v.Data))
		require.Contains(t, v.Personal, "phone")
		require.NotContains(t, string(rs[0].Body), "+49", "a personal value stands in the body as a digest")
	})
	t.Run("another kind is refused", func(t *testing.T) {
		t.Parallel()
		_, err := governance.ReadRecord([]byte(`{"kind":"other/v1"}`))
		require.Error(t, err)
		_, err = governance.ReadRecord([]byte(`not JSON`))
		require.Error(t, err)
	})
}
