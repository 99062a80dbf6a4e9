package oversight

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// ReviewState is where the review of a session stands.
type ReviewState string

// The states of a review; empty when there is none to make.
const (
	ReviewDue     ReviewState = "due"
	ReviewOverdue ReviewState = "overdue"
	Reviewed      ReviewState = "reviewed"
)

// Verdict is what a review found.
type Verdict string

// The verdicts.
const (
	Accepted  Verdict = "accepted"
	Violation Verdict = "violation" // raises a critical alert
)

// Review is the second look at a session that is over.
type Review struct {
	State   ReviewState `json:"state,omitempty"`
	Due     time.Time   `json:"due,omitzero"`
	By      string      `json:"by,omitempty"`
	At      time.Time   `json:"at,omitzero"`
	Verdict Verdict     `json:"verdict,omitempty"`
	Note    string      `json:"note,omitempty"`
}

func (r Review) state(now time.Time) ReviewState {
	switch {
	case !r.At.IsZero():
		return Reviewed
	case r.Due.IsZero():
		return ""
	case !now.Before(r.Due):
		return ReviewOverdue
	}
	return ReviewDue
}

// reviewDue is when a session that ends now must have been reviewed; 0 for one that
// was never begun.
func (s *Service) reviewDue(have Session, now time.Time) govdb.Micros {
	if have.OpenedAt.IsZero() || s.opts.ReviewWithin < 0 {
		return 0
	}
	return govdb.At(now.Add(s.opts.ReviewWithin))
}

// Review stores what somebody else than the actor found in a session that is over,
// once. A violation needs a note.
func (s *Service) Review(ctx context.Context, id governance.Identity, session uuid.UUID, v Verdict, note string) error {
	note = strings.TrimSpace(note)
	switch {
	case v != Accepted && v != Violation:
		return governance.Invalid("verdict", "%q is neither accepted nor violation", v)
	case len(note) > maxReason || !clean(note):
		return governance.Invalid("note", "has more than %d bytes or is not text", maxReason)
	case v == Violation && len(note) < 3:
		return governance.Invalid("note", "is required for a violation")
	}
	have, err := s.Session(ctx, session)
	if err != nil {
		return err
	}
	if id.Subject != nil || id.Actor.Person == "" || id.Actor.Person == have.Actor.Person || id.Actor.Person == have.Subject.Person {
		return &governance.DeniedError{Action: "impersonation.review", Rule: "person", Reason: "a session is reviewed by another person than the one who worked in it"}
	}
	if err := s.k.Authorize(ctx, id, PermissionReview, governance.Target{Tenant: have.Tenant, Resource: have.ref()}); err != nil {
		return err
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		now := s.k.Now()
		res, err := tx.ExecContext(ctx, "UPDATE oversight_session SET reviewed_at = ?, reviewed_by = ?, verdict = ?, review_note = ? WHERE id = ? AND review_due > 0 AND reviewed_at = 0",
			govdb.At(now), id.Actor.ID, v, note, session)
		if moved, err := one(res, err); err != nil || !moved {
			if err == nil {
				err = fmt.Errorf("session %s has no review to make: %w", session, governance.ErrConflict)
			}
			return err
		}
		ev, err := s.event("impersonation.reviewed", have)
		if err != nil {
			return err
		}
		receipt, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "impersonation.review", Tenant: have.Tenant, Resource: have.ref(), ActionID: session, Reason: note,
			Data: map[string]any{"verdict": v, "impersonator": have.Actor.ID}}, ev)
		if err != nil {
			return err
		}
		if err := s.k.ResolveAlertTx(ctx, tx, reviewAlert(session)); err != nil || v == Accepted {
			return err
		}
		_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: "impersonation.violation:" + session.String(), Severity: governance.Critical, Tenant: have.Tenant,
			Title: "A review found a violation in an impersonation", Body: have.Actor.ID + " worked as a user of " + string(have.Tenant) + ".",
			Links: []governance.Link{{Title: "Session and recording", Kind: "session", ID: session.String()}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
		return err
	})
}

func reviewAlert(id uuid.UUID) string { return "impersonation.review:" + id.String() }

// tellReviews raises one alert for each review that is overdue.
func (s *Service) tellReviews(ctx context.Context) error {
	var late []sessionRow
	err := s.k.DB().Read().NewSelect().Model(&late).Where("review_due > 0 AND reviewed_at = 0 AND review_due <= ? AND review_told = 0", govdb.At(s.k.Now())).
		Order("review_due", "id").Limit(200).Scan(ctx)
	if err != nil {
		return fmt.Errorf("overdue reviews: %w", err)
	}
	for _, row := range late {
		have, err := s.session(row)
		if err != nil {
			return err
		}
		err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			res, err := tx.ExecContext(ctx, "UPDATE oversight_session SET review_told = ? WHERE id = ? AND review_told = 0 AND reviewed_at = 0", govdb.At(s.k.Now()), have.ID)
			if moved, err := one(res, err); err != nil || !moved {
				return err
			}
			receipt, err := s.k.RecordTx(ctx, tx, have.server(), governance.Record{Action: "impersonation.review_overdue", Tenant: have.Tenant, Resource: have.ref(), ActionID: have.ID,
				Data: map[string]any{"due": have.Review.Due}})
			if err != nil {
				return err
			}
			_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: reviewAlert(have.ID), Severity: governance.Warning, Tenant: have.Tenant, Title: "The review of an impersonation is overdue",
				Body:  fmt.Sprintf("%s worked as a user of %s; a review was due by %s.", have.Actor.ID, have.Tenant, have.Review.Due.Format("2 Jan 2006 15:04 MST")),
				Links: []governance.Link{{Title: "Session and recording", Kind: "session", ID: have.ID.String()}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
