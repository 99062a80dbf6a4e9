package console

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/reevehq/reeve/governance"
)

// requireStories renders every story of a section as a page, and checks the markup.
func requireStories(t *testing.T, k *governance.Kernel, s Section) {
	t.Helper()
	require.NotEmpty(t, s.Stories, "section %s has no stories", s.Name)
	h, err := New(&Options{Kernel: k, Sections: []Section{s}, Stories: true})
	require.NoError(t, err)
	b := browse(t, h, governance.Identity{Actor: governance.Actor{ID: "user:story", Kind: governance.ActorUser, Person: "story", Name: "Sam Story", Roles: []string{"super_admin"}}})
	for i, st := range s.Stories {
		t.Run(st.Name, func(t *testing.T) {
			want := st.View.Status
			if want == 0 {
				want = http.StatusOK
			}
			res := b.get("/_stories/"+s.Name+"/"+strconv.Itoa(i), want)
			requireMarkup(t, res.body)
		})
	}
}

// browser sends requests to a console as one identity, keeping cookies.
type browser struct {
	t       *testing.T
	h       http.Handler
	id      governance.Identity
	cookies map[string]string
}

type answer struct {
	code     int
	body     string
	location string
	header   http.Header
}

// browse gives a browser for h; a zero identity is not signed in. Paths are below
// the base, which is /console.
func browse(t *testing.T, h http.Handler, id governance.Identity) *browser {
	return &browser{t: t, h: h, id: id, cookies: map[string]string{}}
}

func (b *browser) do(r *http.Request, want int) answer {
	b.t.Helper()
	ctx := context.Background()
	if b.id.Actor.ID != "" {
		ctx = governance.WithIdentity(ctx, b.id)
	}
	for k, v := range b.cookies {
		r.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r.WithContext(ctx))
	for _, ck := range w.Result().Cookies() {
		b.cookies[ck.Name] = ck.Value
		if ck.MaxAge < 0 {
			delete(b.cookies, ck.Name)
		}
	}
	body, err := io.ReadAll(w.Body)
	require.NoError(b.t, err)
	require.Equal(b.t, want, w.Code, "%s %s\n%s", r.Method, r.URL, body)
	return answer{w.Code, string(body), strings.TrimPrefix(w.Header().Get("Location"), "/console"), w.Header()}
}

func (b *browser) get(path string, want int) answer {
	b.t.Helper()
	return b.do(httptest.NewRequest(http.MethodGet, "/console"+path, nil), want)
}

// post sends a form given as "name", "value" pairs.
func (b *browser) post(path string, want int, pairs ...string) answer {
	b.t.Helper()
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/console"+path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r, want)
}

var onAttribute = regexp.MustCompile(`^on[a-z]+$`)

// void elements have no end tag; SVG shapes are written self-closed.
var void = map[string]bool{"area": true, "base": true, "br": true, "col": true, "embed": true, "hr": true, "img": true, "input": true, "link": true, "meta": true, "source": true, "track": true, "wbr": true}

// requireMarkup checks a whole page: every element is closed in order, there is no
// style attribute, no inline script and no on… attribute, exactly one h1, headings do
// not skip a level, ids are unique, references lead somewhere, and every input has a
// label.
func requireMarkup(t *testing.T, page string) {
	t.Helper()
	var stack []string
	ids, labels := map[string]int{}, map[string]bool{}
	var inputs, references []string
	h1, level := 0, 0
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			require.ErrorIs(t, z.Err(), io.EOF)
			break
		}
		tok := z.Token()
		switch kind {
		case html.EndTagToken:
			require.NotEmpty(t, stack, "</%s> closes nothing", tok.Data)
			require.Equal(t, stack[len(stack)-1], tok.Data, "</%s> closes <%s>, inside %v", tok.Data, stack[len(stack)-1], stack)
			stack = stack[:len(stack)-1]
			continue
		case html.TextToken:
			if len(stack) > 0 && (stack[len(stack)-1] == "script" || stack[len(stack)-1] == "style") {
				require.Empty(t, strings.TrimSpace(tok.Data), "inline <%s>", stack[len(stack)-1])
			}
			continue
		case html.StartTagToken:
			if !void[tok.Data] {
				stack = append(stack, tok.Data)
			}
		case html.SelfClosingTagToken:
		default:
			continue
		}
		at := map[string]string{}
		for _, a := range tok.Attr {
			_, twice := at[a.Key]
			require.False(t, twice, "<%s> has %s twice", tok.Data, a.Key)
			at[a.Key] = a.Val
			require.NotEqual(t, "style", a.Key, "<%s style=%q>", tok.Data, a.Val)
			require.False(t, onAttribute.MatchString(a.Key), "<%s %s>", tok.Data, a.Key)
			require.NotContains(t, a.Val, "ZgotmplZ", "<%s %s>: html/template refused a value", tok.Data, a.Key)
			switch a.Key {
			case "id":
				ids[a.Val]++
			case "aria-describedby", "aria-labelledby", "aria-controls":
				references = append(references, strings.Fields(a.Val)...)
			}
		}
		switch tok.Data {
		case "h1", "h2", "h3", "h4":
			n := int(tok.Data[1] - '0')
			if n == 1 {
				h1++
			}
			if level != 0 || n == 1 { // the navigation's headings come before the page's
				require.LessOrEqual(t, n, level+1, "<%s> after h%d", tok.Data, level)
				level = n
			}
		case "label":
			require.NotEmpty(t, at["for"], "a label without for")
			labels[at["for"]] = true
		case "input", "textarea", "select":
			if at["type"] != "hidden" && at["aria-label"] == "" {
				require.NotEmpty(t, at["id"], "<%s name=%q> has neither id nor aria-label", tok.Data, at["name"])
				inputs = append(inputs, at["id"])
			}
		case "form":
			require.Contains(t, []string{"get", "post"}, at["method"], "a form without a method")
		case "th":
			require.NotEmpty(t, at["scope"], "a th without scope")
		case "svg":
			require.True(t, at["aria-hidden"] == "true" || at["role"] != "", "an svg that is neither hidden nor named")
		}
	}
	require.Empty(t, stack, "not closed")
	require.Equal(t, 1, h1, "want one h1")
	for id, n := range ids {
		require.Equal(t, 1, n, "id %q is there %d times", id, n)
	}
	for _, id := range inputs {
		require.True(t, labels[id], "input %q has no label", id)
	}
	for _, id := range references {
		require.Contains(t, ids, id, "a reference to %q leads nowhere", id)
	}
}

// TestTemplates_lint reads the templates as text, so that a branch which no story
// reaches is checked too.
func TestTemplates_lint(t *testing.T) {
	t.Parallel()
	files, err := templateFiles.ReadDir("templates")
	require.NoError(t, err)
	for _, f := range files {
		raw, err := templateFiles.ReadFile("templates/" + f.Name())
		require.NoError(t, err)
		for i, line := range strings.Split(string(raw), "\n") {
			require.NotRegexp(t, `(?i)\sstyle\s*=|\son[a-z]+\s*=|<style|javascript:|https?://`, line, "%s:%d", f.Name(), i+1)
			if f.Name() != "layout.html" {
				require.NotRegexp(t, `(?i)<script|<link|<h1|<main`, line, "%s:%d", f.Name(), i+1)
			}
		}
	}
}
