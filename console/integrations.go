package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/integrations"
)

// Integrations is the pages of package integrations: what other systems were told,
// and how those systems are.
func Integrations(svc *integrations.Service) Section {
	p := integrationPages{svc}
	const read, write = "integration:read", "integration:write"
	return Section{
		Name: "integrations",
		Nav: []NavItem{
			{Group: GroupIntegrations, Order: 10, Title: "Deliveries", Path: "/deliveries", Icon: "delivery", Permission: read},
			{Group: GroupIntegrations, Order: 20, Title: "Targets", Path: "/targets", Icon: "plug", Permission: read, Count: p.pausedCount},
		},
		Routes: []Route{
			{Pattern: "GET /deliveries", Permission: read, Page: p.deliveries},
			{Pattern: "GET /deliveries/{id}", Permission: read, Page: p.delivery},
			{Pattern: "POST /deliveries/{id}/replay", Permission: write, Post: p.replayOne},
			{Pattern: "GET /targets", Permission: read, Page: p.targets},
			{Pattern: "GET /targets/new", Permission: write, Page: p.newTarget},
			{Pattern: "POST /targets", Permission: write, Post: p.create, Back: p.newTarget},
			{Pattern: "GET /targets/{id}", Permission: read, Page: p.target},
			{Pattern: "POST /targets/{id}/pause", Permission: write, Post: p.pause},
			{Pattern: "POST /targets/{id}/resume", Permission: write, Post: p.resume},
			{Pattern: "POST /targets/{id}/test", Permission: write, Post: p.test},
			{Pattern: "POST /targets/{id}/replay", Permission: write, Post: p.replayDead},
			{Pattern: "POST /targets/{id}/secret", Permission: write, Serve: p.secret},
		},
		Home:    []HomeCard{{Permission: read, Order: 50, Load: p.card}},
		Tenant:  []TenantTab{{Slug: "systems", Title: "Systems", Permission: read, Order: 40, Load: p.tenantTab}},
		Stories: integrationStories(),
	}
}

type integrationPages struct{ svc *integrations.Service }

func (p integrationPages) pausedCount(c *Ctx) (int, error) {
	ts, err := p.svc.Targets(c.Context())
	return len(slices.DeleteFunc(ts, func(t integrations.Target) bool { return t.State != integrations.TargetPaused })), err
}

// targetView is a target with how far it is behind.
type targetView struct {
	integrations.Target
	Lag    integrations.Lag
	Health string // a word that the status pill knows
	Why    string
}

func newTargetView(t integrations.Target, l integrations.Lag) targetView {
	v := targetView{Target: t, Lag: l, Health: "healthy"}
	switch {
	case t.State == integrations.TargetPaused && t.Cause != integrations.CauseManual && t.Cause != integrations.CauseSecret:
		v.Health, v.Why = "blocked", pauseText(t.Cause)
	case t.State == integrations.TargetPaused:
		v.Health, v.Why = "paused", pauseText(t.Cause)
	case t.Failures >= 3:
		v.Health, v.Why = "degraded", countText(t.Failures, "failure", "failures")+" in a row"
	case l.Dead > 0:
		v.Health, v.Why = "degraded", countText(l.Dead, "delivery", "deliveries")+" given up"
	}
	return v
}

func pauseText(cause integrations.PauseCause) string {
	switch cause {
	case integrations.CauseManual:
		return "Somebody paused it"
	case integrations.CauseSecret:
		return "It has no signing secret yet"
	case integrations.CauseAuth:
		return "It refuses our credentials"
	case integrations.CauseGone:
		return "It says that it is gone for good (410)"
	case integrations.CauseBlocked:
		return "Its address leads into a network that may not be called"
	}
	return ""
}

func (p integrationPages) views(ctx context.Context) ([]targetView, error) {
	ts, err := p.svc.Targets(ctx)
	if err != nil {
		return nil, err
	}
	ls, err := p.svc.Lags(ctx)
	if err != nil {
		return nil, err
	}
	lags := map[governance.ID[integrations.Target]]integrations.Lag{}
	for _, l := range ls {
		lags[l.Target] = l
	}
	out := make([]targetView, 0, len(ts))
	for _, t := range ts {
		out = append(out, newTargetView(t, lags[t.ID]))
	}
	return out, nil
}

func (p integrationPages) card(c *Ctx) (Card, error) {
	card := Card{Title: "Which systems are not told?", Href: "/targets", Empty: "Every system is told what happens, without delay."}
	ts, err := p.views(c.Context())
	for _, t := range ts {
		if t.Health == "healthy" && t.Lag.Oldest < 10*time.Minute {
			continue
		}
		meta := t.Why
		if t.Lag.Waiting > 0 {
			meta = strings.TrimPrefix(meta+"; "+waitingText(t.Lag), "; ")
		}
		card.Rows = append(card.Rows, CardRow{Title: t.Name, Meta: meta, Href: "/targets/" + t.ID.String(), Status: t.Health, At: t.PausedAt})
	}
	return card, err
}

func waitingText(l integrations.Lag) string {
	return fmt.Sprintf("%s waiting, the oldest for %s", FormatInt(l.Waiting), FormatDuration(l.Oldest.Round(time.Second)))
}

type deliveryView struct {
	integrations.Delivery
	TargetName string
	TenantName string
	Why        string
}

func newDeliveryView(d integrations.Delivery, target, tenant string) deliveryView {
	v := deliveryView{Delivery: d, TargetName: target, TenantName: tenant}
	switch d.State {
	case integrations.Merged:
		v.Why = "a newer one carries its state"
	case integrations.Done:
		if d.Code != integrations.CodeOK {
			v.Why = Humanize(string(d.Code))
		}
	default:
		v.Why = cmp.Or(d.Detail, Humanize(string(d.Code)))
	}
	return v
}

type deliveriesPage struct {
	Rows    []deliveryView
	Filters []Field
	Pager   Pager
	Empty   Empty
}

func (p integrationPages) deliveries(c *Ctx) (View, error) {
	f := integrations.DeliveryFilter{Tenant: governance.TenantID(c.Query("tenant")), Limit: 50}
	state := c.Query("state")
	switch state {
	case "waiting":
		f.Waiting = true
	default:
		f.State = integrations.DeliveryState(state)
	}
	for name, into := range map[string]*uuid.UUID{"target": &f.Target.UUID, "cursor": &f.After.UUID} {
		if text := c.Query(name); text != "" {
			u, err := uuid.Parse(text)
			if err != nil {
				return View{}, governance.ErrNotFound
			}
			*into = u
		}
	}
	ds, err := p.svc.Deliveries(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	ts, err := p.svc.Targets(c.Context())
	if err != nil {
		return View{}, err
	}
	page := deliveriesPage{Filters: deliveryFilters(state, c.Query("target"), string(f.Tenant), ts)}
	if page.Rows, err = p.rows(c, ds); err != nil {
		return View{}, err
	}
	next := ""
	if len(ds) == f.Limit {
		next = ds[len(ds)-1].ID.String()
	}
	page.Pager = c.Pager(next)
	page.Empty = Empty{Icon: "delivery", Title: "Nothing was sent yet", Text: "Each change of a tenant goes to every target that asks for its kind of event, and stands here.", Action: &Button{Text: "Targets", Href: "/targets"}}
	if state+c.Query("target")+string(f.Tenant) != "" {
		page.Empty = Empty{Icon: "search", Title: "No delivery matches", Action: &Button{Text: "Clear filters", Href: "/deliveries"}}
	}
	return deliveriesView(page), nil
}

func (p integrationPages) rows(c *Ctx, ds []integrations.Delivery) ([]deliveryView, error) {
	names, err := p.svc.TargetNames(c.Context())
	if err != nil {
		return nil, err
	}
	tenants := map[governance.TenantID]string{}
	out := make([]deliveryView, 0, len(ds))
	for _, d := range ds {
		if _, ok := tenants[d.Tenant]; !ok {
			tenants[d.Tenant] = tenantName(c, d.Tenant)
		}
		out = append(out, newDeliveryView(d, names[d.Target], tenants[d.Tenant]))
	}
	return out, nil
}

func deliveriesView(page deliveriesPage) View {
	return View{Title: "Deliveries", Lead: "What each system was told, and what is still on its way.", Template: "integrations_deliveries", Data: page}
}

func deliveryFilters(state, target, tenant string, ts []integrations.Target) []Field {
	options := []Option{{"", "Any"}}
	for _, t := range ts {
		options = append(options, Option{t.ID.String(), t.Name})
	}
	return []Field{
		{Name: "state", Label: "State", Kind: "select", Value: state, Options: []Option{{"", "Any"}, {"waiting", "Waiting"}, {"done", "Done"}, {"dead", "Dead"}, {"merged", "Merged"}, {"cancelled", "Cancelled"}}},
		{Name: "target", Label: "Target", Kind: "select", Value: target, Options: options},
		{Name: "tenant", Label: "Tenant", Value: tenant, Placeholder: "Id", MaxLen: 128},
	}
}

type deliveryPage struct {
	D        deliveryView
	Facts    []Fact
	Attempts []integrations.Attempt
	Note     Alert
}

func (p integrationPages) deliveryOf(c *Ctx) (integrations.Delivery, []integrations.Attempt, error) {
	u, err := c.UUID("id")
	if err != nil {
		return integrations.Delivery{}, nil, err
	}
	return p.svc.Delivery(c.Context(), governance.ID[integrations.Delivery]{UUID: u})
}

func (p integrationPages) delivery(c *Ctx) (View, error) {
	d, attempts, err := p.deliveryOf(c)
	if err != nil {
		return View{}, err
	}
	rows, err := p.rows(c, []integrations.Delivery{d})
	if err != nil {
		return View{}, err
	}
	connector := false
	if t, err := p.svc.Target(c.Context(), d.Target); err == nil {
		connector = t.Kind != integrations.Webhook
	}
	v := deliveryDetailView(rows[0], attempts)
	if c.Can("integration:write") && d.State != integrations.Pending && d.State != integrations.Parked && d.State != integrations.Cancelled {
		b := Button{Text: "Send again", Post: "/deliveries/" + d.ID.String() + "/replay", Confirm: "The same event goes out again, under the same id."}
		if connector {
			b.Confirm = "The target is told the tenant's current state, not what it was then."
		}
		v.Actions = []Button{b}
	}
	return v, nil
}

func deliveryDetailView(d deliveryView, attempts []integrations.Attempt) View {
	page := deliveryPage{D: d, Attempts: attempts, Facts: []Fact{
		{Label: "Target", Value: d.TargetName, Href: "/targets/" + d.Target.String()}, {Label: "Event", Value: d.Type}, {Label: "Event id", Value: d.Event.String(), Mono: true},
		{Label: "Queued", At: d.CreatedAt},
	}}
	if d.Tenant != "" {
		page.Facts = append(page.Facts, Fact{Label: "Tenant", Value: d.TenantName, Href: "/tenants/" + string(d.Tenant)})
	}
	if d.Version > 0 {
		page.Facts = append(page.Facts, Fact{Label: "Tenant version", Value: FormatInt(d.Version)})
	}
	if d.SentVersion > d.Version {
		page.Facts = append(page.Facts, Fact{Label: "Version told", Value: FormatInt(d.SentVersion)})
	}
	if !d.DoneAt.IsZero() {
		page.Facts = append(page.Facts, Fact{Label: "Ended", At: d.DoneAt})
	}
	if d.MergedInto != "" {
		page.Facts = append(page.Facts, Fact{Label: "Merged into", Value: ShortID(d.MergedInto), Href: "/deliveries/" + d.MergedInto, Mono: true})
	}
	switch d.State {
	case integrations.Dead:
		page.Note = Alert{Tone: ToneDanger, Title: "Given up", Text: d.Why}
	case integrations.Parked:
		page.Note = Alert{Tone: ToneWarn, Title: "It stepped aside", Text: "Later events of this tenant go first. " + d.Why}
	case integrations.Pending:
		if d.Attempts > 0 {
			page.Note = Alert{Tone: ToneWarn, Title: "It will be tried again", Text: d.Why}
		}
	}
	return View{Title: d.Type, Badge: string(d.State), Crumbs: []Crumb{{"Deliveries", "/deliveries"}, {ShortID(d.ID.String()), ""}}, Template: "integrations_delivery", Data: page}
}

func (p integrationPages) replayOne(c *Ctx) (Done, error) {
	u, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	_, err = p.svc.Replay(c.Context(), c.Identity, integrations.ReplayInput{Delivery: u.String()}, &governance.DoOptions{Key: c.Key()})
	return Done{To: "/deliveries/" + u.String(), Flash: "It goes out again."}, err
}

type targetsPage struct {
	Rows  []targetView
	Empty Empty
}

func (p integrationPages) targets(c *Ctx) (View, error) {
	ts, err := p.views(c.Context())
	if err != nil {
		return View{}, err
	}
	v := targetsView(ts)
	if c.Can("integration:write") {
		v.Actions = []Button{{Text: "Add webhook", Icon: "plus", Href: "/targets/new", Kind: "primary"}}
	}
	return v, nil
}

func targetsView(ts []targetView) View {
	return View{Title: "Targets", Lead: "The systems that are told what happens to tenants.", Template: "integrations_targets",
		Data: targetsPage{ts, Empty{Icon: "plug", Title: "No system is told anything", Text: "Add a webhook here, or a CRM, billing or ticketing connector over the API."}}}
}

type targetPage struct {
	T      targetView
	Stats  []Stat
	Facts  []Fact
	Note   Alert
	Recent []deliveryView
}

func (p integrationPages) targetOf(c *Ctx) (targetView, error) {
	u, err := c.UUID("id")
	if err != nil {
		return targetView{}, err
	}
	ts, err := p.views(c.Context())
	if err != nil {
		return targetView{}, err
	}
	for _, t := range ts {
		if t.ID.UUID == u {
			return t, nil
		}
	}
	return targetView{}, governance.ErrNotFound
}

func (p integrationPages) target(c *Ctx) (View, error) {
	t, err := p.targetOf(c)
	if err != nil {
		return View{}, err
	}
	ds, err := p.svc.Deliveries(c.Context(), integrations.DeliveryFilter{Target: t.ID, Limit: 10})
	if err != nil {
		return View{}, err
	}
	rows, err := p.rows(c, ds)
	if err != nil {
		return View{}, err
	}
	v := targetDetailView(t, rows)
	if c.Can("integration:write") {
		v.Actions = targetButtons(t)
	}
	return v, nil
}

func targetButtons(t targetView) []Button {
	at := "/targets/" + t.ID.String()
	out := []Button{{Text: "Test", Post: at + "/test"}}
	switch {
	case t.Cause == integrations.CauseSecret:
		return append(out, Button{Text: "Make signing secret", Post: at + "/secret", Kind: "primary", Icon: "key"})
	case t.State == integrations.TargetPaused:
		out = append(out, Button{Text: "Resume", Post: at + "/resume", Kind: "primary", Icon: "play"})
	default:
		out = append(out, Button{Text: "Pause", Post: at + "/pause", Icon: "pause"})
	}
	if t.Lag.Dead > 0 {
		out = append(out, Button{Text: "Send dead letters again", Post: at + "/replay", Confirm: countText(t.Lag.Dead, "delivery goes", "deliveries go") + " out again."})
	}
	if t.Kind == integrations.Webhook {
		out = append(out, Button{Text: "New secret", Post: at + "/secret", Kind: "quiet", Icon: "key"})
	}
	return out
}

func targetDetailView(t targetView, recent []deliveryView) View {
	page := targetPage{T: t, Recent: recent, Stats: []Stat{
		{Label: "Waiting", Value: FormatInt(t.Lag.Waiting), Note: "the oldest for " + FormatDuration(t.Lag.Oldest.Round(time.Second)), Href: "/deliveries?state=waiting&target=" + t.ID.String()},
		{Label: "Given up", Value: FormatInt(t.Lag.Dead), Note: "dead letters", Href: "/deliveries?state=dead&target=" + t.ID.String()},
		{Label: "Failures in a row", Value: FormatInt(t.Failures)},
	}}
	if t.Lag.Waiting == 0 {
		page.Stats[0].Note = "it knows everything"
	}
	kind := Humanize(string(t.Kind))
	if t.Connector != "" {
		kind += " (" + t.Connector + ")"
	}
	page.Facts = []Fact{{Label: "Kind", Value: kind}, {Label: "When one fails", Value: modeText(t.Mode)}, {Label: "Events", Value: strings.Join(t.Events, ", ")}}
	for _, k := range slices.Sorted(mapKeys(t.Config)) {
		page.Facts = append(page.Facts, Fact{Label: Humanize(k), Value: t.Config[k], Mono: true})
	}
	page.Facts = append(page.Facts, Fact{Label: "Secrets set", Value: strings.Join(t.Secrets, ", ")})
	if t.PublicKey != "" {
		page.Facts = append(page.Facts, Fact{Label: "Public key", Value: t.PublicKey, Mono: true})
	}
	page.Facts = append(page.Facts, Fact{Label: "Last told", At: t.Lag.LastAt, Ago: true}, Fact{Label: "Since", At: t.CreatedAt, Day: true})
	switch t.Health {
	case "blocked":
		page.Note = Alert{Tone: ToneDanger, Title: t.Why, Text: "Deliveries collect and none is lost. Repair it, test it, then resume. " + t.Detail}
	case "paused":
		page.Note = Alert{Tone: ToneWarn, Title: t.Why, Text: "Deliveries collect and none is lost. " + t.Detail}
	case "degraded":
		page.Note = Alert{Tone: ToneWarn, Title: t.Why}
	}
	return View{Title: t.Name, Badge: t.Health, Crumbs: []Crumb{{"Targets", "/targets"}, {t.Name, ""}}, Template: "integrations_target", Data: page}
}

func modeText(m integrations.Mode) string {
	switch m {
	case integrations.Strict:
		return "the tenant's next events wait"
	case integrations.Park:
		return "after three attempts the tenant's next events go first"
	}
	return "the newest state goes out instead"
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

type newTargetPage struct{ Fields []Field }

func (p integrationPages) newTarget(c *Ctx) (View, error) { return addTargetView(c.Field), nil }

func addTargetView(fill func(Field) Field) View {
	fields := []Field{
		{Name: "name", Label: "Name", Required: true, MaxLen: 100},
		{Name: "config.url", Label: "Address", Required: true, Placeholder: "https://example.com/hooks/reeve", MaxLen: 2000, Hint: "Messages are posted there, signed after Standard Webhooks."},
		{Name: "events", Label: "Events", Kind: "textarea", Required: true, Value: "tenant.*\nentitlement.*", Mono: true, Hint: "One type or prefix.* on each line."},
		{Name: "mode", Label: "When one fails", Kind: "select", Required: true, Value: "park", Options: []Option{{"park", "After three attempts the tenant's next events go first"}, {"strict", "The tenant's next events wait"}}},
	}
	for i := range fields {
		if sent := fill(fields[i]); sent.Value != "" || sent.Error != "" {
			fields[i] = sent
		}
	}
	return View{Title: "Add webhook", Lead: "It starts when you have made its signing secret.", Narrow: true, Crumbs: []Crumb{{"Targets", "/targets"}, {"Add webhook", ""}},
		Template: "integrations_new", Data: newTargetPage{fields}}
}

func (p integrationPages) create(c *Ctx) (Done, error) {
	made, _, err := p.svc.AddTarget(c.Context(), c.Identity, integrations.TargetInput{Name: c.Form("name"), Kind: integrations.Webhook, Mode: integrations.Mode(c.Form("mode")),
		Config: map[string]string{"url": c.Form("config.url")}, Events: strings.Fields(c.Form("events"))}, &governance.DoOptions{Key: c.Key()})
	return Done{To: "/targets/" + made.ID.String(), Flash: "Added. Make its signing secret to start it."}, err
}

func (p integrationPages) change(c *Ctx, said string, do func(ctx context.Context, id governance.Identity, t governance.ID[integrations.Target], reason string) error) (Done, error) {
	u, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/targets/" + u.String(), Flash: said}, do(c.Context(), c.Identity, governance.ID[integrations.Target]{UUID: u}, c.Form("reason"))
}

func (p integrationPages) pause(c *Ctx) (Done, error) {
	return p.change(c, "Paused. Deliveries collect and none is lost.", p.svc.Pause)
}

func (p integrationPages) resume(c *Ctx) (Done, error) {
	return p.change(c, "It goes on, with what collected first.", p.svc.Resume)
}

func (p integrationPages) test(c *Ctx) (Done, error) {
	u, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	probe, err := p.svc.Test(c.Context(), c.Identity, governance.ID[integrations.Target]{UUID: u})
	done := Done{To: "/targets/" + u.String(), Flash: "It answers, after " + FormatDuration(probe.Took.Round(time.Millisecond)) + "."}
	if !probe.OK {
		done.Tone, done.Flash = ToneDanger, "The test failed: "+cmp.Or(probe.Detail, Humanize(string(probe.Code)))+"."
	}
	return done, err
}

func (p integrationPages) replayDead(c *Ctx) (Done, error) {
	u, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	out, err := p.svc.Replay(c.Context(), c.Identity, integrations.ReplayInput{Target: u.String()}, &governance.DoOptions{Key: c.Key()})
	if err != nil {
		return Done{}, err
	}
	var n struct{ Deliveries int64 }
	err = out.Into(&n)
	return Done{To: "/targets/" + u.String(), Flash: countText(n.Deliveries, "delivery goes", "deliveries go") + " out again."}, err
}

type secretPage struct {
	Secret    string
	PublicKey string
	Until     time.Time
	Back      string
}

// secret answers the form itself: what is shown once must not stand in a cookie or an
// address.
func (p integrationPages) secret(c *Ctx, w http.ResponseWriter) error {
	t, err := p.targetOf(c)
	if err != nil {
		return err
	}
	r, err := p.svc.RotateSecret(c.Context(), c.Identity, t.ID)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	c.Render(secretView(t.Name, secretPage{r.Secret, r.PublicKey, r.Until, "/targets/" + t.ID.String()}))
	return nil
}

func secretView(name string, page secretPage) View {
	return View{Title: "Signing secret", Lead: "Shown this once. Give it to " + name + " now.", Narrow: true, Crumbs: []Crumb{{"Targets", "/targets"}, {name, page.Back}, {"Secret", ""}},
		Template: "integrations_secret", Data: page}
}

type toldView struct {
	integrations.Told
	Health string
}

type systemsPage struct {
	Told  []toldView
	Calls []callView
	Empty Empty
}

type callView struct {
	integrations.Call
	TargetName string
}

// tenantTab says what each system was told last about a tenant.
func (p integrationPages) tenantTab(c *Ctx, t governance.TenantState) (string, any, error) {
	told, err := p.svc.Told(c.Context(), t.Tenant.ID)
	if err != nil {
		return "", nil, err
	}
	calls, err := p.svc.Calls(c.Context(), t.Tenant.ID, 20)
	if err != nil {
		return "", nil, err
	}
	names, err := p.svc.TargetNames(c.Context())
	if err != nil {
		return "", nil, err
	}
	page := newSystemsPage(told)
	for _, call := range calls {
		page.Calls = append(page.Calls, callView{call, names[call.Target]})
	}
	return "integrations_systems", page, nil
}

func newSystemsPage(told []integrations.Told) systemsPage {
	page := systemsPage{Empty: Empty{Icon: "plug", Title: "No system is told anything", Action: &Button{Text: "Targets", Href: "/targets"}}}
	for _, t := range told {
		v := toldView{t, "current"}
		switch {
		case t.Dead > 0:
			v.Health = "dead"
		case t.State == integrations.TargetPaused:
			v.Health = "paused"
		case t.Waiting > 0:
			v.Health = "waiting"
		case t.At.IsZero():
			v.Health = "new"
		}
		page.Told = append(page.Told, v)
	}
	return page
}

func integrationStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	id := governance.ID[integrations.Target]{UUID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f")}
	desk := integrations.Target{ID: id, Name: "Helpdesk", Kind: integrations.Webhook, Mode: integrations.Park, State: integrations.TargetActive, Events: []string{"entitlement.*", "tenant.*"},
		Config: map[string]string{"url": "https://desk.example/hooks/reeve"}, Secrets: []string{"signing"}, CreatedAt: at.AddDate(0, -3, 0), Version: 3}
	crm := desk
	crm.Name, crm.Kind, crm.Connector, crm.Mode, crm.Config, crm.Secrets = "Acme CRM", integrations.CRM, "acme-crm", integrations.Coalesce, map[string]string{"region": "eu"}, []string{"api_key"}
	crm.State, crm.Cause, crm.Detail, crm.PausedAt, crm.Failures = integrations.TargetPaused, integrations.CauseAuth, "auth: the key is refused", at.Add(-time.Hour), 12
	long := desk
	long.Name, long.Config = "خدمة "+strings.Repeat("العملاء ", 12), map[string]string{"url": "https://example.com/" + strings.Repeat("path/", 40)}
	fresh := desk
	fresh.State, fresh.Cause, fresh.Secrets = integrations.TargetPaused, integrations.CauseSecret, nil
	ok, late := integrations.Lag{LastAt: at}, integrations.Lag{Waiting: 42, Oldest: 3*time.Hour + 12*time.Minute, Dead: 2, LastAt: at.Add(-3 * time.Hour)}
	d := integrations.Delivery{ID: governance.ID[integrations.Delivery](id), Target: id, Tenant: "acme", Event: id.UUID, Type: "tenant.suspended", Version: 17, SentVersion: 17,
		State: integrations.Done, Attempts: 1, Code: integrations.CodeOK, CreatedAt: at, DoneAt: at.Add(time.Second)}
	dead := d
	dead.State, dead.Code, dead.Detail, dead.Attempts = integrations.Dead, integrations.CodeStatus, "HTTP 500", 10
	merged := d
	merged.State, merged.MergedInto, merged.Type = integrations.Merged, d.ID.String(), "tenant.plan_changed"
	waiting := d
	waiting.State, waiting.NextAt, waiting.Attempts, waiting.Detail, waiting.DoneAt = integrations.Pending, at.Add(time.Hour), 4, "no answer in time", time.Time{}
	attempts := []integrations.Attempt{
		{ID: id.UUID, N: 1, StartedAt: at, EndedAt: at.Add(time.Second), Micros: 812_000, Status: 500, Code: integrations.CodeStatus, Excerpt: "<h1>Internal error</h1> " + strings.Repeat("trace ", 60), Idempotency: "msg_0192d0a17e1c7a339d1e5b8a1c2d3e4f"},
		{ID: id.UUID, N: 2, StartedAt: at.Add(time.Minute), EndedAt: at.Add(2 * time.Minute), Code: integrations.CodeLost, Idempotency: "msg_0192d0a17e1c7a339d1e5b8a1c2d3e4f"},
		{ID: id.UUID, N: 3, StartedAt: at.Add(time.Hour), Idempotency: "msg_0192d0a17e1c7a339d1e5b8a1c2d3e4f"},
	}
	view := func(d integrations.Delivery) deliveryView { return newDeliveryView(d, "Helpdesk", "Acme GmbH") }
	filters := deliveryFilters("dead", "", "", []integrations.Target{desk})
	told := []integrations.Told{
		{Target: id, Name: "Acme CRM", Kind: integrations.CRM, State: integrations.TargetActive, Version: 17, Type: "tenant.suspended", At: at, Delivery: d.ID.String(), RemoteID: "0015g00000XyZ", RemoteURL: "https://crm.example/0015g00000XyZ"},
		{Target: id, Name: "Billing", Kind: integrations.Billing, State: integrations.TargetPaused, Version: 12, Type: "tenant.plan_changed", At: at.AddDate(0, -1, 0), Delivery: d.ID.String(), Waiting: 5},
		{Target: id, Name: "Helpdesk", Kind: integrations.Webhook, State: integrations.TargetActive},
	}
	systems := newSystemsPage(told)
	systems.Calls = []callView{{integrations.Call{Operation: "open_ticket", Target: id, Subject: "Renewal of Acme GmbH", State: "done", Code: integrations.CodeOK, At: at}, "Desk"},
		{integrations.Call{Operation: "add_to_list", Target: id, Subject: "nurture", State: "unknown", Code: integrations.CodeTimeout, At: at}, "Acme CRM"}}
	withButtons := func(v View, t targetView) View { v.Actions = targetButtons(t); return v }
	same := func(f Field) Field { return f }
	faulty := func(f Field) Field {
		if f.Name == "config.url" {
			f.Value, f.Error = "http://example.com", "must begin with https://"
		}
		return f
	}
	return []Story{
		{Name: "deliveries, first use", View: deliveriesView(deliveriesPage{Filters: filters, Empty: Empty{Icon: "delivery", Title: "Nothing was sent yet"}})},
		{Name: "deliveries, none match", View: deliveriesView(deliveriesPage{Filters: filters, Empty: Empty{Icon: "search", Title: "No delivery matches", Action: &Button{Text: "Clear filters", Href: "/deliveries"}}})},
		{Name: "deliveries, rows", View: deliveriesView(deliveriesPage{Filters: filters, Pager: Pager{Next: "/deliveries?cursor=x"}, Rows: []deliveryView{view(waiting), view(d), view(merged), view(dead)}})},
		{Name: "delivery, dead", View: deliveryDetailView(view(dead), attempts)},
		{Name: "delivery, waiting", View: deliveryDetailView(view(waiting), attempts[:1])},
		{Name: "delivery, merged", View: deliveryDetailView(view(merged), nil)},
		{Name: "targets, first use", View: targetsView(nil)},
		{Name: "targets, rows", View: targetsView([]targetView{newTargetView(desk, ok), newTargetView(crm, late), newTargetView(long, late)})},
		{Name: "target, healthy", View: withButtons(targetDetailView(newTargetView(desk, ok), []deliveryView{view(d)}), newTargetView(desk, ok))},
		{Name: "target, paused", View: withButtons(targetDetailView(newTargetView(crm, late), []deliveryView{view(waiting), view(dead)}), newTargetView(crm, late))},
		{Name: "target, without a secret", View: withButtons(targetDetailView(newTargetView(fresh, integrations.Lag{}), nil), newTargetView(fresh, integrations.Lag{}))},
		{Name: "target, right to left and long", RTL: true, View: targetDetailView(newTargetView(long, late), nil)},
		{Name: "webhook, add", View: addTargetView(same)},
		{Name: "webhook, add, refused", View: addTargetView(faulty), Errors: []FieldError{{"config.url", "must begin with https://"}}},
		{Name: "secret, shown once", View: secretView("Helpdesk", secretPage{Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Until: at.AddDate(0, 0, 1), Back: "/targets/" + id.String()})},
		{Name: "secret, public key", View: secretView("Helpdesk", secretPage{PublicKey: "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", Back: "/targets/" + id.String()})},
		{Name: "tenant, systems", View: View{Title: "Acme GmbH", Template: "integrations_systems", Data: systems}},
		{Name: "tenant, no systems", View: View{Title: "Acme GmbH", Template: "integrations_systems", Data: newSystemsPage(nil)}},
	}
}

func countText(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return FormatInt(n) + " " + many
}
