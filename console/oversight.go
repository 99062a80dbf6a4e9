package console

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/recorder"
)

// OversightOptions says where the product is and whom staff may represent there.
type OversightOptions struct {
	App string // address that an opened session leads to, such as "/app/"
	// Users lists a tenant's users for the start dialog; nil asks for an id.
	Users func(ctx context.Context, t governance.TenantID) ([]Option, error)
	// Browser replays what browsers told; nil: nothing is recorded in them.
	Browser *browserrec.Service
}

// Oversight is the pages of package oversight: sessions with their recordings, and
// the feed of sensitive actions. rec may be nil, then there are no recordings.
func Oversight(svc *oversight.Service, rec *recorder.Recorder, opts *OversightOptions) Section {
	p := oversightPages{svc: svc, rec: rec}
	if opts != nil {
		p.opts = *opts
	}
	s := Section{
		Name: "oversight",
		Nav: []NavItem{
			{Group: GroupOversight, Order: 20, Title: "Sessions", Path: "/sessions", Icon: "session", Permission: oversight.PermissionRead, Count: p.liveCount},
			{Group: GroupOversight, Order: 25, Title: "Sensitive actions", Path: "/acts", Icon: "shield", Permission: oversight.PermissionRead},
		},
		Routes: []Route{
			{Pattern: "GET /sessions", Permission: oversight.PermissionRead, Page: p.list},
			{Pattern: "GET /sessions/live", Permission: oversight.PermissionRead, Page: p.wall},
			{Pattern: "GET /sessions/reviews", Permission: oversight.PermissionRead, Page: p.reviews},
			{Pattern: "GET /sessions/{id}/watch", Permission: oversight.PermissionEnd, Page: p.watch},
			{Pattern: "POST /sessions/{id}/observe", Permission: oversight.PermissionEnd, Post: p.observe},
			{Pattern: "POST /sessions/{id}/leave", Permission: oversight.PermissionEnd, Post: p.leave},
			{Pattern: "POST /sessions/{id}/review", Permission: oversight.PermissionReview, Post: p.review, Back: p.detail},
			{Pattern: "GET /sessions/new", Permission: oversight.PermissionStart, Page: p.startForm},
			{Pattern: "POST /sessions", Permission: oversight.PermissionStart, Post: p.start, Back: p.startForm},
			{Pattern: "GET /sessions/{id}", Permission: oversight.PermissionRead, Page: p.detail},
			{Pattern: "POST /sessions/{id}/open", Permission: oversight.PermissionStart, Post: p.open},
			{Pattern: "POST /sessions/{id}/end", Anyone: true, Post: p.end}, // one's own needs no permission
			{Pattern: "GET /acts", Permission: oversight.PermissionRead, Page: p.acts},
		},
		Tenant: []TenantTab{{Slug: "access", Title: "Staff access", Permission: oversight.PermissionRead, Order: 40, Load: p.accessTab}},
		Home:   []HomeCard{{Permission: oversight.PermissionRead, Order: 30, Load: p.card}},
		Actions: []TenantAction{{Permission: oversight.PermissionStart, Order: 50, Button: func(_ *Ctx, t governance.TenantState) (Button, bool) {
			return Button{Text: "Open as a user", Icon: "eye", Href: "/sessions/new?tenant=" + string(t.Tenant.ID)}, t.Tenant.Status != governance.TenantClosed
		}}},
		Stories: oversightStories(),
	}
	if rec != nil {
		s.Routes = append(s.Routes,
			Route{Pattern: "GET /sessions/{id}/shown", Permission: oversight.PermissionRead, Serve: p.shown},
			Route{Pattern: "GET /sessions/{id}/frames/{n}", Permission: oversight.PermissionRead, Serve: p.frame},
			Route{Pattern: "GET /sessions/{id}/evidence.json", Permission: "ledger:read", Serve: p.evidence})
		if p.opts.Browser != nil {
			s.Routes = append(s.Routes,
				Route{Pattern: "GET /sessions/{id}/browser", Permission: oversight.PermissionRead, Page: p.browser},
				Route{Pattern: "GET /sessions/{id}/browser/{page}/{n}", Permission: oversight.PermissionRead, Serve: p.browserFrame})
		}
	}
	return s
}

type oversightPages struct {
	svc  *oversight.Service
	rec  *recorder.Recorder
	opts OversightOptions
}

func (p oversightPages) liveCount(c *Ctx) (int, error) {
	live, err := p.svc.Live(c.Context())
	return len(live), err
}

func (p oversightPages) card(c *Ctx) (Card, error) {
	card := Card{Title: "Who works as a customer now?", Href: "/sessions", Empty: "Nobody impersonates a customer."}
	live, err := p.svc.Live(c.Context())
	for _, s := range live[:min(len(live), 6)] {
		card.Rows = append(card.Rows, CardRow{Title: actorName(s.Actor) + " in " + tenantName(c, s.Tenant), Meta: s.Reason, Href: "/sessions/" + s.ID.String(), Status: string(s.State), At: s.OpenedAt})
	}
	return card, err
}

type sessionView struct {
	oversight.Session
	Who, For, TenantName string
}

func newSessionView(c *Ctx, s oversight.Session) sessionView {
	return sessionView{Session: s, Who: actorName(s.Actor), For: cmp.Or(s.Subject.Name, s.Subject.ID, s.User), TenantName: tenantName(c, s.Tenant)}
}

type sessionListPage struct {
	Pending []sessionView
	Reviews int
	Live    []sessionView
	Past    []sessionView
	Pager   Pager
	Empty   Empty
}

func (p oversightPages) list(c *Ctx) (View, error) {
	var page sessionListPage
	page.Empty = Empty{Icon: "session", Title: "Nobody worked as a customer yet", Text: "A session is opened from a tenant's page, with a reason and for a limited time. It is recorded, and stands here."}
	if c.Query("cursor") == "" {
		open, err := p.svc.Sessions(c.Context(), oversight.Filter{States: []oversight.State{oversight.StateReady, oversight.StateActive, oversight.StatePaused}, Limit: 200})
		if err != nil {
			return View{}, err
		}
		held, err := p.svc.Pending(c.Context())
		if err != nil {
			return View{}, err
		}
		for _, s := range held {
			page.Pending = append(page.Pending, newSessionView(c, s))
		}
		due, err := p.svc.Sessions(c.Context(), oversight.Filter{Review: oversight.ReviewDue, Limit: 200})
		if err != nil {
			return View{}, err
		}
		page.Reviews = len(due)
		slices.SortStableFunc(open, func(a, b oversight.Session) int { return rankLive(a) - rankLive(b) })
		for _, s := range open {
			page.Live = append(page.Live, newSessionView(c, s))
		}
	}
	f := oversight.Filter{States: []oversight.State{oversight.StateEnded}, Limit: 50}
	var err error
	if cur := c.Query("cursor"); cur != "" {
		if f.Before, err = uuid.Parse(cur); err != nil {
			return View{}, governance.ErrNotFound
		}
	}
	past, err := p.svc.Sessions(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	for _, s := range past {
		page.Past = append(page.Past, newSessionView(c, s))
	}
	next := ""
	if len(past) == f.Limit {
		next = past[len(past)-1].ID.String()
	}
	page.Pager = c.Pager(next)
	return sessionListView(page), nil
}

func rankLive(s oversight.Session) int {
	if s.Live() {
		return 0
	}
	return 1
}

func sessionListView(page sessionListPage) View {
	return View{Title: "Sessions", Lead: "Staff who work as a customer's user: why, until when, and what they saw.", Template: "oversight_sessions", Data: page}
}

type sessionStartPage struct {
	SignIn string // address to sign in again at, when that has to come first
	Tenant string
	Name   string
	Fields []Field
	NoUser bool
}

func (p oversightPages) startForm(c *Ctx) (View, error) {
	tenant := governance.TenantID(cmp.Or(c.Query("tenant"), c.Form("tenant")))
	t, err := c.Kernel().Tenant(c.Context(), tenant)
	if err != nil {
		return View{}, err
	}
	if err := c.Authorize(oversight.PermissionStart, governance.Target{Tenant: t.ID, Region: t.Region, Country: t.Country}); err != nil {
		return View{}, err
	}
	user := Field{Name: "user", Label: "User", Required: true, Hint: "You see what this person sees. Staff cannot be represented."}
	page := sessionStartPage{Tenant: string(t.ID), Name: t.Name}
	if p.svc.NeedsSignIn(c.Identity) {
		page.SignIn = c.URL("/signin") + "?next=" + url.QueryEscape(c.URL("/sessions/new")+"?tenant="+url.QueryEscape(string(t.ID)))
	}
	if p.opts.Users != nil {
		user.Kind = "select"
		if user.Options, err = p.opts.Users(c.Context(), tenant); err != nil {
			return View{}, err
		}
		page.NoUser = len(user.Options) == 0
	}
	longest := int64(p.svc.MaxDuration() / time.Minute)
	page.Fields = startFields(c, user, longest)
	return sessionStartView(page), nil
}

func startFields(c *Ctx, user Field, longest int64) []Field {
	fields := []Field{
		user,
		{Name: "scope", Label: "Reach", Kind: "select", Required: true, Options: []Option{{string(oversight.ReadOnly), "Read only"}, {string(oversight.ReadWrite), "Read and change"}},
			Hint: "Passwords, keys, pay-out details and the like stay out of reach in either."},
		{Name: "minutes", Label: "Minutes", Kind: "number", Required: true, Value: strconv.FormatInt(min(15, longest), 10), Min: "1", Max: strconv.FormatInt(longest, 10), Hint: "It cannot be extended."},
		{Name: "reason", Label: "Reason", Kind: "textarea", Required: true, MaxLen: 500, Hint: "The customer reads it in their access log. It stands in the ledger and in the alert."},
		{Name: "ticket", Label: "Ticket", MaxLen: 200},
		{Name: "observer", Label: "Somebody has to watch", Kind: "checkbox", Hint: "It waits until a colleague does, and pauses when they leave."},
	}
	for i := range fields {
		fields[i] = c.Field(fields[i])
	}
	return fields
}

func sessionStartView(page sessionStartPage) View {
	return View{Title: "Open " + page.Name + " as a user", Lead: "What you are shown is recorded, others are told that it began, and the customer can read who was there and why.", Narrow: true, Template: "oversight_start", Data: page,
		Crumbs: []Crumb{{"Tenants", "/tenants"}, {page.Name, "/tenants/" + page.Tenant}, {"Open as a user", ""}}}
}

func (p oversightPages) start(c *Ctx) (Done, error) {
	minutes, err := c.FormInt("minutes")
	if err != nil {
		return Done{}, err
	}
	if minutes < 1 || minutes > 24*60 {
		return Done{}, governance.Invalid("minutes", "is not a length of time a session can have")
	}
	out, err := p.svc.Start(c.Context(), c.Identity, oversight.Request{Tenant: governance.TenantID(c.Form("tenant")), User: c.Form("user"), Scope: oversight.Scope(c.Form("scope")),
		For: time.Duration(minutes) * time.Minute, Reason: c.Form("reason"), Ticket: c.Form("ticket"), Observer: c.Form("observer") != "", Key: c.Key()})
	if errors.Is(err, governance.ErrNotFound) {
		return Done{}, governance.Invalid("user", "is no active user of this tenant")
	}
	if p.svc.NeedsSignIn(c.Identity) {
		return Done{To: "/sessions/new?tenant=" + url.QueryEscape(c.Form("tenant")), Flash: "Sign in again first. The attempt is recorded.", Tone: ToneWarn}, nil
	}
	if errors.Is(err, governance.ErrConflict) {
		return Done{To: "/sessions", Flash: "You have an open session already. End it first.", Tone: ToneWarn}, nil
	}
	if err != nil {
		return Done{}, err
	}
	return p.begin(c, out.Action)
}

func (p oversightPages) open(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return p.begin(c, id)
}

// begin opens a session that is ready; its start is in the ledger by now. Only then
// does the browser get the cookie.
func (p oversightPages) begin(c *Ctx, id uuid.UUID) (Done, error) {
	s, token, err := p.svc.Open(c.Context(), c.Identity, id)
	if err != nil {
		return Done{}, err
	}
	c.SetCookie(p.svc.Cookie(s, token))
	if s.State == oversight.StatePaused {
		return Done{To: "/sessions/" + id.String(), Flash: "The session waits for somebody to watch it.", Tone: ToneWarn}, nil
	}
	if p.opts.App == "" {
		return Done{To: "/sessions/" + id.String(), Flash: "The session has begun."}, nil
	}
	return Done{To: p.opts.App, Absolute: true}, nil
}

func (p oversightPages) end(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	to := "/sessions/" + id.String()
	if !c.Can(oversight.PermissionRead) {
		to = "/"
	}
	return Done{To: to, Flash: "The session has ended. Its next request is refused."}, p.svc.End(c.Context(), c.Identity, id, c.Form("reason"))
}
