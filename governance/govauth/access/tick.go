package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Tick starts a campaign that is due by itself, writes off people who are gone, closes
// what is finished, and alerts about what is late.
func (s *Service) Tick(ctx context.Context) error {
	var rows []campaignRow
	if err := s.db.Read().NewSelect().Model(&rows).Where("state = ?", CampaignOpen).Order("created_at").Scan(ctx); err != nil {
		return fmt.Errorf("open campaigns: %w", err)
	}
	errs := []error{s.startDue(ctx)}
	for _, r := range rows {
		errs = append(errs, s.watch(ctx, r.ID))
	}
	return errors.Join(errs...)
}

func alertKey(campaign uuid.UUID) string { return "access.campaign:" + campaign.String() }

func (s *Service) watch(ctx context.Context, id uuid.UUID) error {
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		var row campaignRow
		if err := tx.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx); err != nil {
			return fmt.Errorf("campaign %s: %w", id, err)
		}
		c, err := s.campaign(ctx, tx, row)
		if err != nil || c.State != CampaignOpen {
			return err
		}
		by := governance.System("access")
		for i, it := range c.Items {
			if it.Verdict != Undecided || it.Active {
				continue
			}
			if _, err := tx.ExecContext(ctx, "UPDATE access_review SET decision = ?, decided_at = ? WHERE campaign = ? AND person = ? AND decision = ''", Gone, govdb.At(s.k.Now()), id, it.Person); err != nil {
				return fmt.Errorf("review of %s: %w", it.Person, err)
			}
			c.Items[i].Settled = true
			if _, err := s.k.RecordTx(ctx, tx, by, governance.Record{Action: "access.attest", Outcome: governance.OutcomeObserved, Resource: governance.Ref{Kind: "person", ID: string(it.Person)},
				Data: map[string]any{"campaign": id, "verdict": Gone}}); err != nil {
				return err
			}
		}
		open := c.Open()
		if open > 0 {
			if !c.Overdue {
				return nil
			}
			_, err := s.k.AlertTx(ctx, tx, governance.Alert{Key: alertKey(id), Severity: governance.Critical, Title: "The access review is overdue",
				Body:  fmt.Sprintf("%s was due on %s; %d of %d people are not settled.", c.Title, c.DueAt.Format(time.DateOnly), open, len(c.Items)),
				Links: []governance.Link{{Title: c.Title, Kind: "access_campaign", ID: id.String()}}})
			return err
		}
		res, err := tx.ExecContext(ctx, "UPDATE access_campaign SET state = ?, closed_at = ? WHERE id = ? AND state = ?", CampaignClosed, govdb.At(s.k.Now()), id, CampaignOpen)
		if err != nil {
			return fmt.Errorf("close campaign %s: %w", id, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return nil // another server was faster
		}
		verdicts := map[Verdict]int{}
		for _, it := range c.Items {
			verdicts[it.Verdict]++
		}
		if _, err := s.k.RecordTx(ctx, tx, by, governance.Record{Action: "access.campaign_closed", Resource: campaignRef(id.String()),
			Data: map[string]any{"confirmed": verdicts[Confirm], "revoked": verdicts[Revoke], "gone": len(c.Items) - verdicts[Confirm] - verdicts[Revoke], "late": c.Overdue}}); err != nil {
			return err
		}
		return s.k.ResolveAlertTx(ctx, tx, alertKey(id))
	})
}

// startDue starts the periodic campaign when its time has come.
func (s *Service) startDue(ctx context.Context) error {
	if s.opts.Every < 0 {
		return nil
	}
	var last govdb.Micros
	if err := s.db.Read().NewRaw("SELECT COALESCE(MAX(created_at), 0) FROM access_campaign").Scan(ctx, &last); err != nil {
		return fmt.Errorf("last campaign: %w", err)
	}
	if last == 0 {
		began, ok, err := completeFrom(ctx, s.db.Read())
		if err != nil || !ok {
			return err
		}
		last = began
	}
	now := s.k.Now()
	if now.Before(last.Time().Add(s.opts.Every)) {
		return nil
	}
	var reviewers []governance.PersonID
	for _, g := range s.opts.Reviewers {
		members, err := s.k.Directory().Members(ctx, g)
		if err != nil {
			return fmt.Errorf("reviewers: %w", err)
		}
		for _, m := range members {
			if m.Active {
				reviewers = append(reviewers, m.ID)
			}
		}
	}
	by := governance.System("access")
	due := last.Time().Add(s.opts.Every + s.opts.Within).Truncate(time.Second)
	for !due.After(now) { // nothing ran for longer than a whole period
		due = due.Add(s.opts.Every)
	}
	title := "Access review due " + due.Format(time.DateOnly)
	_, err := s.Start(ctx, by, Start{Title: title, DueAt: due, Reviewers: reviewers}, &governance.DoOptions{Key: title}) // two servers start one
	if err == nil {
		return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			return s.k.ResolveAlertTx(ctx, tx, "access.periodic")
		})
	}
	var held *governance.ApprovalRequiredError
	if errors.As(err, &held) {
		return nil
	}
	return errors.Join(fmt.Errorf("periodic access review: %w", err), s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.k.AlertTx(ctx, tx, governance.Alert{Key: "access.periodic", Severity: governance.Critical, Title: "The periodic access review could not begin",
			Body: "It needs active reviewers, of whom nobody reviews themself."})
		return err
	}))
}
