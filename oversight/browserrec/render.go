package browserrec

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// render draws the page as it stood, with the pointer. Nothing in it runs: it is made
// here from what was checked, and served under recorder.ReplayPolicy.
func (c *checker) render() (string, error) {
	doc := &html.Node{Type: html.DocumentNode}
	if c.root == nil {
		return "<!doctype html><meta charset=\"utf-8\"><title>Nothing yet</title><p>The browser had not told of the page yet.</p>", nil
	}
	doc.AppendChild(&html.Node{Type: html.DoctypeNode, Data: "html"})
	for _, k := range c.root.kids {
		draw(doc, k, 0)
	}
	for n := range doc.Descendants() {
		if n.DataAtom == atom.Body {
			dot := &html.Node{Type: html.ElementNode, Data: "div", DataAtom: atom.Div, Attr: []html.Attribute{{Key: "aria-hidden", Val: "true"},
				{Key: "style", Val: fmt.Sprintf("position:absolute;z-index:2147483647;left:%.0fpx;top:%.0fpx;width:14px;height:14px;border-radius:7px;border:2px solid #fff;background:#c2185b", c.x-7, c.y-7)}}}
			n.AppendChild(dot)
			break
		}
	}
	var b bytes.Buffer
	if err := html.Render(&b, doc); err != nil {
		return "", fmt.Errorf("replay: %w", err)
	}
	return b.String(), nil
}

const maxDepth = 500

func draw(into *html.Node, e *elem, depth int) {
	if depth > maxDepth {
		return
	}
	switch e.Type {
	case nodeText:
		if into.DataAtom == atom.Style && strings.Contains(e.Text, "</") { // a style's text is written as it is
			return
		}
		into.AppendChild(&html.Node{Type: html.TextNode, Data: e.Text})
	case nodeElement:
		if active(e.Tag) {
			return
		}
		tag := e.Tag
		css, styled := e.Attr["_cssText"].(string)
		if styled && tag == "link" {
			tag = "style"
		}
		n := &html.Node{Type: html.ElementNode, Data: tag, DataAtom: atom.Lookup([]byte(tag))}
		for k, v := range e.Attr {
			s, text := v.(string)
			if b, flag := v.(bool); flag && b || text {
				if key := strings.ToLower(k); key != "_csstext" && key != "href" && key != "action" && key != "formaction" {
					n.Attr = append(n.Attr, html.Attribute{Key: key, Val: s})
				}
			}
		}
		if e.Tag == "textarea" {
			if s, ok := e.Attr["value"].(string); ok {
				n.AppendChild(&html.Node{Type: html.TextNode, Data: s})
			}
		} else if styled && !strings.Contains(css, "</") {
			n.AppendChild(&html.Node{Type: html.TextNode, Data: css})
		}
		if void(tag) {
			into.AppendChild(n)
			return
		}
		for _, k := range e.kids {
			if !styled && e.Tag != "textarea" {
				draw(n, k, depth+1)
			}
		}
		into.AppendChild(n)
	}
}

func void(tag string) bool {
	switch tag {
	case "area", "br", "col", "hr", "img", "input", "keygen", "link", "param", "source", "track", "wbr":
		return true
	}
	return false
}
