package pack

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode"
)

//go:embed cover.html
var coverText string

type coverData struct {
	M        Manifest
	Session  *Session
	Requests []Request
	Actions  []Action
	Policies []Policy
	Alerts   []Alert
	Personal []Personal
	Lines    []record
}

// cover is the page for people. Everything in it comes from somebody, so every value
// goes through the escaping of html/template and through visible.
func cover(c Contents, requests []Request) ([]byte, error) {
	t, err := template.New("cover").Funcs(template.FuncMap{"text": visible, "time": clock, "json": indented}).Parse(coverText)
	if err != nil {
		return nil, fmt.Errorf("cover: %w", err)
	}
	d := coverData{M: c.Manifest, Session: c.Session, Requests: requests, Actions: c.Actions, Policies: c.Policies, Alerts: c.Alerts, Personal: c.Personal}
	d.M.Format = Format
	for _, r := range c.Records {
		var line record
		if err := json.Unmarshal(r.Body, &line); err != nil {
			return nil, fmt.Errorf("record %s: %w", r.ID, err)
		}
		d.Lines = append(d.Lines, line)
	}
	var buf bytes.Buffer
	if err := t.Execute(&buf, d); err != nil {
		return nil, fmt.Errorf("cover: %w", err)
	}
	return buf.Bytes(), nil
}

// visible shows what would be seen as something else than it is: control characters,
// and those that turn the direction of text or have no width.
func visible(s string) string {
	var b strings.Builder
	for _, c := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case c == '\n' || c == '\t':
			b.WriteRune(c)
		case unicode.IsControl(c), unicode.Is(unicode.Cf, c), unicode.Is(unicode.Zl, c), unicode.Is(unicode.Zp, c):
			fmt.Fprintf(&b, "[U+%04X]", c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func indented(raw json.RawMessage) string {
	var buf bytes.Buffer
	if json.Indent(&buf, raw, "", "  ") != nil {
		return visible(string(raw))
	}
	return visible(buf.String())
}
