package browserrec

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/reevehq/reeve/oversight/recorder"
)

// elem is a node of a page as far as its events have told of it.
type elem struct {
	*node
	parent *elem
	kids   []*elem
	masked bool // once masked, always: an attribute taken away brings nothing back
}

// checker looks at what a browser reports before it is stored. It follows the page, so
// that it knows in which element a text or a value stands, and takes out what the
// browser should have masked. It trusts nothing: what it does not know is masked or
// left out.
type checker struct {
	masks   recorder.Masks
	nodes   map[int64]*elem
	root    *elem
	meta    metaData
	x, y    float64 // of the pointer
	masked  int64   // plain values found and taken out
	dropped int64   // events of kinds that are not kept
}

func newChecker(masks recorder.Masks) *checker {
	return &checker{masks: masks, nodes: map[int64]*elem{}}
}

const maxNodes = 50_000

var (
	errEvent = errors.New("an event is not what its kind says")
	tagName  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9:_-]{0,60}$`)
	attrName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9:_.-]{0,100}$`)
)

// event checks one event. ok is false for one that is left out.
func (c *checker) event(e event) (out event, ok bool, err error) {
	var data any
	switch e.Type {
	case evReady, evLoad:
		data = struct{}{}
	case evMeta:
		data, err = c.metaEvent(e.Data)
	case evSnapshot:
		data, err = c.snapshot(e.Data)
	case evChange:
		data, err = c.change(e.Data)
	}
	if err != nil {
		return e, false, fmt.Errorf("type %d: %w", e.Type, err)
	}
	if data == nil {
		c.dropped++
		return e, false, nil
	}
	raw, err := json.Marshal(data)
	return event{e.Type, e.At, raw}, err == nil, err
}

func into[T any](raw json.RawMessage) (v T, err error) {
	if json.Unmarshal(raw, &v) != nil {
		err = errEvent // of foreign text nothing is repeated
	}
	return v, err
}

// metaEvent keeps the path of an address: its query may hold anything.
func (c *checker) metaEvent(raw json.RawMessage) (any, error) {
	m, err := into[metaData](raw)
	u, perr := url.Parse(m.Href)
	if m.Href = ""; perr == nil {
		m.Href = c.masks.Text(u.Path)
	}
	c.meta = m
	return m, err
}

func (c *checker) snapshot(raw json.RawMessage) (any, error) {
	s, err := into[snapshotData](raw)
	if err != nil || s.Node == nil || s.Node.Type != nodeDocument {
		return nil, errEvent
	}
	c.nodes, c.root = map[int64]*elem{}, nil
	if c.root, err = c.node(s.Node, nil, false); err != nil {
		return nil, err
	}
	return s, nil
}

// node checks a node with all in it, and remembers it. unknown: nobody knows where it
// stands, so all its text is masked.
func (c *checker) node(n *node, parent *elem, unknown bool) (*elem, error) {
	if n == nil || n.ID <= 0 || len(c.nodes) >= maxNodes {
		return nil, errEvent
	}
	e := &elem{node: n, parent: parent, masked: unknown || parent != nil && parent.masked}
	c.forget(c.nodes[n.ID])
	c.nodes[n.ID] = e
	n.PublicID, n.SystemID = "", ""
	switch n.Type {
	case nodeDocument:
		n.Text, n.Attr, n.Tag = "", nil, ""
	case nodeDoctype:
		n.Name, n.Text, n.Children = "html", "", nil
	case nodeElement:
		n.Text, n.Name = "", ""
		if !tagName.MatchString(n.Tag) {
			return nil, errEvent
		}
		n.Tag = strings.ToLower(n.Tag)
		if active(n.Tag) {
			n.Attr, n.Children = map[string]any{}, nil
			return e, nil
		}
		c.attributes(e, n.Attr)
	case nodeText, nodeCDATA:
		n.Children, n.Attr, n.Type = nil, nil, nodeText
		n.Text = c.words(e, n.Text)
	case nodeComment:
		n.Children, n.Attr, n.Text = nil, nil, ""
	default:
		return nil, errEvent
	}
	for _, k := range n.Children {
		kid, err := c.node(k, e, false)
		if err != nil {
			return nil, err
		}
		e.kids = append(e.kids, kid)
	}
	return e, nil
}

// forget takes a node and all in it out of the page.
func (c *checker) forget(e *elem) {
	if e == nil {
		return
	}
	if p := e.parent; p != nil {
		p.kids = slices.DeleteFunc(p.kids, func(k *elem) bool { return k == e })
	}
	var drop func(*elem)
	drop = func(e *elem) {
		if c.nodes[e.ID] == e {
			delete(c.nodes, e.ID)
		}
		for _, k := range e.kids {
			drop(k)
		}
	}
	drop(e)
}

// mask masks a node and all in it from now on.
func (e *elem) mask() {
	if e == nil || e.masked {
		return
	}
	e.masked = true
	for _, k := range e.kids {
		k.mask()
	}
}

// active elements run or load something, or are read as other text than they hold.
func active(tag string) bool {
	switch tag {
	case "script", "noscript", "iframe", "frame", "frameset", "object", "embed", "applet", "base", "template", "xmp", "noembed", "noframes", "plaintext", "portal", "meta":
		return true
	}
	return false
}

// holds tells elements that hold what somebody typed or chose.
func holds(tag string) bool {
	switch tag {
	case "input", "textarea", "select", "option", "output", "meter", "progress":
		return true
	}
	return false
}

// words masks text by where it stands.
func (c *checker) words(e *elem, s string) string {
	if strings.TrimSpace(s) == "" || s == recorder.Masked {
		return s
	}
	if e.masked || e.parent == nil || e.parent.Type == nodeElement && e.parent.Tag == "textarea" {
		c.masked++
		return recorder.Masked
	}
	return c.text(s)
}

func (c *checker) text(s string) string {
	safe := c.masks.Text(s)
	if safe != s {
		c.masked++
	}
	return safe
}

// telling attributes show text or carry a value.
var telling = []string{"value", "placeholder", "title", "alt", "label", "content", "href", "src", "srcset", "action", "datetime", "download", "summary", "list"}

// attributes checks the attributes of an element in place; what is not in attrs keeps
// the value it has.
func (c *checker) attributes(e *elem, attrs map[string]any) {
	for k, v := range attrs {
		if s, ok := v.(string); ok {
			switch k {
			case "data-mask":
				e.masked = true
			case "name", "id", "itemprop":
				e.masked = e.masked || holds(e.Tag) && c.masks.Field(s)
			case "autocomplete":
				e.masked = e.masked || holds(e.Tag) && (c.masks.Field(s) || c.masks.Hint(s))
			}
		}
	}
	kind, _ := e.Attr["type"].(string)
	if t, ok := attrs["type"].(string); ok {
		kind = t
	}
	kind = strings.ToLower(strings.TrimSpace(kind))
	button := e.Tag == "input" && (kind == "submit" || kind == "reset" || kind == "button")
	for k, v := range attrs {
		if !attrName.MatchString(k) {
			delete(attrs, k)
			continue
		}
		key := strings.ToLower(k)
		s, isText := v.(string)
		switch {
		case v == nil: // the attribute is gone
		case strings.HasPrefix(key, "on"), key == "srcdoc", key == "ping", key == "nonce", key == "integrity", strings.HasPrefix(key, "rr_"),
			key == "checked", key == "selected": // which one is the value
			delete(attrs, k)
		case !isText:
			if _, flag := v.(bool); !flag || key == "value" {
				delete(attrs, k)
			}
		case s == recorder.Masked || s == "":
		case key == "value" && holds(e.Tag) && !button,
			e.masked && (slices.Contains(telling, key) || strings.HasPrefix(key, "aria-") || strings.HasPrefix(key, "data-") && key != "data-mask"):
			attrs[k] = recorder.Masked
			c.masked++
		case (key == "href" || key == "src" || key == "action" || key == "formaction" || key == "xlink:href") && strings.Contains(s, ":") && !strings.HasPrefix(s, "http"):
			delete(attrs, k)
		default:
			attrs[k] = c.text(s)
		}
	}
}

// change checks an incremental event; nil: it is of a source that is not kept.
func (c *checker) change(raw json.RawMessage) (any, error) {
	src, err := into[source](raw)
	if err != nil {
		return nil, err
	}
	switch src.Source {
	case srcMutation:
		return c.mutation(raw)
	case srcMouseMove, srcTouchMove, srcDrag:
		p, err := into[positions](raw)
		if n := len(p.Positions); n > 0 {
			c.x, c.y = p.Positions[n-1].X, p.Positions[n-1].Y
		}
		return p, err
	case srcInteraction:
		i, err := into[interaction](raw)
		if i.X != 0 || i.Y != 0 {
			c.x, c.y = i.X, i.Y
		}
		return i, err
	case srcScroll, srcResize, srcMedia:
		p, err := into[place](raw)
		return p, err
	case srcSelection:
		s, err := into[selection](raw)
		return s, err
	case srcInput:
		return c.input(raw)
	}
	return nil, nil
}

func (c *checker) input(raw json.RawMessage) (any, error) {
	i, err := into[input](raw)
	if err != nil {
		return nil, err
	}
	i.Checked = false // which one is ticked is a value as well
	if i.Text != "" && i.Text != recorder.Masked {
		i.Text = recorder.Masked
		c.masked++
	}
	if e := c.nodes[i.ID]; e != nil && e.Type == nodeElement {
		if e.Attr == nil {
			e.Attr = map[string]any{}
		}
		e.Attr["value"] = i.Text
	}
	return i, nil
}

func (c *checker) mutation(raw json.RawMessage) (any, error) {
	m, err := into[mutation](raw)
	if err != nil {
		return nil, err
	}
	for _, r := range m.Removes {
		c.forget(c.nodes[r.ID])
	}
	for _, a := range m.Attrs { // before anything is put into what is masked from now on
		if _, ok := a.Attr["data-mask"].(string); ok {
			c.nodes[a.ID].mask()
		}
	}
	for _, a := range m.Adds {
		parent := c.nodes[a.Parent]
		if parent != nil && active(parent.Tag) {
			parent = nil
		}
		e, err := c.node(a.Node, parent, parent == nil)
		if err != nil {
			return nil, err
		}
		if parent == nil {
			continue
		}
		at := len(parent.kids)
		if a.Next != nil {
			if i := slices.IndexFunc(parent.kids, func(k *elem) bool { return k.ID == *a.Next }); i >= 0 {
				at = i
			}
		}
		parent.kids = slices.Insert(parent.kids, at, e)
	}
	for i := range m.Attrs {
		a := &m.Attrs[i]
		e := c.nodes[a.ID]
		if e == nil || e.Type != nodeElement { // of what nobody knows, the strictest
			e = &elem{node: &node{Type: nodeElement, Tag: "input"}, masked: true}
		}
		if active(e.Tag) {
			a.Attr = nil
			continue
		}
		masked := e.masked
		if c.attributes(e, a.Attr); e.masked && !masked {
			e.masked = false
			e.mask()
		}
		if e.Attr == nil {
			e.Attr = map[string]any{}
		}
		for k, v := range a.Attr {
			if e.Attr[k] = v; v == nil {
				delete(e.Attr, k)
			}
		}
	}
	for i := range m.Texts {
		t := &m.Texts[i]
		e := c.nodes[t.ID]
		if e == nil {
			e = &elem{node: &node{Type: nodeText}, masked: true}
		}
		t.Value = c.words(e, t.Value)
		e.Text = t.Value
	}
	return m, nil
}
