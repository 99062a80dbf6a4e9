package console

import (
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

func actReviewsSection() Section {
	return Section{
		Name: "reviews",
		Nav:  []NavItem{{Group: GroupOversight, Order: 15, Title: "Reviews", Path: "/reviews", Icon: "check", Permission: "approval:read", Count: actReviewsDue}},
		Routes: []Route{
			{Pattern: "GET /reviews", Permission: "approval:read", Page: actReviewList},
			{Pattern: "GET /reviews/{id}", Permission: "approval:read", Page: actReviewDetail},
			{Pattern: "POST /reviews/{id}", Permission: "approval:vote", Post: actReviewDecide, Back: actReviewDetail},
			{Pattern: "GET /delegations", Permission: "approval:read", Page: delegationList},
			{Pattern: "POST /delegations", Permission: "approval:vote", Post: delegationAdd, Back: delegationList},
			{Pattern: "POST /delegations/{id}/revoke", Permission: "approval:vote", Post: delegationRevoke, Back: delegationList},
		},
		Stories: actReviewStories(),
	}
}

func actReviewsDue(c *Ctx) (int, error) {
	rs, err := c.Kernel().Reviews(c.Context(), governance.ReviewFilter{Limit: 100})
	return len(rs), err
}

type actReviewRow struct {
	governance.Review
	Title   string
	Who     string
	Tenant  string
	Overdue bool
}

type actReviewListPage struct {
	Rows  []actReviewRow
	Empty Empty
}

func actNewReviewRow(c *Ctx, r governance.Review, now time.Time) actReviewRow {
	return actReviewRow{Review: r, Title: Humanize(r.Name), Who: actorName(r.Actor), Tenant: tenantName(c, r.Tenant), Overdue: r.State == governance.ReviewDue && now.After(r.DueAt)}
}

func actReviewList(c *Ctx) (View, error) {
	all := c.Query("show") == "all"
	rs, err := c.Kernel().Reviews(c.Context(), governance.ReviewFilter{All: all, Limit: 200})
	if err != nil {
		return View{}, err
	}
	page := actReviewListPage{Empty: Empty{Icon: "check", Title: "Nothing is due", Text: "An act comes here when a policy wants it looked at afterwards, or when somebody broke the glass."}}
	if all {
		page.Empty.Title = "Nothing was reviewed yet"
	}
	for _, r := range rs {
		page.Rows = append(page.Rows, actNewReviewRow(c, r, c.Kernel().Now()))
	}
	return actReviewListView(page, all), nil
}

func actReviewListView(page actReviewListPage, all bool) View {
	return View{Title: "Reviews", Lead: "Acts that somebody else looks at afterwards.", Template: "reviews_list", Data: page,
		Tabs: []Tab{{Title: "Due", Href: "/reviews", Current: !all}, {Title: "All", Href: "/reviews?show=all", Current: all}}}
}

type actReviewPage struct {
	R      actReviewRow
	Facts  []Fact
	Note   Field
	WhyNot string
}

func actReviewDetail(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	r, err := c.Kernel().Review(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	why, err := c.Kernel().WhyNotReview(c.Context(), c.Identity, r)
	switch {
	case err != nil:
		return View{}, err
	case r.State != governance.ReviewDue:
		why = "it was decided"
	case why == "" && !c.Can("approval:vote"):
		why = "your role may not decide"
	}
	return actReviewView(actNewReviewPage(c, actNewReviewRow(c, r, c.Kernel().Now()), why)), nil
}

func actNewReviewPage(c *Ctx, r actReviewRow, why string) actReviewPage {
	p := actReviewPage{R: r, WhyNot: why, Note: c.Field(Field{Name: "note", Label: "What you found", Kind: "textarea", Required: true, MaxLen: 2000})}
	tenant, action := Fact{Label: "Tenant", Value: r.Tenant}, Fact{Label: "Action", Value: ShortID(r.Action.String()), Mono: true}
	if r.Tenant != "" && c.Can("tenant:read") {
		tenant.Href = "/tenants/" + string(r.Review.Tenant)
	}
	if c.Can("ledger:read") {
		action.Href = "/ledger?q=" + r.Action.String()
	}
	p.Facts = []Fact{{Label: "Done by", Value: r.Who}, tenant, {Label: "Reason given", Value: r.Reason},
		{Label: "Policy", Value: r.Policy, Mono: true}, action, {Label: "Done", At: r.CreatedAt}, {Label: "Due", At: r.DueAt}}
	if r.State != governance.ReviewDue {
		p.Facts = append(p.Facts, Fact{Label: "Decided by", Value: people(c)(governance.Actor{Person: r.DecidedBy})}, Fact{Label: "Decided", At: r.DecidedAt}, Fact{Label: "Found", Value: r.Note})
	}
	return p
}

func actReviewView(p actReviewPage) View {
	title := "Review: " + p.R.Title
	if p.R.Kind == "break_glass" {
		title = "Glass broken: " + p.R.Title
	}
	return View{Title: title, Badge: string(p.R.State), Crumbs: []Crumb{{"Reviews", "/reviews"}, {ShortID(p.R.ID.String()), ""}}, Template: "reviews_detail", Data: p}
}

func actReviewDecide(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	r, err := c.Kernel().DecideReview(c.Context(), c.Identity, id, governance.ReviewState(c.Form("verdict")), c.Form("note"))
	if err != nil {
		return Done{}, err
	}
	d := Done{To: "/reviews", Flash: "Accepted."}
	if r.State == governance.ReviewViolation {
		d.Flash, d.Tone = "Recorded as a violation; an alert is open.", ToneWarn
	}
	return d, nil
}

type delegationRow struct {
	governance.Delegation
	From, To string
	Mine     bool
}

type delegationPage struct {
	Rows   []delegationRow
	Fields []Field
	May    bool
	WhyNot string
}

func delegationList(c *Ctx) (View, error) {
	ds, err := c.Kernel().Delegations(c.Context())
	if err != nil {
		return View{}, err
	}
	me := c.Identity.Actor.Person
	names := people(c)
	var page delegationPage
	for _, d := range ds {
		page.Rows = append(page.Rows, delegationRow{d, names(governance.Actor{Person: d.Delegator}), names(governance.Actor{Person: d.Delegate}), me != "" && (d.Delegator == me || d.Delegate == me)})
	}
	var groups []Option
	if me != "" && c.Can("approval:vote") && c.Identity.Actor.Kind == governance.ActorUser {
		p, err := c.Kernel().Directory().Resolve(c.Context(), me)
		if err != nil {
			return View{}, err
		}
		for _, g := range p.Groups {
			groups = append(groups, Option{string(g), Humanize(string(g))})
		}
	}
	page.May = len(groups) > 0
	if !page.May {
		page.WhyNot = "You are in no group whose membership you could hand on."
	}
	page.Fields = []Field{
		c.Field(Field{Name: "delegate", Label: "Who votes meanwhile", Required: true, MaxLen: 128, Hint: "The person's id, as in the list of people."}),
		c.Field(Field{Name: "group", Label: "For which group", Kind: "select", Options: groups, Required: true}),
		c.Field(Field{Name: "until", Label: "Until the end of", Kind: "date", Required: true, Hint: "At most 31 days."}),
		c.Field(Field{Name: "reason", Label: "Why", Required: true, MaxLen: 2000}),
	}
	return delegationView(page), nil
}

func delegationView(page delegationPage) View {
	return View{Title: "Delegations", Lead: "While it lasts the membership is the other person's and not yours: it moves, nothing is added.", Template: "delegations", Data: page,
		Crumbs: []Crumb{{"Approvals", "/approvals"}, {"Delegations", ""}}}
}

func delegationAdd(c *Ctx) (Done, error) {
	until, err := time.Parse(time.DateOnly, c.Form("until"))
	if err != nil {
		return Done{}, governance.Invalid("until", "is not a date")
	}
	d := governance.Delegation{Delegate: governance.PersonID(c.Form("delegate")), Group: governance.GroupID(c.Form("group")), Reason: c.Form("reason"), Until: until.AddDate(0, 0, 1)}
	_, err = c.Kernel().Delegate(c.Context(), c.Identity, d)
	return Done{To: "/delegations", Flash: "Delegated."}, err
}

func delegationRevoke(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/delegations", Flash: "Ended."}, c.Kernel().RevokeDelegation(c.Context(), c.Identity, id)
}

func actReviewStories() []Story {
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	r := governance.Review{ID: uuid.MustParse("0195d000-0000-7000-8000-000000000001"), Action: uuid.MustParse("0195d000-0000-7000-8000-000000000002"), Name: "tenant.credit", Kind: "break_glass", Policy: "credit-daily",
		Actor: governance.Actor{ID: "user:dana", Kind: governance.ActorUser, Person: "dana", Name: "Dana Ito"}, Reason: "Payments are down and the customer cannot trade", State: governance.ReviewDue, DueAt: at.Add(24 * time.Hour), CreatedAt: at}
	done := r
	done.Kind, done.Policy, done.State, done.DecidedBy, done.DecidedAt, done.Note = "policy", "", governance.ReviewViolation, "omar", at.Add(time.Hour), "The ticket does not say so"
	c := storyCtx()
	row := func(r governance.Review) actReviewRow {
		return actReviewRow{Review: r, Title: Humanize(r.Name), Who: r.Actor.Name, Overdue: r.State == governance.ReviewDue}
	}
	page := actReviewPage{R: row(r), Facts: []Fact{{Label: "Done by", Value: "Dana Ito"}, {Label: "Due", At: r.DueAt}}, Note: c.Field(Field{Name: "note", Label: "What you found", Kind: "textarea", Required: true})}
	own := page
	own.WhyNot = "nobody reviews what they did themselves"
	delegated := delegationPage{May: true, Rows: []delegationRow{{governance.Delegation{ID: r.ID, Group: "gov_approver", Until: at, Reason: "On leave"}, "Dana Ito", "Omar Haddad", true}},
		Fields: []Field{{Name: "delegate", Label: "Who votes meanwhile"}, {Name: "group", Label: "For which group", Kind: "select", Options: []Option{{"gov_approver", "Gov approver"}}}}}
	return []Story{
		{Name: "reviews, none", View: actReviewListView(actReviewListPage{Empty: Empty{Icon: "check", Title: "Nothing is due"}}, false)},
		{Name: "reviews, rows", View: actReviewListView(actReviewListPage{Rows: []actReviewRow{row(r), row(done)}}, true)},
		{Name: "review", View: actReviewView(page)},
		{Name: "review, one's own", View: actReviewView(own)},
		{Name: "delegations", View: delegationView(delegated)},
		{Name: "delegations, none", View: delegationView(delegationPage{WhyNot: "You are in no group whose membership you could hand on."})},
	}
}
