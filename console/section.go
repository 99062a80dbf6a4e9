package console

import (
	"context"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
)

// The groups of the navigation, in the order in which they are shown.
const (
	GroupHome         = "Home" // shown without a heading
	GroupOversight    = "Oversight"
	GroupCustomers    = "Customers"
	GroupData         = "Data"
	GroupAutomation   = "Automation"
	GroupIntegrations = "Integrations"
	GroupAdmin        = "Administration"
)

var groups = []string{GroupHome, GroupOversight, GroupCustomers, GroupData, GroupAutomation, GroupIntegrations, GroupAdmin}

// Section is what one capability adds to the console. A capability that is not
// given to [Options] has no page, no route and no navigation entry.
type Section struct {
	Name     string // unique: "retention"
	Nav      []NavItem
	Routes   []Route
	Home     []HomeCard
	Tenant   []TenantTab
	Actions  []TenantAction
	Timeline []TimelineSource
	Search   []SearchSource
	Stories  []Story
	// Templates holds *.html files of a section that lives outside this package.
	Templates fs.FS
}

// NavItem is an entry of the navigation, shown to those who hold Permission.
type NavItem struct {
	Group      string
	Order      int // within the group
	Title      string
	Path       string   // below the base: "/retention"
	Also       []string // paths beside Path whose pages belong to this entry
	Icon       string   // see icon.go
	Permission string   // empty: everybody signed in
	Count      func(c *Ctx) (int, error)
}

// Route is one address. Exactly one of Page, Post and Serve is set.
type Route struct {
	Pattern    string // "GET /retention/plans/{id}", below the base
	Permission string // checked before anything else
	Anyone     bool   // everybody signed in, instead of Permission
	Public     bool   // nobody need be signed in, instead of Permission
	MaxBody    int64  // bytes of a POST; default 1 MiB

	// Page makes a page. It changes nothing.
	Page func(c *Ctx) (View, error)
	// Post does something and says where to go. On a *governance.InvalidError whose
	// fields the form has, Back makes the page again, with the values and the errors.
	Post func(c *Ctx) (Done, error)
	Back func(c *Ctx) (View, error)
	// Serve writes something that is not a page: a download, a frame.
	Serve func(c *Ctx, w http.ResponseWriter) error
}

func (r Route) check() (method, path string, err error) {
	method, path, ok := strings.Cut(r.Pattern, " ")
	access := 0
	for _, set := range []bool{r.Permission != "", r.Anyone, r.Public} {
		if set {
			access++
		}
	}
	kinds := 0
	for _, set := range []bool{r.Page != nil, r.Post != nil, r.Serve != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case !ok || !strings.HasPrefix(path, "/") || (method != http.MethodGet && method != http.MethodPost):
		err = errors.New("want GET or POST and a path")
	case access != 1:
		err = errors.New("want exactly one of Permission, Anyone and Public")
	case kinds != 1:
		err = errors.New("want exactly one of Page, Post and Serve")
	case r.Post != nil && method != http.MethodPost, r.Page != nil && method != http.MethodGet:
		err = errors.New("a Page is a GET, a Post is a POST")
	}
	return method, path, err
}

// Done says where to go after a Post, and what to say there.
type Done struct {
	To       string // path below the base, such as "/retention"
	Absolute bool   // To is a whole address instead
	Flash    string
	Tone     Tone // of the flash; default ok
}

// HomeCard is a card of the home page. Those who have one of the Lead roles see it
// first and large: it answers their question of the day.
type HomeCard struct {
	Permission string
	Lead       []string
	Order      int
	Load       func(c *Ctx) (Card, error)
}

// Card is what a [HomeCard] shows.
type Card struct {
	Title string // the question: "What waits for me?"
	Stats []Stat
	Rows  []CardRow
	Chart template.HTML // from package chart
	Empty string        // said when there are no rows and no stats
	Note  string        // small print: "Data through 23 Nov 2026"
	Href  string        // below the base; the whole list
	More  string        // text of that link; default "View all"
	Skip  bool          // it says nothing to this caller: shown only to those for whom it leads
}

// CardRow is one line of a card's list.
type CardRow struct {
	Title  string
	Meta   string
	Href   string // below the base
	Status string // shown as a pill; see the status function
	At     time.Time
}

// TenantTab is a tab of the tenant page, at /tenants/{id}/{Slug}.
type TenantTab struct {
	Slug       string
	Title      string
	Permission string
	Order      int
	// Load gives the template and its data.
	Load func(c *Ctx, t governance.TenantState) (tpl string, data any, err error)
}

// TenantAction is a button in the head of the tenant page.
type TenantAction struct {
	Permission string
	Order      int
	Button     func(c *Ctx, t governance.TenantState) (Button, bool)
}

// TimelineSource adds to the one timeline of a tenant, newest first.
type TimelineSource struct {
	Permission string
	Load       func(ctx context.Context, t governance.TenantID, limit int) ([]TimelineItem, error)
}

// TimelineItem is one thing that happened.
type TimelineItem struct {
	At     time.Time
	Icon   string
	Tone   Tone
	Title  string
	Text   string
	Actor  string
	Href   string // below the base
	Status string
	Times  int // how often in a row, when more than once
}

// SearchSource answers the search box.
type SearchSource struct {
	Permission string
	Find       func(c *Ctx, q string) ([]Hit, error)
}

// Hit is one answer of a search.
type Hit struct {
	Kind  string // "Tenant"
	Title string
	Meta  string
	Href  string // below the base
	Icon  string
}

// Story is one state of one page, shown at /_stories and checked by tests.
type Story struct {
	Name string // "retention plan, empty"
	View View
	RTL  bool // right to left
	// Errors are the faults of a form that came back.
	Errors []FieldError
}
