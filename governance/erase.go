package governance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// ActionErase is the name of the action that erases what the ledger keeps in text about
// somebody. A policy should hold it: it cannot be undone.
const ActionErase = "ledger.erase"

// Erasure asks to erase the personal values about a subject.
type Erasure struct {
	Subject string `json:"subject"` // as in [Record].PersonalOf, or [PersonSubject]
	Basis   string `json:"basis"`   // why it may or must be erased, such as the number of a request
}

func (e Erasure) validate() error {
	var errs []error
	if e.Subject == "" || len(e.Subject) > 300 {
		errs = append(errs, Invalid("subject", "is required, with at most 300 bytes"))
	}
	if e.Basis == "" || len(e.Basis) > 500 {
		errs = append(errs, Invalid("basis", "is required, with at most 500 bytes"))
	}
	return errors.Join(errs...)
}

// erasedInOne is how many digests one record of an erasure lists; more take several.
const erasedInOne = 500

func erase(k *Kernel) *Action[Erasure] {
	return Define(ActionErase, Spec[Erasure]{
		Summary:    "Erases a person's values from the ledger.",
		Permission: "ledger:erase",
		Sensitive:  true,
		Tenant:     func(Erasure) TenantID { return "" },
		Resource:   func(e Erasure) Ref { return Ref{"data-subject", e.Subject} },
		Validate:   Erasure.validate,
	}, func(ctx context.Context, tx *Tx, e Erasure) (Result, error) {
		x, _ := ExecutionFrom(ctx)
		gone, err := k.log.ShredTx(ctx, tx, e.Subject)
		if errors.Is(err, ledger.ErrNotFound) {
			return Result{}, fmt.Errorf("data subject %s: %w", e.Subject, ErrNotFound)
		}
		if err != nil {
			return Result{}, err
		}
		// Each record lists the digests that records carry in place of the values, so that
		// whoever checks a proof can be shown by which record a value was erased.
		for part := range slices.Chunk(gone.Fields, erasedInOne) {
			r, err := k.RecordTx(ctx, tx, x.Identity, Record{Action: offline.ErasureAction, ActionID: x.Action, Data: map[string]any{"basis": e.Basis, "erased": part}})
			if err != nil {
				return Result{}, err
			}
			if err := ledger.ErasedTx(ctx, tx, r.ID, part); err != nil {
				return Result{}, err
			}
		}
		return Result{Data: map[string]any{"fields": len(gone.Fields)}}, nil
	})
}

// Erase destroys the keys of everything the ledger keeps in text about a subject,
// through the guard. Records and proofs stay as they are; every copy of the values,
// in backups too, cannot be read once the keys are gone from them.
func (k *Kernel) Erase(ctx context.Context, id Identity, e Erasure, opts *DoOptions) (Outcome, error) {
	d, err := k.defined(ActionErase)
	if err != nil {
		return Outcome{}, fmt.Errorf("erase: %w", err)
	}
	return k.do(ctx, d, id, e, opts)
}
