package governance

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger"
)

// SucceedLedger hands the ledger over to another signing key and records it; see
// ledger.Log.Succeed. Nothing of this kernel is signed any more: make another one with
// the new key.
func (k *Kernel) SucceedLedger(ctx context.Context, skey string, lost []byte) (ledger.Succession, error) {
	s, err := k.log.Succeed(ctx, skey, lost, func(ctx context.Context, tx *Tx, s ledger.Succession) error {
		data := map[string]any{"from": s.From, "to": s.To, "size": s.Size, "root": s.Root.String()}
		if s.Lost != "" {
			data["lost"] = base64.StdEncoding.EncodeToString([]byte(s.Lost))
		}
		id := System("ledger")
		_, err := k.RecordTx(ctx, tx, id, Record{Action: "ledger.succeeded", Resource: Ref{"ledger", k.log.Origin()}, Data: data})
		return err
	})
	if err != nil {
		return s, fmt.Errorf("succeed the ledger: %w", err)
	}
	return s, nil
}

// ActionResumeLedger is the name of the action by which the ledger signs again after a
// witness was wrong about it. A policy should hold it.
const ActionResumeLedger = "ledger.resume"

// haltAlert is the key of the alert while nothing is signed.
const haltAlert = "ledger.halted"

// Resumption asks to sign again.
type Resumption struct {
	Finding string `json:"finding"` // how it was found out that whoever stopped it was wrong
}

func (r Resumption) validate() error {
	if r.Finding == "" || len(r.Finding) > 500 {
		return Invalid("finding", "is required, with at most 500 bytes")
	}
	return nil
}

func resumeLedger(k *Kernel) *Action[Resumption] {
	return Define(ActionResumeLedger, Spec[Resumption]{
		Summary:    "Lets the ledger be signed again after a witness stopped it.",
		Permission: "ledger:resume",
		Sensitive:  true,
		Tenant:     func(Resumption) TenantID { return "" },
		Resource:   func(Resumption) Ref { return Ref{"ledger", k.log.Origin()} },
		Validate:   Resumption.validate,
		// What was found out is about what stopped it then: held, it does not outlive that.
		Version: func(ctx context.Context, tx *Tx, _ Resumption) (int64, error) {
			h, err := k.log.HaltedTx(ctx, tx)
			if h == nil || err != nil {
				return 0, err
			}
			return int64(govdb.At(h.At)), nil
		},
		Preview: func(ctx context.Context, tx *Tx, _ Resumption) (any, error) {
			h, err := k.log.HaltedTx(ctx, tx)
			switch {
			case err != nil:
				return nil, err
			case h == nil:
				return nil, fmt.Errorf("the ledger is signed, nothing stopped it: %w", ErrConflict)
			case h.Proof != "":
				return nil, fmt.Errorf("%w: %w", ledger.ErrProven, ErrConflict)
			}
			return map[string]any{"stopped_by": h.Reason, "at": h.At}, nil
		},
	}, func(ctx context.Context, tx *Tx, r Resumption) (Result, error) {
		h, err := k.log.ResumeTx(ctx, tx)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return Result{}, fmt.Errorf("the ledger is signed, nothing stopped it: %w", ErrConflict)
		case errors.Is(err, ledger.ErrProven):
			return Result{}, fmt.Errorf("%w: %w", err, ErrConflict)
		case err != nil:
			return Result{}, err
		}
		if err := k.ResolveAlertTx(ctx, tx, haltAlert); err != nil {
			return Result{}, err
		}
		return Result{Data: map[string]any{"stopped_by": h.Reason, "finding": r.Finding}}, nil
	})
}

// ResumeLedger lets the ledger sign again after a witness's word stopped it, through the
// guard. It cannot pass over a head that the ledger's own key signed.
func (k *Kernel) ResumeLedger(ctx context.Context, id Identity, r Resumption, opts *DoOptions) (Outcome, error) {
	d, err := k.defined(ActionResumeLedger)
	if err != nil {
		return Outcome{}, fmt.Errorf("resume the ledger: %w", err)
	}
	return k.do(ctx, d, id, r, opts)
}

func (k *Kernel) halted(h ledger.Halt) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := k.AlertTx(ctx, tx, Alert{Key: haltAlert, Severity: Critical, Title: "The ledger is not signed any more", Body: h.Reason})
		return err
	})
	if err != nil {
		k.opts.Logger.Error("alert of a ledger that is not signed", "error", err)
	}
}
