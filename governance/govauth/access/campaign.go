package access

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb"
)

// The states of a campaign.
const (
	CampaignOpen   = "open"
	CampaignClosed = "closed"
)

// Verdict is what a reviewer says about a person's roles.
type Verdict string

// The verdicts. Gone is written for a person who has no access any more.
const (
	Undecided Verdict = ""
	Confirm   Verdict = "confirm"
	Revoke    Verdict = "revoke"
	Gone      Verdict = "gone"
)

// ActionStart starts a campaign.
const ActionStart = "access.campaign"

// Start is the input of [ActionStart]. ID may be left empty.
type Start struct {
	ID        string                `json:"id"`
	Title     string                `json:"title"`
	DueAt     time.Time             `json:"due_at"`
	Reviewers []governance.PersonID `json:"reviewers"`
}

// Campaign is one round of reviews.
type Campaign struct {
	ID        uuid.UUID
	Title     string
	State     string
	StartedBy string
	DueAt     time.Time
	CreatedAt time.Time
	ClosedAt  time.Time
	Overdue   bool
	Items     []Item
}

// Open counts the items that are not settled.
func (c Campaign) Open() (n int) {
	for _, it := range c.Items {
		if !it.Settled {
			n++
		}
	}
	return n
}

// Item is one person's review.
type Item struct {
	Person    governance.PersonID
	Reviewer  governance.PersonID
	Asked     []string // roles when the campaign began
	Roles     []string // roles now
	Active    bool     // now
	Version   int64    // of Roles: a decision names it
	Verdict   Verdict
	Keep      []string // of a revocation: the roles that may stay
	Comment   string
	DecidedBy governance.PersonID
	DecidedAt time.Time
	Settled   bool // confirmed, or what was revoked is gone
}

func (in Start) validate() error {
	var errs []error
	if strings.TrimSpace(in.Title) == "" || len(in.Title) > 200 {
		errs = append(errs, governance.Invalid("title", "is required, at most 200 bytes"))
	}
	if len(in.Reviewers) == 0 || len(in.Reviewers) > 200 {
		errs = append(errs, governance.Invalid("reviewers", "name at least one, at most 200"))
	}
	if _, err := uuid.Parse(in.ID); err != nil {
		errs = append(errs, governance.Invalid("id", "is not a UUID"))
	}
	return errors.Join(errs...)
}

func campaignRef(id string) governance.Ref {
	return governance.Ref{Kind: "access_campaign", ID: id}
}

func (s *Service) startAction() *governance.Action[Start] {
	return governance.Define(ActionStart, governance.Spec[Start]{
		Summary:    "Begins a campaign in which access is attested.",
		Unheld:     "It asks people to look at access, and changes none.",
		Permission: PermissionWrite, Sensitive: true,
		Tenant:   func(Start) governance.TenantID { return "" },
		Resource: func(in Start) governance.Ref { return campaignRef(in.ID) },
		Validate: Start.validate,
	}, func(ctx context.Context, tx *governance.Tx, in Start) (governance.Result, error) {
		now := s.k.Now()
		if !in.DueAt.After(now) || in.DueAt.After(now.Add(366*24*time.Hour)) {
			return governance.Result{}, governance.Invalid("due_at", "must be within the next 366 days")
		}
		people, err := s.auth.AccessTx(ctx, tx)
		if err != nil {
			return governance.Result{}, err
		}
		items, err := assign(people, in.Reviewers)
		if err != nil {
			return governance.Result{}, err
		}
		e, _ := governance.ExecutionFrom(ctx)
		id := uuid.MustParse(in.ID)
		row := &campaignRow{ID: id, Title: in.Title, State: CampaignOpen, StartedBy: e.Identity.Actor.ID, DueAt: govdb.At(in.DueAt), CreatedAt: govdb.At(now)}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return governance.Result{}, fmt.Errorf("campaign %s: %w", in.ID, err)
		}
		for i := range items {
			items[i].Campaign = id
		}
		if _, err := tx.NewInsert().Model(&items).Exec(ctx); err != nil {
			return governance.Result{}, fmt.Errorf("campaign %s: %w", in.ID, err)
		}
		return governance.Result{Data: map[string]any{"campaign": in.ID, "people": len(items), "due_at": in.DueAt}}, nil
	})
}

// assign gives every active person one of the reviewers in turn, never themself.
func assign(people []govauth.Change, reviewers []governance.PersonID) ([]reviewRow, error) {
	active := map[governance.PersonID]bool{}
	for _, p := range people {
		active[p.Person] = p.Active
	}
	who := slices.Clone(reviewers)
	slices.Sort(who)
	who = slices.Compact(who)
	for _, r := range who {
		if !active[r] {
			return nil, governance.Invalid("reviewers", "%q is no active person", r)
		}
	}
	var out []reviewRow
	next := 0
	for _, p := range people {
		if !p.Active {
			continue
		}
		if who[next%len(who)] == p.Person {
			next++
		}
		r := who[next%len(who)]
		if r == p.Person {
			return nil, governance.Invalid("reviewers", "nobody reviews themself, and %q would have to: name one more", p.Person)
		}
		next++
		out = append(out, reviewRow{Person: string(p.Person), Reviewer: string(r), Roles: encodeRoles(p.Roles), Version: p.Version, Keep: "[]"})
	}
	return out, nil
}

// Start asks for a campaign over everybody who has access now.
func (s *Service) Start(ctx context.Context, id governance.Identity, in Start, opts *governance.DoOptions) (governance.Outcome, error) {
	if in.ID == "" {
		in.ID = uuid.Must(uuid.NewV7()).String()
		if opts != nil && opts.Key != "" {
			in.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte("access\x00"+id.Actor.ID+"\x00"+opts.Key)).String()
		}
	}
	in.DueAt = in.DueAt.UTC().Truncate(time.Second)
	return s.start.Do(ctx, s.k, id, in, opts)
}

// Decision is a reviewer's word. Version must be that of the roles that were shown.
type Decision struct {
	Verdict Verdict
	Keep    []string // with Revoke: the roles that may stay; empty takes all access
	Version int64
	Comment string
}

// Decide writes down a reviewer's word on a person. Any reviewer of the campaign may
// stand in for the one who was asked, and nobody decides on themself. A revocation then
// asks for the change through the guard, with the reviewer's own rights; when that is
// held or refused the word stands, the error says so, and the item stays open until the
// roles are gone.
func (s *Service) Decide(ctx context.Context, id governance.Identity, campaign uuid.UUID, person governance.PersonID, d Decision) error {
	if err := s.mayDecide(ctx, id, person); err != nil {
		return err
	}
	if d.Verdict != Confirm && d.Verdict != Revoke {
		return governance.Invalid("verdict", "%q is neither confirm nor revoke", d.Verdict)
	}
	if len(d.Comment) > 2000 || strings.ContainsRune(d.Comment, 0) {
		return governance.Invalid("comment", "has at most 2000 bytes and no U+0000")
	}
	if d.Verdict == Revoke && strings.TrimSpace(d.Comment) == "" {
		return governance.Invalid("comment", "say why the roles go")
	}
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		return s.decideTx(ctx, tx, id, campaign, person, d)
	})
	if err != nil || d.Verdict == Confirm {
		return err
	}
	return s.revoke(ctx, id, campaign, person, d)
}

func (s *Service) mayDecide(ctx context.Context, id governance.Identity, person governance.PersonID) error {
	if err := s.k.Authorize(ctx, id, PermissionRead, governance.Target{}); err != nil {
		return err
	}
	switch {
	case id.Subject != nil:
		return &governance.DeniedError{Action: "access.attest", Rule: "impersonation", Reason: "refused while impersonating somebody"}
	case id.Actor.Person == "":
		return &governance.DeniedError{Action: "access.attest", Rule: "person", Reason: "only a person reviews"}
	case id.Actor.Person == person:
		return &governance.DeniedError{Action: "access.attest", Rule: "self", Reason: "nobody reviews themself"}
	}
	return nil
}

func (s *Service) decideTx(ctx context.Context, tx *governance.Tx, id governance.Identity, campaign uuid.UUID, person governance.PersonID, d Decision) error {
	people, err := s.auth.AccessTx(ctx, tx) // also keeps the roles as they are until the commit
	if err != nil {
		return err
	}
	reviews, err := reviewsTx(ctx, tx, campaign)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(reviews, func(r reviewRow) bool { return r.Reviewer == string(id.Actor.Person) }) {
		return &governance.DeniedError{Action: "access.attest", Rule: "reviewer", Reason: "you are no reviewer of this campaign"}
	}
	at := slices.IndexFunc(people, func(c govauth.Change) bool { return c.Person == person })
	i := slices.IndexFunc(reviews, func(r reviewRow) bool { return r.Person == string(person) })
	switch {
	case i < 0 || at < 0:
		return fmt.Errorf("review of %s: %w", person, governance.ErrNotFound)
	case people[at].Version != d.Version || !people[at].Active:
		return fmt.Errorf("the access of %s changed since it was shown: %w", person, governance.ErrConflict)
	}
	keep := []string{}
	if d.Verdict == Revoke {
		keep = slices.Clone(d.Keep)
		slices.Sort(keep)
		keep = slices.Compact(keep)
		for _, r := range keep {
			if !slices.Contains(people[at].Roles, r) {
				return governance.Invalid("keep", "%q is none of their roles: a review gives nothing", r)
			}
		}
		if len(keep) == len(people[at].Roles) {
			return governance.Invalid("keep", "a revocation takes at least one role away")
		}
	}
	res, err := tx.ExecContext(ctx, `UPDATE access_review SET decision = ?, keep = ?, comment = ?, decided_by = ?, decided_at = ?, version = ? WHERE campaign = ? AND person = ? AND decision = ''
		AND EXISTS (SELECT 1 FROM access_campaign WHERE id = ? AND state = 'open')`,
		d.Verdict, encodeRoles(keep), d.Comment, id.Actor.Person, govdb.At(s.k.Now()), d.Version, campaign, person, campaign)
	if err != nil {
		return fmt.Errorf("review of %s: %w", person, err)
	}
	if n, _ := res.RowsAffected(); n != 1 {
		return fmt.Errorf("the review of %s is decided, or its campaign closed: %w", person, governance.ErrConflict)
	}
	_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "access.attest", Resource: governance.Ref{Kind: "person", ID: string(person)}, Reason: d.Comment,
		Data: map[string]any{"campaign": campaign, "verdict": d.Verdict, "roles": people[at].Roles, "keep": keep, "version": fmt.Sprint(d.Version), "asked": reviews[i].Reviewer}})
	return err
}

// revoke asks for what a revocation says; once per decision, whoever asks.
func (s *Service) revoke(ctx context.Context, id governance.Identity, campaign uuid.UUID, person governance.PersonID, d Decision) error {
	opts := &governance.DoOptions{Key: "access:" + campaign.String() + ":" + string(person), Reason: "Access review: " + d.Comment}
	var err error
	if len(d.Keep) == 0 {
		_, err = s.auth.Deactivate(ctx, id, govauth.Deactivate{Person: person}, opts)
	} else {
		_, err = s.auth.SetRoles(ctx, id, govauth.ChangeRoles{Person: person, Roles: d.Keep}, opts)
	}
	return err
}

func reviewsTx(ctx context.Context, db bun.IDB, campaign uuid.UUID) ([]reviewRow, error) {
	var rows []reviewRow
	if err := db.NewSelect().Model(&rows).Where("campaign = ?", campaign).Order("person").Scan(ctx); err != nil {
		return nil, fmt.Errorf("campaign %s: %w", campaign, err)
	}
	return rows, nil
}

// Campaign reads one campaign with its items.
func (s *Service) Campaign(ctx context.Context, id uuid.UUID) (Campaign, error) {
	var row campaignRow
	err := s.db.Read().NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return Campaign{}, fmt.Errorf("campaign %s: %w", id, err)
	}
	return s.campaign(ctx, s.db.Read(), row)
}

// Campaigns lists campaigns with their items, newest first.
func (s *Service) Campaigns(ctx context.Context, before uuid.UUID, limit int) ([]Campaign, error) {
	if limit <= 0 || limit > 200 {
		limit = 50
	}
	var rows []campaignRow
	q := s.db.Read().NewSelect().Model(&rows).Order("created_at DESC", "id DESC").Limit(int64(limit))
	if before != uuid.Nil {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM access_campaign WHERE id = ?)", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list campaigns: %w", err)
	}
	out := make([]Campaign, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = s.campaign(ctx, s.db.Read(), r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Service) campaign(ctx context.Context, db bun.IDB, r campaignRow) (Campaign, error) {
	c := Campaign{ID: r.ID, Title: r.Title, State: r.State, StartedBy: r.StartedBy, DueAt: r.DueAt.Time(), CreatedAt: r.CreatedAt.Time(), ClosedAt: r.ClosedAt.Time(), Items: []Item{}}
	c.Overdue = r.State == CampaignOpen && s.k.Now().After(c.DueAt)
	rows, err := reviewsTx(ctx, db, r.ID)
	if err != nil {
		return c, err
	}
	until := endOfTime
	if r.ClosedAt > 0 {
		until = r.ClosedAt // a closed campaign stays as it was closed
	}
	changes, err := latest(ctx, db, until)
	if err != nil {
		return c, err
	}
	now := map[string]Line{}
	for _, ch := range changes {
		if now[ch.Person], err = ch.line(); err != nil {
			return c, err
		}
	}
	for _, row := range rows {
		l := now[row.Person]
		it := Item{Person: governance.PersonID(row.Person), Reviewer: governance.PersonID(row.Reviewer), Roles: l.Roles, Active: l.Active, Version: l.Version,
			Verdict: Verdict(row.Decision), Comment: row.Comment, DecidedBy: governance.PersonID(row.DecidedBy), DecidedAt: row.DecidedAt.Time()}
		if it.Asked, err = decodeRoles(row.Roles); err != nil {
			return c, err
		}
		if it.Keep, err = decodeRoles(row.Keep); err != nil {
			return c, err
		}
		it.Settled = it.Verdict == Confirm || it.Verdict == Gone ||
			it.Verdict == Revoke && (!it.Active || !slices.ContainsFunc(it.Roles, func(role string) bool { return !slices.Contains(it.Keep, role) }))
		c.Items = append(c.Items, it)
	}
	return c, nil
}
