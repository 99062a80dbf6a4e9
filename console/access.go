package console

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth/access"
)

// Access is the pages of package access: who held which role at an instant, and the
// reviews that have it confirmed.
func Access(svc *access.Service) Section {
	p := accessPages{svc}
	return Section{
		Name: "access",
		Nav:  []NavItem{{Group: GroupAdmin, Order: 15, Title: "Access list", Path: "/access", Icon: "shield", Permission: access.PermissionRead, Count: p.dueCount}},
		Routes: []Route{
			{Pattern: "GET /access", Permission: access.PermissionRead, Page: p.list},
			{Pattern: "GET /access/list.csv", Permission: access.PermissionRead, Serve: p.export},
			{Pattern: "GET /access/people/{id}", Permission: access.PermissionRead, Page: p.person},
			{Pattern: "GET /access/reviews", Permission: access.PermissionRead, Page: p.reviews},
			{Pattern: "GET /access/reviews/new", Permission: access.PermissionWrite, Page: p.startForm},
			{Pattern: "POST /access/reviews", Permission: access.PermissionWrite, Post: p.start, Back: p.startForm},
			{Pattern: "GET /access/reviews/{id}", Permission: access.PermissionRead, Page: p.review},
			{Pattern: "POST /access/reviews/{id}/people/{person}", Permission: access.PermissionRead, Post: p.decide, Back: p.review},
		},
		Home:    []HomeCard{{Permission: access.PermissionRead, Order: 40, Load: p.card}},
		Stories: accessStories(),
	}
}

type accessPages struct{ svc *access.Service }

// dueItem is a review that waits for the caller.
type dueItem struct {
	c  access.Campaign
	it access.Item
}

func (p accessPages) due(c *Ctx) ([]dueItem, error) {
	cs, err := p.svc.Campaigns(c.Context(), uuid.Nil, 20)
	if err != nil {
		return nil, err
	}
	var out []dueItem
	for _, cam := range cs {
		for _, it := range cam.Items {
			if cam.State == access.CampaignOpen && it.Verdict == access.Undecided && it.Reviewer == c.Identity.Actor.Person {
				out = append(out, dueItem{cam, it})
			}
		}
	}
	return out, nil
}

func (p accessPages) dueCount(c *Ctx) (int, error) {
	d, err := p.due(c)
	return len(d), err
}

func (p accessPages) card(c *Ctx) (Card, error) {
	card := Card{Title: "Whose access waits for my word?", Href: "/access/reviews", Empty: "No access review waits for you."}
	ds, err := p.due(c)
	names := people(c)
	for _, d := range ds[:min(len(ds), 6)] {
		card.Rows = append(card.Rows, CardRow{Title: names(governance.Actor{Person: d.it.Person}), Meta: d.c.Title + ", due " + d.c.DueAt.Format(time.DateOnly), Href: "/access/reviews/" + d.c.ID.String(), Status: map[bool]string{true: "overdue", false: "waiting"}[d.c.Overdue]})
	}
	card.Skip = len(ds) == 0
	return card, err
}

func accessTabs(here string) []Tab {
	tabs := []Tab{{Title: "Access list", Href: "/access"}, {Title: "Reviews", Href: "/access/reviews"}}
	for i := range tabs {
		tabs[i].Current = tabs[i].Href == here
	}
	return tabs
}

// asOf reads the instant that a list is of: a date and a time of UTC, absent now. A date
// alone is the end of that day, or now when the day is not over.
func asOf(c *Ctx, now time.Time) (time.Time, error) {
	date, clock := c.Query("on"), c.Query("time")
	if date == "" {
		if clock != "" {
			return now, governance.Invalid("on", "a time needs its date")
		}
		return now, nil
	}
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return now, governance.Invalid("on", "is not a date")
	}
	if clock == "" {
		end := day.AddDate(0, 0, 1).Add(-time.Microsecond)
		if !day.After(now) && end.After(now) {
			end = now
		}
		return end, nil
	}
	for _, layout := range []string{"15:04", "15:04:05", "15:04:05.999999"} {
		if t, err := time.Parse(layout, clock); err == nil {
			return day.Add(t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))), nil
		}
	}
	return now, governance.Invalid("time", "is not a time such as 14:30 or 14:30:05")
}

type accessRow struct {
	access.Line
	Name, ByName string
}

type accessListPage struct {
	Filters []Field
	At      time.Time
	Alert   *Alert
	Rows    []accessRow
	Former  []accessRow
	Shared  []access.Key
	CSV     Button
	Empty   Empty
}

func (p accessPages) list(c *Ctx) (View, error) {
	at, err := asOf(c, c.Kernel().Now())
	if err != nil {
		return View{}, err
	}
	l, err := p.svc.At(c.Context(), at)
	if err != nil {
		return View{}, err
	}
	return accessListView(newAccessListPage(l, c.Query("on"), c.Query("time"), people(c))), nil
}

func newAccessListPage(l access.List, on, clock string, names func(governance.Actor) string) accessListPage {
	page := accessListPage{At: l.At, Shared: l.SharedKeys, Filters: []Field{{Name: "on", Label: "On", Kind: "date", Value: on, Hint: "Empty: now."}, {Name: "time", Label: "At (UTC)", Value: clock, Placeholder: "end of the day", Hint: "Such as 14:30:05."}},
		CSV:   Button{Text: "Download as CSV", Href: "/access/list.csv?on=" + url.QueryEscape(on) + "&time=" + url.QueryEscape(clock)},
		Empty: Empty{Icon: "users", Title: "Nobody had access then"}}
	if !l.Complete {
		page.Alert = &Alert{Tone: ToneWarn, Title: "This list may miss something", Text: "The history of access has not begun."}
		if !l.CompleteFrom.IsZero() {
			page.Alert.Text = "The history is complete only from " + l.CompleteFrom.UTC().Format("2006-01-02 15:04:05 MST") + " on."
		}
	}
	row := func(x access.Line) accessRow {
		return accessRow{x, names(governance.Actor{Person: x.Person}), byName(x.By, names)}
	}
	for _, x := range l.People {
		page.Rows = append(page.Rows, row(x))
	}
	for _, x := range l.Former {
		page.Former = append(page.Former, row(x))
	}
	slices.SortStableFunc(page.Rows, func(a, b accessRow) int { return cmp.Compare(a.Name, b.Name) })
	return page
}

func byName(actor string, names func(governance.Actor) string) string {
	if p := personOf(actor); p != "" {
		return names(governance.Actor{Person: p})
	}
	return strings.TrimPrefix(actor, "system:")
}

func accessListView(page accessListPage) View {
	return View{Title: "Access list", Lead: "Who held which role at an instant, to the microsecond.", Tabs: accessTabs("/access"), Template: "access_list", Data: page}
}

func (p accessPages) export(c *Ctx, w http.ResponseWriter) error {
	at, err := asOf(c, c.Kernel().Now())
	if err != nil {
		return err
	}
	return sendCSV(c, w, "access.csv", func(ctx context.Context, b io.Writer) error { return p.svc.Export(ctx, c.Identity, at, b) })
}

type accessPersonPage struct{ Rows []accessRow }

func (p accessPages) person(c *Ctx) (View, error) {
	ls, err := p.svc.Changes(c.Context(), governance.PersonID(c.Path("id")))
	if err != nil {
		return View{}, err
	}
	names, page := people(c), accessPersonPage{}
	for _, l := range ls {
		page.Rows = append(page.Rows, accessRow{l, names(governance.Actor{Person: l.Person}), byName(l.By, names)})
	}
	return accessPersonView(page), nil
}

func accessPersonView(page accessPersonPage) View {
	return View{Title: "Access of " + page.Rows[0].Name, Crumbs: []Crumb{{"Access list", "/access"}, {page.Rows[0].Name, ""}}, Template: "access_person", Data: page}
}

type reviewListPage struct {
	Rows  []access.Campaign
	Pager Pager
	Empty Empty
}

func (p accessPages) reviews(c *Ctx) (View, error) {
	before := uuid.Nil
	var err error
	if cur := c.Query("cursor"); cur != "" {
		if before, err = uuid.Parse(cur); err != nil {
			return View{}, governance.ErrNotFound
		}
	}
	cs, err := p.svc.Campaigns(c.Context(), before, 50)
	if err != nil {
		return View{}, err
	}
	next := ""
	if len(cs) == 50 {
		next = cs[49].ID.String()
	}
	return reviewListView(c, reviewListPage{Rows: cs, Pager: c.Pager(next), Empty: Empty{Icon: "users", Title: "No access review yet", Text: "A review asks somebody about each person: may they keep their roles? One begins by itself from time to time."}}), nil
}

func reviewListView(c *Ctx, page reviewListPage) View {
	v := View{Title: "Access list", Lead: "Reviews of who has access: who was asked, what they said, what is still open.", Tabs: accessTabs("/access/reviews"), Template: "access_reviews", Data: page}
	if c.Can(access.PermissionWrite) {
		v.Actions = []Button{{Text: "Start a review", Icon: "plus", Href: "/access/reviews/new", Kind: "primary"}}
	}
	return v
}

type reviewStartPage struct {
	Title, Due, Reason Field
	Choices            []roleChoice
	Error              string
}

func (p accessPages) startForm(c *Ctx) (View, error) {
	now := c.Kernel().Now()
	l, err := p.svc.At(c.Context(), now)
	if err != nil {
		return View{}, err
	}
	page := newReviewStart(c, now)
	names, picked := people(c), []string{}
	if c.R.Method == http.MethodPost {
		picked = c.FormAll("reviewers")
	}
	for _, x := range l.People {
		page.Choices = append(page.Choices, roleChoice{string(x.Person), names(governance.Actor{Person: x.Person}) + ", " + strings.Join(x.Roles, ", "), slices.Contains(picked, string(x.Person))})
	}
	return reviewStartView(page), nil
}

func newReviewStart(c *Ctx, now time.Time) reviewStartPage {
	return reviewStartPage{Title: c.Field(Field{Name: "title", Label: "Title", Required: true, MaxLen: 200}), Error: faultOf(c, "reviewers"),
		Due:    c.Field(Field{Name: "due_at", Label: "Due on", Kind: "date", Required: true, Value: now.AddDate(0, 0, 14).Format(time.DateOnly), Hint: "An alert is raised when somebody is not settled by the end of that day."}),
		Reason: c.Field(Field{Name: "reason", Label: "Reason", Kind: "textarea", MaxLen: 2000})}
}

func reviewStartView(page reviewStartPage) View {
	return View{Title: "Start an access review", Narrow: true, Crumbs: []Crumb{{"Access list", "/access"}, {"Reviews", "/access/reviews"}, {"Start", ""}}, Lead: "Everybody with access now is reviewed by one of the people you choose, never by themself.", Template: "access_start", Data: page}
}

func (p accessPages) start(c *Ctx) (Done, error) {
	due, err := time.Parse(time.DateOnly, c.Form("due_at"))
	if err != nil {
		return Done{}, governance.Invalid("due_at", "is not a date")
	}
	in := access.Start{Title: c.Form("title"), DueAt: due.AddDate(0, 0, 1)}
	for _, r := range c.FormAll("reviewers") {
		in.Reviewers = append(in.Reviewers, governance.PersonID(r))
	}
	_, err = p.svc.Start(c.Context(), c.Identity, in, userOptions(c))
	return Done{To: "/access/reviews", Flash: "The review has begun."}, err
}

type reviewRow struct {
	access.Item
	Name, ReviewerName, DecidedName string
	Decide                          bool
	Post                            string
}

type reviewPage struct {
	C    access.Campaign
	Rows []reviewRow
	Note string
}

func (p accessPages) review(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	cam, err := p.svc.Campaign(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	return reviewView(newReviewPage(cam, c.Identity.Actor.Person, people(c))), nil
}

func newReviewPage(cam access.Campaign, me governance.PersonID, names func(governance.Actor) string) reviewPage {
	name := func(p governance.PersonID) string {
		if p == "" {
			return ""
		}
		return names(governance.Actor{Person: p})
	}
	page := reviewPage{C: cam, Note: fmt.Sprintf("%d of %d people are settled.", len(cam.Items)-cam.Open(), len(cam.Items))}
	reviewer := me != "" && slices.ContainsFunc(cam.Items, func(it access.Item) bool { return it.Reviewer == me })
	for _, it := range cam.Items {
		page.Rows = append(page.Rows, reviewRow{it, name(it.Person), name(it.Reviewer), name(it.DecidedBy), reviewer && it.Person != me && it.Verdict == access.Undecided && it.Active && cam.State == access.CampaignOpen,
			"/access/reviews/" + cam.ID.String() + "/people/" + url.PathEscape(string(it.Person))})
	}
	slices.SortStableFunc(page.Rows, func(a, b reviewRow) int { // one's own first
		mine := func(r reviewRow) int {
			if r.Decide && r.Reviewer == me {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(mine(a), mine(b)), cmp.Compare(a.Name, b.Name))
	})
	return page
}

func reviewView(page reviewPage) View {
	badge := page.C.State
	if page.C.Overdue {
		badge = "overdue"
	}
	return View{Title: page.C.Title, Badge: badge, Lead: page.Note, Crumbs: []Crumb{{"Access list", "/access"}, {"Reviews", "/access/reviews"}, {page.C.Title, ""}}, Template: "access_review", Data: page}
}

func (p accessPages) decide(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	version, err := strconv.ParseInt(c.Form("version"), 10, 64)
	if err != nil {
		return Done{}, governance.Invalid("version", "is not a number")
	}
	d := access.Decision{Verdict: access.Verdict(c.Form("verdict")), Version: version, Comment: c.Form("comment")}
	if d.Verdict == access.Revoke {
		d.Keep = c.FormAll("keep")
	}
	err = p.svc.Decide(c.Context(), c.Identity, id, governance.PersonID(c.Path("person")), d)
	return Done{To: "/access/reviews/" + id.String(), Flash: "Your word is written down."}, err
}

func accessStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	names := func(a governance.Actor) string { return string(a.Person) }
	line := access.Line{Person: "dana", Roles: []string{"cs_agent", "gov_auditor"}, Active: true, Version: 3, Since: at, By: "user:kim", Source: access.Live, Keys: []access.Key{{ID: "k1", Name: "script", Roles: []string{"cs_agent"}}}}
	long := line
	long.Person, long.By, long.Source, long.Keys = governance.PersonID(strings.Repeat("x", 100)), "system:setup", access.Found, nil
	gone := line
	gone.Person, gone.Active, gone.Roles = "leo", false, []string{}
	list := access.List{At: at, Complete: true, CompleteFrom: at.AddDate(-1, 0, 0), People: []access.Line{line, long}, Former: []access.Line{gone}, SharedKeys: []access.Key{{ID: "k2", Name: "help desk", Roles: []string{"support_key"}}}}
	early := list
	early.Complete = false
	cam := access.Campaign{ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f"), Title: "Autumn review", State: access.CampaignOpen, DueAt: at.AddDate(0, 0, 7), CreatedAt: at, Items: []access.Item{
		{Person: "dana", Reviewer: "kim", Asked: line.Roles, Roles: line.Roles, Active: true, Version: 3},
		{Person: "omar", Reviewer: "vera", Asked: []string{"gov_approver"}, Roles: []string{"gov_approver"}, Active: true, Version: 1, Verdict: access.Confirm, DecidedBy: "vera", DecidedAt: at, Settled: true},
		{Person: "ana", Reviewer: "kim", Asked: line.Roles, Roles: line.Roles, Active: true, Version: 2, Verdict: access.Revoke, Keep: []string{"gov_auditor"}, Comment: strings.Repeat("left the team ", 20), DecidedBy: "kim", DecidedAt: at},
		{Person: "leo", Reviewer: "kim", Asked: line.Roles, Roles: []string{}, Verdict: access.Gone, Settled: true}}}
	late := cam
	late.Overdue, late.Title = true, "مراجعة الخريف"
	bare := &Ctx{R: &http.Request{Method: http.MethodGet}}
	form := newReviewStart(bare, at)
	form.Choices = []roleChoice{{"kim", "kim, super_admin", true}, {"vera", "vera, gov_approver", false}}
	bad := form
	bad.Error = "nobody reviews themself, and \"kim\" would have to: name one more"
	head := func(page reviewListPage) View {
		return View{Title: "Access list", Tabs: accessTabs("/access/reviews"), Template: "access_reviews", Data: page}
	}
	return []Story{
		{Name: "access, nobody", View: accessListView(newAccessListPage(access.List{At: at, Complete: true}, "2020-01-01", "", names))},
		{Name: "access, list", View: accessListView(newAccessListPage(list, "", "", names))},
		{Name: "access, before the history", View: accessListView(newAccessListPage(early, "2025-01-01", "12:00", names))},
		{Name: "access, one person", View: accessPersonView(accessPersonPage{[]accessRow{{line, "Dana Weiss", "Kim"}, {long, "Dana Weiss", "setup"}, {gone, "Dana Weiss", ""}}})},
		{Name: "reviews, first use", View: head(reviewListPage{Empty: Empty{Icon: "users", Title: "No access review yet"}})},
		{Name: "reviews, rows", View: head(reviewListPage{Rows: []access.Campaign{cam, late}, Pager: Pager{Next: "/access/reviews?cursor=x"}})},
		{Name: "review, for a reviewer", View: reviewView(newReviewPage(cam, "kim", names))},
		{Name: "review, for others", View: reviewView(newReviewPage(cam, "sam", names))},
		{Name: "review, overdue, right to left", RTL: true, View: reviewView(newReviewPage(late, "kim", names))},
		{Name: "review, start", View: reviewStartView(form)},
		{Name: "review, start refused", View: reviewStartView(bad), Errors: []FieldError{{"reviewers", bad.Error}}},
	}
}
