package playbook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// eventTrigger begins the trigger of what an event started.
const eventTrigger = "event "

// onEvents keeps the events that some playbook waits for, and wakes runs whose
// approval was decided.
func (s *Service) onEvents(ctx context.Context, tx *governance.Tx, evs []governance.Event) error {
	var lists []string
	if err := tx.NewSelect().Model((*playbookRow)(nil)).Column("events").Scan(ctx, &lists); err != nil {
		return fmt.Errorf("events that playbooks wait for: %w", err)
	}
	wanted := map[string]bool{}
	for _, l := range lists {
		types, err := fromJSON[[]string]("events", l)
		if err != nil {
			return err
		}
		for _, t := range types {
			wanted[t] = true
		}
	}
	now := govdb.At(s.k.Now())
	var rows []inboxRow
	var decided []string
	for _, e := range evs {
		if id, ok := strings.CutPrefix(e.Resource, "approval/"); ok && strings.HasPrefix(e.Type, "approval.") && e.Type != "approval.requested" {
			decided = append(decided, id)
		}
		if wanted[e.Type] && e.Tenant != "" {
			rows = append(rows, inboxRow{ID: e.ID, Type: e.Type, Tenant: e.Tenant, Actor: e.Actor, Causation: e.Causation, Depth: e.Depth, At: govdb.At(e.At), DueAt: now})
		}
	}
	if len(rows) > 0 {
		if _, err := tx.NewInsert().Model(&rows).On("CONFLICT (id) DO NOTHING").Exec(ctx); err != nil {
			return fmt.Errorf("keep events: %w", err)
		}
	}
	if len(decided) == 0 {
		return nil
	}
	_, err := tx.NewUpdate().Model((*runRow)(nil)).Set("due_at = ?", now).Where("state IN ('running', 'stopping') AND deferred_at = 0 AND due_at > ?", now).
		Where("id IN (SELECT run FROM playbook_step WHERE approval IN (?))", bun.List(decided)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("wake runs: %w", err)
	}
	return nil
}

// Inbox looks at the tenants of events that were kept.
func (s *Service) Inbox(ctx context.Context) error {
	var rows []inboxRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("due_at <= ?", govdb.At(s.k.Now())).Order("due_at", "id").Limit(100).Scan(ctx); err != nil {
		return fmt.Errorf("kept events: %w", err)
	}
	var errs []error
	for _, r := range rows {
		err := s.onEvent(ctx, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("event %s: %w", r.ID, err))
		}
		errs = append(errs, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			if err == nil || r.Attempts >= 10 {
				_, err := tx.ExecContext(ctx, "DELETE FROM playbook_inbox WHERE id = ?", r.ID)
				return err
			}
			_, err := tx.ExecContext(ctx, "UPDATE playbook_inbox SET attempts = attempts + 1, due_at = ? WHERE id = ?", govdb.At(s.k.Now().Add(backoff(r.Attempts))), r.ID)
			return err
		}))
	}
	return errors.Join(errs...)
}

// onEvent may run twice for one event, after a crash: a second run of a tenant
// within the window is refused anyway.
func (s *Service) onEvent(ctx context.Context, e inboxRow) error {
	errs := []error{s.reverseFor(ctx, e.Tenant, e.Type)}
	var rows []playbookRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return fmt.Errorf("playbooks: %w", err)
	}
	t, err := s.k.Tenant(ctx, governance.TenantID(e.Tenant))
	if errors.Is(err, governance.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, row := range rows {
		for _, m := range row.modes() {
			if err := s.onEventFor(ctx, row.Name, m, t, e); err != nil && !errors.Is(err, errPaused) {
				errs = append(errs, fmt.Errorf("playbook %s: %w", row.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Service) onEventFor(ctx context.Context, name string, m moded, t governance.Tenant, e inboxRow) error {
	c, err := s.version(ctx, name, m.version)
	if err != nil || !slices.Contains(c.Trigger.Events, e.Type) {
		return err
	}
	if err := s.pausedNow(ctx, s.k.DB().Handle(), name); err != nil {
		return err
	}
	why := cause{event: e.ID, typ: e.Type, actor: e.Actor, causation: e.Causation, depth: e.Depth}
	if why.causation != uuid.Nil && why.actor != "playbook:"+name {
		own, err := s.k.DB().Handle().NewSelect().Model((*runRow)(nil)).Where("id = ? AND playbook = ?", e.Causation, name).Exists(ctx)
		if err != nil {
			return fmt.Errorf("cause: %w", err)
		}
		if own {
			why.actor = "playbook:" + name
		}
	}
	p := Plan{Playbook: name, Version: m.version, At: s.k.Now(), Candidates: []Candidate{}}
	if err := s.planPage(ctx, c, &p, []governance.Tenant{t}, m.mode, why); err != nil {
		return err
	}
	if len(p.Candidates) == 0 {
		return nil
	}
	all, err := s.k.CountTenants(ctx)
	if err != nil {
		return err
	}
	p.Cap = c.Safeguards.cap(all)
	_, err = s.enrol(ctx, c, p, m.mode, eventTrigger+e.Type, why)
	return err
}
