package governance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// ActionSettle is the name of the action by which a person says how a remote act ended
// that nobody could find out about.
const ActionSettle = "action.settle"

// Settlement is what a person found out about a remote act.
type Settlement struct {
	Action uuid.UUID `json:"action"`
	Done   bool      `json:"done"` // the effect is there; else it is certainly not
	Reason string    `json:"reason"`
}

func settleByHand(k *Kernel) *Action[Settlement] {
	return Define(ActionSettle, Spec[Settlement]{
		Summary:    "Says how a remote act ended whose outcome nobody knows.",
		Permission: "approval:vote",
		Sensitive:  true,
		Tenant:     func(Settlement) TenantID { return "" },
		Resource:   func(s Settlement) Ref { return RefTo("action", s.Action) },
		Validate: func(s Settlement) error {
			if n := len(strings.TrimSpace(s.Reason)); n < 10 || n > 2000 || strings.ContainsRune(s.Reason, 0) {
				return Invalid("reason", "say in 10 to 2000 letters how you know")
			}
			return nil
		},
		// What was found out is of the calls that were made until then: held, it does not
		// outlive another one.
		Version: func(ctx context.Context, tx *Tx, s Settlement) (int64, error) {
			var row actionRow
			err := tx.NewSelect().Model(&row).Column("state", "attempts").Where("id = ?", s.Action).Scan(ctx)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				return 0, fmt.Errorf("action %s: %w", s.Action, ErrNotFound)
			case err != nil:
				return 0, fmt.Errorf("action %s: %w", s.Action, err)
			case State(row.State) != StateUnknown:
				return -1, nil
			}
			return int64(row.Attempts), nil
		},
		Preview: func(ctx context.Context, tx *Tx, s Settlement) (any, error) {
			a, err := k.unknownTx(ctx, tx, s.Action)
			if err != nil {
				return nil, err
			}
			return map[string]any{"action": a.Action, "tenant": a.Tenant, "resource": a.Resource, "measures": a.Measures, "requester": a.Requester.ID, "done": s.Done}, nil
		},
	}, k.settleTx)
}

// SettleUnknown says how a remote act ended that stands as unknown: for who found out at
// the vendor. It passes the guard as [ActionSettle]. Nobody settles what they asked for,
// what was asked for in their name, or what their automation did.
func (k *Kernel) SettleUnknown(ctx context.Context, id Identity, s Settlement, opts *DoOptions) (Outcome, error) {
	var o DoOptions
	if opts != nil {
		o = *opts
	}
	o.Reason = s.Reason
	// Who had a part in it does not approve of how it is said to have ended either.
	a, err := k.unknownTx(ctx, k.db.Read(), s.Action)
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrConflict) { // which the guard answers
		return Outcome{}, err
	}
	o.Exclude = slices.Concat(o.Exclude, a.identity.persons(), a.Decision.Exclude)
	d, err := k.defined(ActionSettle)
	if err != nil {
		return Outcome{}, err
	}
	return k.do(ctx, d, id, s, &o)
}

func (k *Kernel) unknownTx(ctx context.Context, tx bun.IDB, id uuid.UUID) (Approval, error) {
	var row actionRow
	err := tx.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Approval{}, fmt.Errorf("action %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Approval{}, fmt.Errorf("action %s: %w", id, err)
	}
	a, err := k.approval(ctx, tx, row)
	if err == nil && a.State != StateUnknown {
		err = fmt.Errorf("action %s is %s: %w", id, a.State, ErrConflict)
	}
	return a, err
}

// settleTx ends an unknown act. A call or a look-up that is under way meanwhile finds its
// fence gone and changes nothing.
func (k *Kernel) settleTx(ctx context.Context, tx *Tx, s Settlement) (Result, error) {
	e, _ := ExecutionFrom(ctx)
	a, err := k.unknownTx(ctx, tx, s.Action)
	if err != nil {
		return Result{}, err
	}
	if slices.ContainsFunc(e.Identity.persons(), func(p PersonID) bool {
		return slices.Contains(a.identity.persons(), p) || slices.Contains(a.Decision.Exclude, p)
	}) || len(e.Identity.persons()) == 0 {
		return Result{}, &DeniedError{ActionSettle, "own", "somebody who had no part in it settles it"}
	}
	out := Result{Data: map[string]any{"action": a.Action, "id": a.ID, "done": s.Done}}
	if !s.Done {
		return out, k.remoteFailedTx(ctx, tx, a, Invalid("outcome", "not done, as %s found", e.Identity.Actor.ID))
	}
	data, err := Canonical(map[string]any{"settled_by": e.Identity.Actor.ID, "settlement": e.Action})
	if err != nil {
		return out, err
	}
	if err := k.moveTx(ctx, tx, a, a.State, StateExecuted, map[string]any{"executed_at": atMicros(k.Now()), "result": string(data), "error": "", "lease_until": 0}); err != nil {
		return out, err
	}
	if err := settleTx(ctx, tx, a.ID, reservationPosted); err != nil {
		return out, err
	}
	if err := k.ResolveAlertTx(ctx, tx, unknownAlert(a.ID)); err != nil {
		return out, err
	}
	if _, err := k.recordExecutedTx(ctx, tx, a, e.Identity, json.RawMessage(data), nil); err != nil {
		return out, err
	}
	return out, k.obligeTx(ctx, tx, a.done())
}
