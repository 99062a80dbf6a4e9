package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/evidence/pack"
	"github.com/reevehq/reeve/oversight/recorder"
)

// OversightOptions says where the product is and whom staff may represent there.
type OversightOptions struct {
	App string // address that an opened session leads to, such as "/app/"
	// Users lists a tenant's users for the start dialog; nil asks for an id.
	Users func(ctx context.Context, t governance.TenantID) ([]Option, error)
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
			{Pattern: "GET /sessions/new", Permission: oversight.PermissionStart, Page: p.startForm},
			{Pattern: "POST /sessions", Permission: oversight.PermissionStart, Post: p.start, Back: p.startForm},
			{Pattern: "GET /sessions/{id}", Permission: oversight.PermissionRead, Page: p.detail},
			{Pattern: "POST /sessions/{id}/open", Permission: oversight.PermissionStart, Post: p.open},
			{Pattern: "POST /sessions/{id}/end", Anyone: true, Post: p.end}, // one's own needs no permission
			{Pattern: "GET /acts", Permission: oversight.PermissionRead, Page: p.acts},
		},
		Home: []HomeCard{{Permission: oversight.PermissionRead, Order: 30, Load: p.card}},
		Actions: []TenantAction{{Permission: oversight.PermissionStart, Order: 50, Button: func(_ *Ctx, t governance.TenantState) (Button, bool) {
			return Button{Text: "Open as a user", Icon: "eye", Href: "/sessions/new?tenant=" + string(t.Tenant.ID)}, t.Tenant.Status != governance.TenantClosed
		}}},
		Stories: oversightStories(),
	}
	if rec != nil {
		s.Routes = append(s.Routes,
			Route{Pattern: "GET /sessions/{id}/frames/{n}", Permission: oversight.PermissionRead, Serve: p.frame},
			Route{Pattern: "GET /sessions/{id}/evidence.json", Permission: "ledger:read", Serve: p.evidence})
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
	Live  []sessionView
	Past  []sessionView
	Pager Pager
	Empty Empty
}

func (p oversightPages) list(c *Ctx) (View, error) {
	var page sessionListPage
	page.Empty = Empty{Icon: "session", Title: "Nobody worked as a customer yet", Text: "A session is opened from a tenant's page, with a reason and for a limited time. It is recorded, and stands here."}
	if c.Query("cursor") == "" {
		open, err := p.svc.Sessions(c.Context(), oversight.Filter{States: []oversight.State{oversight.StateReady, oversight.StateActive, oversight.StatePaused}, Limit: 200})
		if err != nil {
			return View{}, err
		}
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
		{Name: "reason", Label: "Reason", Kind: "textarea", Required: true, MaxLen: 500, Hint: "Stands in the ledger and in the alert."},
		{Name: "ticket", Label: "Ticket", MaxLen: 200},
	}
	for i := range fields {
		fields[i] = c.Field(fields[i])
	}
	return fields
}

func sessionStartView(page sessionStartPage) View {
	return View{Title: "Open " + page.Name + " as a user", Lead: "Your session is recorded, and others are told that it began.", Narrow: true, Template: "oversight_start", Data: page,
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
		For: time.Duration(minutes) * time.Minute, Reason: c.Form("reason"), Ticket: c.Form("ticket"), Key: c.Key()})
	if errors.Is(err, governance.ErrNotFound) {
		return Done{}, governance.Invalid("user", "is no active user of this tenant")
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

type frameRow struct {
	recorder.FrameInfo
	Current bool
}

type sessionPage struct {
	S           sessionView
	Facts       []Fact
	Frames      []frameRow
	Frame       *recorder.Frame
	N           int
	Prev, Next  int
	FrameFacts  []Fact
	Form        json.RawMessage
	Report      *recorder.Report
	Changed     string // why the recording cannot be replayed
	Timeline    []TimelineItem
	End         bool
	Reason      Field
	Open        *Button
	CanEvidence bool
	Recorded    bool
}

func (p oversightPages) detail(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	s, err := p.svc.Session(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	if err := c.Authorize(oversight.PermissionRead, governance.Target{Tenant: s.Tenant, Resource: governance.RefTo("session", id)}); err != nil {
		return View{}, err
	}
	page := newSessionPage(newSessionView(c, s))
	own := c.Identity.Actor.Person != "" && c.Identity.Actor.Person == s.Actor.Person
	page.End = s.State != oversight.StateEnded && (own || c.Can(oversight.PermissionEnd))
	page.Reason = c.Field(Field{Name: "reason", Label: "Why it ends", MaxLen: 500})
	if own && s.State == oversight.StateReady {
		page.Open = &Button{Text: "Open now", Kind: "primary", Icon: "play", Post: "/sessions/" + id.String() + "/open"}
	}
	if p.rec != nil {
		if err := p.recording(c, s, &page); err != nil {
			return View{}, err
		}
	}
	v := sessionDetailView(page)
	v.Actions = evidenceButton(c, pack.KindSession, id)
	return v, nil
}

// recording adds frames, the chosen frame, the check against the ledger and the
// timeline. That somebody looks is recorded.
func (p oversightPages) recording(c *Ctx, s oversight.Session, page *sessionPage) error {
	page.Recorded, page.CanEvidence = true, c.Can("ledger:read")
	if err := p.rec.Watch(c.Context(), c.Identity, s); err != nil {
		return err
	}
	records, err := p.rec.Records(c.Context(), s)
	if err != nil {
		return err
	}
	known := people(c)
	names := func(a governance.Actor) string {
		if a.ID == s.Subject.ID && s.Subject.Name != "" {
			return s.Subject.Name
		}
		return known(a)
	}
	for _, r := range slices.Backward(records) {
		if v, err := governance.ReadRecord(r.Body); err == nil && v.Action != recorder.ActionChunk {
			page.Timeline = append(page.Timeline, sessionItem(v, r.ID, names, c.Can("ledger:read")))
		}
	}
	rep, err := p.rec.Verify(c.Context(), s.ID)
	if err != nil {
		return err
	}
	page.Report = &rep
	frames, err := p.rec.Frames(c.Context(), s.ID)
	if err != nil {
		if len(rep.Problems) == 0 {
			return err
		}
		page.Changed = "A part of it is missing or was changed, so nothing of it is shown."
		return nil
	}
	n, err := strconv.Atoi(cmp.Or(c.Query("frame"), "1"))
	if err != nil || n < 1 || len(frames) > 0 && n > len(frames) {
		return governance.ErrNotFound
	}
	for _, f := range frames {
		page.Frames = append(page.Frames, frameRow{f, f.N == n})
	}
	if len(frames) == 0 {
		return nil
	}
	f, err := p.rec.Frame(c.Context(), s.ID, n)
	if err != nil {
		return err
	}
	page.choose(f, n)
	return nil
}

func (page *sessionPage) choose(f recorder.Frame, n int) {
	page.Frame, page.N, page.Prev = &f, n, n-1
	if n < len(page.Frames) {
		page.Next = n + 1
	}
	page.FrameFacts = []Fact{{Label: "Request", Value: f.Method + " " + f.Path, Mono: true}, {Label: "Answer", Value: strconv.Itoa(f.Status)}, {Label: "When", At: f.At},
		{Label: "Took", Value: FormatDuration(time.Duration(f.TookMillis) * time.Millisecond)}, {Label: "Size", Value: FormatBytes(f.Size)}, {Label: "SHA-256", Value: f.SHA256, Mono: true}}
	if f.Location != "" {
		page.FrameFacts = append(page.FrameFacts, Fact{Label: "Led to", Value: f.Location, Mono: true})
	}
	sent := map[string]any{}
	if len(f.Query) > 0 {
		sent["query"] = f.Query
	}
	if len(f.Form) > 0 {
		sent["form"] = f.Form
	}
	if len(sent) > 0 {
		page.Form, _ = json.Marshal(sent) // maps of strings always encode
	}
}

func sessionItem(v governance.RecordView, id uuid.UUID, names func(governance.Actor) string, link bool) TimelineItem {
	it := TimelineItem{At: v.At, Title: Humanize(v.Action), Text: v.Reason, Actor: names(v.Actor), Icon: actionIcon(v.Action)}
	if v.Subject != nil {
		it.Actor += " as " + names(*v.Subject)
	}
	if link {
		it.Href = "/ledger/" + id.String()
	}
	switch v.Outcome {
	case governance.OutcomeDone, governance.OutcomeObserved:
	case governance.OutcomeHeld:
		it.Tone, it.Status = ToneWarn, string(v.Outcome)
	default:
		it.Tone, it.Status = ToneDanger, string(v.Outcome)
	}
	return it
}

func newSessionPage(s sessionView) sessionPage {
	p := sessionPage{S: s}
	p.Facts = []Fact{{Label: "Actor", Value: s.Who}, {Label: "Works as", Value: s.For}, {Label: "Tenant", Value: s.TenantName, Href: "/tenants/" + string(s.Tenant)},
		{Label: "Reach", Value: map[oversight.Scope]string{oversight.ReadOnly: "Read only", oversight.ReadWrite: "Read and change"}[s.Scope]},
		{Label: "Reason", Value: s.Reason}, {Label: "Ticket", Value: s.Ticket}, {Label: "Asked", At: s.CreatedAt}}
	if s.State == oversight.StateReady {
		p.Facts = append(p.Facts, Fact{Label: "Open by", At: s.OpenBy})
	}
	if !s.OpenedAt.IsZero() {
		p.Facts = append(p.Facts, Fact{Label: "Opened", At: s.OpenedAt}, Fact{Label: "Ends at the latest", At: s.ExpiresAt}, Fact{Label: "Last request", At: s.SeenAt})
	}
	if s.State == oversight.StateEnded {
		p.Facts = append(p.Facts, Fact{Label: "Ended", At: s.EndedAt}, Fact{Label: "Because", Value: endedText(s.Ended)}, Fact{Label: "By", Value: s.EndedBy, Mono: true})
	}
	p.Facts = append(p.Facts, Fact{Label: "Requests", Value: FormatInt(s.Requests)}, Fact{Label: "Refused", Value: FormatInt(s.Blocked)})
	return p
}

func endedText(r oversight.EndReason) string {
	switch r {
	case oversight.EndStopped:
		return "The actor ended it"
	case oversight.EndKilled:
		return "Somebody else ended it"
	case oversight.EndExpired:
		return "Its time was up"
	case oversight.EndIdle:
		return "Nothing was done for too long"
	case oversight.EndUnopened:
		return "It was not opened in time"
	case oversight.EndRevoked:
		return "The actor may not impersonate any more"
	case oversight.EndChanged:
		return "Somebody else used it"
	case oversight.EndGone:
		return "The user is not there any more"
	}
	return string(r)
}

func sessionDetailView(page sessionPage) View {
	s := page.S
	return View{Title: s.Who + " as " + s.For, Badge: string(s.State), Frames: true, Template: "oversight_session", Data: page,
		Crumbs: []Crumb{{"Sessions", "/sessions"}, {ShortID(s.ID.String()), ""}}}
}

// frame serves one recorded page, in which nothing runs, for the frame of detail.
func (p oversightPages) frame(c *Ctx, w http.ResponseWriter) error {
	id, err := c.UUID("id")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(c.Path("n"))
	if err != nil {
		return governance.ErrNotFound
	}
	s, err := p.svc.Session(c.Context(), id)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Authorize(oversight.PermissionRead, governance.Target{Tenant: s.Tenant}), p.rec.Watch(c.Context(), c.Identity, s)); err != nil {
		return err
	}
	f, err := p.rec.Frame(c.Context(), id, n)
	if err != nil {
		return err
	}
	return recorder.WriteReplay(w, f)
}

func (p oversightPages) evidence(c *Ctx, w http.ResponseWriter) error {
	id, err := c.UUID("id")
	if err != nil {
		return err
	}
	e, err := p.rec.Evidence(c.Context(), c.Identity, id)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("evidence of session %s: %w", id, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="session-`+id.String()+`.json"`)
	_, err = w.Write(raw)
	return err
}

type actRow struct {
	oversight.Act
	Title, Who, For, TenantName, Href string
	Gauges                            []Meter
}

type actListPage struct {
	Now     []Meter // limits of the tenant and person filtered by
	Rows    []actRow
	Filters []Field
	Pager   Pager
	Empty   Empty
}

// actNames are the actions that the feed can be narrowed to.
func actNames() []string {
	return []string{oversight.ActionCredit, oversight.ActionPlan, oversight.ActionExport, oversight.ActionStart, governance.ActionPutPolicy}
}

func (p oversightPages) acts(c *Ctx) (View, error) {
	action, person, state := c.Query("action"), c.Query("person"), c.Query("state")
	f := governance.ActionFilter{Tenant: governance.TenantID(c.Query("tenant")), Person: governance.PersonID(person), Limit: 50}
	if action != "" {
		f.Names = []string{action}
	}
	if state != "" {
		f.States = []governance.State{governance.State(state)}
	}
	var err error
	if cur := c.Query("cursor"); cur != "" {
		if f.Before, err = uuid.Parse(cur); err != nil {
			return View{}, governance.ErrNotFound
		}
	}
	all, err := p.svc.Acts(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	page := actListPage{Filters: actFilters(action, string(f.Tenant), person, state)}
	page.Empty = Empty{Icon: "shield", Title: "Nothing sensitive was done yet", Text: "Credits, plan changes, exports and every other guarded action stand here, allowed or held, with the limit they were counted against."}
	if action+person+state+string(f.Tenant) != "" {
		page.Empty = Empty{Icon: "search", Title: "No action matches", Action: &Button{Text: "Clear filters", Href: "/acts"}}
	}
	for _, a := range all {
		row := newActRow(a)
		row.TenantName = tenantName(c, a.Tenant)
		page.Rows = append(page.Rows, row)
	}
	next := ""
	if len(all) == f.Limit {
		next = all[len(all)-1].ID.String()
	}
	page.Pager = c.Pager(next)
	page.Now, err = windowMeters(c, f.Tenant, f.Person)
	return actListView(page), err
}

// windowMeters shows how full the limits of the tenant and the person filtered by are
// now.
func windowMeters(c *Ctx, tenant governance.TenantID, person governance.PersonID) ([]Meter, error) {
	out := []Meter{}
	for by, of := range map[governance.Scope]string{governance.ByTenant: string(tenant), governance.ByActor: string(person)} {
		if of == "" {
			continue
		}
		ws, err := c.Kernel().Windows(c.Context(), by, of)
		if err != nil {
			return nil, err
		}
		for _, w := range ws {
			out = append(out, Meter{Label: w.Policy, Used: w.Used, Max: w.Max, Text: w.Title + ": " + unitText(w.Unit, w.Used) + " of " + unitText(w.Unit, w.Max) + " in " + FormatDuration(w.Span.Duration)})
		}
	}
	slices.SortFunc(out, func(a, b Meter) int { return cmp.Compare(a.Text, b.Text) })
	return out, nil
}

func newActRow(a oversight.Act) actRow {
	row := actRow{Act: a, Title: Humanize(a.Action), Who: actorName(a.Actor), TenantName: string(a.Tenant)}
	if m := measuresText(a.Measures); m != "" {
		row.Title += ": " + m
	}
	if a.Subject != nil {
		row.For = actorName(*a.Subject)
	}
	if a.Effect == governance.Hold {
		row.Href = "/approvals/" + a.ID.String()
	}
	for _, m := range a.Meters {
		row.Gauges = append(row.Gauges, Meter{Label: m.Policy, Used: m.Before, Add: m.Amount, Max: m.Max,
			Text: unitText(m.Unit, m.Before+m.Amount) + " of " + unitText(m.Unit, m.Max) + " in " + FormatDuration(m.Window.Duration)})
	}
	return row
}

func actFilters(action, tenant, person, state string) []Field {
	actions := []Option{{"", "Every action"}}
	for _, n := range actNames() {
		actions = append(actions, Option{n, Humanize(n)})
	}
	states := []Option{{"", "Any"}}
	for _, s := range []governance.State{governance.StateExecuted, governance.StatePending, governance.StateDenied, governance.StateFailed, governance.StateUnknown} {
		states = append(states, Option{string(s), Humanize(string(s))})
	}
	return []Field{
		{Name: "action", Label: "Action", Kind: "select", Value: action, Options: actions},
		{Name: "state", Label: "State", Kind: "select", Value: state, Options: states},
		{Name: "tenant", Label: "Tenant", Value: tenant, Placeholder: "Any"},
		{Name: "person", Label: "Person", Value: person, Placeholder: "Anybody"},
	}
}

func actListView(page actListPage) View {
	return View{Title: "Sensitive actions", Lead: "Every guarded action, whoever asked for it: why, how much, and how near its limit.", Template: "oversight_acts", Data: page}
}

func oversightStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	id := uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f")
	s := oversight.Session{ID: id, Tenant: "acme", User: "u1", Actor: governance.Actor{ID: "user:dana", Name: "Dana Weiss"}, Subject: governance.Actor{ID: "product:u1", Name: "Olga Admin"},
		Scope: oversight.ReadWrite, Reason: "The list of documents is empty for her", Ticket: "HELP-120", State: oversight.StateActive, Requests: 12, Blocked: 1,
		CreatedAt: at.Add(-time.Hour), OpenedAt: at.Add(-10 * time.Minute), ExpiresAt: at.Add(20 * time.Minute), SeenAt: at}
	v := sessionView{s, "Dana Weiss", "Olga Admin", "Acme GmbH"}
	ended, ready, paused := v, v, v
	ended.State, ended.Ended, ended.EndedBy, ended.EndedAt = oversight.StateEnded, oversight.EndKilled, "user:kim", at
	ended.TenantName, ended.Reason = "شركة أكمي للتجارة", strings.Repeat("long reason ", 40)
	ready.State, ready.OpenBy = oversight.StateReady, at.Add(time.Hour)
	paused.State, paused.PausedWhy = oversight.StatePaused, "the recorder could not store what was shown"
	empty := sessionListPage{Empty: Empty{Icon: "session", Title: "Nobody worked as a customer yet", Text: "A session is opened from a tenant's page."}}

	detail := func(v sessionView, change func(p *sessionPage)) View {
		p := newSessionPage(v)
		p.Reason = Field{Name: "reason", Label: "Why it ends"}
		p.Recorded = true
		p.Report = &recorder.Report{Frames: 2, Requests: 2, Problems: []string{}}
		if change != nil {
			change(&p)
		}
		return sessionDetailView(p)
	}
	frames := func(p *sessionPage) {
		p.Frames = []frameRow{{recorder.FrameInfo{N: 1, At: at, Method: "GET", Path: "/app/documents", Status: 200, ContentType: "text/html", Size: 4200, Shown: true, Chunk: 1}, true},
			{recorder.FrameInfo{N: 2, At: at.Add(time.Minute), Method: "POST", Path: "/app/documents/" + strings.Repeat("d", 120), Status: 303, Chunk: 2}, false}}
		p.choose(recorder.Frame{At: at, Method: "POST", Path: "/app/documents", Status: 200, TookMillis: 12, Size: 4200, SHA256: "sha256:9f2c", Form: map[string][]string{"title": {"New"}, "password": {recorder.Masked}}}, 1)
		p.End, p.CanEvidence = true, true
		p.Timeline = []TimelineItem{{At: at, Icon: "eye", Title: "Impersonation open", Actor: "Dana Weiss as Olga Admin", Href: "/ledger/x"}, {At: at, Icon: "eye", Title: "Impersonation request", Status: "denied", Tone: ToneDanger, Actor: "Dana Weiss as Olga Admin"}}
	}
	user := Field{Name: "user", Label: "User", Kind: "select", Required: true, Options: []Option{{"u1", "Olga Admin (admin)"}}}
	bare := &Ctx{R: &http.Request{Method: http.MethodGet}}
	form := sessionStartPage{Tenant: "acme", Name: "Acme GmbH", Fields: startFields(bare, user, 30)}
	none := sessionStartPage{Tenant: "acme", Name: "Acme GmbH", NoUser: true}

	act := oversight.Act{ID: id, Action: oversight.ActionCredit, Tenant: "acme", Actor: s.Actor, Reason: "Outage on Monday", Measures: []governance.Measure{{Unit: "EUR.cent", Value: 70_000}}, Effect: governance.Hold, Over: true,
		Meters: []oversight.Meter{{Policy: "credit-24h", Unit: "EUR.cent", Before: 40_000, Amount: 70_000, Max: 100_000, Window: governance.Duration{Duration: 24 * time.Hour}, Exceeds: true}}, State: governance.StatePending, At: at}
	inside := act
	inside.Action, inside.Effect, inside.Over, inside.State, inside.Subject, inside.SessionID = oversight.ActionPlan, governance.Allow, false, governance.StateExecuted, &s.Subject, id.String()
	filters := actFilters("", "", "", "")
	return []Story{
		{Name: "sessions, first use", View: sessionListView(empty)},
		{Name: "sessions, live and past", View: sessionListView(sessionListPage{Live: []sessionView{v, paused, ready}, Past: []sessionView{ended}, Pager: Pager{Next: "/sessions?cursor=x"}})},
		{Name: "session, live with its recording", View: detail(v, frames)},
		{Name: "session, nothing recorded yet", View: detail(v, nil)},
		{Name: "session, paused", View: detail(paused, nil)},
		{Name: "session, ready", View: detail(ready, func(p *sessionPage) {
			p.Open = &Button{Text: "Open now", Kind: "primary", Post: "/sessions/x/open"}
		})},
		{Name: "session, ended, recording changed", View: detail(ended, func(p *sessionPage) {
			p.Report.Problems, p.Changed = []string{"chunk 2: its bytes are not those that were recorded"}, "A part of it is missing or was changed."
		})},
		{Name: "session, right to left", RTL: true, View: detail(ended, frames)},
		{Name: "start, form", View: sessionStartView(form)},
		{Name: "start, no reason given", View: sessionStartView(sessionStartPage{Tenant: "acme", Name: "Acme GmbH", Fields: startFields(&Ctx{R: bare.R, errs: []FieldError{{"reason", "is required"}}}, user, 30)}), Errors: []FieldError{{"reason", "is required"}}},
		{Name: "start, tenant without users", View: sessionStartView(none)},
		{Name: "acts, first use", View: actListView(actListPage{Filters: filters, Empty: Empty{Icon: "shield", Title: "Nothing sensitive was done yet"}})},
		{Name: "acts, none match", View: actListView(actListPage{Filters: filters, Empty: Empty{Icon: "search", Title: "No action matches", Action: &Button{Text: "Clear filters", Href: "/acts"}}})},
		{Name: "acts, rows", View: actListView(actListPage{Filters: filters, Now: []Meter{{Label: "credit-24h", Used: 40_000, Max: 100_000, Text: "Credits of a tenant: €400.00 of €1,000.00 in 24 h"}}, Rows: []actRow{newActRow(act), newActRow(inside)}})},
	}
}
