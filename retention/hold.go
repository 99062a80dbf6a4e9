package retention

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Selector says which rows a hold is about: all the fields that are set must fit.
// None set is refused, for it would mean everything.
type Selector struct {
	Tenant  string `json:"tenant,omitempty"`
	Subject string `json:"subject,omitempty"` // the data subject's key
	Class   string `json:"class,omitempty"`   // also of rows that go with others: these are held as well
	Country string `json:"country,omitempty"`
	Source  string `json:"source,omitempty"`
	Key     string `json:"key,omitempty"`   // of one row in Source, such as "42" or ["a",1]
	Child   string `json:"child,omitempty"` // Key is of a row in this related table
}

// Validate checks the selector alone.
func (s Selector) Validate() error {
	if s == (Selector{}) {
		return governance.Invalid("selector", "name a tenant, subject, class, country, or source and key; nothing never means everything")
	}
	if s.Key != "" && s.Source == "" {
		return governance.Invalid("selector.source", "is required with a key")
	}
	if s.Child != "" && s.Key == "" {
		return governance.Invalid("selector.key", "is required with a related table")
	}
	for field, v := range map[string]string{"tenant": s.Tenant, "subject": s.Subject, "class": s.Class, "country": s.Country, "source": s.Source, "key": s.Key, "child": s.Child} {
		if len(v) > 500 || strings.ContainsRune(v, 0) {
			return governance.Invalid("selector."+field, "has at most 500 bytes and no U+0000")
		}
	}
	return nil
}

func (s Selector) matches(f Facts, r *Resolver) bool {
	if s.Child != "" || s == (Selector{}) {
		return false // the source answers these by Facts.ChildHolds
	}
	if s.Tenant != "" && s.Tenant != f.Tenant || s.Subject != "" && s.Subject != f.Subject {
		return false
	}
	if s.Source != "" && s.Source != f.Source || s.Key != "" && s.Key != f.Key {
		return false
	}
	if s.Country != "" {
		want, _ := r.Country(s.Country)
		have, ok := r.Country(f.Country)
		if !ok || want != have {
			return false
		}
	}
	if s.Class != "" && s.Class != f.Class {
		for _, c := range f.Classes {
			if c == s.Class {
				return true
			}
		}
		return false
	}
	return true
}

// Hold keeps what it selects from every purge until it is released. It has no end
// date, and its release deletes nothing.
type Hold struct {
	ID          governance.ID[Hold] `json:"id"`
	Matter      string              `json:"matter"`
	Reason      string              `json:"reason"`
	Selector    Selector            `json:"selector"`
	PlacedBy    string              `json:"placed_by"`
	PlacedAt    time.Time           `json:"placed_at"`
	ReleasedBy  string              `json:"released_by,omitempty"`
	ReleasedAt  time.Time           `json:"released_at,omitzero"`
	ReleasedFor string              `json:"released_for,omitempty"`
	Unfenced    []string            `json:"unfenced,omitempty"` // sources whose running batch may not know it yet
}

// NewHold is what is needed to place a hold.
type NewHold struct {
	Matter   string   `json:"matter"`
	Reason   string   `json:"reason"`
	Selector Selector `json:"selector"`
	Key      string   `json:"-"` // makes the call idempotent for this actor; empty: every call places one
}

func (n NewHold) validate() error {
	var errs []error
	if strings.TrimSpace(n.Matter) == "" || len(n.Matter) > 200 || strings.ContainsRune(n.Matter, 0) {
		errs = append(errs, governance.Invalid("matter", "is required, at most 200 bytes"))
	}
	if strings.TrimSpace(n.Reason) == "" || len(n.Reason) > 2000 || strings.ContainsRune(n.Reason, 0) {
		errs = append(errs, governance.Invalid("reason", "is required, at most 2000 bytes"))
	}
	return errors.Join(append(errs, n.Selector.Validate())...)
}

var holdNamespace = uuid.MustParse("0a8a7c52-5c1e-5f0e-9a35-1b1d6d2f6a10")

// PlaceHold places a hold. When it returns without Unfenced sources, no batch that
// does not know the hold can commit any more.
func (s *Service) PlaceHold(ctx context.Context, id governance.Identity, n NewHold) (Hold, error) {
	if err := n.validate(); err != nil {
		return Hold{}, err
	}
	if err := s.gov.Authorize(ctx, id, "retention:write", governance.Target{Tenant: governance.TenantID(n.Selector.Tenant)}); err != nil {
		return Hold{}, err
	}
	r, err := s.Resolver(ctx)
	if err != nil {
		return Hold{}, err
	}
	if n.Selector.Source != "" {
		if _, ok := s.source(n.Selector.Source); !ok {
			return Hold{}, governance.Invalid("selector.source", "%q is not a source", n.Selector.Source)
		}
	}
	if n.Selector.Country != "" {
		if _, ok := r.Country(n.Selector.Country); !ok {
			return Hold{}, governance.Invalid("selector.country", "%q is not a known country", n.Selector.Country)
		}
	}
	if n.Selector.Key != "" {
		if n.Selector.Key, err = CanonicalKey(n.Selector.Key); err != nil {
			return Hold{}, governance.Invalid("selector.key", "%v", err)
		}
	}
	h := Hold{ID: governance.NewID[Hold](), Matter: n.Matter, Reason: n.Reason, Selector: n.Selector, PlacedBy: id.Actor.ID}
	if n.Key != "" {
		h.ID.UUID = uuid.NewSHA1(holdNamespace, []byte(id.Actor.ID+"\x00"+n.Key))
	}
	var epoch int64
	err = s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		switch have, err := readHold(ctx, tx, h.ID); {
		case err == nil && (have.Matter != n.Matter || have.Reason != n.Reason || have.Selector != n.Selector):
			return fmt.Errorf("the idempotency key was used for another hold: %w", governance.ErrConflict)
		case err == nil:
			h = have
			epoch, err = settingOf(ctx, tx, settingEpoch)
			return err
		case !errors.Is(err, governance.ErrNotFound):
			return err
		}
		h.PlacedAt = s.gov.Now()
		row, err := newHoldRow(h)
		if err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("hold %s: %w", h.ID, err)
		}
		if epoch, err = bumpTx(ctx, tx, settingEpoch); err != nil {
			return err
		}
		ev, err := governance.NewEvent("retention.hold_placed", governance.TenantID(h.Selector.Tenant), 0, governance.RefTo("hold", h.ID), h)
		if err != nil {
			return err
		}
		_, err = s.gov.RecordTx(ctx, tx, id, governance.Record{Action: "retention.hold.place", Tenant: governance.TenantID(h.Selector.Tenant),
			Resource: governance.RefTo("hold", h.ID), Reason: h.Reason, Data: h}, ev)
		return err
	})
	if err != nil {
		return Hold{}, fmt.Errorf("place hold: %w", err)
	}
	// The hold stands. A batch that began before it may still be at work: wait it out.
	for _, src := range s.sourceNames() {
		source, _ := s.source(src)
		if err := source.Fence(ctx, epoch); err != nil {
			s.log.WarnContext(ctx, "fence of holds", "source", src, "error", err)
			h.Unfenced = append(h.Unfenced, src) // its next batch will not begin before it knows the hold
		}
	}
	return h, nil
}

// releaseHold is the input of the guarded release.
type releaseHold struct {
	Hold   governance.ID[Hold] `json:"hold"`
	Reason string              `json:"reason"`
}

// ActionReleaseHold is the name of the guarded release.
const ActionReleaseHold = "retention.hold.release"

func (s *Service) defineRelease() *governance.Action[releaseHold] {
	return governance.Define(ActionReleaseHold, governance.Spec[releaseHold]{
		Summary:    "Releases a legal hold.",
		Permission: "retention:write",
		Sensitive:  true,
		Tenant:     func(releaseHold) governance.TenantID { return "" },
		Resource:   func(in releaseHold) governance.Ref { return governance.RefTo("hold", in.Hold) },
		Validate: func(in releaseHold) error {
			if strings.TrimSpace(in.Reason) == "" || len(in.Reason) > 2000 {
				return governance.Invalid("reason", "is required, at most 2000 bytes")
			}
			return nil
		},
		Version: func(ctx context.Context, tx *governance.Tx, in releaseHold) (int64, error) {
			h, err := readHold(ctx, tx, in.Hold)
			if err == nil && !h.ReleasedAt.IsZero() {
				err = fmt.Errorf("hold %s is released already: %w", in.Hold, governance.ErrConflict)
			}
			return 1, err
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in releaseHold) (any, error) {
			return readHold(ctx, tx, in.Hold)
		},
	}, func(ctx context.Context, tx *governance.Tx, in releaseHold) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		now := s.gov.Now()
		res, err := tx.ExecContext(ctx, "UPDATE retention_hold SET released_at = ?, released_by = ?, released_for = ? WHERE id = ? AND released_at = 0",
			govdb.At(now), e.Identity.Actor.ID, in.Reason, in.Hold.String())
		if err != nil {
			return governance.Result{}, fmt.Errorf("release hold %s: %w", in.Hold, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return governance.Result{}, fmt.Errorf("hold %s: %w", in.Hold, governance.ErrNotFound)
		}
		if _, err := bumpTx(ctx, tx, settingEpoch); err != nil {
			return governance.Result{}, err
		}
		h, err := readHold(ctx, tx, in.Hold)
		if err != nil {
			return governance.Result{}, err
		}
		ev, err := governance.NewEvent("retention.hold_released", governance.TenantID(h.Selector.Tenant), 0, governance.RefTo("hold", h.ID), h)
		return governance.Result{Data: h, Events: []governance.Event{ev}}, err
	})
}

// ReleaseHold lifts a hold, through the guard. What it kept becomes due by the next
// plan, never by a plan made before.
func (s *Service) ReleaseHold(ctx context.Context, id governance.Identity, hold governance.ID[Hold], reason string, opts *governance.DoOptions) (governance.Outcome, error) {
	o := governance.DoOptions{}
	if opts != nil {
		o = *opts
	}
	if o.Reason == "" {
		o.Reason = reason
	}
	return s.release.Do(ctx, s.gov, id, releaseHold{hold, reason}, &o)
}

// HoldFilter selects holds; the zero value lists those in force.
type HoldFilter struct {
	Released bool // list released ones as well
	Limit    int
	Before   string // the last id of the page before
}

// Holds lists holds, newest first.
func (s *Service) Holds(ctx context.Context, f HoldFilter) ([]Hold, error) {
	var rows []holdRow
	q := s.db.Read().NewSelect().Model(&rows).Order("placed_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if !f.Released {
		q = q.Where("released_at = 0")
	}
	if f.Before != "" {
		q = q.Where("(placed_at, id) < (SELECT placed_at, id FROM retention_hold WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list holds: %w", err)
	}
	return holdsOf(rows)
}

// Hold reads one hold.
func (s *Service) Hold(ctx context.Context, id governance.ID[Hold]) (Hold, error) {
	return readHold(ctx, s.db.Read(), id)
}

func holdNotFound(id governance.ID[Hold], err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	return fmt.Errorf("hold %s: %w", id, err)
}
