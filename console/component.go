package console

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"
	"time"
)

type pill struct {
	Tone Tone
	Calm bool // the usual state: said, and not shouted
	Icon string
	Text string
}

func toneIcon(t Tone) string {
	switch t {
	case ToneOK:
		return "check"
	case ToneWarn:
		return "clock"
	case ToneDanger:
		return "cross"
	case ToneInfo:
		return "dot"
	}
	return "dot"
}

// statusPill knows the states of the product: a word always looks the same.
func statusPill(word string) pill {
	p := pill{Text: Humanize(word), Icon: "dot"}
	switch word {
	case "approved", "executed", "done", "active", "ok", "succeeded", "success", "delivered", "healthy", "completed", "verified", "resolved", "sent", "passed", "enforce", "enabled", "current", "released":
		p.Tone, p.Icon = ToneOK, "check"
	case "pending", "held", "waiting", "trial", "paused", "warning", "shadow", "retrying", "degraded", "scheduled", "invited", "planned", "stale", "quiet", "late", "draft", "acked", "completed_with_exceptions", "undecided":
		p.Tone, p.Icon = ToneWarn, "clock"
	case "executing", "running", "in_progress", "open", "info", "observed", "new", "live":
		p.Tone, p.Icon = ToneInfo, "play"
	case "denied", "deny", "failed", "critical", "firing", "suspended", "dead", "error", "unknown", "overdue", "revoked", "compromised", "blocked", "restricted", "quarantined", "conflict":
		p.Tone, p.Icon = ToneDanger, "cross"
	case "closed", "cancelled", "expired", "lapsed", "superseded", "ended", "disabled", "inactive", "rolled_back", "skipped", "exempt", "archived":
		p.Icon = "minus"
	case "approve":
		p.Tone, p.Icon = ToneOK, "check"
	}
	switch word {
	case "active", "enabled", "enforce", "healthy", "ok", "current", "trial", "delivered", "sent", "executed", "done", "completed", "succeeded", "resolved":
		p.Calm = true
	case "unknown":
		p.Icon = "question"
	case "firing", "critical", "warning", "overdue":
		p.Icon = "alert"
	case "info":
		p.Icon = "info"
	case "paused":
		p.Icon = "pause"
	}
	return p
}

func prettyJSON(v any) string {
	raw, ok := rawJSON(v)
	if !ok {
		return ""
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return string(raw)
	}
	return b.String()
}

func rawJSON(v any) (json.RawMessage, bool) {
	switch r := v.(type) {
	case json.RawMessage:
		return r, len(r) > 0
	case []byte:
		return r, len(r) > 0
	case string:
		if json.Valid([]byte(r)) {
			return json.RawMessage(r), true
		}
	}
	raw, err := json.Marshal(v)
	return raw, err == nil
}

// change is one line of a difference: a path that was added, removed or changed.
type change struct {
	Path          string
	Before, After string
	Kind          string // "added", "removed", "changed", "same"
}

type difference struct {
	Changes []change
	Same    int // paths that did not change
}

// diffJSON compares two JSON values path by path.
func diffJSON(before, after any) difference {
	b, a := flatten(before), flatten(after)
	paths := map[string]bool{}
	for p := range b {
		paths[p] = true
	}
	for p := range a {
		paths[p] = true
	}
	var d difference
	for p := range paths {
		was, had := b[p]
		is, has := a[p]
		switch {
		case had && has && was == is:
			d.Same++
		case had && has:
			d.Changes = append(d.Changes, change{p, was, is, "changed"})
		case has:
			d.Changes = append(d.Changes, change{p, "", is, "added"})
		default:
			d.Changes = append(d.Changes, change{p, was, "", "removed"})
		}
	}
	sort.Slice(d.Changes, func(i, j int) bool { return d.Changes[i].Path < d.Changes[j].Path })
	return d
}

func flatten(v any) map[string]string {
	out := map[string]string{}
	raw, ok := rawJSON(v)
	if !ok {
		return out
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // an amount must not pass through a float
	var any0 any
	if dec.Decode(&any0) != nil {
		return out
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch t := v.(type) {
		case map[string]any:
			if cur, ok := t["currency"].(string); ok && len(t) == 2 {
				if amount, ok := t["amount"].(string); ok {
					out[path] = cur + " " + groupDigits(amount)
					return
				}
			}
			for k, e := range t {
				walk(strings.TrimPrefix(path+"."+k, "."), e)
			}
		case []any:
			flat := make([]string, 0, len(t))
			for _, e := range t {
				switch e.(type) {
				case map[string]any, []any:
					flat = nil
				default:
					if flat != nil {
						flat = append(flat, plain(e))
					}
				}
				if flat == nil {
					break
				}
			}
			if flat != nil {
				out[path] = strings.Join(flat, ", ")
				return
			}
			for i, e := range t {
				walk(path+"["+text(i)+"]", e)
			}
		case nil:
		default:
			out[path] = plain(t)
		}
	}
	walk("", any0)
	return out
}

func plain(v any) string {
	switch t := v.(type) {
	case string:
		return t
	case json.Number:
		return t.String()
	case bool:
		if t {
			return "yes"
		}
		return "no"
	}
	return ""
}

// bars turns a meter into whole per mille of its scale, which is what is drawn.
type meterBars struct {
	Meter
	Used1000, Add1000, Max1000 int64
	Over                       bool
	Percent                    int64
}

func (m Meter) bars() meterBars {
	b := meterBars{Meter: m, Over: m.Used+m.Add > m.Max}
	scale := max(m.Max, m.Used+m.Add, 1)
	part := func(v int64) int64 { return int64(float64(max(v, 0)) / float64(scale) * 1000) }
	b.Used1000, b.Add1000, b.Max1000 = part(m.Used), part(m.Add), part(m.Max)
	if m.Max > 0 {
		b.Percent = int64(float64(m.Used+m.Add) / float64(m.Max) * 100)
	}
	return b
}

type timelineDay struct {
	Title string
	Items []TimelineItem
}

// days groups a timeline by the day in the console's zone.
func (c *console) days(items []TimelineItem) []timelineDay {
	var out []timelineDay
	today := c.opts.Now().In(c.opts.Location)
	for _, it := range items {
		at := it.At.In(c.opts.Location)
		title := at.Format("Monday, 2 January 2006")
		switch at.Format(time.DateOnly) {
		case today.Format(time.DateOnly):
			title = "Today"
		case today.AddDate(0, 0, -1).Format(time.DateOnly):
			title = "Yesterday"
		}
		if len(out) == 0 || out[len(out)-1].Title != title {
			out = append(out, timelineDay{Title: title})
		}
		d := &out[len(out)-1]
		if n := len(d.Items); n > 0 && repeats(d.Items[n-1], it) {
			d.Items[n-1].Times++
			continue
		}
		it.Times = max(it.Times, 1)
		d.Items = append(d.Items, it)
	}
	return out
}

// repeats tells whether an entry says what the one before it says; it is then counted
// instead of told again.
func repeats(a, b TimelineItem) bool {
	return a.Title == b.Title && a.Actor == b.Actor && a.Text == b.Text && a.Status == b.Status && a.Icon == b.Icon && a.Tone == b.Tone
}
