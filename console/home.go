package console

import (
	"slices"
	"strings"
	"time"
)

type homePage struct {
	Lead    []Card
	Columns [2][]Card
}

// spread puts each card into the shorter column, by the height it will about have.
func (p *homePage) spread(cards []Card) {
	var tall [2]int
	for _, card := range cards {
		h := 3 + 2*len(card.Rows)
		if len(card.Stats) > 0 {
			h += 4
		}
		if card.Chart != "" {
			h += 10
		}
		to := 0
		if tall[1] < tall[0] {
			to = 1
		}
		tall[to] += h
		p.Columns[to] = append(p.Columns[to], card)
	}
}

func homeSection(con *console) Section {
	return Section{
		Name: "home",
		Nav:  []NavItem{{Group: GroupHome, Title: "Home", Path: "/", Icon: "home"}},
		Routes: []Route{
			{Pattern: "GET /", Anyone: true, Page: con.home},
			{Pattern: "POST /theme", Anyone: true, Post: setTheme},
		},
		Stories: homeStories(),
	}
}

// home answers one question per role: the cards that lead for a role of the caller
// come first and large. A card that fails says so and takes nothing else with it.
func (con *console) home(c *Ctx) (View, error) {
	var all []HomeCard
	for _, s := range con.sections {
		all = append(all, s.Home...)
	}
	slices.SortStableFunc(all, func(a, b HomeCard) int { return a.Order - b.Order })
	var page homePage
	var others []Card
	for _, h := range all {
		if !c.Can(h.Permission) {
			continue
		}
		card, err := h.Load(c)
		if err != nil {
			con.log.ErrorContext(c.Context(), "home card", "card", card.Title, "request_id", c.Identity.Origin.RequestID, "error", err)
			card = Card{Title: card.Title, Empty: "This could not be read just now. Reload to try again.", Href: card.Href}
			if card.Title == "" {
				card.Title = "Not available"
			}
		}
		switch {
		case slices.ContainsFunc(h.Lead, c.HasRole):
			page.Lead = append(page.Lead, card)
		case !card.Skip:
			others = append(others, card)
		}
	}
	page.spread(others)
	v := View{Title: greeting(c), Template: "home", Data: page}
	if len(page.Lead)+len(others) == 0 {
		v.Lead = "Your roles open nothing here yet. Ask an administrator for the one you need."
	}
	return v, nil
}

func greeting(c *Ctx) string {
	part := "Good evening"
	switch h := c.con.opts.Now().In(c.con.opts.Location).Hour(); {
	case h >= 4 && h < 12:
		part = "Good morning"
	case h >= 12 && h < 18:
		part = "Good afternoon"
	}
	if first, _, _ := strings.Cut(c.Identity.Actor.Name, " "); first != "" {
		return part + ", " + first
	}
	return part
}

func homeStories() []Story {
	at := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	approver := homePage{
		Lead: []Card{{Title: "What waits for me?", Href: "/approvals", Rows: []CardRow{
			{Title: "Tenant credit of €1,200.00", Meta: "Acme GmbH · asked by Sam Ortiz", Href: "/approvals/1", Status: "pending", At: at},
			{Title: "Purge 12,400 rows of billing documents", Meta: "asked by the retention schedule", Href: "/approvals/2", Status: "pending", At: at.Add(-time.Hour)},
		}}},
	}
	approver.spread([]Card{
		{Title: "What is firing?", Empty: "No alert is open.", Href: "/alerts"},
		{Title: "How is revenue?", Stats: []Stat{{Label: "ARR", Value: "€4.21M", Delta: "+3.1 %", Trend: ToneOK, Note: "vs October"}}, Note: "Data through 22 Nov 2026", Href: "/revenue"},
	})
	return []Story{
		{Name: "home of an approver", View: View{Title: "Good morning, Dana", Template: "home", Data: approver}},
		{Name: "home, nothing open to me", View: View{Title: "Good morning", Lead: "Your roles open nothing here yet. Ask an administrator for the one you need.", Template: "home", Data: homePage{}}},
		{Name: "home, right to left", RTL: true, View: View{Title: "صباح الخير", Template: "home", Data: homePage{Lead: []Card{{Title: "ما الذي ينتظرني؟", Empty: "لا شيء"}}}}},
	}
}
