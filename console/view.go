package console

import (
	"html/template"
	"time"
)

// Tone colours a message, a pill or a timeline entry. It never stands alone: there
// is always a word or an icon beside it.
type Tone string

// The tones.
const (
	ToneNone   Tone = ""
	ToneOK     Tone = "ok"
	ToneWarn   Tone = "warn"
	ToneDanger Tone = "danger"
	ToneInfo   Tone = "info"
)

// View is a page: what its head says, and a template with its data.
type View struct {
	Title    string // the one h1
	Lead     string // a sentence below it
	Badge    string // a status word beside the title
	Crumbs   []Crumb
	Actions  []Button
	Tabs     []Tab
	Template string // name of the template that makes the content
	Data     any    // the template's dot
	Status   int    // HTTP status; default 200
	Bare     bool   // without navigation: sign-in
	Narrow   bool   // one readable column: forms, documents
	Frames   bool   // the page shows frames of this origin
}

// Crumb is a step of the way to a page.
type Crumb struct {
	Title string
	Href  string // below the base
}

// Tab is a link in the row below a page's head.
type Tab struct {
	Title   string
	Href    string // below the base
	Current bool
	Count   int
}

// Button is a link (Href) or a form with one button (Post).
type Button struct {
	Text    string
	Href    string // below the base
	Post    string // below the base
	Name    string // name and value of the button in its form
	Value   string
	Kind    string // "primary", "danger", "quiet"; default secondary
	Icon    string
	Why     string // why it cannot be pressed; disables it and is shown beside it
	Hidden  []Hidden
	Confirm string // a sentence shown beside the button: object, count, consequence
}

// Hidden is a field of a form that nobody sees.
type Hidden struct{ Name, Value string }

// Field is one input of a form. Make it with [Ctx.Field], which fills in what was
// sent before.
type Field struct {
	Name         string
	Label        string
	Kind         string // "text" (default), "textarea", "select", "checkbox", "number", "date", "email", "password", "search", "file"
	Value        string
	Hint         string
	Error        string
	Options      []Option // of a select
	Required     bool
	Disabled     bool
	Placeholder  string
	Min          string
	Max          string
	MaxLen       int
	Rows         int
	Mono         bool // code: a monospaced textarea
	Autocomplete string
}

// ID is the id of the input.
func (f Field) ID() string { return "f-" + f.Name }

// Option is a choice of a select.
type Option struct{ Value, Text string }

// Stat is one number with what it means.
type Stat struct {
	Label string
	Value string
	Unit  string        // small, behind the value
	Delta string        // "+4.2 %"
	Trend Tone          // of the delta: ok, danger or none
	Note  string        // "vs October", "balance at the end of the month"
	Spark template.HTML // from chart.Spark
	Href  string        // below the base
}

// Pager is what stands below a list.
type Pager struct {
	First string // below the base; empty on the first page
	Next  string // below the base; empty on the last page
	Note  string // "50 of about 12,400"
}

// Empty is what a list says when it has no rows.
type Empty struct {
	Icon   string
	Title  string
	Text   string
	Action *Button
}

// Alert is a message inside a page.
type Alert struct {
	Tone  Tone
	Title string
	Text  string
	Link  *Crumb
}

// Meter is how much of a limit is used: Used before, Add now, of Max.
type Meter struct {
	Label string
	Used  int64
	Add   int64
	Max   int64
	Text  string // "€400.00 of €1,000.00 used in 24 h, this adds €700.00"
}

// Fact is a line of a definition list.
type Fact struct {
	Label string
	Value string
	HTML  template.HTML // instead of Value; from this package's functions only
	Href  string        // below the base
	Mono  bool
	At    time.Time // instead of Value; Day shows the date alone, Ago how long ago
	Day   bool
	Ago   bool
}
