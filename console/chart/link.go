package chart

import "html/template"

// href is the address behind a value, or empty.
func (s Series) href(i int) string {
	if i < len(s.Hrefs) {
		return s.Hrefs[i]
	}
	return ""
}

func linked(series []Series) bool {
	for _, s := range series {
		if len(s.Hrefs) > 0 {
			return true
		}
	}
	return false
}

// link writes text, as a link when there is an address.
func link(href, text string) string {
	text = template.HTMLEscapeString(text)
	if href == "" {
		return text
	}
	return `<a href="` + template.HTMLEscapeString(href) + `">` + text + `</a>`
}
