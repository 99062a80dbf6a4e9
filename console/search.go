package console

import "strings"

func searchSection(con *console) Section {
	return Section{
		Name:    "search",
		Routes:  []Route{{Pattern: "GET /search", Anyone: true, Page: con.search}},
		Stories: searchStories(),
	}
}

type searchPage struct {
	Q    string
	Hits []Hit
}

// search looks through the pages of the navigation and whatever the sections can
// find. The command palette reads the same page.
func (con *console) search(c *Ctx) (View, error) {
	q := c.Query("q")
	if len(q) > 200 {
		q = q[:200]
	}
	page := searchPage{Q: q}
	if q != "" {
		for _, n := range con.nav {
			if c.Can(n.Permission) && strings.Contains(strings.ToLower(n.Title), strings.ToLower(q)) {
				page.Hits = append(page.Hits, Hit{Kind: "Page", Title: n.Title, Href: n.Path, Icon: n.Icon})
			}
		}
		for _, s := range con.sections {
			for _, src := range s.Search {
				if !c.Can(src.Permission) {
					continue
				}
				hits, err := src.Find(c, q)
				if err != nil {
					con.log.ErrorContext(c.Context(), "search", "section", s.Name, "error", err) // the others still answer
					continue
				}
				page.Hits = append(page.Hits, hits...)
			}
		}
	}
	return View{Title: "Search", Template: "search", Data: page}, nil
}

func searchStories() []Story {
	view := func(p searchPage) View { return View{Title: "Search", Template: "search", Data: p} }
	return []Story{
		{Name: "search, not asked yet", View: view(searchPage{})},
		{Name: "search, none match", View: view(searchPage{Q: "zebra <b>"})},
		{Name: "search, hits", View: view(searchPage{Q: "ac", Hits: []Hit{{Kind: "Tenant", Title: "Acme GmbH", Meta: "Scale", Href: "/tenants/acme", Icon: "tenant"}, {Kind: "Page", Title: "Ledger", Href: "/ledger", Icon: "ledger"}}})},
	}
}
