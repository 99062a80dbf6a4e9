package console

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

// The live wall shows who works as a customer now, and what they see; whoever watches
// one session of it can end it.

type wallCard struct {
	sessionView
	Frame     int // number of the newest frame that shows something; 0: none yet
	Left      string
	Observers []string
	Own, Kill bool
	Broken    string // why the newest frame is not shown
}

type wallPage struct {
	Cards []wallCard
	Empty Empty
}

func (p oversightPages) wall(c *Ctx) (View, error) {
	live, err := p.svc.Live(c.Context())
	if err != nil {
		return View{}, err
	}
	page := wallPage{Empty: Empty{Icon: "eye", Title: "Nobody works as a customer now", Text: "A session stands here from its first second to its last.", Action: &Button{Text: "All sessions", Href: "/sessions"}}}
	for _, s := range live {
		card, err := p.wallCard(c, s)
		if err != nil {
			return View{}, err
		}
		page.Cards = append(page.Cards, card)
	}
	return wallView(page), nil
}

func wallView(page wallPage) View {
	return View{Title: "Live sessions", Lead: "What staff see in the product right now, as it is recorded.", Frames: true, Template: "oversight_wall", Data: page,
		Crumbs: []Crumb{{"Sessions", "/sessions"}, {"Live", ""}}}
}

func (p oversightPages) wallCard(c *Ctx, s oversight.Session) (wallCard, error) {
	card := wallCard{sessionView: newSessionView(c, s), Left: FormatDuration(max(0, s.ExpiresAt.Sub(c.Kernel().Now())).Truncate(time.Second)),
		Own: c.Identity.Actor.Person != "" && c.Identity.Actor.Person == s.Actor.Person, Kill: c.Can(oversight.PermissionEnd)}
	watching, err := p.svc.Observers(c.Context(), s.ID)
	if err != nil {
		return card, err
	}
	for _, o := range watching {
		if o.Present {
			card.Observers = append(card.Observers, actorName(o.Actor))
		}
	}
	if p.rec == nil {
		return card, nil
	}
	if err := p.rec.Watch(c.Context(), c.Identity, s); err != nil {
		return card, err
	}
	_, card.Frame, err = p.rec.Last(c.Context(), s.ID)
	if errors.Is(err, recorder.ErrTampered) || errors.Is(err, governance.ErrNotFound) {
		card.Broken = "Its recording is missing or was changed."
		return card, nil
	}
	return card, err
}

// shown serves the newest frame of a session.
func (p oversightPages) shown(c *Ctx, w http.ResponseWriter) error {
	id, err := c.UUID("id")
	if err != nil {
		return err
	}
	s, err := p.svc.Session(c.Context(), id)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Authorize(oversight.PermissionRead, governance.Target{Tenant: s.Tenant}), p.rec.Watch(c.Context(), c.Identity, s)); err != nil {
		return err
	}
	f, n, err := p.rec.Last(c.Context(), id)
	if err != nil {
		return err
	}
	if n == 0 {
		return governance.ErrNotFound
	}
	return recorder.WriteReplay(w, f)
}

type watchPage struct {
	wallCard
	Present bool
	Over    bool
	For     string // how long a sign of life counts
	Reason  Field
}

func (p oversightPages) watch(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	s, err := p.svc.Session(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	if err := c.Authorize(oversight.PermissionEnd, governance.Target{Tenant: s.Tenant, Resource: governance.RefTo("session", id)}); err != nil {
		return View{}, err
	}
	card, err := p.wallCard(c, s)
	if err != nil {
		return View{}, err
	}
	page := watchPage{wallCard: card, Over: !s.Live(), For: FormatDuration(p.svc.ObserverFor()), Reason: c.Field(Field{Name: "reason", Label: "Why it ends", MaxLen: 500})}
	watching, err := p.svc.Observers(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	for _, o := range watching {
		page.Present = page.Present || o.Present && o.Actor.Person == c.Identity.Actor.Person
	}
	return watchView(page), nil
}

func watchView(page watchPage) View {
	return View{Title: "Watch " + page.Who + " as " + page.wallCard.For, Badge: string(page.State), Frames: true, Template: "oversight_watch", Data: page,
		Crumbs: []Crumb{{"Sessions", "/sessions"}, {"Live", "/sessions/live"}, {ShortID(page.ID.String()), ""}}}
}

func (p oversightPages) observe(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	err = p.svc.Observe(c.Context(), c.Identity, id)
	if errors.Is(err, governance.ErrConflict) {
		return Done{To: "/sessions/" + id.String(), Flash: "The session is over.", Tone: ToneWarn}, nil
	}
	return Done{To: "/sessions/" + id.String() + "/watch", Flash: "You are watching."}, err
}

func (p oversightPages) leave(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/sessions/live", Flash: "You watch it no more."}, p.svc.Leave(c.Context(), c.Identity, id)
}

type reviewsPage struct {
	Rows  []sessionView
	Empty Empty
}

func (p oversightPages) reviews(c *Ctx) (View, error) {
	due, err := p.svc.Sessions(c.Context(), oversight.Filter{Review: oversight.ReviewDue, Limit: 200})
	if err != nil {
		return View{}, err
	}
	page := reviewsPage{Empty: Empty{Icon: "check", Title: "No review is due", Text: "A session that is over is looked at by somebody who was not in it. Until then it stands here."}}
	for _, s := range due {
		page.Rows = append(page.Rows, newSessionView(c, s))
	}
	slices.SortStableFunc(page.Rows, func(a, b sessionView) int { return a.Review.Due.Compare(b.Review.Due) })
	return reviewsView(page), nil
}

func reviewsView(page reviewsPage) View {
	return View{Title: "Reviews due", Lead: "Sessions that are over and that nobody else has looked at yet.", Template: "oversight_reviews", Data: page,
		Crumbs: []Crumb{{"Sessions", "/sessions"}, {"Reviews due", ""}}}
}

func reviewFields(c *Ctx) []Field {
	fields := []Field{
		{Name: "verdict", Label: "What you found", Kind: "select", Required: true, Options: []Option{{string(oversight.Accepted), "It was in order"}, {string(oversight.Violation), "It was a violation"}}},
		{Name: "note", Label: "Note", Kind: "textarea", MaxLen: 500, Hint: "Required for a violation. It stands in the ledger."},
	}
	for i := range fields {
		fields[i] = c.Field(fields[i])
	}
	return fields
}

func (p oversightPages) review(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/sessions/" + id.String(), Flash: "The review is recorded."}, p.svc.Review(c.Context(), c.Identity, id, oversight.Verdict(c.Form("verdict")), c.Form("note"))
}

type accessPage struct {
	Rows  []oversight.Access
	Empty Empty
}

// accessTab is what the tenant's own people read, beside the rest of the tenant.
func (p oversightPages) accessTab(c *Ctx, t governance.TenantState) (string, any, error) {
	log, err := p.svc.AccessLog(c.Context(), t.Tenant.ID, uuid.Nil, 200)
	return "oversight_access", accessPage{log, accessEmpty()}, err
}

func accessEmpty() Empty {
	return Empty{Icon: "eye", Title: "None of us has worked in this account", Text: "The customer reads the same list in the product: who, as whom, why and for how long."}
}
