package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/playbook"
)

// Playbook is the pages of package playbook: automations with their safeguards and
// runs, and the runbooks that people work through.
func Playbook(svc *playbook.Service) Section {
	p := playbookPages{svc}
	const read, run, write = "playbook:read", "playbook:run", "playbook:write"
	return Section{
		Name: "playbooks",
		Nav: []NavItem{
			{Group: GroupAutomation, Order: 10, Title: "Playbooks", Path: "/playbooks", Icon: "playbook", Permission: read},
			{Group: GroupAutomation, Order: 20, Title: "Runs", Path: "/playbooks/runs", Icon: "play", Permission: read, Count: p.waitingCount},
			{Group: GroupAutomation, Order: 30, Title: "Runbooks", Path: "/runbooks", Icon: "runbook", Permission: "runbook:read", Count: p.openCount},
		},
		Routes: []Route{
			{Pattern: "GET /playbooks", Permission: read, Page: p.list},
			{Pattern: "POST /playbooks/pause", Permission: run, Post: p.pauseAll, Back: p.list},
			{Pattern: "GET /playbooks/new", Permission: write, Page: p.edit},
			{Pattern: "POST /playbooks/new", Permission: write, Post: p.put, Back: p.edit},
			{Pattern: "GET /playbooks/runs", Permission: read, Page: p.runs},
			{Pattern: "GET /playbooks/runs/{id}", Permission: read, Page: p.run},
			{Pattern: "POST /playbooks/runs/{id}/stop", Permission: run, Post: p.stop, Back: p.run},
			{Pattern: "GET /playbooks/batches/{id}", Permission: read, Page: p.batch},
			{Pattern: "GET /playbooks/exemptions", Permission: read, Page: p.exemptions},
			{Pattern: "POST /playbooks/exemptions", Permission: run, Post: p.exempt, Back: p.exemptions},
			{Pattern: "POST /playbooks/exemptions/{id}/end", Permission: run, Post: p.endExemption},
			{Pattern: "GET /playbooks/{name}", Permission: read, Page: p.playbook},
			{Pattern: "POST /playbooks/{name}/scan", Permission: run, Post: p.scan},
			{Pattern: "POST /playbooks/{name}/control", Permission: run, Post: p.control, Back: p.playbook},
			{Pattern: "GET /runbooks", Permission: "runbook:read", Page: p.runbooks},
			{Pattern: "POST /runbooks/open", Permission: "runbook:work", Post: p.open},
			{Pattern: "GET /runbooks/{id}", Permission: "runbook:read", Page: p.instance},
			{Pattern: "POST /runbooks/{id}/check/{step}", Permission: "runbook:work", Post: p.check, Back: p.instance},
			{Pattern: "POST /runbooks/{id}/ticket", Permission: "runbook:work", Post: p.ticket, Back: p.instance},
			{Pattern: "POST /runbooks/{id}/close", Permission: "runbook:work", Post: p.close, Back: p.instance},
		},
		Home:     []HomeCard{{Permission: read, Order: 40, Load: p.card}},
		Tenant:   []TenantTab{{Slug: "automation", Title: "Automation", Permission: read, Order: 50, Load: p.tenantTab}},
		Timeline: []TimelineSource{{Permission: read, Load: p.tenantTimeline}},
		Search:   []SearchSource{{Permission: read, Find: p.find}},
		Stories:  playbookStories(),
	}
}

type playbookPages struct{ svc *playbook.Service }

// saidState is a state with the colour it has here.
type saidState struct {
	Tone Tone
	Text string
}

func runState(r playbook.Run) saidState {
	switch r.State {
	case playbook.RunSucceeded:
		return saidState{ToneOK, "Succeeded"}
	case playbook.RunFailed:
		return saidState{ToneDanger, "Failed"}
	case playbook.RunIncomplete:
		return saidState{ToneDanger, "Rollback incomplete"}
	case playbook.RunShadow:
		return saidState{ToneNone, "In shadow"}
	case playbook.RunExited:
		return saidState{ToneNone, "Exited"}
	case playbook.RunCancelled:
		return saidState{ToneNone, "Cancelled"}
	case playbook.RunRolledBack:
		return saidState{ToneNone, "Rolled back"}
	case playbook.RunStopping:
		if r.Undo {
			return saidState{ToneWarn, "Rolling back"}
		}
		return saidState{ToneWarn, "Stopping"}
	}
	for _, s := range r.Steps {
		switch s.State {
		case playbook.StepAwaiting:
			return saidState{ToneWarn, "Waits for approval"}
		case playbook.StepWaiting:
			return saidState{ToneInfo, "Waits"}
		case playbook.StepUnknown:
			return saidState{ToneDanger, "Outcome unknown"}
		}
	}
	return saidState{ToneInfo, "Running"}
}

func stepState(s playbook.StepState) saidState {
	tone := ToneNone
	switch s {
	case playbook.StepDone:
		tone = ToneOK
	case playbook.StepAwaiting, playbook.StepUndoing:
		tone = ToneWarn
	case playbook.StepRunning, playbook.StepWaiting:
		tone = ToneInfo
	case playbook.StepFailed, playbook.StepUnknown, playbook.StepRefused:
		tone = ToneDanger
	}
	text := map[playbook.StepState]string{playbook.StepUndoing: "Being taken back", playbook.StepUndone: "Taken back", playbook.StepRefused: "Could not be taken back", playbook.StepAwaiting: "Waits for approval"}[s]
	return saidState{tone, cmp.Or(text, Humanize(string(s)))}
}

func (p playbookPages) waitingCount(c *Ctx) (int, error) {
	rs, err := p.svc.Runs(c.Context(), playbook.RunFilter{State: playbook.RunRunning, Mode: playbook.Live, Limit: 200})
	n := 0
	for _, r := range rs {
		if runState(r).Tone == ToneWarn {
			n++
		}
	}
	return n, err
}

func (p playbookPages) openCount(c *Ctx) (int, error) {
	is, err := p.svc.Instances(c.Context(), playbook.InstanceFilter{State: playbook.InstanceOpen, Limit: 200})
	return len(is), err
}

func (p playbookPages) card(c *Ctx) (Card, error) {
	card := Card{Title: "What do automations wait for?", Href: "/playbooks/runs?state=running", Empty: "No run waits for a person."}
	rs, err := p.svc.Runs(c.Context(), playbook.RunFilter{State: playbook.RunRunning, Mode: playbook.Live, Limit: 100})
	if err != nil {
		return card, err
	}
	for _, r := range rs {
		if st := runState(r); st.Tone != ToneInfo && len(card.Rows) < 6 {
			card.Rows = append(card.Rows, CardRow{Title: r.TenantName, Meta: r.Playbook + ": " + strings.ToLower(st.Text), Href: "/playbooks/runs/" + r.ID.String(), Status: "waiting", At: r.CreatedAt})
		}
	}
	return card, nil
}

// ---- the list

type playbookListPage struct {
	Rows    []playbookLine
	Empty   Empty
	Paused  *Alert
	Pausing bool // somebody may pause or resume everything
	Stopped bool
	Reason  Field
}

type playbookLine struct {
	playbook.Playbook
	Mode       saidState
	Guards     string
	Live, Open int
}

func (p playbookPages) list(c *Ctx) (View, error) {
	ps, err := p.svc.Playbooks(c.Context())
	if err != nil {
		return View{}, err
	}
	paused, err := p.svc.Paused(c.Context())
	if err != nil {
		return View{}, err
	}
	page := playbookListPage{Pausing: c.Can("playbook:run"), Reason: c.Field(Field{Name: "reason", Label: "Why", Required: true, MaxLen: 500})}
	for _, x := range ps {
		page.Rows = append(page.Rows, newPlaybookLine(x))
	}
	for _, x := range paused {
		if x.Playbook == "" {
			page.Paused, page.Stopped = pausedAlert(x), true
		}
	}
	v := playbookListView(page)
	if c.Can("playbook:write") {
		v.Actions = []Button{{Text: "New playbook", Href: "/playbooks/new", Kind: "primary", Icon: "plus"}}
	}
	return v, nil
}

func pausedAlert(x playbook.Pause) *Alert {
	what := "This playbook is paused"
	if x.Playbook == "" {
		what = "Every playbook is paused"
	}
	return &Alert{Tone: ToneWarn, Title: what, Text: fmt.Sprintf("By %s on %s: %s", strings.TrimPrefix(x.By, "user:"), x.At.Format("2 January 2006, 15:04 MST"), x.Reason)}
}

func newPlaybookLine(x playbook.Playbook) playbookLine {
	l := playbookLine{Playbook: x, Mode: playbookMode(x), Guards: guards(x.Document.Safeguards)}
	for s, n := range x.Runs {
		if s != playbook.RunShadow {
			l.Live += n
		}
		if s == playbook.RunRunning || s == playbook.RunStopping {
			l.Open += n
		}
	}
	return l
}

func playbookMode(x playbook.Playbook) saidState {
	switch {
	case x.Paused != nil:
		return saidState{ToneWarn, "Paused"}
	case x.LiveVersion > 0 && x.ShadowVersion > 0:
		return saidState{ToneOK, fmt.Sprintf("Live, version %d in shadow", x.ShadowVersion)}
	case x.LiveVersion > 0:
		return saidState{ToneOK, "Live"}
	case x.ShadowVersion > 0:
		return saidState{ToneInfo, "In shadow"}
	}
	return saidState{ToneNone, "Retired"}
}

func guards(g playbook.Safeguards) string {
	if g.MaxTargets == 0 {
		return "Its kinds of step are not installed"
	}
	return fmt.Sprintf("At most %d tenants and %d %% a day, each once in %s", g.MaxTargets, g.MaxPercent, g.RepeatAfter)
}

func playbookListView(page playbookListPage) View {
	page.Empty = Empty{Icon: "playbook", Title: "No playbook yet", Text: "A playbook says when, on whom and what. It begins in shadow, where it only writes down what it would do."}
	return View{Title: "Playbooks", Lead: "Automations over tenants. Each is capped, reads fresh data only, looks again before it acts, and can be taken back.", Template: "playbook_list", Data: page}
}

func (p playbookPages) pauseAll(c *Ctx) (Done, error) {
	if c.Form("do") == "resume" {
		return Done{To: "/playbooks", Flash: "Playbooks act again."}, p.svc.Resume(c.Context(), c.Identity, "", c.Form("reason"))
	}
	return Done{To: "/playbooks", Flash: "Every playbook is paused: no step begins.", Tone: ToneWarn}, p.svc.Pause(c.Context(), c.Identity, "", c.Form("reason"))
}

// ---- one playbook

type playbookPage struct {
	P          playbook.Playbook
	Paused     *Alert
	Latest     *Alert // why the last batch did nothing
	Facts      []Fact
	Signals    []playbookSignal
	Steps      []playbookStep
	Source     string
	Versions   []playbook.Version
	Batches    []playbook.Batch
	Runs       []runLine
	Plan       *planView
	PlanHref   string
	Control    bool
	CanWrite   bool
	Reason     Field
	ActivateTo int
}

type playbookSignal struct {
	Name, Type, MaxAge string
}

type playbookStep struct {
	playbook.Step
	KindTitle     string
	Consequential bool
	Undoable      bool
	Params        []Fact
}

type planView struct {
	playbook.Plan
	Rows []candidateLine
}

type candidateLine struct {
	playbook.Candidate
	Said     saidState
	Readings []reading
	Does     []playbookPlanned
}

type playbookPlanned struct{ ID, Text string }

// reading is a signal as a page shows it.
type reading struct {
	Name, Value, Fault string
	AsOf               time.Time
}

func newReadings(rs map[string]playbook.Reading) []reading {
	out := make([]reading, 0, len(rs))
	for _, n := range slices.Sorted(maps.Keys(rs)) {
		r := rs[n]
		out = append(out, reading{n, readingValue(r.Value), r.Fault, r.AsOf})
	}
	return out
}

func readingValue(v any) string {
	switch v := v.(type) {
	case nil:
		return "–"
	case float64:
		return groupDigits(strconv.FormatFloat(math.Round(v*1e4)/1e4, 'f', -1, 64))
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04")
	}
	return text(v)
}

func verdict(v playbook.Verdict) saidState {
	switch v {
	case playbook.Match:
		return saidState{ToneInfo, "Acts on it"}
	case playbook.Stale:
		return saidState{ToneWarn, "Data not usable"}
	case playbook.Fault:
		return saidState{ToneDanger, "Cannot be judged"}
	case playbook.Loop:
		return saidState{ToneDanger, "Loop"}
	case playbook.Exempt:
		return saidState{ToneNone, "Exempt"}
	case playbook.Repeated:
		return saidState{ToneNone, "Had a run"}
	}
	return saidState{ToneNone, Humanize(string(v))}
}

func newCandidates(cs []playbook.Candidate) []candidateLine {
	out := make([]candidateLine, len(cs))
	for i, cand := range cs {
		out[i] = candidateLine{Candidate: cand, Said: verdict(cand.Verdict), Readings: newReadings(cand.Signals)}
		for _, s := range cand.Steps {
			t := s.Fault
			if t == "" {
				t = paramText(s.Params)
			}
			out[i].Does = append(out[i].Does, playbookPlanned{s.ID, t})
		}
	}
	return out
}

func paramText(ps playbook.Params) string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(ps)) {
		out = append(out, n+": "+text(ps[n]))
	}
	return strings.Join(out, ", ")
}

func paramFacts(ps map[string]any) []Fact {
	var out []Fact
	for _, n := range slices.Sorted(maps.Keys(ps)) {
		out = append(out, Fact{Label: Humanize(n), Value: text(ps[n])})
	}
	return out
}

func (p playbookPages) playbook(c *Ctx) (View, error) {
	ctx, name := c.Context(), c.Path("name")
	x, err := p.svc.Playbook(ctx, name)
	if err != nil {
		return View{}, err
	}
	page := playbookPage{P: x, Control: c.Can("playbook:run"), CanWrite: c.Can("playbook:write"), PlanHref: "/playbooks/" + name + "?simulate=1",
		Reason: c.Field(Field{Name: "reason", Label: "Why", Required: true, MaxLen: 500})}
	var errs [3]error
	page.Versions, errs[0] = p.svc.Versions(ctx, name)
	page.Batches, errs[1] = p.svc.Batches(ctx, name, 8)
	var rs []playbook.Run
	rs, errs[2] = p.svc.Runs(ctx, playbook.RunFilter{Playbook: name, Limit: 12})
	if err := errors.Join(errs[:]...); err != nil {
		return View{}, err
	}
	page.Runs = newRunLines(rs)
	if page.Control {
		page.ActivateTo = x.ShadowVersion
	}
	page.fill(p.svc)
	if c.Query("simulate") != "" {
		plan, err := p.svc.Simulate(ctx, name, cmp.Or(x.ShadowVersion, x.LiveVersion, page.Versions[0].Version))
		if err != nil {
			return View{}, err
		}
		page.Plan = &planView{plan, newCandidates(plan.Candidates)}
	}
	v := playbookView(page)
	if page.CanWrite {
		v.Actions = append(v.Actions, Button{Text: "Edit", Href: "/playbooks/new?from=" + name})
	}
	if page.Control {
		v.Actions = append(v.Actions, Button{Text: "Look at every tenant now", Post: "/playbooks/" + name + "/scan", Icon: "play"})
	}
	return v, nil
}

// fill makes what the page shows of the document.
func (page *playbookPage) fill(svc *playbook.Service) {
	d := page.P.Document
	kinds := map[string]playbook.Kind{}
	if svc != nil {
		for _, k := range svc.Kinds() {
			kinds[k.Name] = k
		}
	}
	for _, n := range slices.Sorted(maps.Keys(d.Signals)) {
		page.Signals = append(page.Signals, playbookSignal{n, d.Signals[n].Type, d.Signals[n].MaxAge.String()})
	}
	for _, s := range d.Steps {
		k := kinds[s.Kind]
		page.Steps = append(page.Steps, playbookStep{s, cmp.Or(s.Title, k.Title, s.Kind), k.Consequential, (k.UndoTx != nil || k.Undo != nil) && s.Undo != playbook.UndoNone, paramFacts(s.Params)})
	}
	if len(page.Versions) > 0 {
		page.Source = page.Versions[0].Source
	}
	if page.P.Paused != nil {
		page.Paused = pausedAlert(*page.P.Paused)
	}
	for _, b := range page.Batches {
		if b.Mode == playbook.Live {
			if b.State == playbook.BatchStopped {
				page.Latest = &Alert{Tone: ToneDanger, Title: "A safeguard stopped the last batch: nothing was done", Text: b.Why}
			}
			break
		}
	}
	g := d.Safeguards
	version := func(n int) string {
		if n == 0 {
			return "none"
		}
		return "version " + strconv.Itoa(n)
	}
	trigger := "on " + strings.Join(d.Trigger.Events, ", ")
	if d.Trigger.Daily != "" {
		trigger = "daily at " + d.Trigger.Daily + " UTC"
		if len(d.Trigger.Events) > 0 {
			trigger += ", and on " + strings.Join(d.Trigger.Events, ", ")
		}
	}
	page.Facts = []Fact{
		{Label: "Acts", Value: version(page.P.LiveVersion)}, {Label: "In shadow", Value: version(page.P.ShadowVersion)}, {Label: "Looks", Value: trigger}, {Label: "Next look", At: page.P.NextScanAt},
		{Label: "Targets a day", Value: fmt.Sprintf("at most %d, and %d %% of tenants; more stops the whole batch", g.MaxTargets, g.MaxPercent)},
		{Label: "Unusable data", Value: fmt.Sprintf("more than %d %% of tenants stops the whole batch", g.MaxUnusable)},
		{Label: "Again for a tenant", Value: "not within " + g.RepeatAfter.String()}, {Label: "Chain of causes", Value: fmt.Sprintf("at most %d", g.MaxDepth)},
		{Label: "When a run stops", Value: map[string]string{playbook.OnStopKeep: "what was done stays", playbook.OnStopRollback: "what was done is taken back"}[d.OnStop]},
	}
	if d.Rollback != nil {
		page.Facts = append(page.Facts, Fact{Label: "Taken back when", Value: d.Rollback.When, Mono: true})
	}
}

func playbookView(page playbookPage) View {
	mode := map[bool]string{true: "live", false: "shadow"}[page.P.LiveVersion > 0]
	if page.P.Paused != nil {
		mode = "paused"
	}
	return View{Title: page.P.Title, Lead: page.P.Document.Description, Badge: mode, Crumbs: []Crumb{{"Playbooks", "/playbooks"}, {page.P.Name, ""}}, Template: "playbook_detail", Data: page}
}

func (p playbookPages) scan(c *Ctx) (Done, error) {
	bs, err := p.svc.ScanAs(c.Context(), c.Identity, c.Path("name"))
	if err != nil {
		return Done{}, err
	}
	done := Done{To: "/playbooks/" + c.Path("name")}
	var said []string
	for _, b := range bs {
		what := fmt.Sprintf("%s: %d of %d tenants match", Humanize(string(b.Mode)), b.Matched, b.Scanned)
		if b.State == playbook.BatchStopped {
			what, done.Tone = what+", and a safeguard stopped the batch: "+b.Why, ToneWarn
		}
		said = append(said, what)
	}
	done.Flash = strings.Join(said, ". ") + "."
	return done, nil
}

func (p playbookPages) control(c *Ctx) (Done, error) {
	name, why := c.Path("name"), c.Form("reason")
	done := Done{To: "/playbooks/" + name}
	switch c.Form("do") {
	case "pause":
		done.Flash, done.Tone = "It is paused: no step begins.", ToneWarn
		return done, p.svc.Pause(c.Context(), c.Identity, name, why)
	case "resume":
		done.Flash = "It acts again."
		return done, p.svc.Resume(c.Context(), c.Identity, name, why)
	case "retire":
		done.Flash = "It does not act any more. Runs that are under way go on."
		return done, p.svc.Retire(c.Context(), c.Identity, name, why)
	case "activate":
		version, err := c.FormInt("version")
		if err != nil {
			return done, err
		}
		done.Flash = "The version acts now."
		_, err = p.svc.Activate(c.Context(), c.Identity, playbook.ActivateInput{Name: name, Version: int(version)}, &governance.DoOptions{Key: c.Key(), Reason: why})
		return done, err
	}
	return done, governance.Invalid("do", "is not known")
}

// ---- edit

type playbookEditPage struct {
	Source Field
	Reason Field
	Kinds  []playbook.Kind
}

func (p playbookPages) edit(c *Ctx) (View, error) {
	source := ""
	if from := c.Query("from"); from != "" {
		vs, err := p.svc.Versions(c.Context(), from)
		if err != nil {
			return View{}, err
		}
		source = vs[0].Source
	}
	return playbookEditView(c, source, p.svc.Kinds()), nil
}

func playbookEditView(c *Ctx, source string, kinds []playbook.Kind) View {
	return View{Title: "New version", Lead: "It begins in shadow. The version that acts goes on acting until another one is let.", Narrow: true,
		Crumbs: []Crumb{{"Playbooks", "/playbooks"}, {"New version", ""}}, Template: "playbook_edit",
		Data: playbookEditPage{Kinds: kinds, Source: c.Field(Field{Name: "source", Label: "Document (YAML)", Kind: "textarea", Mono: true, Rows: 28, Required: true, Value: source}),
			Reason: c.Field(Field{Name: "reason", Label: "Why it changes", Required: true, MaxLen: 500})}}
}

func (p playbookPages) put(c *Ctx) (Done, error) {
	if c.Form("reason") == "" {
		return Done{}, governance.Invalid("reason", "is required")
	}
	source := strings.ReplaceAll(c.R.PostForm.Get("source"), "\r\n", "\n") // a browser sends other line ends than it shows
	d, err := p.svc.Parse(source)
	if err == nil {
		_, err = p.svc.Put(c.Context(), c.Identity, source, &governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")})
	}
	if faults := fieldErrors(err); len(faults) > 0 { // named by their place in the document, which is one field here
		said := make([]string, len(faults))
		for i, f := range faults {
			said[i] = strings.TrimPrefix(f.Field+": "+f.Reason, "source: ")
		}
		return Done{}, governance.Invalid("source", "%s", strings.Join(said, "; "))
	}
	return Done{To: "/playbooks/" + d.Name, Flash: "The version is in shadow. Let it look at the tenants, then let it act."}, err
}

// ---- runs

type runLine struct {
	playbook.Run
	Said saidState
	At   string // the step it stands at
}

func newRunLines(rs []playbook.Run) []runLine {
	out := make([]runLine, len(rs))
	for i, r := range rs {
		out[i] = runLine{Run: r, Said: runState(r)}
		for _, s := range r.Steps {
			if s.State != playbook.StepDone && s.State != playbook.StepSkipped {
				out[i].At = s.Title
				break
			}
		}
	}
	return out
}

type runListPage struct {
	Filters []Field
	Rows    []runLine
	Pager   Pager
	Empty   Empty
}

func (p playbookPages) runs(c *Ctx) (View, error) {
	f := playbook.RunFilter{Playbook: c.Query("playbook"), Tenant: governance.TenantID(c.Query("tenant")), State: playbook.RunState(c.Query("state")), Mode: playbook.Mode(c.Query("mode")), Limit: 50}
	if cur := c.Query("cursor"); cur != "" {
		id, err := uuid.Parse(cur)
		if err != nil {
			return View{}, governance.ErrNotFound
		}
		f.Before = id
	}
	rs, err := p.svc.Runs(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	next := ""
	if len(rs) == f.Limit {
		next = rs[len(rs)-1].ID.String()
	}
	page := runListPage{Rows: newRunLines(rs), Pager: c.Pager(next)}
	states := []Option{{"", "Any state"}}
	for _, s := range []playbook.RunState{playbook.RunRunning, playbook.RunStopping, playbook.RunSucceeded, playbook.RunExited, playbook.RunFailed, playbook.RunCancelled, playbook.RunRolledBack, playbook.RunIncomplete, playbook.RunShadow} {
		states = append(states, Option{string(s), runState(playbook.Run{State: s}).Text})
	}
	page.Filters = []Field{
		{Name: "state", Label: "State", Kind: "select", Options: states, Value: string(f.State)},
		{Name: "mode", Label: "Mode", Kind: "select", Options: []Option{{"", "Live and shadow"}, {"live", "Live"}, {"shadow", "In shadow"}}, Value: string(f.Mode)},
		{Name: "playbook", Label: "Playbook", Value: f.Playbook}, {Name: "tenant", Label: "Tenant", Value: string(f.Tenant)},
	}
	page.Empty = Empty{Icon: "playbook", Title: "No run yet", Text: "A run begins when a playbook looks at the tenants and one of them matches."}
	if f.Playbook != "" || f.Tenant != "" || f.State != "" || f.Mode != "" {
		page.Empty = Empty{Icon: "search", Title: "No run matches", Action: &Button{Text: "Show all", Href: "/playbooks/runs"}}
	}
	return runListView(page), nil
}

func runListView(page runListPage) View {
	return View{Title: "Playbook runs", Lead: "One run is one playbook on one tenant.", Crumbs: []Crumb{{"Playbooks", "/playbooks"}, {"Runs", ""}}, Template: "playbook_runs", Data: page}
}

type runPage struct {
	R        playbook.Run
	Going    bool
	Note     *Alert
	Facts    []Fact
	Signals  []reading
	Steps    []runStepView
	Timeline []TimelineItem
	CanStop  bool
	CanUndo  bool
	CanGoOn  bool // it waits for a time, which may be ended
	Reason   Field
}

type runStepView struct {
	playbook.RunStep
	N        int
	Said     saidState
	Stays    bool // done, and nothing takes it back
	Params   []Fact
	Output   []Fact
	Checked  []reading
	Approval *approvalSaid
}

// approvalSaid is how the approval of a step stands.
type approvalSaid struct {
	ID    string
	State string
	Votes []string
}

func (p playbookPages) run(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	r, err := p.svc.Run(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	approvals := map[string]*approvalSaid{}
	for _, s := range r.Steps {
		if s.Approval == "" {
			continue
		}
		said := &approvalSaid{ID: s.Approval}
		if c.Can("approval:read") {
			if err := said.load(c, s.Approval); err != nil {
				return View{}, err
			}
		}
		approvals[s.Approval] = said
	}
	page := newRunPage(r, approvals)
	if c.Can("playbook:run") && r.Mode == playbook.Live {
		page.CanStop = r.State == playbook.RunRunning
		page.CanGoOn = page.CanStop && slices.ContainsFunc(r.Steps, func(s playbook.RunStep) bool { return s.State == playbook.StepWaiting })
		page.CanUndo = r.State != playbook.RunStopping && r.State != playbook.RunRolledBack && r.State != playbook.RunIncomplete
		page.Reason = c.Field(Field{Name: "reason", Label: "Why", Required: true, MaxLen: 500})
	}
	return runView(page), nil
}

func (a *approvalSaid) load(c *Ctx, id string) error {
	u, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	ap, err := c.Kernel().Approval(c.Context(), u)
	if err != nil {
		return err
	}
	names := people(c)
	a.State = string(ap.State)
	for _, v := range ap.Votes {
		word := "approved by "
		if v.Decision != governance.Approve {
			word = "denied by "
		}
		a.Votes = append(a.Votes, word+names(governance.Actor{Person: v.Person}))
	}
	return nil
}

func newRunPage(r playbook.Run, approvals map[string]*approvalSaid) runPage {
	page := runPage{R: r, Going: r.State == playbook.RunRunning || r.State == playbook.RunStopping, Signals: newReadings(r.Signals)}
	for i, s := range r.Steps {
		v := runStepView{RunStep: s, N: i + 1, Said: stepState(s.State), Params: paramFacts(s.Params), Checked: newReadings(s.Checked), Approval: approvals[s.Approval]}
		v.Stays = s.State == playbook.StepDone && !s.Undoable && s.Kind != playbook.KindWait && s.Kind != playbook.KindApproval
		for _, n := range slices.Sorted(maps.Keys(s.Output)) {
			v.Output = append(v.Output, Fact{Label: Humanize(n), Value: s.Output[n], Mono: true})
		}
		page.Steps = append(page.Steps, v)
	}
	titles := map[string]string{}
	for _, s := range r.Steps {
		titles[s.ID] = s.Title
	}
	for _, l := range slices.Backward(r.Timeline) {
		it := TimelineItem{At: l.At, Actor: strings.TrimPrefix(l.Actor, "user:"), Text: l.Detail, Icon: "dot"}
		if l.Step == "" {
			st := runState(playbook.Run{State: playbook.RunState(l.State), Undo: r.Undo})
			it.Title, it.Tone, it.Icon = "Run: "+strings.ToLower(st.Text), st.Tone, toneIcon(st.Tone)
		} else {
			st := stepState(playbook.StepState(l.State))
			it.Title, it.Tone, it.Icon = cmp.Or(titles[l.Step], l.Step)+": "+strings.ToLower(st.Text), st.Tone, toneIcon(st.Tone)
		}
		page.Timeline = append(page.Timeline, it)
	}
	page.Facts = []Fact{
		{Label: "Playbook", Value: r.Playbook, Href: "/playbooks/" + r.Playbook}, {Label: "Version", Value: strconv.Itoa(r.Version)}, {Label: "Tenant", Value: r.TenantName, Href: "/tenants/" + string(r.Tenant)},
		{Label: "Mode", Value: string(r.Mode)}, {Label: "Begun", At: r.CreatedAt}, {Label: "By", Value: r.Trigger, Href: "/playbooks/batches/" + r.Batch.String()}, {Label: "Id", Value: r.ID.String(), Mono: true},
	}
	if !r.EndedAt.IsZero() {
		page.Facts = append(page.Facts, Fact{Label: "Ended", At: r.EndedAt})
	} else if page.Going {
		page.Facts = append(page.Facts, Fact{Label: "Next look", At: r.DueAt, Ago: true})
	}
	switch {
	case r.State == playbook.RunIncomplete:
		page.Note = &Alert{Tone: ToneDanger, Title: "Not everything could be taken back", Text: r.Why + ". What somebody changed since stays as it is; people decide on it.", Link: &Crumb{"Open runbooks", "/runbooks"}}
	case r.Mode == playbook.Shadow:
		page.Note = &Alert{Tone: ToneInfo, Title: "In shadow: nothing was done", Text: "The steps show what they would have done."}
	case r.Why != "":
		page.Note = &Alert{Tone: ToneInfo, Title: runState(r).Text, Text: r.Why}
	}
	return page
}

func runView(page runPage) View {
	said := runState(page.R)
	return View{Title: page.R.TenantName, Lead: page.R.Playbook + ", " + strings.ToLower(said.Text) + ".", Crumbs: []Crumb{{"Playbooks", "/playbooks"}, {"Runs", "/playbooks/runs"}, {ShortID(page.R.ID.String()), ""}}, Template: "playbook_run", Data: page}
}

func (p playbookPages) stop(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	done := Done{To: "/playbooks/runs/" + id.String()}
	switch c.Form("do") {
	case "rollback":
		done.Flash = "The run is being taken back, last step first. The tenant is exempt from this playbook for 30 days."
		return done, p.svc.Rollback(c.Context(), c.Identity, id, c.Form("reason"))
	case "go_on":
		done.Flash = "The wait is over. Whatever follows is guarded as ever."
		return done, p.svc.EndWait(c.Context(), c.Identity, id, c.Form("reason"))
	case "cancel":
		done.Flash = "The run ends. What was done stays."
		return done, p.svc.Cancel(c.Context(), c.Identity, id, c.Form("reason"))
	}
	return done, governance.Invalid("do", "is not known")
}

// ---- a batch

type batchPage struct {
	Rows  []candidateLine
	Empty Empty
}

func (p playbookPages) batch(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	cs, err := p.svc.Candidates(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	return batchView(id, batchPage{Rows: newCandidates(cs)}), nil
}

func batchView(id uuid.UUID, page batchPage) View {
	page.Empty = Empty{Icon: "check", Title: "No tenant matched", Text: "Every tenant could be judged, and none fits the condition."}
	return View{Title: "What a playbook saw", Lead: "Every tenant of one look, but for those that plainly do not match.", Crumbs: []Crumb{{"Playbooks", "/playbooks"}, {"Look " + ShortID(id.String()), ""}}, Template: "playbook_batch", Data: page}
}

// ---- exemptions

type exemptionPage struct {
	Rows   []playbook.Exemption
	Empty  Empty
	Fields []Field
	CanAdd bool
}

func (p playbookPages) exemptions(c *Ctx) (View, error) {
	xs, err := p.svc.Exemptions(c.Context(), false)
	if err != nil {
		return View{}, err
	}
	ps, err := p.svc.Playbooks(c.Context())
	if err != nil {
		return View{}, err
	}
	choices := []Option{{"", "Choose"}, {"*", "Every playbook"}}
	for _, x := range ps {
		choices = append(choices, Option{x.Name, x.Title})
	}
	tenant := c.Field(Field{Name: "tenant", Label: "Tenant", Hint: "Its id", Required: true, Value: c.Query("tenant")})
	page := exemptionPage{Rows: xs, CanAdd: c.Can("playbook:run"), Fields: []Field{tenant, c.Field(Field{Name: "playbook", Label: "Playbook", Kind: "select", Options: choices, Required: true}),
		c.Field(Field{Name: "until", Label: "Until", Kind: "date", Required: true, Hint: "There is no exemption without an end"}), c.Field(Field{Name: "reason", Label: "Why", Required: true, MaxLen: 500})}}
	return exemptionView(page), nil
}

func exemptionView(page exemptionPage) View {
	page.Empty = Empty{Icon: "shield", Title: "No tenant is exempt", Text: "An exempt tenant is left alone by one playbook or by every one, for a time."}
	return View{Title: "Exemptions", Lead: "Tenants that playbooks leave alone. Each has a reason and an end.", Crumbs: []Crumb{{"Playbooks", "/playbooks"}, {"Exemptions", ""}}, Template: "playbook_exemptions", Data: page}
}

func (p playbookPages) exempt(c *Ctx) (Done, error) {
	until, err := time.Parse(time.DateOnly, c.Form("until"))
	if err != nil {
		return Done{}, governance.Invalid("until", "is not a date")
	}
	name := c.Form("playbook")
	switch name {
	case "":
		return Done{}, governance.Invalid("playbook", "choose one, or every playbook")
	case "*":
		name = ""
	}
	_, err = p.svc.Exempt(c.Context(), c.Identity, playbook.Exemption{Playbook: name, Tenant: governance.TenantID(c.Form("tenant")), Reason: c.Form("reason"), Until: until.Add(24 * time.Hour)})
	if errors.Is(err, governance.ErrNotFound) {
		return Done{}, governance.Invalid("tenant", "there is no such tenant or playbook")
	}
	return Done{To: "/playbooks/exemptions", Flash: "The tenant is exempt."}, err
}

func (p playbookPages) endExemption(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/playbooks/exemptions", Flash: "Playbooks may act on the tenant again."}, p.svc.EndExemption(c.Context(), c.Identity, id, "ended in the console")
}

// ---- a tenant

type playbookTenantPage struct {
	Runs    []runLine
	Exempt  []playbook.Exemption
	Tenant  string
	CanAdd  bool
	Empty   Empty
	OpenRBs []playbook.Instance
}

func (p playbookPages) tenantTab(c *Ctx, t governance.TenantState) (string, any, error) {
	rs, err := p.svc.Runs(c.Context(), playbook.RunFilter{Tenant: t.Tenant.ID, Limit: 50})
	if err != nil {
		return "", nil, err
	}
	xs, err := p.svc.Exemptions(c.Context(), false)
	if err != nil {
		return "", nil, err
	}
	xs = slices.DeleteFunc(xs, func(x playbook.Exemption) bool { return x.Tenant != t.Tenant.ID })
	page := playbookTenantPage{Runs: newRunLines(rs), Exempt: xs, Tenant: string(t.Tenant.ID), CanAdd: c.Can("playbook:run"), Empty: Empty{Icon: "playbook", Title: "No playbook has acted on this tenant", Text: "Runs in shadow are listed as well."}}
	if c.Can("runbook:read") {
		if page.OpenRBs, err = p.svc.Instances(c.Context(), playbook.InstanceFilter{Tenant: t.Tenant.ID, State: playbook.InstanceOpen, Limit: 20}); err != nil {
			return "", nil, err
		}
	}
	return "playbook_tenant", page, nil
}

func (p playbookPages) tenantTimeline(ctx context.Context, t governance.TenantID, limit int) ([]TimelineItem, error) {
	rs, err := p.svc.Runs(ctx, playbook.RunFilter{Tenant: t, Mode: playbook.Live, Limit: limit})
	out := make([]TimelineItem, 0, len(rs))
	for _, r := range rs {
		said := runState(r)
		at := r.CreatedAt
		if !r.EndedAt.IsZero() {
			at = r.EndedAt
		}
		out = append(out, TimelineItem{At: at, Icon: "playbook", Tone: said.Tone, Title: "Playbook " + r.Playbook + ": " + strings.ToLower(said.Text), Text: r.Why, Actor: "playbook:" + r.Playbook, Href: "/playbooks/runs/" + r.ID.String()})
	}
	return out, err
}

func (p playbookPages) find(c *Ctx, q string) ([]Hit, error) {
	ps, err := p.svc.Playbooks(c.Context())
	var out []Hit
	for _, x := range ps {
		if strings.Contains(strings.ToLower(x.Title+" "+x.Name), strings.ToLower(q)) {
			out = append(out, Hit{Kind: "Playbook", Title: x.Title, Meta: x.Name, Href: "/playbooks/" + x.Name, Icon: "playbook"})
		}
	}
	return out, err
}
