package console

import (
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/reevehq/reeve/console/chart"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/retention"
)

const (
	retentionRead  = "retention:read"
	retentionWrite = "retention:write"
	retentionRun   = "retention:run"
)

// Retention is the pages of package retention: what is overdue, plans with their
// digest, runs with their accounts and evidence, holds, law and policies, and why a
// single row is kept.
func Retention(svc *retention.Service) Section {
	p := retentionPages{svc}
	return Section{
		Name: "retention",
		Nav:  []NavItem{{Group: GroupData, Order: 10, Title: "Retention", Path: "/retention", Icon: "retention", Permission: retentionRead}},
		Routes: []Route{
			{Pattern: "GET /retention", Permission: retentionRead, Page: p.overview},
			{Pattern: "POST /retention/paused", Permission: retentionRun, Post: p.pause, Back: p.overview},
			{Pattern: "GET /retention/plans", Permission: retentionRead, Page: p.plans},
			{Pattern: "POST /retention/plans", Permission: retentionRun, Post: p.createPlan},
			{Pattern: "GET /retention/plans/{id}", Permission: retentionRead, Page: p.plan},
			{Pattern: "POST /retention/plans/{id}/purge", Permission: retentionRun, Post: p.purge, Back: p.plan},
			{Pattern: "GET /retention/runs", Permission: retentionRead, Page: p.runs},
			{Pattern: "GET /retention/runs/{id}", Permission: retentionRead, Page: p.run},
			{Pattern: "POST /retention/runs/{id}/cancel", Permission: retentionRun, Post: p.cancel, Back: p.run},
			{Pattern: "GET /retention/runs/{id}/evidence", Permission: retentionRead, Page: p.evidence},
			{Pattern: "GET /retention/runs/{id}/evidence.json", Permission: retentionRead, Serve: p.download},
			{Pattern: "GET /retention/holds", Permission: retentionRead, Page: p.holds},
			{Pattern: "POST /retention/holds", Permission: retentionWrite, Post: p.place, Back: p.holds},
			{Pattern: "GET /retention/holds/{id}", Permission: retentionRead, Page: p.hold},
			{Pattern: "POST /retention/holds/{id}/release", Permission: retentionWrite, Post: p.release, Back: p.hold},
			{Pattern: "GET /retention/rules", Permission: retentionRead, Page: p.rules},
			{Pattern: "GET /retention/row", Permission: retentionRead, Page: p.row},
		},
		Home:    []HomeCard{{Permission: retentionRead, Lead: []string{"gov_auditor", "super_admin"}, Order: 20, Load: p.card}},
		Stories: retentionStories(),
	}
}

type retentionPages struct{ svc *retention.Service }

func retentionTabs(v View, current string) View {
	for _, t := range []Tab{{Title: "Overview", Href: "/retention"}, {Title: "Plans", Href: "/retention/plans"}, {Title: "Runs", Href: "/retention/runs"},
		{Title: "Legal holds", Href: "/retention/holds"}, {Title: "Law and policies", Href: "/retention/rules"}, {Title: "Why is it kept?", Href: "/retention/row"}} {
		t.Current = t.Href == current
		v.Tabs = append(v.Tabs, t)
	}
	return v
}

var retentionCrumb = Crumb{Title: "Retention", Href: "/retention"}

func (p retentionPages) card(c *Ctx) (Card, error) {
	card := Card{Title: "What is overdue?", Href: "/retention", Empty: "Nothing is overdue."}
	d, err := p.svc.Dashboard(c.Context())
	if err != nil {
		return card, err
	}
	for _, o := range d.Overdue[:min(len(d.Overdue), 5)] {
		if o.Rows > 0 {
			card.Rows = append(card.Rows, CardRow{Title: plural(o.Rows, "row", "rows") + " of " + o.Source, Meta: o.Country + " · " + Humanize(o.Class) + " · to " + string(o.Action), Href: "/retention"})
		}
	}
	if len(d.Unplanned) > 0 {
		card.Note = plural(len(d.Unplanned), "source was", "sources were") + " never planned."
	}
	return card, nil
}

type retentionOverview struct {
	D       retention.Dashboard
	Stats   []Stat
	Chart   template.HTML
	Reason  Field
	CanRun  bool
	Sources []retention.SourceStatus
	Empty   Empty
}

func (p retentionPages) overview(c *Ctx) (View, error) {
	d, err := p.svc.Dashboard(c.Context())
	if err != nil {
		return View{}, err
	}
	return retentionOverviewView(retentionOverview{D: d, CanRun: c.Can(retentionRun), Sources: p.svc.Sources(c.Context()),
		Reason: c.Field(Field{Name: "reason", Label: "Reason", Required: true, MaxLen: 2000})}), nil
}

func retentionOverviewView(page retentionOverview) View {
	d := page.D
	next := "not scheduled"
	if !d.NextPlan.IsZero() {
		next = "next planned " + d.NextPlan.UTC().Format("2 Jan, 15:04") + " UTC"
	}
	page.Stats = []Stat{
		{Label: "Rows overdue", Value: FormatInt(d.TotalOverdue), Note: next},
		{Label: "Due within 30 days", Value: FormatInt(d.TotalSoon)},
		{Label: "Legal holds", Value: FormatInt(int64(d.Holds)), Note: plural(d.HeldRows, "row kept", "rows kept"), Href: "/retention/holds"},
		{Label: "Exceptions", Value: FormatInt(exceptionRows(d.Exceptions)), Note: "rows for people to look at"},
	}
	page.Chart = overdueChart(d.Overdue)
	page.Empty = Empty{Icon: "database", Title: "No source yet", Text: "A source is a table of the host with its mapping. Once one is given to the server, what is due there is planned every day and shown here."}
	if len(page.Sources) > 0 {
		page.Empty = Empty{Icon: "check", Title: "Nothing is overdue", Text: "Every row that the law and the policies let go is gone."}
	}
	return retentionTabs(View{Title: "Retention", Lead: "What must be kept, what must go, and what is overdue.", Template: "retention_overview", Data: page}, "/retention")
}

func exceptionRows(es []retention.Exception) int64 {
	var n int64
	for _, e := range es {
		if e.State != retention.Held {
			n += e.Count
		}
	}
	return n
}

func overdueChart(os []retention.Overdue) template.HTML {
	sums, sources := map[string]map[string]int64{}, []string{}
	var labels []string
	for _, o := range os {
		if o.Rows == 0 {
			continue
		}
		if sums[o.Country] == nil {
			sums[o.Country] = map[string]int64{}
			labels = append(labels, o.Country)
		}
		if !slices.Contains(sources, o.Source) {
			sources = append(sources, o.Source)
		}
		sums[o.Country][o.Source] += o.Rows
	}
	if len(labels) == 0 {
		return ""
	}
	spec := chart.BarSpec{Title: "Overdue rows by country", Labels: labels, Height: 160, Format: func(v float64) string { return FormatInt(int64(v)) }}
	for _, s := range sources {
		values := make([]float64, len(labels))
		for i, l := range labels {
			values[i] = float64(sums[l][s])
		}
		spec.Series = append(spec.Series, chart.Series{Name: s, Values: values})
	}
	return chart.Bars(spec)
}

func (p retentionPages) pause(c *Ctx) (Done, error) {
	paused := c.Form("paused") == "true"
	flash := "Runs go on."
	if paused {
		flash = "Every run stops before its next batch."
	}
	return Done{To: "/retention", Flash: flash}, p.svc.SetPaused(c.Context(), c.Identity, paused, c.Form("reason"))
}

type retentionPlanList struct {
	Rows    []retention.Plan
	Sources []retention.SourceStatus
	CanRun  bool
	Source  Field
	Pager   Pager
	Empty   Empty
}

const retentionPageSize = 50

func (p retentionPages) plans(c *Ctx) (View, error) {
	rows, err := p.svc.Plans(c.Context(), retention.PlanFilter{Limit: retentionPageSize + 1, Before: c.Query("cursor")})
	if err != nil {
		return View{}, err
	}
	page := retentionPlanList{Sources: p.svc.Sources(c.Context()), CanRun: c.Can(retentionRun)}
	next := ""
	if len(rows) > retentionPageSize {
		rows = rows[:retentionPageSize]
		next = rows[len(rows)-1].ID.String()
	}
	page.Rows, page.Pager = rows, c.Pager(next)
	var options []Option
	for _, s := range page.Sources {
		options = append(options, Option{s.Name, s.Name})
	}
	page.Source = c.Field(Field{Name: "source", Label: "Source", Kind: "select", Options: options})
	return retentionPlanListView(page), nil
}

func retentionPlanListView(page retentionPlanList) View {
	page.Empty = Empty{Icon: "retention", Title: "Nothing was planned yet", Text: "A plan finds the rows that are due and names them one by one. It changes nothing in the host."}
	return retentionTabs(View{Title: "Purge plans", Lead: "What is due, row by row, under one digest.", Template: "retention_plans", Data: page}, "/retention/plans")
}

func (p retentionPages) createPlan(c *Ctx) (Done, error) {
	plan, err := p.svc.CreatePlan(c.Context(), c.Identity, retention.NewPlan{Source: c.Form("source"), Key: c.Key()})
	return Done{To: "/retention/plans/" + plan.ID.String(), Flash: plural(plan.Rows, "row is", "rows are") + " due."}, err
}

type retentionPlanPage struct {
	P        retention.Plan
	Stats    []Stat
	Facts    []Fact
	Reason   Field
	CanRun   bool
	WhyNot   string
	Approval string // its state
	Run      *retention.Run
}

func (p retentionPages) plan(c *Ctx) (View, error) {
	u, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	plan, err := p.svc.Plan(c.Context(), governance.ID[retention.Plan]{UUID: u})
	if err != nil {
		return View{}, err
	}
	page := retentionPlanPage{P: plan, CanRun: c.Can(retentionRun), Reason: c.Field(Field{Name: "reason", Label: "Reason", MaxLen: 2000, Hint: "Stands in the ledger and before the approver."})}
	if id, err := governance.ParseID[governance.Approval](plan.Approval); err == nil {
		a, err := p.svc.Kernel().Approval(c.Context(), id.UUID)
		if err != nil && !errors.Is(err, governance.ErrNotFound) {
			return View{}, err
		}
		page.Approval = string(a.State)
	}
	if id, err := governance.ParseID[retention.Run](plan.Run); err == nil {
		r, err := p.svc.Run(c.Context(), id)
		if err != nil {
			return View{}, err
		}
		page.Run = &r
	}
	return retentionPlanView(page), nil
}

func retentionPlanView(page retentionPlanPage) View {
	pl := page.P
	badge := "planned"
	switch {
	case page.Run != nil:
		badge = string(page.Run.State)
		page.WhyNot = "It was executed already."
	case page.Approval == string(governance.StatePending):
		badge = "held"
		page.WhyNot = "It waits for an approval."
	case pl.Rows == 0:
		badge = "done"
		page.WhyNot = "Nothing is due."
	}
	held := int64(0)
	for _, e := range pl.Exceptions {
		if e.State == retention.Held {
			held += e.Count
		}
	}
	page.Stats = []Stat{{Label: "Rows due", Value: FormatInt(pl.Rows)}, {Label: "Rows that go with them", Value: FormatInt(pl.Related)},
		{Label: "Rows under hold", Value: FormatInt(held)}, {Label: "Exceptions", Value: FormatInt(exceptionRows(pl.Exceptions))}}
	page.Facts = []Fact{{Label: "Source", Value: pl.Source}, {Label: "Place", Value: pl.Place}, {Label: "Data class", Value: Humanize(pl.Class)}, {Label: "As of", At: pl.AsOf},
		{Label: "Batches", Value: FormatInt(int64(pl.Chunks))}, {Label: "Made by", Value: actorID(pl.CreatedBy)}, {Label: "Made", At: pl.CreatedAt, Ago: true}}
	return View{Title: "Plan for " + pl.Source, Badge: badge, Lead: "Exactly these rows, and no other, are what an approval is about.",
		Crumbs: []Crumb{retentionCrumb, {Title: "Plans", Href: "/retention/plans"}, {Title: ShortID(pl.ID.String())}}, Template: "retention_plan", Data: page}
}

func actorID(id string) string {
	for _, prefix := range []string{"system:", "user:"} {
		if len(id) > len(prefix) && id[:len(prefix)] == prefix {
			return id[len(prefix):]
		}
	}
	return id
}

func (p retentionPages) purge(c *Ctx) (Done, error) {
	u, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	out, err := p.svc.Purge(c.Context(), c.Identity, retention.PurgeInput{Plan: governance.ID[retention.Plan]{UUID: u}, Digest: governance.Digest(c.Form("digest"))},
		&governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")})
	return Done{To: "/retention/runs/" + out.Action.String(), Flash: "The run has begun."}, err
}

type retentionRunList struct {
	Rows  []retentionRunRow
	Pager Pager
	Empty Empty
}

type retentionRunRow struct {
	retention.Run
	Bar        accountBar
	Done, Left int64
}

// accountBar draws how a run accounts for its rows, in per mille of what was planned.
type accountBar struct {
	Label    string
	Segments []accountSegment
}

type accountSegment struct {
	Name    string
	Class   string
	X, W    int64
	Rows    int64
	Percent string
}

func newAccountBar(r retention.Run) accountBar {
	c := r.Counts
	b := accountBar{Label: "Accounts of the run"}
	x := int64(0)
	for _, s := range []accountSegment{
		{Name: "Deleted", Class: "s-1", Rows: c.Deleted}, {Name: "Anonymised", Class: "s-2", Rows: c.Anonymised}, {Name: "Held", Class: "s-3", Rows: c.Held},
		{Name: "Changed since", Class: "s-4", Rows: c.Changed}, {Name: "Refused by the host", Class: "s-neg", Rows: c.Failed}, {Name: "Not reached", Class: "s-6", Rows: r.Remaining},
	} {
		if s.Rows > 0 && c.Planned > 0 {
			s.X, s.W = x, max(s.Rows*1000/c.Planned, 4)
			x += s.W
			s.Percent = FormatPercent(float64(s.Rows) / float64(c.Planned))
			b.Label += ", " + FormatInt(s.Rows) + " " + s.Name
			b.Segments = append(b.Segments, s)
		}
	}
	return b
}

func (p retentionPages) runs(c *Ctx) (View, error) {
	rows, err := p.svc.Runs(c.Context(), retention.RunFilter{Limit: retentionPageSize + 1, Before: c.Query("cursor")})
	if err != nil {
		return View{}, err
	}
	next := ""
	if len(rows) > retentionPageSize {
		rows = rows[:retentionPageSize]
		next = rows[len(rows)-1].ID.String()
	}
	return retentionRunListView(rows, c.Pager(next)), nil
}

func retentionRunListView(rows []retention.Run, pager Pager) View {
	page := retentionRunList{Pager: pager, Empty: Empty{Icon: "play", Title: "Nothing was purged yet", Text: "A run executes one plan and accounts for every row of it."}}
	for _, r := range rows {
		page.Rows = append(page.Rows, retentionRunRow{r, newAccountBar(r), r.Counts.Deleted + r.Counts.Anonymised, r.Counts.Held + r.Counts.Changed + r.Counts.Failed})
	}
	return retentionTabs(View{Title: "Purge runs", Lead: "Each accounts for every row that was planned.", Template: "retention_runs", Data: page}, "/retention/runs")
}

type retentionRunPage struct {
	R         retention.Run
	Bar       accountBar
	Items     []retention.RunItem
	Pager     Pager
	Facts     []Fact
	Running   bool
	CanCancel bool
	Reason    Field
}

func (p retentionPages) readRun(c *Ctx) (retention.Run, error) {
	u, err := c.UUID("id")
	if err != nil {
		return retention.Run{}, err
	}
	return p.svc.Run(c.Context(), governance.ID[retention.Run]{UUID: u})
}

func (p retentionPages) run(c *Ctx) (View, error) {
	r, err := p.readRun(c)
	if err != nil {
		return View{}, err
	}
	items, err := p.svc.Items(c.Context(), r.ID, c.Query("cursor"), retentionPageSize+1)
	if err != nil {
		return View{}, err
	}
	next := ""
	if len(items) > retentionPageSize {
		items = items[:retentionPageSize]
		next = items[len(items)-1].Cursor
	}
	return retentionRunView(retentionRunPage{R: r, Items: items, Pager: c.Pager(next), CanCancel: c.Can(retentionRun),
		Reason: c.Field(Field{Name: "reason", Label: "Reason", Required: true, MaxLen: 500})}), nil
}

func retentionRunView(page retentionRunPage) View {
	r := page.R
	page.Running = r.State == retention.RunRunning
	page.CanCancel = page.CanCancel && page.Running
	page.Bar = newAccountBar(r)
	page.Facts = []Fact{{Label: "Source", Value: r.Source}, {Label: "Plan", Value: ShortID(r.Plan), Href: "/retention/plans/" + r.Plan, Mono: true},
		{Label: "Asked for by", Value: actorID(r.RequestedBy)}, {Label: "Batches", Value: strconv.Itoa(r.Batches) + " of " + strconv.Itoa(r.Chunks)},
		{Label: "Rows that went with them", Value: FormatInt(r.Counts.Related)}, {Label: "Begun", At: r.StartedAt}}
	if !r.EndedAt.IsZero() {
		page.Facts = append(page.Facts, Fact{Label: "Ended", At: r.EndedAt})
	}
	v := View{Title: "Run on " + r.Source, Badge: string(r.State), Lead: "Planned = deleted + anonymised + held + changed + refused" + map[bool]string{true: " + not reached."}[r.Remaining > 0],
		Crumbs: []Crumb{retentionCrumb, {Title: "Runs", Href: "/retention/runs"}, {Title: ShortID(r.ID.String())}}, Template: "retention_run", Data: page}
	if r.EvidenceHash != "" {
		v.Actions = []Button{{Text: "Evidence", Icon: "shield", Href: "/retention/runs/" + r.ID.String() + "/evidence"}}
	}
	return v
}

func (p retentionPages) cancel(c *Ctx) (Done, error) {
	u, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/retention/runs/" + u.String(), Flash: "It stops before its next batch."}, p.svc.CancelRun(c.Context(), c.Identity, governance.ID[retention.Run]{UUID: u}, c.Form("reason"))
}

type retentionEvidencePage struct {
	E     retention.Evidence
	Run   string
	Hash  string
	Facts []Fact
	Check []Fact
}

func (p retentionPages) evidence(c *Ctx) (View, error) {
	r, err := p.readRun(c)
	if err != nil {
		return View{}, err
	}
	body, hash, err := p.svc.Evidence(c.Context(), r.ID)
	if err != nil {
		return View{}, err
	}
	page := retentionEvidencePage{Run: r.ID.String(), Hash: hash}
	if err := json.Unmarshal(body, &page.E); err != nil {
		return View{}, err
	}
	return retentionEvidenceView(page), nil
}

func retentionEvidenceView(page retentionEvidencePage) View {
	e := page.E
	page.Facts = []Fact{{Label: "Source", Value: e.Source}, {Label: "Place", Value: e.Place}, {Label: "As of", At: e.AsOf}, {Label: "Begun", At: e.StartedAt}, {Label: "Ended", At: e.EndedAt},
		{Label: "Asked for by", Value: actorID(e.RequestedBy)}, {Label: "Plan digest", Value: string(e.PlanDigest), Mono: true}, {Label: "Root over the rows", Value: e.Root, Mono: true}}
	yes := map[bool]string{true: "yes", false: "no"}
	v := e.Verification
	page.Check = []Fact{{Label: "Every planned row has one outcome", Value: yes[e.Equation]}, {Label: "Scanned again", At: v.At}, {Label: "Still due and accounted for", Value: FormatInt(v.Accounted + v.Held)},
		{Label: "Due since the plan", Value: FormatInt(v.Late)}, {Label: "Purged, and there again", Value: FormatInt(v.Unexplained)}}
	return View{Title: "Evidence", Lead: "What was done, on whose word, by which law. It holds no value of a row.",
		Crumbs:   []Crumb{retentionCrumb, {Title: "Runs", Href: "/retention/runs"}, {Title: ShortID(page.Run), Href: "/retention/runs/" + page.Run}, {Title: "Evidence"}},
		Actions:  []Button{{Text: "Download", Icon: "download", Href: "/retention/runs/" + page.Run + "/evidence.json"}},
		Template: "retention_evidence", Data: page}
}

func (p retentionPages) download(c *Ctx, w http.ResponseWriter) error {
	r, err := p.readRun(c)
	if err != nil {
		return err
	}
	body, hash, err := p.svc.Evidence(c.Context(), r.ID)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="evidence-`+r.ID.String()+`.json"`)
	w.Header().Set("ETag", `"`+hash+`"`)
	_, err = w.Write(body)
	return err
}

type retentionHoldList struct {
	Rows     []retention.Hold
	Pager    Pager
	CanWrite bool
	Open     bool // the form shows what was wrong with it
	Fault    string
	Fields   []Field
	Empty    Empty
}

func (p retentionPages) holds(c *Ctx) (View, error) {
	all := c.Query("show") == "all"
	rows, err := p.svc.Holds(c.Context(), retention.HoldFilter{Released: all, Limit: retentionPageSize + 1, Before: c.Query("cursor")})
	if err != nil {
		return View{}, err
	}
	next := ""
	if len(rows) > retentionPageSize {
		rows = rows[:retentionPageSize]
		next = rows[len(rows)-1].ID.String()
	}
	options := []Option{{"", "any"}}
	for _, s := range p.svc.Sources(c.Context()) {
		options = append(options, Option{s.Name, s.Name})
	}
	page := retentionHoldList{Rows: rows, Pager: c.Pager(next), CanWrite: c.Can(retentionWrite), Open: len(c.Errors()) > 0}
	for _, e := range c.Errors() {
		if e.Field == "selector" {
			page.Fault = e.Reason
		}
	}
	for _, f := range holdFields(options) {
		page.Fields = append(page.Fields, c.Field(f))
	}
	return retentionHoldListView(page, all), nil
}

func holdFields(sources []Option) []Field {
	return []Field{
		{Name: "matter", Label: "Matter", Required: true, MaxLen: 200, Placeholder: "Case or investigation"},
		{Name: "reason", Label: "Reason", Kind: "textarea", Required: true, MaxLen: 2000, Rows: 2},
		{Name: "selector.tenant", Label: "Tenant", Hint: "At least one of these; all that are given must fit."},
		{Name: "selector.subject", Label: "Data subject", Hint: "The key the source maps as its data subject."},
		{Name: "selector.class", Label: "Data class"},
		{Name: "selector.country", Label: "Country"},
		{Name: "selector.source", Label: "Source", Kind: "select", Options: sources},
		{Name: "selector.key", Label: "Row key", Hint: `Of one row of the source: 42, or ["a",1].`},
		{Name: "selector.child", Label: "Related table", Hint: "When the key is of a row in this table."},
	}
}

func retentionHoldListView(page retentionHoldList, all bool) View {
	page.Empty = Empty{Icon: "lock", Title: "No legal hold", Text: "A hold keeps what it selects from every purge, at once and until it is released. It has no end date."}
	v := retentionTabs(View{Title: "Legal holds", Lead: "They win over every rule and policy. Placing one needs nobody else, releasing one does.", Template: "retention_holds", Data: page}, "/retention/holds")
	v.Actions = []Button{{Text: "Show released", Kind: "quiet", Href: "/retention/holds?show=all"}}
	if all {
		v.Actions = []Button{{Text: "Hide released", Kind: "quiet", Href: "/retention/holds"}}
	}
	return v
}

func (p retentionPages) place(c *Ctx) (Done, error) {
	h, err := p.svc.PlaceHold(c.Context(), c.Identity, retention.NewHold{Matter: c.Form("matter"), Reason: c.Form("reason"), Key: c.Key(), Selector: retention.Selector{
		Tenant: c.Form("selector.tenant"), Subject: c.Form("selector.subject"), Class: c.Form("selector.class"), Country: c.Form("selector.country"),
		Source: c.Form("selector.source"), Key: c.Form("selector.key"), Child: c.Form("selector.child")}})
	done := Done{To: "/retention/holds", Flash: "The hold is in force in every source."}
	if len(h.Unfenced) > 0 {
		done.Flash, done.Tone = "The hold is in force, but a batch that is running may not know it yet in: "+h.Unfenced[0], ToneWarn
	}
	return done, err
}

type retentionHoldPage struct {
	H        retention.Hold
	Facts    []Fact
	CanWrite bool
	Reason   Field
}

func (p retentionPages) hold(c *Ctx) (View, error) {
	u, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	h, err := p.svc.Hold(c.Context(), governance.ID[retention.Hold]{UUID: u})
	if err != nil {
		return View{}, err
	}
	return retentionHoldView(retentionHoldPage{H: h, CanWrite: c.Can(retentionWrite) && h.ReleasedAt.IsZero(),
		Reason: c.Field(Field{Name: "reason", Label: "Why it may be released", Kind: "textarea", Required: true, MaxLen: 2000, Rows: 2})}), nil
}

func retentionHoldView(page retentionHoldPage) View {
	h := page.H
	badge := "active"
	page.Facts = []Fact{{Label: "Reason", Value: h.Reason}, {Label: "Placed by", Value: actorID(h.PlacedBy)}, {Label: "Placed", At: h.PlacedAt}}
	for _, s := range [][2]string{{"Tenant", h.Selector.Tenant}, {"Data subject", h.Selector.Subject}, {"Data class", h.Selector.Class}, {"Country", h.Selector.Country},
		{"Source", h.Selector.Source}, {"Row key", h.Selector.Key}, {"Related table", h.Selector.Child}} {
		if s[1] != "" {
			page.Facts = append(page.Facts, Fact{Label: s[0], Value: s[1]})
		}
	}
	if !h.ReleasedAt.IsZero() {
		badge = "released"
		page.Facts = append(page.Facts, Fact{Label: "Released by", Value: actorID(h.ReleasedBy)}, Fact{Label: "Released", At: h.ReleasedAt}, Fact{Label: "Because", Value: h.ReleasedFor})
	}
	return View{Title: h.Matter, Badge: badge, Crumbs: []Crumb{retentionCrumb, {Title: "Legal holds", Href: "/retention/holds"}, {Title: ShortID(h.ID.String())}}, Narrow: true,
		Template: "retention_hold", Data: page}
}

func (p retentionPages) release(c *Ctx) (Done, error) {
	u, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	_, err = p.svc.ReleaseHold(c.Context(), c.Identity, governance.ID[retention.Hold]{UUID: u}, c.Form("reason"), &governance.DoOptions{Key: c.Key()})
	return Done{To: "/retention/holds/" + u.String(), Flash: "The hold is released."}, err
}

type retentionRulesPage struct {
	Rules         []retention.RuleVersion
	Policies      []retention.PolicyVersion
	Place, Class  Field
	Empty         Empty
	EmptyPolicies Empty
}

func (p retentionPages) rules(c *Ctx) (View, error) {
	all, err := p.svc.Rules(c.Context(), retention.RuleFilter{})
	if err != nil {
		return View{}, err
	}
	places, classes := []Option{{"", "anywhere"}}, []Option{{"", "any class"}}
	seen := map[string]bool{}
	for _, r := range all {
		if !seen["p"+r.Jurisdiction] {
			seen["p"+r.Jurisdiction] = true
			places = append(places, Option{r.Jurisdiction, r.Jurisdiction})
		}
		if !seen["c"+r.Class] {
			seen["c"+r.Class] = true
			classes = append(classes, Option{r.Class, Humanize(r.Class)})
		}
	}
	page := retentionRulesPage{Place: c.Field(Field{Name: "jurisdiction", Label: "Country or region", Kind: "select", Options: places, Value: c.Query("jurisdiction")}),
		Class: c.Field(Field{Name: "class", Label: "Data class", Kind: "select", Options: classes, Value: c.Query("class")})}
	for _, r := range all {
		if (page.Place.Value == "" || r.Jurisdiction == page.Place.Value) && (page.Class.Value == "" || r.Class == page.Class.Value) {
			page.Rules = append(page.Rules, r)
		}
	}
	if page.Policies, err = p.svc.RetentionPolicies(c.Context()); err != nil {
		return View{}, err
	}
	return retentionRulesView(page), nil
}

func retentionRulesView(page retentionRulesPage) View {
	page.Empty = Empty{Icon: "policy", Title: "No rule fits", Text: "Without a rule of law for its country and class, a row is never deleted: it is listed as an exception."}
	page.EmptyPolicies = Empty{Icon: "policy", Title: "No policy yet", Text: "A policy says after what time a class of data goes, and how. Without one nothing is due."}
	return retentionTabs(View{Title: "Law and policies", Lead: "Law sets the bounds, policies the target between them. No rule here is advice: have counsel verify it.", Template: "retention_rules", Data: page}, "/retention/rules")
}

type retentionRowPage struct {
	Source, Key, AsOf Field
	Found             *retention.Explanation
	Missing           bool
	Fault             string
	Facts             []Fact
}

func (p retentionPages) row(c *Ctx) (View, error) {
	var options []Option
	for _, s := range p.svc.Sources(c.Context()) {
		options = append(options, Option{s.Name, s.Name})
	}
	page := retentionRowPage{Source: Field{Name: "source", Label: "Source", Kind: "select", Options: options, Value: c.Query("source")},
		Key: Field{Name: "key", Label: "Row key", Value: c.Query("key"), Placeholder: "42"}, AsOf: Field{Name: "as_of", Label: "As of", Kind: "date", Value: c.Query("as_of")}}
	if page.Key.Value != "" {
		at, err := time.Time{}, error(nil)
		if page.AsOf.Value != "" {
			if at, err = time.Parse(time.DateOnly, page.AsOf.Value); err != nil {
				page.AsOf.Error = "is not a day such as 2026-03-01"
				return retentionRowView(page), nil
			}
		}
		x, err := p.svc.Explain(c.Context(), page.Source.Value, page.Key.Value, at)
		var invalid *governance.InvalidError
		switch {
		case errors.As(err, &invalid):
			page.Fault = invalid.Reason
		case errors.Is(err, governance.ErrNotFound):
			page.Missing = true
		case err != nil:
			return View{}, err
		default:
			page.Found = &x
		}
	}
	return retentionRowView(page), nil
}

func retentionRowView(page retentionRowPage) View {
	if x := page.Found; x != nil {
		d := x.Decision
		page.Facts = []Fact{{Label: "Source", Value: x.Source}, {Label: "Row", Value: x.Key, Mono: true}, {Label: "As of", At: x.AsOf}, {Label: "Country", Value: d.Country}, {Label: "Zone", Value: d.Zone}}
		if d.Due != "" {
			page.Facts = append(page.Facts, Fact{Label: "Due", Value: d.Due})
		}
	}
	return retentionTabs(View{Title: "Why is it kept?", Lead: "The decision about one row, with every rule that speaks on it.", Template: "retention_row", Data: page}, "/retention/row")
}
