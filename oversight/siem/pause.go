package siem

import (
	"context"
	"fmt"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

type sinkInput struct {
	Sink string `json:"sink"`
}

func (s *Service) spec(want State) governance.Spec[sinkInput] {
	summary, unheld := "Stops copying the log to a sink.", ""
	if want == Paused {
		summary, unheld = "Copies the log to a sink again.", "It restores what only two people could stop."
	}
	return governance.Spec[sinkInput]{
		Summary: summary, Unheld: unheld,
		Permission: PermissionWrite,
		Sensitive:  true,
		Tenant:     func(sinkInput) governance.TenantID { return "" },
		Resource:   func(in sinkInput) governance.Ref { return sinkRef(in.Sink) },
		Validate: func(in sinkInput) error {
			if checkName(in.Sink) != nil {
				return governance.Invalid("sink", "is no name of a sink")
			}
			return nil
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in sinkInput) (any, error) {
			row, err := readSink(ctx, tx, in.Sink)
			if err != nil {
				return nil, err
			}
			if row.State != string(want) {
				return nil, fmt.Errorf("sink %s is %s: %w", in.Sink, row.State, governance.ErrConflict)
			}
			return map[string]any{"sink": row.Name, "kind": row.Kind, "target": row.Target, "state": row.State}, nil
		},
	}
}

func (s *Service) pauseAction() *governance.Action[sinkInput] {
	return governance.Define(ActionPause, s.spec(Active), func(ctx context.Context, tx *governance.Tx, in sinkInput) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		row, err := s.turnTo(ctx, tx, in.Sink, Active, Paused, e)
		if err != nil {
			return governance.Result{}, err
		}
		_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: pausedAlert(in.Sink), Severity: governance.Warning, Title: "The copy of the log to " + in.Sink + " is paused",
			Body: "Records wait until it is resumed.", Links: []governance.Link{{Title: "Log export", Kind: "siem", ID: in.Sink}}})
		return governance.Result{Data: map[string]any{"sink": in.Sink, "state": Paused, "next_leaf": fmt.Sprint(row.Next)}}, err
	})
}

func (s *Service) resumeAction() *governance.Action[sinkInput] {
	return governance.Define(ActionResume, s.spec(Paused), func(ctx context.Context, tx *governance.Tx, in sinkInput) (governance.Result, error) {
		row, err := s.turnTo(ctx, tx, in.Sink, Paused, Active, governance.Execution{})
		if err != nil {
			return governance.Result{}, err
		}
		return governance.Result{Data: map[string]any{"sink": in.Sink, "state": Active, "next_leaf": fmt.Sprint(row.Next)}}, s.k.ResolveAlertTx(ctx, tx, pausedAlert(in.Sink))
	})
}

func (s *Service) turnTo(ctx context.Context, tx *governance.Tx, name string, from, to State, e governance.Execution) (sinkRow, error) {
	at := govdb.Micros(0)
	if to == Paused {
		at = govdb.At(s.k.Now())
	}
	res, err := tx.ExecContext(ctx, "UPDATE siem_sink SET state = ?, paused_by = ?, paused_why = ?, paused_at = ?, failures = 0, next_at = 0 WHERE name = ? AND state = ?",
		to, e.Identity.Actor.ID, e.Reason, at, name, from)
	if err != nil {
		return sinkRow{}, fmt.Errorf("sink %s: %w", name, err)
	}
	row, err := readSink(ctx, tx, name)
	if err != nil {
		return row, err
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return row, fmt.Errorf("sink %s is %s: %w", name, row.State, governance.ErrConflict)
	}
	return row, nil
}

// Pause stops the copying to a sink; records wait for it until Resume. A batch that is on
// its way may still arrive.
func (s *Service) Pause(ctx context.Context, id governance.Identity, name string, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.pause.Do(ctx, s.k, id, sinkInput{name}, opts)
}

// Resume lets the copying go on where it was paused.
func (s *Service) Resume(ctx context.Context, id governance.Identity, name string, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.resume.Do(ctx, s.k, id, sinkInput{name}, opts)
}
