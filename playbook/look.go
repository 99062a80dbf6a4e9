package playbook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// look is one evaluation of the condition for a run.
type look struct {
	at      time.Time
	signals map[string]Reading
}

// into keeps beside a step what was seen before it ran.
func (l *look) into(n *stepRow) {
	if l != nil && !l.at.IsZero() {
		n.Checked, n.CheckedAt = toJSON(l.signals), govdb.At(l.at)
	}
}

// mayAct looks at the condition again, on fresh signals, right before a step with
// consequences. When it does not hold, or the tenant is exempt by now, the run ends;
// without an answer the run waits, for stale or missing data never acts. With
// proceed false, a non-nil look means that the run has something else to do, and
// nil that it is parked.
func (s *Service) mayAct(ctx context.Context, r *active, st *stepRow) (seen *look, proceed bool, err error) {
	k := s.kinds[st.Kind]
	if _, early := r.target(st); !k.Consequential && !early {
		return &look{}, true, nil
	}
	t, err := s.k.Tenant(ctx, governance.TenantID(r.Tenant))
	if err != nil {
		return nil, false, err
	}
	if t.Status == governance.TenantClosed {
		return &look{}, false, s.stop(ctx, r, RunExited, "the tenant is closed")
	}
	exempt, err := s.exempt(ctx, s.k.DB().Handle(), r.Playbook, []string{r.Tenant})
	if err != nil {
		return nil, false, err
	}
	if why := exempt[r.Tenant]; why != "" {
		return &look{}, false, s.stop(ctx, r, RunExited, "the tenant is exempt: "+why)
	}
	now := s.k.Now()
	sigs, err := s.signals(ctx, []governance.Tenant{t}, now)
	if err != nil {
		s.k.Logger().WarnContext(ctx, "signals for a playbook", "run", r.ID, "error", err)
		return nil, false, s.deferRun(ctx, r, st, "the signals cannot be read")
	}
	event, _ := strings.CutPrefix(r.Trigger, eventTrigger)
	if event == r.Trigger {
		event = ""
	}
	cand := s.judge(ctx, r.c, t, sigs[t.ID], now, cause{typ: event})
	seen = &look{now, cand.Signals}
	switch cand.Verdict {
	case Match:
		return seen, true, s.undefer(ctx, r)
	case NoMatch:
		return seen, false, s.stop(ctx, r, RunExited, "the condition does not hold any more")
	}
	return nil, false, s.deferRun(ctx, r, st, cand.Why)
}

// deferRun waits for an answer, and gives the run up after two days without one.
func (s *Service) deferRun(ctx context.Context, r *active, st *stepRow, why string) error {
	now := s.k.Now()
	if r.DeferredAt != 0 && now.Sub(r.DeferredAt.Time()) > deferAtMost {
		return s.stop(ctx, r, RunCancelled, fmt.Sprintf("for %s nobody could say whether the condition still holds: %s", Duration{deferAtMost}, why))
	}
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if r.DeferredAt == 0 {
			if err := s.noteTx(ctx, tx, r, st.ID, st.State, "waits, because the condition cannot be judged: "+why); err != nil {
				return err
			}
			if _, err := s.k.AlertTx(ctx, tx, governance.Alert{Key: "playbook.deferred:" + r.ID.String(), Severity: governance.Warning, Title: "A run of " + r.Playbook + " waits for fresh data",
				Body: why, Tenant: governance.TenantID(r.Tenant), Links: []governance.Link{runLink(r.ID)}}); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "UPDATE playbook_run SET deferred_at = ? WHERE id = ?", govdb.At(now), r.ID); err != nil {
				return fmt.Errorf("defer: %w", err)
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE playbook_run SET due_at = ?, lease_until = 0 WHERE id = ?", govdb.At(now.Add(deferFor)), r.ID)
		return err
	})
}

func (s *Service) undefer(ctx context.Context, r *active) error {
	if r.DeferredAt == 0 {
		return nil
	}
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE playbook_run SET deferred_at = 0 WHERE id = ?", r.ID); err != nil {
			return fmt.Errorf("defer: %w", err)
		}
		return s.k.ResolveAlertTx(ctx, tx, "playbook.deferred:"+r.ID.String())
	})
}

// pausedNow is errPaused while the playbook, or everything, is paused.
func (s *Service) pausedNow(ctx context.Context, db bun.IDB, playbook string) error {
	yes, err := db.NewSelect().Model((*pauseRow)(nil)).Where("name IN ('', ?)", playbook).Exists(ctx)
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	if yes {
		return errPaused
	}
	return nil
}

// parkPaused gives a run back while its playbook is paused; resuming makes it due.
func (s *Service) parkPaused(ctx context.Context, r *active, err error) error {
	if !errors.Is(err, errPaused) {
		return err
	}
	return s.park(ctx, r, s.k.Now().Add(deferFor))
}
