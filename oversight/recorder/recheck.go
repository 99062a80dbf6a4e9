package recorder

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// recheck is the second look, at what is about to be stored: a deny-list scan of its
// own over every place where a page can carry a value, whatever masked it before.
// What was masked anywhere in the request must stand nowhere else in the frame, in a
// label, a placeholder, a hidden input, an option or an address. A page in which
// something is still found after that is not stored.
func (m *masker) recheck(f *Frame) {
	sweep := &sweeper{m: m, seen: slices.SortedFunc(maps.Keys(m.seen), func(a, b string) int { return cmp.Compare(len(b), len(a)) })}
	f.Path, f.Location = sweep.address(f.Path), sweep.address(f.Location)
	for _, fields := range []map[string][]string{f.Query, f.Form} {
		for name, values := range fields {
			for i := range values {
				values[i] = sweep.text(values[i])
			}
			if safe := sweep.text(name); safe != name {
				delete(fields, name)
				fields[safe] = append(fields[safe], values...)
			}
		}
	}
	for name, v := range f.Headers {
		f.Headers[name] = sweep.text(v)
	}
	if f.Body != "" {
		f.Body = sweep.body(f.ContentType, f.Body)
	}
	f.Remasked = sweep.hits
}

type sweeper struct {
	m    *masker
	seen []string // longest first
	hits int
}

// text takes out what was masked elsewhere, and what has the shape of a secret.
func (s *sweeper) text(v string) string {
	safe := v
	for _, secret := range s.seen {
		if strings.Contains(safe, secret) {
			safe = strings.ReplaceAll(safe, secret, Masked)
		}
	}
	safe = s.m.text(safe)
	if safe != v {
		s.hits++
	}
	return safe
}

// address is text that may be escaped for a URL as well.
func (s *sweeper) address(v string) string {
	safe := s.text(v)
	for _, secret := range s.seen {
		for _, form := range []string{url.QueryEscape(secret), url.PathEscape(secret)} {
			if form != secret && strings.Contains(safe, form) {
				safe = strings.ReplaceAll(safe, form, url.QueryEscape(Masked))
				s.hits++
			}
		}
	}
	return safe
}

func (s *sweeper) body(contentType, body string) string {
	typ, _, _ := mime.ParseMediaType(contentType)
	switch {
	case typ == "text/html" || typ == "application/xhtml+xml":
		// What a page says is what a browser reads: once more after the first answer, for
		// markup that means something else when it is read again.
		for range 3 {
			before := s.hits
			out, ok := s.page(body)
			if !ok {
				break
			}
			if body = out; s.hits == before {
				return body
			}
		}
		s.hits++
		return ""
	case typ == "application/json" || strings.HasSuffix(typ, "+json"):
		return s.json(body)
	}
	return s.text(body)
}

func (s *sweeper) json(body string) string {
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		s.hits++
		return ""
	}
	out, ok := encodeJSON(s.value(v))
	if !ok {
		return ""
	}
	return out
}

func (s *sweeper) value(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[s.text(k)] = s.value(e)
		}
		return out
	case []any:
		for i := range x {
			x[i] = s.value(x[i])
		}
	case string:
		return s.text(x)
	case json.Number:
		if safe := s.text(x.String()); safe != x.String() {
			return Masked
		}
	}
	return v
}

// page walks a page as it would be stored.
func (s *sweeper) page(body string) (string, bool) {
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		return "", false
	}
	s.node(doc, false)
	var b bytes.Buffer
	if err := html.Render(&b, doc); err != nil {
		return "", false
	}
	return b.String(), true
}

func (s *sweeper) node(n *html.Node, masked bool) {
	switch n.Type {
	case html.TextNode:
		if masked && strings.TrimSpace(n.Data) != "" && n.Data != Masked {
			n.Data = Masked
			s.hits++
		} else if n.Parent == nil || n.Parent.DataAtom != atom.Style {
			n.Data = s.text(n.Data)
		}
	case html.CommentNode:
		if n.Data != "" {
			n.Data = ""
			s.hits++
		}
	case html.ElementNode:
		masked = s.element(n, masked)
	}
	for c := n.FirstChild; c != nil; {
		next := c.NextSibling
		if c.Type == html.ElementNode && active(c) {
			n.RemoveChild(c)
			s.hits++
		} else {
			s.node(c, masked)
		}
		c = next
	}
}

// valued attributes say what a field holds, to somebody.
var valued = []string{"value", "placeholder", "title", "aria-label", "aria-valuetext", "aria-valuenow", "aria-description", "label", "content"}

func (s *sweeper) element(n *html.Node, masked bool) bool {
	attrs := map[string]string{}
	for _, a := range n.Attr {
		attrs[a.Key] = a.Val
	}
	_, marked := attrs["data-mask"]
	secret := isField(n) && (s.m.field(attrs["name"]) || s.m.field(attrs["id"]) || secretHint(attrs["autocomplete"]))
	typ := strings.ToLower(strings.TrimSpace(attrs["type"]))
	hidden := n.DataAtom == atom.Input && (typ == "hidden" || typ == "password" || typ == "file")
	masked = masked || marked || secret
	kept := n.Attr[:0]
	for _, a := range n.Attr {
		safe := a.Val
		switch {
		case strings.HasPrefix(a.Key, "on"), a.Key == "srcdoc", masked && (a.Key == "checked" || a.Key == "selected"):
			s.hits++
			continue
		case (masked && slices.Contains(valued, a.Key) || hidden && a.Key == "value") && a.Val != Masked && a.Val != "":
			safe = Masked
			s.hits++
		case a.Key == "href" || a.Key == "src" || a.Key == "action" || a.Key == "srcset" || a.Key == "poster":
			safe = s.address(a.Val)
		case a.Key != "data-mask":
			safe = s.text(a.Val)
		}
		a.Val = safe
		kept = append(kept, a)
	}
	n.Attr = kept
	return masked
}
