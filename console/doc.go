// Package console is the web console: server-rendered pages over the kernel and
// whatever capabilities it is given, at any path prefix, without a script it could
// not do without.
//
// Start with [New]. It needs a kernel; every capability is a [Section]:
//
//	h, err := console.New(&console.Options{Kernel: k, Sections: []console.Section{console.Retention(svc)}})
//	mux.Handle("/console/", identify(h)) // identify puts the caller into the context: governance.WithIdentity
//
// # Adding a page
//
// A capability has one file here, retention.go, whose exported function makes its
// section, and templates/retention_*.html:
//
//	// Retention is the pages of package retention.
//	func Retention(svc *retention.Service) Section {
//		p := retentionPages{svc}
//		return Section{
//			Name: "retention",
//			Nav:  []NavItem{{Group: GroupData, Title: "Retention", Path: "/retention", Icon: "retention", Permission: "retention:read"}},
//			Routes: []Route{
//				{Pattern: "GET /retention", Permission: "retention:read", Page: p.list},
//				{Pattern: "GET /retention/plans/{id}", Permission: "retention:read", Page: p.plan},
//				{Pattern: "POST /retention/plans/{id}/run", Permission: "retention:run", Post: p.run, Back: p.plan},
//			},
//			Stories: retentionStories(),
//		}
//	}
//
// A page is data, a template and stories. The page function reads and returns a
// [View]; title, sentence, breadcrumb, buttons and tabs of the head are in the
// View, and the layout writes them (so a template has no h1 and no main element):
//
//	func (p retentionPages) plan(c *Ctx) (View, error) {
//		id, err := c.UUID("id") // what is no UUID is governance.ErrNotFound: the 404 page
//		if err != nil {
//			return View{}, err
//		}
//		plan, err := p.svc.Plan(c.Context(), id)
//		if err != nil {
//			return View{}, err
//		}
//		return View{
//			Title: "Purge plan", Badge: string(plan.State), Lead: "What would be deleted, and why.",
//			Crumbs:   []Crumb{{Title: "Retention", Href: "/retention"}, {Title: ShortID(id.String())}},
//			Template: "retention_plan",
//			Data:     retentionPlanPage{Plan: plan, Reason: c.Field(Field{Name: "reason", Label: "Reason", Kind: "textarea", Required: true})},
//		}, nil
//	}
//
// The template's name is what it defines, {{define "retention_plan"}}…{{end}}; dot
// is View.Data. Paths are written below the base, everywhere ("/retention"), and
// become addresses by {{url "/retention/plans" .ID}}, which escapes each part.
//
// # Permission
//
// Route.Permission is checked before the function runs; without it the answer is the
// 403 page. Where it depends on the thing, call c.Authorize("tenant:read", target)
// and return its error. Hide what would be refused with c.Can("retention:run"); a
// button that is only not possible now is shown with Button.Why instead.
//
// # Forms
//
// A form is a POST to a Route whose Post calls the same service method as the API:
//
//	<form method="post" action="{{url "/retention/plans" .Plan.ID "run"}}" class="form">
//	  {{key}} {{field .Reason}}
//	  <div class="actions"><button class="btn primary">Run plan</button></div>
//	</form>
//
//	func (p retentionPages) run(c *Ctx) (Done, error) {
//		id, err := c.UUID("id")
//		if err != nil {
//			return Done{}, err
//		}
//		_, err = p.svc.Run(c.Context(), c.Identity, id, &governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")})
//		return Done{To: "/retention/plans/" + id.String(), Flash: "The plan is running."}, err
//	}
//
// {{key}} is an idempotency key: sending the form twice acts once. Return the
// service's error as it is: *governance.ApprovalRequiredError leads to the approval
// with a message; *governance.InvalidError makes Back's page again with status 422,
// the values that were sent (through c.Field) and the faults beside the fields, whose
// names must match (without Back: the 422 page); *governance.DeniedError is the 403
// page with its reason, governance.ErrNotFound 404, ErrConflict 409, anything else the
// 500 page, which shows only the request's number while the error goes to the log.
// A GET never changes anything. Cross-origin posts are refused for all routes.
//
// Dangerous acts climb a ladder: undo it afterwards; a page that states object, count
// and consequence ({{button}} with Confirm, Kind "danger"); a plan with its digest and
// a second person. Never a browser dialog.
//
// # Components
//
// As functions of a template, each with a struct of this package, or plain values:
//
//	{{stat .S}} {{stats .List}}    Stat: a number with label, change, note, sparkline; stats puts several in a row
//	{{facts .List}}                []Fact: a definition list
//	{{field .F}}                   Field: label, input, hint and fault of a form
//	{{button .B}}                  Button: a link or a one-button form; Kind "primary", "danger", "quiet"; Why disables
//	{{alert .A}}                   Alert: a message in the page
//	{{empty .E}}                   Empty: what a list says without rows: first use (why, and a button) or none match
//	{{pager .P}}                   Pager, from c.Pager(next): keyset pages; read c.Query("cursor")
//	{{meter .M}}                   Meter: how much of a limit is used, and what this adds
//	{{timeline .Items}}            []TimelineItem, newest first, grouped by day
//	{{status "approved"}}          a state as a pill; the word decides colour and icon (component.go knows them)
//	{{pill "warn" "3 late"}}       any words as a pill of a Tone: "", "ok", "warn", "danger", "info"
//	{{json .Raw}} {{diff .Old .New}} {{copy .ID}} {{icon "clock"}}
//
// Values: {{time .At}} {{date .At}} {{ago .At}} (the page keeps ago current), {{money .M}}
// "€12,000.00", {{moneyk .M}} "€12k", {{num .N}} "12,400", {{percent 0.123}} "12.3 %",
// {{bytes .N}}, {{duration .D}}, {{plural .N "row" "rows"}}, {{humanize "plan_changed"}},
// {{short .ID}}, {{actor "user:dana"}}, {{join ", " .List}}, {{dict "a" 1}}. The same in Go: FormatMoney, FormatInt,
// FormatShort, FormatPercent, FormatBytes, FormatDuration, FormatAgo, Humanize, ShortID.
//
// As markup:
//
//	<section class="card"><header class="card-head"><h2>Exceptions</h2><a href="…">View all</a></header> … </section>
//	<div class="grid two">…cards…</div>            also "three"; "grid side" is main column and aside
//	<div class="stats">{{stat .A}}{{stat .B}}</div>
//	<div class="table-wrap"><table class="table">    th scope="col"; class "num" on th and td aligns figures right;
//	  …<td class="num">{{money .M}}</td>…            "mono" for ids; "clip" cuts long text, "long" breaks it; "mute" for the less
//	                                                 important; <span class="sub"> is a second line;
//	</table></div>                                   class "rows" on the table makes the whole row of its first link clickable
//	<form class="filters" method="get">…</form>      one line of {{field}}s above a list, with <button class="btn">Filter</button>
//	<form class="form" method="post">…</form>        fields below each other; <div class="actions"> for its buttons
//	<ul class="list"><li>…                           a plain list with lines between
//	<details class="more"><summary>Raw record</summary>…</details>
//	<p class="mute">, <span class="tag">, <code>
//
// A list has five states, each a story: first use, none match, no permission, failed,
// and rows. Money and counts stand right-aligned, times in <time>. No style attribute,
// no on… attribute, no script or style element: the policy forbids them and
// requireStories finds them.
//
// # Charts
//
// Package console/chart draws SVG with a table twin from numbers; put the result,
// a template.HTML, into the page's data and write {{.Chart}} inside a card:
//
//	chart.Line(chart.LineSpec{Title: "MRR", Labels: months, Series: …, Band: …, Format: …})
//	chart.Bars(chart.BarSpec{…})      stacked above and below zero, optional net line
//	chart.Heat(chart.HeatSpec{…})     a cohort table
//	chart.Spark(values, "MRR, 12 months")
//
// Series.Hrefs and HeatRow.Hrefs lead from each value to what is behind it.
//
// # Live pages
//
// Without JavaScript everything works. With it: <form data-swap="#votes"> replaces the
// element of that id by the one in the answer instead of loading the page (a Post, or a
// Serve that ends in c.Render);
// <section id="run" data-refresh="5"> fetches itself again every five seconds while the
// page is visible. Both need nothing on the server.
//
// # Home, tenants, search
//
// Section.Home adds cards to the home page ([HomeCard]: Lead names the roles whose
// question it answers), Section.Tenant tabs to the tenant page, Section.Actions buttons
// to its head, Section.Timeline entries to its one timeline, Section.Search answers to
// the search box and the command palette.
//
// # Public pages
//
// A Route with Public serves those who are not signed in, with View.Bare. Nobody
// signed in is sent to Options.SignIn with ?next=, a path of this server.
//
// # Tests
//
// A capability's test makes its section on a govtest kernel and calls
// requireStories(t, env.Kernel, section), which renders every story and checks the
// markup, and browse(t, handler, identity) to get and post pages.
//
// Errors are pages here. Tables: none; the console calls services, never tables.
package console
