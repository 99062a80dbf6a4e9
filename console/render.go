package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// parse reads every template with this console's functions.
func (c *console) parse() (*template.Template, error) {
	t, err := template.New("console").Funcs(c.funcs()).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, s := range c.sections {
		if s.Templates == nil {
			continue
		}
		if t, err = t.ParseFS(s.Templates, "*.html"); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	return t, nil
}

// fragment executes one template for use inside another.
func (c *console) fragment(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := c.tpl.ExecuteTemplate(&b, name, data); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil //nolint:gosec // html/template escaped it
}

func (c *console) funcs() template.FuncMap {
	component := func(name string) func(any) (template.HTML, error) {
		return func(data any) (template.HTML, error) { return c.fragment("c_"+name, data) }
	}
	return template.FuncMap{
		// addresses
		"url":   func(path any, parts ...any) string { return c.url(text(path), parts...) },
		"asset": c.assetURL,
		// components
		"alert":  component("alert"),
		"button": component("button"),
		"empty":  component("empty"),
		"facts":  component("facts"),
		"field":  component("field"),
		"meter":  func(m Meter) (template.HTML, error) { return c.fragment("c_meter", m.bars()) },
		"pager":  component("pager"),
		"stat":   component("stat"),
		"stats":  component("stats"),
		"timeline": func(items []TimelineItem) (template.HTML, error) {
			return c.fragment("c_timeline", c.days(items))
		},
		"status": func(word any) (template.HTML, error) { return c.fragment("c_pill", statusPill(text(word))) },
		"pill": func(tone Tone, words any) (template.HTML, error) {
			return c.fragment("c_pill", pill{Tone: tone, Icon: toneIcon(tone), Text: text(words)})
		},
		"json": func(v any) (template.HTML, error) { return c.fragment("c_json", prettyJSON(v)) },
		"diff": func(before, after any) (template.HTML, error) {
			return c.fragment("c_diff", diffJSON(before, after))
		},
		"copy":  component("copy"),
		"icon":  icon,
		"key":   func() (template.HTML, error) { return c.fragment("c_key", uuid.NewString()) },
		"dict":  dict,
		"crumb": func(title, href string) Crumb { return Crumb{title, href} },
		// values
		"time":     c.timeHTML,
		"date":     c.dateHTML,
		"ago":      c.agoHTML,
		"money":    FormatMoney,
		"moneyk":   FormatMoneyShort,
		"num":      func(v any) (string, error) { return formatNumber(v) },
		"percent":  FormatPercent,
		"bytes":    FormatBytes,
		"duration": formatDuration,
		"humanize": func(v any) string { return Humanize(text(v)) },
		"actor":    func(id string) string { return strings.TrimPrefix(strings.TrimPrefix(id, "system:"), "user:") },
		"short":    func(v any) string { return ShortID(text(v)) },
		"text":     text,
		"join":     func(sep string, items any) (string, error) { return joinAny(sep, items) },
		"plural":   plural,
	}
}

func dict(kv ...any) (map[string]any, error) {
	if len(kv)%2 != 0 {
		return nil, fmt.Errorf("dict: %d values, want pairs", len(kv))
	}
	m := map[string]any{}
	for i := 0; i < len(kv); i += 2 {
		k, ok := kv[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: key %v is not a string", kv[i])
		}
		m[k] = kv[i+1]
	}
	return m, nil
}

// plural writes a count with its word: "1 row", "12,400 rows".
func plural(n any, one, many string) string {
	s, err := formatNumber(n)
	if err != nil {
		s = text(n)
	}
	if s == "1" {
		return "1 " + one
	}
	return s + " " + many
}

func formatNumber(v any) (string, error) {
	switch n := v.(type) {
	case int:
		return FormatInt(int64(n)), nil
	case int32:
		return FormatInt(int64(n)), nil
	case int64:
		return FormatInt(n), nil
	case uint64:
		return groupDigits(strconv.FormatUint(n, 10)), nil
	case float64:
		return groupDigits(strconv.FormatFloat(n, 'f', -1, 64)), nil
	}
	return "", fmt.Errorf("num: %T is not a number", v)
}

func formatDuration(v any) (string, error) {
	switch d := v.(type) {
	case time.Duration:
		return FormatDuration(d), nil
	case governance.Duration:
		return FormatDuration(d.Duration), nil
	}
	return "", fmt.Errorf("duration: %T is none", v)
}

func joinAny(sep string, items any) (string, error) {
	raw, err := json.Marshal(items)
	if err != nil {
		return "", err
	}
	var out []any
	if err := json.Unmarshal(raw, &out); err != nil {
		return "", fmt.Errorf("join: %T is not a list", items)
	}
	parts := make([]string, len(out))
	for i, o := range out {
		parts[i] = fmt.Sprint(o)
	}
	return strings.Join(parts, sep), nil
}

type instant struct {
	At       string // machine
	Text     string
	Title    string
	Relative bool
}

func (c *console) instant(t time.Time, layout string) instant {
	l := t.In(c.opts.Location)
	return instant{At: t.UTC().Format(time.RFC3339), Text: l.Format(layout), Title: l.Format("Monday, 2 January 2006, 15:04:05 MST")}
}

// timeHTML writes an instant: "14 Jan 2026, 12:00".
func (c *console) timeHTML(t time.Time) (template.HTML, error) {
	if t.IsZero() {
		return "–", nil
	}
	return c.fragment("c_time", c.instant(t, "2 Jan 2006, 15:04"))
}

// dateHTML writes a day: "14 Jan 2026".
func (c *console) dateHTML(t time.Time) (template.HTML, error) {
	if t.IsZero() {
		return "–", nil
	}
	return c.fragment("c_time", c.instant(t, "2 Jan 2006"))
}

// agoHTML writes how long ago or ahead an instant is; the page keeps it current.
func (c *console) agoHTML(t time.Time) (template.HTML, error) {
	if t.IsZero() {
		return "–", nil
	}
	i := c.instant(t, "")
	i.Text, i.Relative = FormatAgo(t, c.opts.Now()), true
	return c.fragment("c_time", i)
}

// layout is what the page around the content needs.
type layout struct {
	View     View
	Content  template.HTML
	Product  string
	Base     string
	Nav      []navGroup
	Identity governance.Identity
	Signed   bool
	Theme    string // "", "light" or "dark"
	SignOut  string
	Here     string
	Query    string
	Flash    *Alert
	Errors   []FieldError
	Boot     bool
	Acting   *acting
	Zone     string
	Initials string
	RTL      bool
	CanFind  bool
}

type acting struct {
	Name    string
	Session string // address of the session's page; empty: there is none here
	End     *Button
}

type navGroup struct {
	Title string
	Items []navLink
}

type navLink struct {
	Title, Path, Icon string
	Current           bool
	Count             int
}

// render writes a page. Its content is made first, so that a failing template is an
// error page and never half a page.
func (c *console) render(x *Ctx, v View) {
	l, err := c.layout(x, v)
	if err == nil {
		l.Content, err = c.fragment(v.Template, v.Data)
	}
	var b bytes.Buffer
	if err == nil {
		err = c.tpl.ExecuteTemplate(&b, "layout", l)
	}
	if err != nil {
		c.log.ErrorContext(x.Context(), "console page failed", "path", x.R.URL.Path, "template", v.Template, "request_id", x.Identity.Origin.RequestID, "error", err)
		if v.Template == "failure" { // the error page itself failed
			http.Error(x.w, "Something went wrong on our side.", http.StatusInternalServerError)
			return
		}
		c.render(x, failureView(x.Identity.Origin.RequestID, http.StatusInternalServerError, "", nil))
		return
	}
	h := x.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if v.Frames {
		h.Set("Content-Security-Policy", policyCSP+"; frame-src 'self'")
	}
	if v.Status == 0 {
		v.Status = http.StatusOK
	}
	x.w.WriteHeader(v.Status)
	_, _ = x.w.Write(b.Bytes())
}

func (c *console) layout(x *Ctx, v View) (*layout, error) {
	l := &layout{View: v, Product: c.opts.Product, Base: c.url("/"), Identity: x.Identity, Signed: x.Identity.Actor.ID != "" && !v.Bare,
		SignOut: c.opts.SignOut, Here: x.Here(), Errors: x.errs, Theme: theme(x.R), Zone: c.opts.Now().In(c.opts.Location).Format("MST"), RTL: x.rtl}
	if v.Template == "search" { // the filter of another page is none of its words
		l.Query = x.Query("q")
	}
	if v.Status == 0 || v.Status < 400 {
		if f, ok := c.takeFlash(x); ok {
			l.Flash = &f
		}
	}
	if v.Template == "failure" { // it lists the faults itself
		l.Errors = nil
	}
	if !l.Signed {
		return l, nil
	}
	l.Initials = initials(x.Identity.Actor.Name, string(x.Identity.Actor.Person))
	var err error
	if l.Boot, err = c.kernel.Bootstrap(x.Context()); err != nil {
		return nil, fmt.Errorf("bootstrap mode: %w", err)
	}
	l.Acting = c.acting(x)
	l.Nav = c.navigation(x)
	return l, nil
}

func (c *console) acting(x *Ctx) *acting {
	if x.Identity.Subject == nil {
		return nil
	}
	a := &acting{Name: x.Identity.Subject.Name}
	if a.Name == "" {
		a.Name = x.Identity.Subject.ID
	}
	if x.Identity.SessionID != "" && c.posts["/sessions/{id}/end"] {
		a.Session = "/sessions/" + x.Identity.SessionID
		a.End = &Button{Text: "End session", Post: a.Session + "/end", Kind: "danger"}
	}
	return a
}

// navigation is what the caller may open. A count that cannot be read is not shown:
// a broken corner must not take the page with it.
func (c *console) navigation(x *Ctx) []navGroup {
	here := x.R.URL.Path
	best, current := "", ""
	for _, n := range c.nav {
		for _, path := range append([]string{n.Path}, n.Also...) {
			p := c.url(path)
			if (here == p || path != "/" && strings.HasPrefix(here, p+"/")) && len(p) > len(best) {
				best, current = p, n.Path
			}
		}
	}
	var out []navGroup
	for _, n := range c.nav {
		if !x.Can(n.Permission) {
			continue
		}
		link := navLink{Title: n.Title, Path: n.Path, Icon: n.Icon, Current: n.Path == current}
		if n.Count != nil && !x.story {
			count, err := n.Count(x)
			if err != nil {
				c.log.WarnContext(x.Context(), "navigation count", "entry", n.Title, "error", err)
			}
			link.Count = count
		}
		if len(out) == 0 || out[len(out)-1].Title != n.Group {
			out = append(out, navGroup{Title: n.Group})
		}
		g := &out[len(out)-1]
		g.Items = append(g.Items, link)
	}
	return out
}

func initials(names ...string) string {
	for _, n := range names {
		words := strings.FieldsFunc(n, func(r rune) bool { return r == ' ' || r == '-' || r == '_' || r == '.' })
		if len(words) == 0 {
			continue
		}
		first := []rune(words[0])
		out := string(first[:1])
		if len(words) > 1 {
			out += string([]rune(words[len(words)-1])[:1])
		}
		return strings.ToUpper(out)
	}
	return "?"
}

const themeCookie = "reeve_theme"

func theme(r *http.Request) string {
	ck, err := r.Cookie(themeCookie)
	if err != nil || (ck.Value != "light" && ck.Value != "dark") {
		return ""
	}
	return ck.Value
}
