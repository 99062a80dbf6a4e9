package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Masked stands in a recording in place of what a policy keeps out of it.
const Masked = "•••"

// masker takes values out of what is recorded: fields by name, parts of pages by
// the attribute data-mask, and numbers that look like payment cards anywhere.
type masker struct {
	fields   []string // lower case, matched as part of a name
	patterns []*regexp.Regexp
	seen     map[string]bool // what was masked so far; nil: not kept
}

// fresh is a masker for one request, which remembers what it masks.
func (m *masker) fresh() *masker { return &masker{m.fields, m.patterns, map[string]bool{}} }

// hide masks a value and remembers it: a page repeats such values in places that no
// rule names. What is too short would be found everywhere.
func (m *masker) hide(v string) string {
	if v = strings.TrimSpace(v); m.seen != nil && len(v) >= 4 && v != Masked && len(m.seen) < maxSeen {
		m.seen[v] = true
	}
	return Masked
}

const maxSeen = 500

var cardLike = regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`)

func (m *masker) field(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(m.fields, func(f string) bool { return strings.Contains(name, f) })
}

// text masks what must not be recorded wherever it stands.
func (m *masker) text(s string) string {
	s = cardLike.ReplaceAllStringFunc(s, func(c string) string {
		if luhn(c) {
			return Masked
		}
		return c
	})
	s = ibanLike.ReplaceAllStringFunc(s, func(c string) string {
		if mod97(c) {
			return Masked
		}
		return c
	})
	s = secretLike.ReplaceAllString(s, Masked)
	for _, p := range m.patterns {
		s = p.ReplaceAllString(s, Masked)
	}
	return s
}

var ibanLike = regexp.MustCompile(`\b[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?\b`)

// mod97 is the check of ISO 13616.
func mod97(s string) bool {
	s = strings.ReplaceAll(s, " ", "")
	if len(s) < 15 || len(s) > 34 {
		return false
	}
	rest := 0
	for _, c := range s[4:] + s[:4] {
		switch {
		case c >= '0' && c <= '9':
			rest = (rest*10 + int(c-'0')) % 97
		case c >= 'A' && c <= 'Z':
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return rest == 1
}

// secretLike are keys and tokens by their shape: JSON web tokens, bearer headers,
// private keys, one-time-password seeds, and keys with well-known prefixes.
var secretLike = regexp.MustCompile(`eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*` + `|(?i:bearer)\s+[\w.~+/-]{16,}=*` + `|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)` +
	`|otpauth://[^\s"'<>]+` + `|\b(?:sk|pk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{16,}` + `|\bAKIA[0-9A-Z]{16}\b` + `|\bgh[pousr]_[A-Za-z0-9]{20,}` + `|\bxox[abprs]-[\w-]{10,}` +
	`|\breeve[a-z]*_[0-9a-f]{16}_[\w-]{16,}`)

func luhn(s string) bool {
	sum, double := 0, false
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < '0' || s[i] > '9' {
			continue
		}
		d := int(s[i] - '0')
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum, double = sum+d, !double
	}
	return sum%10 == 0
}

const (
	maxFields = 64 << 10 // bytes of a form or a query in one frame
	maxValue  = 4 << 10
	maxName   = 200
)

// short cuts text from outside, and keeps it text.
func short(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "?") }

// values masks a query or a form.
func (m *masker) values(v url.Values) map[string][]string {
	out, left := make(map[string][]string, len(v)), maxFields
	for _, name := range slices.Sorted(maps.Keys(v)) {
		key := short(name, maxName)
		for _, x := range v[name] {
			safe := m.text(short(x, maxValue))
			if m.field(name) {
				safe = m.hide(x)
			}
			if left -= len(key) + len(safe); left < 0 {
				out["…"] = []string{"more fields than a recording keeps"}
				return out
			}
			out[key] = append(out[key], safe)
		}
	}
	return out
}

// json masks a document; what does not parse is not recorded at all.
func (m *masker) json(body []byte) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", false
	}
	return encodeJSON(m.walk(v))
}

func encodeJSON(v any) (string, bool) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", false
	}
	return strings.TrimSuffix(b.String(), "\n"), true
}

func (m *masker) walk(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			if m.field(k) {
				m.remember(x[k])
				x[k] = Masked
			} else {
				x[k] = m.walk(x[k])
			}
		}
	case []any:
		for i := range x {
			x[i] = m.walk(x[i])
		}
	case string:
		return m.text(x)
	case json.Number:
		return json.Number(m.number(x.String()))
	}
	return v
}

// remember keeps the values of a masked member.
func (m *masker) remember(v any) {
	switch x := v.(type) {
	case map[string]any:
		for _, v := range x {
			m.remember(v)
		}
	case []any:
		for _, v := range x {
			m.remember(v)
		}
	case string:
		m.hide(x)
	case json.Number:
		m.hide(x.String())
	}
}

// number keeps a number a number.
func (m *masker) number(s string) string {
	if m.text(s) != s {
		return "0"
	}
	return s
}

// attributes of a masked element that show text or carry a value.
var telling = []string{"value", "placeholder", "title", "alt", "label", "content", "href", "src", "srcset", "action", "datetime", "download"}

// html masks a page and takes out what a replay must not run. Masking happens in
// the parsed tree, so markup inside a masked element cannot leak, and neither can
// attributes that repeat its text or hidden fields.
func (m *masker) html(body []byte) (string, bool) {
	doc, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		return "", false
	}
	m.node(doc, false)
	var b bytes.Buffer
	if err := html.Render(&b, doc); err != nil {
		return "", false
	}
	return b.String(), true
}

func (m *masker) node(n *html.Node, masked bool) {
	switch n.Type {
	case html.CommentNode:
		n.Data = ""
	case html.TextNode:
		if masked && strings.TrimSpace(n.Data) != "" {
			n.Data = m.hide(n.Data)
		} else if n.Parent == nil || n.Parent.DataAtom != atom.Style {
			n.Data = m.text(n.Data)
		}
	case html.ElementNode:
		masked = m.element(n, masked)
	}
	for c := n.FirstChild; c != nil; {
		next := c.NextSibling
		if c.Type == html.ElementNode && active(c) {
			n.RemoveChild(c)
		} else {
			m.node(c, masked)
		}
		c = next
	}
}

// active elements run or load something.
func active(n *html.Node) bool {
	switch n.DataAtom {
	case atom.Script, atom.Noscript, atom.Iframe, atom.Frame, atom.Object, atom.Embed, atom.Base, atom.Template:
		return true
	case atom.Meta:
		return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return strings.EqualFold(a.Key, "http-equiv") })
	}
	return false
}

func (m *masker) element(n *html.Node, masked bool) bool {
	typ, sensitive := "", false
	for _, a := range n.Attr {
		switch a.Key {
		case "data-mask":
			masked = true
		case "name", "id", "autocomplete", "itemprop":
			sensitive = sensitive || m.field(a.Val) || a.Key == "autocomplete" && secretHint(a.Val)
			masked = masked || isField(n) && sensitive
		case "type":
			typ = strings.ToLower(strings.TrimSpace(a.Val))
		}
	}
	hidden := n.DataAtom == atom.Input && (typ == "hidden" || typ == "password" || typ == "file")
	kept := n.Attr[:0]
	for _, a := range n.Attr {
		switch {
		case strings.HasPrefix(a.Key, "on"), a.Key == "srcdoc", a.Key == "ping":
			continue
		case hidden && a.Key == "value":
			if sensitive || typ == "password" {
				m.hide(a.Val)
			}
			a.Val = Masked // of other hidden fields the value is an address or a number, found all over the page
		case masked && (slices.Contains(telling, a.Key) || strings.HasPrefix(a.Key, "aria-") || strings.HasPrefix(a.Key, "data-") && a.Key != "data-mask"):
			if a.Key == "value" || a.Key == "content" {
				m.hide(a.Val)
			}
			a.Val = Masked
		case masked && (a.Key == "checked" || a.Key == "selected"): // which one is the value
			continue
		default:
			a.Val = m.text(a.Val)
		}
		kept = append(kept, a)
	}
	n.Attr = kept
	return masked
}

// secretHint tells the autocomplete tokens of what must not be recorded.
func secretHint(v string) bool {
	v = strings.ToLower(v)
	return slices.ContainsFunc(strings.Fields(v), func(t string) bool {
		return strings.HasPrefix(t, "cc-") || strings.HasSuffix(t, "-password") || t == "one-time-code" || strings.HasPrefix(t, "bday")
	})
}

// isField tells elements that hold input: their value is masked by their name.
func isField(n *html.Node) bool {
	switch n.DataAtom {
	case atom.Input, atom.Textarea, atom.Select, atom.Option, atom.Output, atom.Meter, atom.Progress:
		return true
	}
	return false
}

// body masks a response by its type. ok is false when it is of a kind whose
// content is not recorded.
func (m *masker) body(contentType string, body []byte) (string, bool) {
	typ, params, err := mime.ParseMediaType(contentType)
	if err != nil || !utf8.Valid(body) || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return "", false
	}
	switch {
	case typ == "text/html" || typ == "application/xhtml+xml":
		return m.html(body)
	case typ == "application/json" || strings.HasSuffix(typ, "+json"):
		return m.json(body)
	case typ == "text/plain" || typ == "text/css":
		return m.text(string(body)), true
	}
	return "", false
}
