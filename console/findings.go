package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight/findings"
)

// Findings is the pages of package findings: the queue of findings, what an auditor
// samples, and how approving works.
func Findings(svc *findings.Service) Section {
	p := findingPages{svc}
	return Section{
		Name: "findings",
		Nav: []NavItem{
			{Group: GroupOversight, Order: 30, Title: "Findings", Path: "/findings", Icon: "alert", Permission: findings.PermissionRead, Count: p.openCount},
			{Group: GroupOversight, Order: 35, Title: "Audit samples", Path: "/audit", Icon: "check", Permission: findings.PermissionRead},
		},
		Routes: []Route{
			{Pattern: "GET /findings", Permission: findings.PermissionRead, Page: p.list},
			{Pattern: "GET /findings/{id}", Permission: findings.PermissionRead, Page: p.detail},
			{Pattern: "POST /findings/{id}/decide", Permission: findings.PermissionDecide, Post: p.decide, Back: p.detail},
			{Pattern: "GET /audit", Permission: findings.PermissionRead, Page: p.audit},
			{Pattern: "GET /audit/samples", Permission: findings.PermissionRead, Page: p.samples},
			{Pattern: "GET /audit/approvers", Permission: findings.PermissionRead, Page: p.approvers},
			{Pattern: "GET /audit/{table}", Permission: findings.PermissionRead, Serve: p.export},
		},
		Home:    []HomeCard{{Permission: findings.PermissionRead, Order: 35, Load: p.card}},
		Stories: findingStories(),
	}
}

type findingPages struct{ svc *findings.Service }

func (p findingPages) open(c *Ctx) ([]findings.Finding, error) {
	return p.svc.Findings(c.Context(), findings.Filter{States: []findings.State{findings.Open}, Limit: 100})
}

func (p findingPages) openCount(c *Ctx) (int, error) {
	fs, err := p.open(c)
	return len(fs), err
}

func (p findingPages) card(c *Ctx) (Card, error) {
	card := Card{Title: "What is unlike before?", Href: "/findings?state=open", Empty: "No finding waits for a judgement."}
	fs, err := p.open(c)
	names := people(c)
	for _, f := range fs[:min(len(fs), 6)] {
		card.Rows = append(card.Rows, CardRow{Title: f.Title, Meta: aboutText(f, names), Href: "/findings/" + f.ID.String(), Status: string(f.Severity), At: f.At})
	}
	return card, err
}

// aboutText says whom or what a finding is about.
func aboutText(f findings.Finding, names func(governance.Actor) string) string {
	var out []string
	for _, w := range append([]string{f.Who}, f.Others...) {
		if w != "" {
			out = append(out, names(governance.Actor{Person: governance.PersonID(w)}))
		}
	}
	return strings.Join(out, ", ")
}

type findingRow struct {
	findings.Finding
	About, TenantName string
}

type findingListPage struct {
	Filters []Field
	Rows    []findingRow
	Pager   Pager
	Empty   Empty
}

func (p findingPages) list(c *Ctx) (View, error) {
	state, kind, who := c.Query("state"), c.Query("kind"), c.Query("who")
	f := findings.Filter{Who: who, Limit: 50}
	if state != "" {
		f.States = []findings.State{findings.State(state)}
	}
	if kind != "" {
		f.Kinds = []findings.Kind{findings.Kind(kind)}
	}
	var err error
	if cur := c.Query("cursor"); cur != "" {
		if f.Before, err = uuid.Parse(cur); err != nil {
			return View{}, governance.ErrNotFound
		}
	}
	fs, err := p.svc.Findings(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	page := findingListPage{Filters: findingFilters(state, kind, who), Empty: Empty{Icon: "check", Title: "Nothing is unlike before", Text: "Bursts, first times, odd hours, amounts just under a limit and people who approve each other stand here, with what is usual beside what was seen."}}
	if state+kind+who != "" {
		page.Empty = Empty{Icon: "search", Title: "No finding matches", Action: &Button{Text: "Clear filters", Href: "/findings"}}
	}
	names := people(c)
	for _, x := range fs {
		page.Rows = append(page.Rows, findingRow{x, aboutText(x, names), tenantName(c, x.Tenant)})
	}
	next := ""
	if len(fs) == f.Limit {
		next = fs[len(fs)-1].ID.String()
	}
	page.Pager = c.Pager(next)
	return findingListView(page), nil
}

func findingFilters(state, kind, who string) []Field {
	kinds := []Option{{"", "Every kind"}}
	for _, k := range findings.Kinds() {
		kinds = append(kinds, Option{string(k), Humanize(string(k))})
	}
	return []Field{
		{Name: "state", Label: "State", Kind: "select", Value: state, Options: []Option{{"", "Any"}, {"open", "Open"}, {"confirmed", "Confirmed"}, {"dismissed", "Dismissed"}}},
		{Name: "kind", Label: "Kind", Kind: "select", Value: kind, Options: kinds},
		{Name: "who", Label: "Person", Value: who, Placeholder: "Anybody"},
	}
}

func findingListView(page findingListPage) View {
	return View{Title: "Findings", Lead: "Acts unlike those before them. A finding may make the next act need approval; it never makes one easier.", Template: "findings_list", Data: page}
}

type findingActRow struct {
	findings.Act
	WhoName string
}

type findingPage struct {
	F      findings.Finding
	Facts  []Fact
	Acts   []findingActRow
	Reason Field
	Decide bool
	WhyNot string
}

func (p findingPages) detail(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	f, err := p.svc.Finding(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	names := people(c)
	page := newFindingPage(f, names)
	page.Decide = f.State == findings.Open && c.Can(findings.PermissionDecide)
	me := string(c.Identity.Actor.Person)
	for _, w := range append([]string{f.Who}, f.Others...) {
		if w != "" && w == me {
			page.WhyNot = "It is about you: somebody else judges it."
		}
	}
	page.Reason = c.Field(Field{Name: "reason", Label: "Why", Kind: "textarea", Required: true, MaxLen: 2000})
	return findingView(page), nil
}

func newFindingPage(f findings.Finding, names func(governance.Actor) string) findingPage {
	page := findingPage{F: f, Facts: []Fact{{Label: "About", Value: aboutText(f, names)}, {Label: "Measured", Value: f.Dimension}, {Label: "Usual", Value: f.Baseline}, {Label: "Seen", Value: f.Value}, {Label: "When", At: f.At}}}
	if f.Tenant != "" {
		page.Facts = append(page.Facts, Fact{Label: "Tenant", Value: string(f.Tenant), Href: "/tenants/" + url.PathEscape(string(f.Tenant))})
	}
	if f.State != findings.Open {
		page.Facts = append(page.Facts, Fact{Label: "Judged by", Value: f.DecidedBy, Mono: true}, Fact{Label: "Judged", At: f.DecidedAt}, Fact{Label: "Because", Value: f.Reason})
	}
	for _, a := range f.Acts {
		page.Acts = append(page.Acts, findingActRow{a, names(governance.Actor{Person: governance.PersonID(a.Who)})})
	}
	return page
}

func findingView(page findingPage) View {
	return View{Title: page.F.Title, Badge: string(page.F.State), Crumbs: []Crumb{{"Findings", "/findings"}, {Humanize(string(page.F.Kind)), ""}}, Template: "findings_detail", Data: page}
}

func (p findingPages) decide(c *Ctx) (Done, error) {
	state := findings.State(c.Form("state"))
	_, err := p.svc.Decide(c.Context(), c.Identity, findings.Decide{Finding: c.Path("id"), State: state}, &governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")})
	return Done{To: "/findings", Flash: "The finding is " + string(state) + "."}, err
}

// period is the one that a page's figures are of: whole days of UTC, the last included.
type period struct {
	From, To time.Time // To is not included
	Query    string    // the same as a query
	Fields   []Field
}

func newPeriod(c *Ctx, now time.Time) (period, error) {
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	from, last := today.AddDate(0, 0, -29), today
	for name, d := range map[string]*time.Time{"from": &from, "to": &last} {
		v := c.Query(name)
		if v == "" {
			continue
		}
		t, err := time.Parse(time.DateOnly, v)
		if err != nil {
			return period{}, governance.Invalid(name, "is not a date")
		}
		*d = t
	}
	if last.Before(from) {
		return period{}, governance.Invalid("to", "is before the beginning")
	}
	return periodOf(from, last), nil
}

func periodOf(from, last time.Time) period {
	f, l := from.Format(time.DateOnly), last.Format(time.DateOnly)
	return period{From: from, To: last.AddDate(0, 0, 1), Query: "from=" + f + "&to=" + l,
		Fields: []Field{{Name: "from", Label: "From", Kind: "date", Value: f}, {Name: "to", Label: "To", Kind: "date", Value: l}}}
}

func auditTabs(here string, per period) []Tab {
	tabs := []Tab{{Title: "Samples", Href: "/audit"}, {Title: "Approver health", Href: "/audit/approvers"}}
	for i := range tabs {
		tabs[i].Current = tabs[i].Href == here
		tabs[i].Href += "?" + per.Query
	}
	return tabs
}

// countLink is a number that leads to the actions it counts.
type countLink struct {
	N    int
	Href string
}

type shareRow struct {
	Action         string
	Enforced, Rest countLink
	Total          int
	Share          float64
}

type creditRow struct {
	Name        string
	Under, Over countLink
	UnderSum    governance.Money
	OverSum     governance.Money
}

type auditPage struct {
	Period           period
	Stats            []Stat
	Share            []shareRow
	ByPerson         []creditRow
	ByReason         []creditRow
	Note             string
	ShareCSV, AllCSV Button
	CreditsCSV       Button
	Empty            Empty
	CreditsEmpty     Empty
}

func (p findingPages) audit(c *Ctx) (View, error) {
	per, err := newPeriod(c, c.Kernel().Now())
	if err != nil {
		return View{}, err
	}
	sh, err := p.svc.Share(c.Context(), per.From, per.To)
	if err != nil {
		return View{}, err
	}
	cr, err := p.svc.Credits(c.Context(), per.From, per.To)
	if err != nil {
		return View{}, err
	}
	names := people(c)
	return auditView(newAuditPage(per, sh, cr, func(id string) string { return names(governance.Actor{Person: governance.PersonID(id)}) })), nil
}

func newAuditPage(per period, sh findings.Share, cr findings.Credits, name func(string) string) auditPage {
	at := func(pairs ...string) string {
		href := "/audit/samples?" + per.Query
		for i := 0; i < len(pairs); i += 2 {
			href += "&" + pairs[i] + "=" + url.QueryEscape(pairs[i+1])
		}
		return href
	}
	page := auditPage{Period: per, ShareCSV: Button{Text: "Share as CSV", Href: "/audit/share.csv?" + per.Query}, CreditsCSV: Button{Text: "Credits as CSV", Href: "/audit/credits.csv?" + per.Query},
		AllCSV:       Button{Text: "All samples as CSV", Href: "/audit/samples.csv?" + per.Query},
		Empty:        Empty{Icon: "shield", Title: "Nothing sensitive ran in this time", Text: "Choose other days, or look at every guarded action.", Action: &Button{Text: "Sensitive actions", Href: "/acts"}},
		CreditsEmpty: Empty{Icon: "shield", Title: "No credit or refund in this time"}}
	for _, l := range sh.Actions {
		if l.Total == 0 {
			continue
		}
		page.Share = append(page.Share, shareRow{l.Action, countLink{l.Enforced, at("action", l.Action, "enforced", "yes")}, countLink{l.Total - l.Enforced, at("action", l.Action, "enforced", "no")}, l.Total, float64(l.Enforced) / float64(l.Total)})
	}
	share := "–"
	if sh.Total > 0 {
		share = FormatPercent(float64(sh.Enforced) / float64(sh.Total))
	}
	page.Stats = []Stat{{Label: "Under a policy in force", Value: share, Note: fmt.Sprintf("%d of %d sensitive actions", sh.Enforced, sh.Total), Href: at("enforced", "yes")},
		{Label: "Under no policy in force", Value: FormatInt(int64(sh.Total - sh.Enforced)), Href: at("enforced", "no")},
		{Label: "Credits under the limit", Value: FormatMoney(cr.Total.Under), Note: strconv.Itoa(cr.Total.UnderCount) + " credits and refunds", Href: at("credits", "yes", "limit", "not_over")},
		{Label: "Credits over the limit", Value: FormatMoney(cr.Total.Over), Note: strconv.Itoa(cr.Total.OverCount) + " credits and refunds, each approved", Href: at("credits", "yes", "limit", "over")}}
	row := func(l findings.CreditLine, title, key string) creditRow {
		return creditRow{title, countLink{l.UnderCount, at("credits", "yes", key, l.Key, "limit", "not_over")}, countLink{l.OverCount, at("credits", "yes", key, l.Key, "limit", "over")}, l.Under, l.Over}
	}
	for _, l := range cr.ByPerson {
		page.ByPerson = append(page.ByPerson, row(l, name(l.Key), "who"))
	}
	for _, l := range cr.ByReason {
		title := l.Key
		if title == "" {
			title = "No reason given"
		}
		page.ByReason = append(page.ByReason, row(l, title, "reason"))
	}
	page.Note = "Sums in " + cr.Currency + ", by the rate stored with each decision."
	if cr.Unpriced > 0 {
		page.Note += fmt.Sprintf(" %d are counted and in no sum: no rate was stored with them.", cr.Unpriced)
	}
	if cr.Unlimited > 0 {
		page.Note += fmt.Sprintf(" %d had no limit and count as under.", cr.Unlimited)
	}
	return page
}

func auditView(page auditPage) View {
	return View{Title: "Audit samples", Lead: "What an auditor asks for first. Every number leads to the actions it counts.", Tabs: auditTabs("/audit", page.Period), Template: "findings_audit", Data: page}
}

// sampleFilter reads which samples a number of the audit page counts.
func sampleFilter(c *Ctx, per period) findings.SampleFilter {
	f := findings.SampleFilter{From: per.From, To: per.To, Action: c.Query("action"), Who: c.Query("who"), Limit: findings.Limit(c.Query("limit")), Credits: c.Query("credits") == "yes"}
	if v := c.R.URL.Query(); v.Has("reason") {
		reason := v.Get("reason") // as it is: a reason may begin with a space
		f.Reason = &reason
	}
	if v := c.Query("enforced"); v != "" {
		yes := v == "yes"
		f.Enforced = &yes
	}
	return f
}

type sampleRow struct {
	findings.Sample
	Name, TenantName, Href string
	Money                  string
}

type samplePage struct {
	Rows  []sampleRow
	Note  string
	CSV   Button
	Empty Empty
}

const mostSamples = 1000

func (p findingPages) samples(c *Ctx) (View, error) {
	per, err := newPeriod(c, c.Kernel().Now())
	if err != nil {
		return View{}, err
	}
	f := sampleFilter(c, per)
	all, err := p.svc.Samples(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	names, page := people(c), samplePage{Empty: Empty{Icon: "search", Title: "No action matches", Action: &Button{Text: "Back to the figures", Href: "/audit?" + per.Query}}}
	n := len(all)
	for i, s := range all {
		if i < mostSamples {
			page.Rows = append(page.Rows, newSampleRow(s, names(governance.Actor{Person: governance.PersonID(s.Who)}), tenantName(c, s.Tenant)))
		}
	}
	page.Note = fmt.Sprintf("%d actions from %s to %s.", n, per.From.Format(time.DateOnly), per.To.AddDate(0, 0, -1).Format(time.DateOnly))
	if n > mostSamples {
		page.Note += fmt.Sprintf(" The first %d are shown; the table to download has all.", mostSamples)
	}
	page.CSV = Button{Text: "Download as CSV", Href: "/audit/samples.csv?" + c.R.URL.RawQuery}
	return sampleView(per, page), nil
}

func newSampleRow(s findings.Sample, name, tenant string) sampleRow {
	r := sampleRow{Sample: s, Name: name, TenantName: tenant}
	if s.Held {
		r.Href = "/approvals/" + s.ID.String()
	}
	if s.Money.Currency != "" {
		r.Money = FormatMoney(s.Money)
		if s.In.Currency != "" && s.In != s.Money {
			r.Money += " = " + FormatMoney(s.In)
		}
	}
	return r
}

func sampleView(per period, page samplePage) View {
	return View{Title: "Samples", Crumbs: []Crumb{{"Audit samples", "/audit?" + per.Query}, {"Samples", ""}}, Template: "findings_samples", Data: page}
}

func (p findingPages) export(c *Ctx, w http.ResponseWriter) error {
	per, err := newPeriod(c, c.Kernel().Now())
	if err != nil {
		return err
	}
	f := sampleFilter(c, per)
	write, ok := map[string]func(context.Context, io.Writer) error{
		"samples.csv": func(ctx context.Context, b io.Writer) error { return p.svc.Export(ctx, c.Identity, f, b) },
		"share.csv": func(ctx context.Context, b io.Writer) error {
			return p.svc.ExportShare(ctx, c.Identity, per.From, per.To, b)
		},
		"credits.csv": func(ctx context.Context, b io.Writer) error {
			return p.svc.ExportCredits(ctx, c.Identity, per.From, per.To, b)
		},
	}[c.Path("table")]
	if !ok {
		return governance.ErrNotFound
	}
	return sendCSV(c, w, c.Path("table"), write)
}

// sendCSV sends a table, or the page of its error when it could not be made.
func sendCSV(c *Ctx, w http.ResponseWriter, name string, write func(context.Context, io.Writer) error) error {
	var b bytes.Buffer
	if err := write(c.Context(), &b); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, err := w.Write(b.Bytes())
	return err
}

type approverRow struct {
	findings.Approver
	Name  string
	Share float64
}

type quorumRow struct {
	findings.Quorum
	Names []string
	Tone  Tone
	Text  string
}

type approverPage struct {
	Period    period
	Approvers []approverRow
	Quorums   []quorumRow
	Waiting   int
	Empty     Empty
	None      Empty
}

func (p findingPages) approvers(c *Ctx) (View, error) {
	per, err := newPeriod(c, c.Kernel().Now())
	if err != nil {
		return View{}, err
	}
	h, err := p.svc.Health(c.Context(), per.From, per.To)
	if err != nil {
		return View{}, err
	}
	names := people(c)
	return approverView(newApproverPage(per, h, func(id governance.PersonID) string { return names(governance.Actor{Person: id}) })), nil
}

func newApproverPage(per period, h findings.Health, name func(governance.PersonID) string) approverPage {
	page := approverPage{Period: per, Waiting: h.Waiting, Empty: Empty{Icon: "check", Title: "Nobody decided on anything in this time"}, None: Empty{Icon: "shield", Title: "No policy asks for approval"}}
	for _, a := range h.Approvers {
		page.Approvers = append(page.Approvers, approverRow{a, name(a.Person), float64(a.Fast) / float64(a.Decided())})
	}
	for _, q := range h.Quorums {
		r := quorumRow{Quorum: q, Tone: ToneOK, Text: fmt.Sprintf("%d may be missing", q.Spare)}
		switch {
		case q.Spare < 0:
			r.Tone, r.Text = ToneDanger, "cannot be reached"
		case q.Spare == 0:
			r.Tone, r.Text = ToneDanger, "everybody is needed"
		case q.Spare == 1:
			r.Tone, r.Text = ToneWarn, "one may be missing, and none when one of them asks"
		}
		for _, m := range q.People {
			r.Names = append(r.Names, name(m))
		}
		page.Quorums = append(page.Quorums, r)
	}
	return page
}

func approverView(page approverPage) View {
	return View{Title: "Audit samples", Lead: "Who decides how fast, and whom nobody could replace.", Tabs: auditTabs("/audit/approvers", page.Period), Template: "findings_approvers", Data: page}
}
