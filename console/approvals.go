package console

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// openStates are the states in which an approval still wants something.
func openStates() []governance.State {
	return []governance.State{governance.StatePending, governance.StateApproved, governance.StateExecuting, governance.StateUnknown, governance.StateFailed}
}

func approvalsSection() Section {
	return Section{
		Name: "approvals",
		Nav:  []NavItem{{Group: GroupOversight, Order: 10, Title: "Approvals", Path: "/approvals", Also: []string{"/delegations"}, Icon: "approval", Permission: "approval:read", Count: waitingCount}},
		Routes: []Route{
			{Pattern: "GET /approvals", Permission: "approval:read", Page: approvalList},
			{Pattern: "GET /approvals/{id}", Permission: "approval:read", Page: approvalDetail},
			{Pattern: "POST /approvals/{id}/vote", Permission: "approval:vote", Post: approvalVote, Back: approvalDetail},
			{Pattern: "POST /approvals/{id}/execute", Permission: "approval:read", Post: approvalExecute},
			{Pattern: "POST /approvals/{id}/cancel", Permission: "approval:read", Post: approvalCancel, Back: approvalDetail},
			{Pattern: "POST /approvals/{id}/break-glass", Permission: "approval:read", Post: approvalBreakGlass, Back: approvalDetail},
			{Pattern: "POST /approvals/{id}/settle", Permission: "approval:vote", Post: approvalSettle, Back: approvalDetail},
		},
		Home:    []HomeCard{{Permission: "approval:read", Lead: []string{"gov_approver"}, Order: 10, Load: approvalCard}},
		Search:  []SearchSource{{Permission: "approval:read", Find: findApproval}},
		Stories: approvalStories(),
	}
}

// waiting are the pending approvals on which the caller may vote now.
func waiting(c *Ctx, limit int) ([]governance.Approval, error) {
	all, err := c.Kernel().Approvals(c.Context(), governance.ApprovalFilter{States: []governance.State{governance.StatePending}, Limit: limit})
	if err != nil || !c.Can("approval:vote") {
		return nil, err
	}
	var mine []governance.Approval
	for _, a := range all {
		if yes, _ := c.Kernel().CanVote(c.Context(), c.Identity, a); yes {
			mine = append(mine, a)
		}
	}
	return mine, nil
}

// waitingCount stands in the navigation of every page, so it looks at the newest 50
// only.
func waitingCount(c *Ctx) (int, error) {
	mine, err := waiting(c, 50)
	return len(mine), err
}

func approvalCard(c *Ctx) (Card, error) {
	card := Card{Title: "What waits for my decision?", Href: "/approvals", Empty: "Nothing waits for you.", Skip: !c.Can("approval:vote")}
	mine, err := waiting(c, 200)
	if err != nil {
		return card, err
	}
	if len(mine) == 0 {
		others, err := c.Kernel().Approvals(c.Context(), governance.ApprovalFilter{States: []governance.State{governance.StatePending}, Limit: 100})
		if err != nil {
			return card, err
		}
		if len(others) > 0 {
			card.Empty, card.Href = "Nothing waits for you. "+plural(len(others), "action waits", "actions wait")+" for others.", "/approvals?show=open"
		}
	}
	slices.SortFunc(mine, func(a, b governance.Approval) int { return a.DecideBy.Compare(b.DecideBy) })
	for _, a := range mine[:min(len(mine), 6)] {
		card.Rows = append(card.Rows, CardRow{Title: approvalTitle(c, a), Meta: "asked by " + actorName(a.Requester) + " · decide " + FormatAgo(a.DecideBy, c.con.opts.Now()),
			Href: "/approvals/" + a.ID.String(), At: a.CreatedAt})
	}
	if len(mine) > 6 {
		card.More = fmt.Sprintf("View all %d", len(mine))
	}
	return card, nil
}

type approvalRow struct {
	governance.Approval
	Title   string
	Tenant  string
	Asked   string
	Why     string
	Votes   string
	Mine    bool
	Overdue bool
}

type approvalListPage struct {
	Rows  []approvalRow
	Pager Pager
	Empty Empty
}

func approvalList(c *Ctx) (View, error) {
	show := c.Query("show")
	if show == "" {
		show = "open"
		if c.Can("approval:vote") {
			show = "mine"
		}
	}
	mine, err := waiting(c, 200)
	if err != nil {
		return View{}, err
	}
	v := View{Title: "Approvals", Lead: "Actions that a policy holds until enough people agree.", Template: "approvals_list",
		Actions: []Button{{Text: "Delegations", Href: "/delegations"}}}
	if c.Can("approval:vote") {
		v.Tabs = append(v.Tabs, Tab{Title: "Waiting for me", Href: "/approvals?show=mine", Current: show == "mine", Count: len(mine)})
	}
	v.Tabs = append(v.Tabs, Tab{Title: "Open", Href: "/approvals?show=open", Current: show == "open"}, Tab{Title: "All", Href: "/approvals?show=all", Current: show == "all"})
	page := approvalListPage{Empty: Empty{Icon: "check", Title: "Nothing waits for you", Text: "When a policy asks for your decision, it stands here and in your alerts."}}
	list := mine
	if show != "mine" {
		f := governance.ApprovalFilter{Limit: 50}
		page.Empty = Empty{Icon: "approval", Title: "Nothing was ever held", Text: "Policies decide which actions need a second person. What they hold is listed here, and stays listed after it was decided."}
		if show == "open" {
			f.States = openStates()
			page.Empty = Empty{Icon: "check", Title: "Nothing is open", Text: "Every action that was held has been decided."}
		}
		if cur := c.Query("cursor"); cur != "" {
			if f.Before, err = uuid.Parse(cur); err != nil {
				return View{}, governance.ErrNotFound
			}
		}
		if list, err = c.Kernel().Approvals(c.Context(), f); err != nil {
			return View{}, err
		}
		next := ""
		if len(list) == f.Limit {
			next = list[len(list)-1].ID.String()
		}
		page.Pager = c.Pager(next)
	}
	own := map[uuid.UUID]bool{}
	for _, a := range mine {
		own[a.ID] = true
	}
	for _, a := range list {
		page.Rows = append(page.Rows, newApprovalRow(c, a, own[a.ID]))
	}
	v.Data = page
	return v, nil
}

func newApprovalRow(c *Ctx, a governance.Approval, mine bool) approvalRow {
	yes := 0
	for _, vote := range a.Votes {
		if vote.Decision == governance.Approve {
			yes++
		}
	}
	need := yes
	for _, m := range a.Missing {
		need += m.Approvals
	}
	return approvalRow{Approval: a, Title: approvalTitle(c, a), Tenant: tenantName(c, a.Tenant), Asked: actorName(a.Requester), Why: whyHeld(a), Mine: mine,
		Votes: fmt.Sprintf("%d of %d", yes, need), Overdue: a.State == governance.StatePending && a.DecideBy.Sub(c.con.opts.Now()) < 2*time.Hour}
}

// approvalTitle says what is asked for in one line: "Tenant credit: €1,200.00".
func approvalTitle(c *Ctx, a governance.Approval) string {
	s := Humanize(a.Action)
	if m := measuresText(a.Measures); m != "" {
		s += ": " + m
	}
	if t := tenantName(c, a.Tenant); t != "" {
		s += " for " + t
	}
	return s
}

func whyHeld(a governance.Approval) string {
	var out []string
	for _, h := range a.Decision.Policies {
		if h.Mode == governance.Enforce && h.Effect != governance.Allow {
			out = append(out, h.Policy)
		}
	}
	return strings.Join(out, ", ")
}

func tenantName(c *Ctx, id governance.TenantID) string {
	if id == "" {
		return ""
	}
	if t, err := c.Kernel().Tenant(c.Context(), id); err == nil {
		return t.Name
	}
	return string(id)
}

func actorName(a governance.Actor) string {
	return cmp.Or(a.Name, string(a.Person), a.ID)
}

func measuresText(ms []governance.Measure) string {
	parts := make([]string, len(ms))
	for i, m := range ms {
		parts[i] = unitText(m.Unit, m.Value)
	}
	return strings.Join(parts, ", ")
}

// unitText writes a measure: "EUR.cent" is money, "mrr.EUR.cent" money of something,
// and anything else a count of it.
func unitText(unit string, v int64) string {
	of, rest, _ := strings.Cut(unit, ".")
	if strings.HasSuffix(unit, ".cent") {
		code := strings.TrimSuffix(unit, ".cent")
		if governance.ValidCurrency(code) {
			return FormatMoney(governance.Money{Minor: v, Currency: code})
		}
		if code = strings.TrimSuffix(rest, ".cent"); governance.ValidCurrency(code) {
			return FormatMoney(governance.Money{Minor: v, Currency: code}) + " " + strings.ToUpper(of)
		}
	}
	if unit == governance.UnitCount {
		if v == 1 {
			return "1 time"
		}
		return FormatInt(v) + " times"
	}
	return FormatInt(v) + " " + strings.ReplaceAll(unit, "_", " ")
}

type approvalPage struct {
	A         governance.Approval
	Facts     []Fact
	Before    json.RawMessage // of the preview, when it has both sides
	After     json.RawMessage
	HasDiff   bool
	Preview   []previewBlock
	Limits    []limitGroup
	Votes     []voteView
	Missing   []governance.Quorum
	CanVote   bool
	WhyNot    string
	Signed    bool   // a vote for it is signed
	WhyNoYes  string // why they cannot vote for it, though they may against
	Comment   Field
	Execute   *Button
	CanCancel bool
	Reason    Field
	Glass     *Field // the reason for breaking it; nil where there is none
	Settle    []Field
	Timeline  []TimelineItem
	Ledger    bool // the caller may look it up there
	Result    json.RawMessage
}

type limitGroup struct {
	Policy  string
	Version int
	Mode    governance.Mode
	Why     string
	Meters  []Meter
}

type voteView struct {
	Name    string
	Groups  []governance.GroupID
	Approve bool
	Comment string
	Signed  bool
	At      time.Time
}

func approvalDetail(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	a, err := c.Kernel().Approval(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	page := newApprovalPage(c, a)
	page.CanVote, page.WhyNot = c.Kernel().CanVote(c.Context(), c.Identity, a)
	if page.CanVote {
		_, page.WhyNoYes = c.Kernel().CanApprove(c.Context(), c.Identity, a)
	}
	own := c.Identity.Actor.ID == a.Requester.ID || c.Identity.Actor.Person != "" && c.Identity.Actor.Person == a.Requester.Person
	may := own || c.Can("approval:vote")
	if own && c.Identity.Actor.Kind == governance.ActorUser {
		if p, err := c.Kernel().Directory().Resolve(c.Context(), c.Identity.Actor.Person); err == nil && a.Glass(p) {
			f := c.Field(Field{Name: "emergency", Label: "What the emergency is", Kind: "textarea", Required: true, MaxLen: 2000,
				Hint: "It is done at once. An alert goes out, and somebody else reviews it."})
			page.Glass = &f
		}
	}
	page.Settle = settleForm(c, a)
	page.CanCancel = may && (a.State == governance.StatePending || a.State == governance.StateApproved)
	if a.State == governance.StateApproved || a.State == governance.StateFailed {
		page.Execute = &Button{Text: "Execute", Icon: "play", Kind: "primary", Post: "/approvals/" + id.String() + "/execute",
			Confirm: "Runs once, exactly as approved, under the same digest."}
		if a.State == governance.StateFailed {
			page.Execute.Text = "Try again"
		}
		if !may {
			page.Execute.Why = "only who asked or may decide can execute it"
		}
	}
	v := approvalView(approvalTitle(c, a), page)
	v.Actions = evidenceButton(c, pack.KindAction, id)
	if page.CanVote {
		v.Actions = append(v.Actions, Button{Text: "Decide", Kind: "primary", Href: "/approvals/" + id.String() + "#decision"})
	}
	return v, nil
}

func approvalView(title string, page approvalPage) View {
	return View{Title: title, Badge: string(page.A.State), Crumbs: []Crumb{{"Approvals", "/approvals"}, {ShortID(page.A.ID.String()), ""}},
		Template: "approvals_detail", Data: page}
}

func newApprovalPage(c *Ctx, a governance.Approval) approvalPage {
	p := approvalPage{A: a, Signed: a.Signed(), Missing: a.Missing, Ledger: c.Can("ledger:read"),
		Comment: c.Field(Field{Name: "comment", Label: "Comment", Kind: "textarea", Hint: "Stands in the ledger beside your vote.", MaxLen: 2000}),
		Reason:  c.Field(Field{Name: "reason", Label: "Why it is withdrawn", MaxLen: 500, Required: true}),
	}
	p.Facts = []Fact{{Label: "Asked by", Value: actorName(a.Requester)}}
	if a.Subject != nil {
		p.Facts = append(p.Facts, Fact{Label: "Acting for", Value: actorName(*a.Subject)})
	}
	if a.SessionID != "" {
		p.Facts = append(p.Facts, Fact{Label: "Session", Value: ShortID(a.SessionID), Href: "/sessions/" + a.SessionID, Mono: true})
	}
	if a.Tenant != "" {
		p.Facts = append(p.Facts, Fact{Label: "Tenant", Value: tenantName(c, a.Tenant), Href: "/tenants/" + string(a.Tenant)})
	}
	p.Facts = append(p.Facts, Fact{Label: "About", Value: a.Resource, Mono: true, Href: refPath(a.Resource)}, Fact{Label: "Measured", Value: measuresText(a.Measures)},
		Fact{Label: "Reason", Value: a.Reason}, Fact{Label: "Ticket", Value: a.Ticket}, Fact{Label: "Asked", At: a.CreatedAt})
	switch a.State {
	case governance.StatePending:
		p.Facts = append(p.Facts, Fact{Label: "Decide by", At: a.DecideBy})
	case governance.StateApproved, governance.StateFailed:
		p.Facts = append(p.Facts, Fact{Label: "Execute by", At: a.ExecuteBy})
	}
	var sides struct {
		Before, After json.RawMessage
	}
	if json.Unmarshal(a.Preview, &sides) == nil && sides.After != nil {
		p.HasDiff, p.Before, p.After = true, sides.Before, sides.After
	} else {
		what := a.Preview
		if len(what) == 0 || string(what) == "null" {
			what = a.Input
		}
		p.Preview = preview(what)
	}
	for _, h := range a.Decision.Policies {
		g := limitGroup{Policy: h.Policy, Version: h.Version, Mode: h.Mode, Why: h.Why}
		for _, l := range h.Limits {
			if l.Max == 0 { // there is nothing to fill
				g.Why = "Any " + strings.ReplaceAll(l.Unit, "_", " ") + " is held."
				continue
			}
			g.Meters = append(g.Meters, Meter{Label: limitLabel(l), Used: l.Sum, Add: l.Amount, Max: l.Max,
				Text: fmt.Sprintf("%s before, this adds %s; the limit is %s.%s", unitText(l.Unit, l.Sum), unitText(l.Unit, l.Amount), unitText(l.Unit, l.Max), rateText(l.Rate))})
		}
		if len(g.Meters) > 0 { // the meters say it, and better
			g.Why = ""
		}
		p.Limits = append(p.Limits, g)
	}
	for _, v := range a.Votes {
		p.Votes = append(p.Votes, voteView{actorName(v.Actor), v.Groups, v.Decision == governance.Approve, v.Comment, v.Signature != nil, v.At})
	}
	p.Timeline = approvalTimeline(a)
	if len(a.Result) > 0 && string(a.Result) != "null" {
		p.Result = a.Result
	}
	return p
}

// refPath is the page of a thing written as "kind/id"; empty for a tenant, which has a
// line of its own.
func refPath(resource string) string {
	ref := governance.ParseRef(resource)
	if ref.Kind == "tenant" {
		return ""
	}
	return linkPath(ref.Kind, ref.ID)
}

func limitLabel(l governance.LimitHit) string {
	parts := strings.Split(l.Key, "|") // policy, place, unit, scope, of
	scope := ""
	if len(parts) == 5 {
		scope = map[string]string{"actor": "per person", "tenant": "per tenant", "resource": "per thing", "global": "overall"}[parts[3]]
	}
	unit := l.Unit
	if code, ok := strings.CutSuffix(unit, ".cent"); ok {
		unit = code
		if of, cur, two := strings.Cut(code, "."); two {
			unit = strings.ToUpper(of) + " in " + cur
		}
	}
	return fmt.Sprintf("%s within %s, %s", unit, FormatWindow(l.Window.Duration), scope)
}

func rateText(r *governance.Rate) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf(" Converted at %s→%s %.4f of %s (%s).", r.From, r.To, float64(r.Micro)/1e6, r.Date, r.Source)
}

func approvalTimeline(a governance.Approval) []TimelineItem {
	out := []TimelineItem{{At: a.CreatedAt, Icon: "plus", Title: "Asked for and held", Actor: actorName(a.Requester), Text: a.Reason}}
	for _, v := range a.Votes {
		it := TimelineItem{At: v.At, Icon: "check", Tone: ToneOK, Title: "Approved", Actor: actorName(v.Actor), Text: v.Comment}
		if v.Decision != governance.Approve {
			it.Icon, it.Tone, it.Title = "cross", ToneDanger, "Denied"
		}
		out = append(out, it)
	}
	switch a.State {
	case governance.StateExecuted:
		out = append(out, TimelineItem{At: a.ExecutedAt, Icon: "play", Tone: ToneOK, Title: "Executed"})
	case governance.StateFailed, governance.StateUnknown:
		out = append(out, TimelineItem{At: a.DecidedAt, Icon: "alert", Tone: ToneDanger, Title: Humanize(string(a.State)), Text: a.Error})
	case governance.StateExpired, governance.StateCancelled, governance.StateLapsed, governance.StateSuperseded:
		out = append(out, TimelineItem{At: a.DecidedAt, Icon: "minus", Title: Humanize(string(a.State)), Text: a.Error})
	}
	slices.SortStableFunc(out, func(x, y TimelineItem) int { return y.At.Compare(x.At) })
	return out
}

func approvalVote(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	a, err := c.Kernel().Decide(c.Context(), c.Identity, id, governance.Vote{Decision: governance.VoteDecision(c.Form("decision")), Digest: governance.Digest(c.Form("digest")), Comment: c.Form("comment"),
		Assertion: json.RawMessage(c.Form("assertion"))})
	if err != nil {
		return Done{}, err
	}
	d := Done{To: "/approvals/" + id.String()}
	switch a.State {
	case governance.StatePending:
		d.Flash = "Your vote is recorded. More are needed."
	case governance.StateApproved:
		d.Flash = "Approved. It waits to be executed."
	case governance.StateExecuted:
		d.Flash = "Approved and executed."
	case governance.StateExecuting:
		d.Flash = "Approved. It is being executed."
	case governance.StateDenied:
		d.Flash, d.Tone = "Denied. Nothing will happen.", ToneInfo
	default:
		d.Flash, d.Tone = "Your vote is recorded; the action is "+string(a.State)+".", ToneWarn
	}
	return d, nil
}

func approvalBreakGlass(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	if c.Form("emergency") == "" {
		return Done{}, governance.Invalid("emergency", "is required")
	}
	_, err = c.Kernel().BreakGlassOn(c.Context(), c.Identity, id, governance.DoOptions{Key: c.Key(), Reason: c.Form("emergency")})
	return Done{To: "/approvals/" + id.String(), Flash: "Done at once. An alert is open, and a review is due.", Tone: ToneWarn}, err
}

func approvalExecute(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	a, err := c.Kernel().Approval(c.Context(), id)
	if err != nil {
		return Done{}, err
	}
	own := c.Identity.Actor.ID == a.Requester.ID || c.Identity.Actor.Person != "" && c.Identity.Actor.Person == a.Requester.Person
	if !own {
		if err := c.Authorize("approval:vote", governance.Target{Tenant: a.Tenant}); err != nil {
			return Done{}, err
		}
	}
	d := Done{To: "/approvals/" + id.String(), Flash: "Executed."}
	_, err = c.Kernel().Execute(c.Context(), c.Identity, id)
	if now, readErr := c.Kernel().Approval(c.Context(), id); err != nil && readErr == nil && now.State != a.State { // it was tried: the page says how it went
		d.Flash, d.Tone = "It was tried and is "+string(now.State)+".", ToneWarn
		return d, nil
	}
	return d, err
}

func approvalCancel(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	reason := c.Form("reason")
	if reason == "" || len(reason) > 500 {
		return Done{}, governance.Invalid("reason", "is required, at most 500 bytes")
	}
	return Done{To: "/approvals/" + id.String(), Flash: "Withdrawn. Nothing will happen.", Tone: ToneInfo}, c.Kernel().Cancel(c.Context(), c.Identity, id, reason)
}

func findApproval(c *Ctx, q string) ([]Hit, error) {
	id, err := uuid.Parse(q)
	if err != nil {
		return nil, nil
	}
	a, err := c.Kernel().Approval(c.Context(), id)
	if errors.Is(err, governance.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []Hit{{Kind: "Approval", Title: approvalTitle(c, a), Meta: string(a.State), Href: "/approvals/" + id.String(), Icon: "approval"}}, nil
}

// storyCtx is a context for making the data of stories.
func storyCtx() *Ctx { return &Ctx{story: true, con: &console{}, may: map[string]bool{}} }
