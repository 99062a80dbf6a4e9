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
	fields []string // lower case, matched as part of a name
}

var cardLike = regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`)

func (m *masker) field(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(m.fields, func(f string) bool { return strings.Contains(name, f) })
}

// text masks what must not be recorded wherever it stands.
func (m *masker) text(s string) string {
	return cardLike.ReplaceAllStringFunc(s, func(c string) string {
		if luhn(c) {
			return Masked
		}
		return c
	})
}

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
				safe = Masked
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
			n.Data = Masked
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
	name, typ := "", ""
	for _, a := range n.Attr {
		switch a.Key {
		case "data-mask":
			masked = true
		case "name", "id", "autocomplete", "itemprop":
			if a.Key == "name" || name == "" {
				name = a.Val
			}
			masked = masked || isField(n) && m.field(a.Val)
		case "type":
			typ = strings.ToLower(a.Val)
		}
	}
	hidden := n.DataAtom == atom.Input && (typ == "hidden" || typ == "password" || typ == "file")
	kept := n.Attr[:0]
	for _, a := range n.Attr {
		switch {
		case strings.HasPrefix(a.Key, "on"), a.Key == "srcdoc", a.Key == "ping":
			continue
		case hidden && a.Key == "value":
			a.Val = Masked
		case masked && (slices.Contains(telling, a.Key) || strings.HasPrefix(a.Key, "aria-") || strings.HasPrefix(a.Key, "data-") && a.Key != "data-mask"):
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
