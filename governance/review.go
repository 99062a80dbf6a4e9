package governance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/govdb"
)

// ReviewState is where a review stands.
type ReviewState string

// The states of a review: due → accepted | violation.
const (
	ReviewDue       ReviewState = "due"
	ReviewAccepted  ReviewState = "accepted"
	ReviewViolation ReviewState = "violation"
)

const (
	reviewPolicy     = "policy"      // a policy wants it looked at
	reviewBreakGlass = "break_glass" // the glass was broken
)

// Review is an action that somebody else must look at afterwards.
type Review struct {
	ID        uuid.UUID   `json:"id"`
	Action    uuid.UUID   `json:"action"`
	Name      string      `json:"name"` // of the action
	Kind      string      `json:"kind"` // policy, break_glass
	Policy    string      `json:"policy,omitempty"`
	Tenant    TenantID    `json:"tenant,omitempty"`
	Actor     Actor       `json:"actor"`
	Reason    string      `json:"reason"`
	State     ReviewState `json:"state"`
	DueAt     time.Time   `json:"due_at"`
	DecidedBy PersonID    `json:"decided_by,omitempty"`
	DecidedAt time.Time   `json:"decided_at,omitzero"`
	Note      string      `json:"note,omitempty"`
	CreatedAt time.Time   `json:"created_at"`
}

// ReviewFilter selects reviews; the zero value lists those that are due, the most
// pressing first.
type ReviewFilter struct {
	State ReviewState // empty: due
	All   bool        // every state, newest first
	Limit int         // default 50, at most 200
}

// Reviews lists reviews.
func (k *Kernel) Reviews(ctx context.Context, f ReviewFilter) ([]Review, error) {
	if f.State == "" {
		f.State = ReviewDue
	}
	var rows []reviewRow
	q := k.db.Read().NewSelect().Model(&rows).Limit(pageLimit(f.Limit))
	if f.All {
		q = q.Order("created_at DESC", "id")
	} else {
		q = q.Where("state = ?", f.State).Order("due_at", "id")
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list reviews: %w", err)
	}
	out := make([]Review, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.review(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Review reads one review.
func (k *Kernel) Review(ctx context.Context, id uuid.UUID) (Review, error) {
	var row reviewRow
	err := k.db.Read().NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Review{}, fmt.Errorf("review %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Review{}, fmt.Errorf("review %s: %w", id, err)
	}
	return row.review()
}

func (r reviewRow) review() (Review, error) {
	out := Review{ID: r.ID, Action: r.Action, Name: r.Name, Kind: r.Kind, Policy: r.Policy, Tenant: TenantID(r.Tenant), Reason: r.Reason, State: ReviewState(r.State),
		DueAt: r.DueAt.Time(), DecidedBy: PersonID(r.DecidedBy), DecidedAt: r.DecidedAt.Time(), Note: r.Note, CreatedAt: r.CreatedAt.Time()}
	if err := json.Unmarshal([]byte(r.Actor), &out.Actor); err != nil {
		return out, fmt.Errorf("review %s: %w", r.ID, err)
	}
	return out, nil
}

// WhyNotReview says why the caller may not decide a review, or is empty when they may.
// The console shows it beside a disabled button; [Kernel.DecideReview] decides by it.
func (k *Kernel) WhyNotReview(ctx context.Context, id Identity, r Review) (string, error) {
	voter, err := k.resolve(ctx, id.Actor.Person)
	if err != nil {
		return "", fmt.Errorf("resolve the reviewer: %w", err)
	}
	act, err := k.Action(ctx, r.Action)
	if err != nil { // who has to stay out of it is written there
		return "", fmt.Errorf("review %s: %w", r.ID, err)
	}
	switch {
	case id.Subject != nil:
		return "refused while impersonating somebody", nil
	case id.Actor.Kind != ActorUser || id.Actor.Person == "" || !voter.Active:
		return "only a person who is signed in may review", nil
	case id.Actor.Person == r.Actor.Person || id.Actor.Person == act.Requester.Person:
		return "nobody reviews what they did themselves", nil
	case slices.Contains(act.identity.persons(), id.Actor.Person):
		return "nobody reviews what was done in their name", nil
	case slices.Contains(act.Decision.Exclude, id.Actor.Person):
		return "nobody reviews what their own automation did", nil
	}
	return "", nil
}

// DecideReview says whether an act was right. Nobody of those who acted may: neither
// the person, nor who was represented, nor the author of the automation; whoever
// decides needs the permission to vote on approvals. A violation stays visible and
// raises an alert.
func (k *Kernel) DecideReview(ctx context.Context, id Identity, review uuid.UUID, verdict ReviewState, note string) (Review, error) {
	if err := k.Authorize(ctx, id, "approval:vote", Target{}); err != nil {
		return Review{}, err
	}
	if verdict != ReviewAccepted && verdict != ReviewViolation {
		return Review{}, Invalid("verdict", "%q is neither accepted nor violation", verdict)
	}
	if note = strings.TrimSpace(note); note == "" || len(note) > 2000 || strings.ContainsRune(note, 0) {
		return Review{}, Invalid("note", "is required, at most 2000 bytes")
	}
	var row reviewRow
	err := k.db.Read().NewSelect().Model(&row).Where("id = ?", review).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Review{}, fmt.Errorf("review %s: %w", review, ErrNotFound)
	}
	if err != nil {
		return Review{}, fmt.Errorf("review %s: %w", review, err)
	}
	r, err := row.review()
	if err != nil {
		return Review{}, err
	}
	switch why, err := k.WhyNotReview(ctx, id, r); {
	case err != nil:
		return Review{}, err
	case why != "":
		return Review{}, &DeniedError{"review.decide", "review", why}
	}
	err = k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		now := k.Now()
		res, err := tx.NewUpdate().Model((*reviewRow)(nil)).Set("state = ?", verdict).Set("decided_by = ?", string(id.Actor.Person)).
			Set("decided_at = ?", atMicros(now)).Set("note = ?", note).Where("id = ? AND state = ?", review, ReviewDue).Exec(ctx)
		if err != nil {
			return fmt.Errorf("review %s: %w", review, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("review %s was decided before: %w", review, ErrConflict)
		}
		row.State, row.DecidedBy, row.DecidedAt, row.Note = string(verdict), string(id.Actor.Person), atMicros(now), note
		if err := k.ResolveAlertTx(ctx, tx, reviewAlert(review)); err != nil {
			return err
		}
		if verdict == ReviewViolation {
			if _, err := k.AlertTx(ctx, tx, Alert{Key: "review.violation:" + review.String(), Severity: Critical, Title: row.Name + " was found to be a violation",
				Tenant: TenantID(row.Tenant), Links: []Link{{Title: "Review", Kind: "review", ID: review.String()}, {Title: "Action", Kind: "approval", ID: row.Action.String()}}}); err != nil {
				return err
			}
		}
		_, err = k.RecordTx(ctx, tx, id, Record{Action: "review.decide", Tenant: TenantID(row.Tenant), Resource: RefTo("review", review), Reason: note,
			Data: map[string]any{"verdict": verdict, "action": row.Name, "action_id": row.Action, "kind": row.Kind}})
		return err
	})
	if err != nil {
		return Review{}, err
	}
	return row.review()
}

func reviewAlert(id uuid.UUID) string { return "review.overdue:" + id.String() }

// reviewTx makes a review of an action.
func (k *Kernel) reviewTx(ctx context.Context, tx *Tx, d done, kind, policy string, within time.Duration) (uuid.UUID, error) {
	actor, err := json.Marshal(d.by.Actor)
	if err != nil {
		return uuid.Nil, fmt.Errorf("review of %s: %w", d.action, err)
	}
	now := k.Now()
	row := &reviewRow{ID: uuid.Must(uuid.NewV7()), Action: d.action, Name: d.name, Kind: kind, Policy: policy, Tenant: string(d.tenant), Person: string(d.by.Actor.Person),
		Actor: string(actor), Reason: d.reason, State: string(ReviewDue), DueAt: govdb.At(now.Add(within)), CreatedAt: govdb.At(now)}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return uuid.Nil, fmt.Errorf("review of %s: %w", d.action, err)
	}
	return row.ID, nil
}

// sweepReviews raises an alert for each review that is overdue; raising it again
// sends nothing.
func (k *Kernel) sweepReviews(ctx context.Context) error {
	var rows []reviewRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("state = ? AND due_at < ?", ReviewDue, atMicros(k.Now())).
		Where("NOT EXISTS (SELECT 1 FROM gov_alert a WHERE a.open_key = 'review.overdue:' || CAST(review_row.id AS TEXT))").Order("due_at").Limit(100).Scan(ctx); err != nil {
		return fmt.Errorf("overdue reviews: %w", err)
	}
	for _, r := range rows {
		err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
			_, err := k.AlertTx(ctx, tx, Alert{Key: reviewAlert(r.ID), Severity: Critical, Title: "A review of " + r.Name + " is overdue", Tenant: TenantID(r.Tenant),
				Body: "It was due at " + r.DueAt.Time().Format(time.RFC3339) + ".", Links: []Link{{Title: "Review", Kind: "review", ID: r.ID.String()}}})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
