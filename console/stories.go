package console

import (
	"net/http"
	"strconv"

	"github.com/reevehq/reeve/governance"
)

type storyList struct{ Groups []storyGroup }

type storyGroup struct {
	Section string
	Stories []storyLink
}

type storyLink struct {
	Name, Href string
}

// storiesSection shows every state of every page with invented data. It is there
// for people who work on the console, and its pages are what the tests check.
func (c *console) storiesSection() Section {
	s := Section{Name: "stories"}
	if !c.opts.Stories {
		return s
	}
	s.Routes = []Route{
		{Pattern: "GET /_stories", Anyone: true, Page: c.storyIndex},
		{Pattern: "GET /_stories/{section}/{n}", Anyone: true, Serve: c.serveStory},
	}
	s.Stories = failureStories()
	return s
}

func (c *console) storyIndex(*Ctx) (View, error) {
	var page storyList
	for _, s := range c.sections {
		g := storyGroup{Section: s.Name}
		for i, st := range s.Stories {
			g.Stories = append(g.Stories, storyLink{st.Name, "/_stories/" + s.Name + "/" + strconv.Itoa(i)})
		}
		if len(g.Stories) > 0 {
			page.Groups = append(page.Groups, g)
		}
	}
	return View{Title: "Stories", Lead: "Every state of every page, with invented data.", Template: "stories", Data: page}, nil
}

func (c *console) serveStory(x *Ctx, _ http.ResponseWriter) error {
	n, err := strconv.Atoi(x.Path("n"))
	if err != nil {
		return governance.ErrNotFound
	}
	for _, s := range c.sections {
		if s.Name == x.Path("section") && n >= 0 && n < len(s.Stories) {
			c.renderStory(x, s.Stories[n])
			return nil
		}
	}
	return governance.ErrNotFound
}

func (c *console) renderStory(x *Ctx, st Story) {
	x.story, x.rtl = true, st.RTL
	x.errs = st.Errors
	c.render(x, st.View)
}

func failureStories() []Story {
	var out []Story
	for _, f := range []struct {
		name   string
		status int
		text   string
		fields []FieldError
	}{
		{"no permission", http.StatusForbidden, "no role allows it", nil},
		{"not found", http.StatusNotFound, "", nil},
		{"conflict", http.StatusConflict, "", nil},
		{"invalid without a form", http.StatusUnprocessableEntity, "", []FieldError{{"amount", "\"12,5\" is not a decimal amount"}}},
		{"failed", http.StatusInternalServerError, "", nil},
	} {
		out = append(out, Story{Name: f.name, View: failureView("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f", f.status, f.text, f.fields)})
	}
	return out
}
