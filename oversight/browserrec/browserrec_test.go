package browserrec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/recorder"
)

type bench struct {
	*govtest.Env
	over *oversight.Service
	rec  *recorder.Recorder
	svc  *browserrec.Service
	dir  string
}

func kit(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	dist := filepath.Join(dir, "node_modules", "@rrweb", "record", "dist")
	require.NoError(t, os.MkdirAll(dist, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dist, "record.js"), []byte("export const record = () => {};"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dist, "..", "package.json"), fmt.Appendf(nil, `{"name":"@rrweb/record","version":%q,"license":"MIT"}`, version), 0o600))
	return dir
}

func each(t *testing.T, required bool, fn func(t *testing.T, b *bench)) {
	t.Helper()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{oversight.Schema(), browserrec.Schema()}}, func(t *testing.T, e *govtest.Env) {
		b := &bench{Env: e, dir: t.TempDir()}
		e.People.Put("dana", "cs_agent")
		e.People.Put("kim", "cs_agent")
		e.People.Allow("cs_agent", "session:start")
		var err error
		b.over, err = oversight.New(e.Kernel, &oversight.Options{Targets: func(context.Context, governance.TenantID, string) (governance.Actor, error) {
			return governance.Actor{ID: "product:u1", Kind: governance.ActorUser}, nil
		}})
		require.NoError(t, err)
		blobs, err := recorder.OpenDir(b.dir)
		require.NoError(t, err)
		t.Cleanup(func() { _ = blobs.Close() })
		b.rec, err = recorder.New(b.over, blobs, nil)
		require.NoError(t, err)
		k, err := browserrec.OpenKit(kit(t, "2.1.6"))
		require.NoError(t, err)
		b.svc, err = browserrec.New(t.Context(), b.over, b.rec, k, &browserrec.Options{Require: func(governance.TenantID, oversight.Scope) bool { return required }})
		require.NoError(t, err)
		fn(t, b)
	})
}

func (b *bench) open(t *testing.T, who governance.PersonID) (oversight.Session, *http.Cookie) {
	t.Helper()
	out, err := b.over.Start(t.Context(), b.As(who), oversight.Request{Tenant: "acme", User: "u1", Reason: "looking"})
	require.NoError(t, err)
	s, token, err := b.over.Open(t.Context(), b.As(who), out.Action)
	require.NoError(t, err)
	return s, b.over.Cookie(s, token)
}

var pageOf = regexp.MustCompile(`data-page="([0-9a-f-]{36})"`)

// visit sends a page of the product and gives its id.
func (b *bench) visit(t *testing.T, who governance.PersonID, c *http.Cookie) (string, int) {
	t.Helper()
	r := httptest.NewRequest("GET", "/app/settings", nil)
	r = r.WithContext(governance.WithIdentity(t.Context(), b.As(who)))
	r.AddCookie(c)
	w := httptest.NewRecorder()
	b.over.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tag, err := b.svc.Script(r)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		_, _ = w.Write([]byte(tag))
	})).ServeHTTP(w, r)
	if m := pageOf.FindStringSubmatch(w.Body.String()); m != nil {
		return m[1], w.Code
	}
	return "", w.Code
}

func (b *bench) post(t *testing.T, who governance.PersonID, c *http.Cookie, body string) int {
	t.Helper()
	r := httptest.NewRequest("POST", "/recording/chunks", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r = r.WithContext(governance.WithIdentity(t.Context(), b.As(who)))
	r.AddCookie(c)
	w := httptest.NewRecorder()
	b.svc.Handler().ServeHTTP(w, r)
	return w.Code
}

func report(page string, n int, state string, events ...string) string {
	return fmt.Sprintf(`{"page":%q,"tab":"t1","n":%d,"state":%q,"lost":0,"events":[%s]}`, page, n, state, strings.Join(events, ","))
}

const (
	meta = `{"type":4,"timestamp":1790000000000,"data":{"href":"https://x.test/app/settings?token=LEAK-7f3a","width":800,"height":600}}`
	// html 2, body 4, a form with a field 6 and its label's text 8, a masked element 9 with text 10
	whole = `{"type":2,"timestamp":1790000000010,"data":{"node":{"type":0,"id":1,"childNodes":[{"type":1,"id":20,"name":"html"},{"type":2,"id":2,"tagName":"html","attributes":{},"childNodes":[{"type":2,"id":3,"tagName":"head","attributes":{},"childNodes":[]},{"type":2,"id":4,"tagName":"body","attributes":{"class":"x"},"childNodes":[{"type":2,"id":6,"tagName":"input","attributes":{"name":"title"},"childNodes":[]},{"type":2,"id":7,"tagName":"label","attributes":{},"childNodes":[{"type":3,"id":8,"textContent":"Title of it"}]},{"type":2,"id":9,"tagName":"b","attributes":{"data-mask":""},"childNodes":[{"type":3,"id":10,"textContent":"•••"}]}]}]}]},"initialOffset":{"top":0,"left":0}}}`
	typed = `{"type":3,"timestamp":1790000000900,"data":{"source":5,"id":6,"text":"•••","isChecked":false}}`
)

func change(data string) string { return `{"type":3,"timestamp":1790000000500,"data":` + data + `}` }

// stored is every byte that was kept.
func (b *bench) stored(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	require.NoError(t, filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all.Write(raw)
		return err
	}))
	return all.String()
}

// TestTrap43_BrowserMasksAreRechecked: whatever a browser puts a value into, by each
// kind of event, the value is not stored; it is counted and told.
func TestTrap43_BrowserMasksAreRechecked(t *testing.T) {
	t.Parallel()
	el := func(tag, attrs, kids string) string {
		return fmt.Sprintf(`{"source":0,"texts":[],"attributes":[],"removes":[],"adds":[{"parentId":4,"nextId":null,"node":{"type":2,"id":50,"tagName":%q,"attributes":{%s},"childNodes":[%s]}}]}`, tag, attrs, kids)
	}
	text := func(s string) string { return fmt.Sprintf(`{"type":3,"id":51,"textContent":%q}`, s) }
	attr := func(id int, attrs string) string {
		return fmt.Sprintf(`{"source":0,"texts":[],"adds":[],"removes":[],"attributes":[{"id":%d,"attributes":{%s}}]}`, id, attrs)
	}
	leaks := map[string]string{ // what a browser sends, each with a value that counts as one
		"typed":                        change(`{"source":5,"id":6,"text":"LEAK-7f3a","isChecked":false}`),
		"typed into what is not known": change(`{"source":5,"id":999,"text":"LEAK-7f3a","isChecked":true}`),
		"hidden field":                 change(el("input", `"type":"hidden","name":"version","value":"LEAK-7f3a"`, "")),
		"value of a field":             change(el("input", `"name":"note","value":"LEAK-7f3a"`, "")),
		"radio":                        change(el("input", `"type":"radio","value":"LEAK-7f3a","checked":true`, "")),
		"select":                       change(el("select", `"value":"LEAK-7f3a"`, "")),
		"option of a select":           change(el("option", `"value":"LEAK-7f3a","selected":true`, "")),
		"textarea":                     change(el("textarea", ``, text("LEAK-7f3a"))),
		"placeholder":                  change(el("input", `"data-mask":"","placeholder":"LEAK-7f3a"`, "")),
		"aria-label":                   change(el("i", `"data-mask":"","aria-label":"LEAK-7f3a","data-user":"LEAK-7f3a"`, "")),
		"by its name":                  change(el("input", `"name":"iban","title":"LEAK-7f3a"`, "")),
		"masked text":                  change(el("b", `"data-mask":""`, text("LEAK-7f3a"))),
		"inside of what is masked":     change(`{"source":0,"texts":[],"attributes":[],"removes":[],"adds":[{"parentId":9,"nextId":null,"node":{"type":3,"id":52,"textContent":"LEAK-7f3a"}}]}`),
		"inside of what is not known":  change(`{"source":0,"texts":[],"attributes":[],"removes":[],"adds":[{"parentId":777,"nextId":null,"node":{"type":3,"id":53,"textContent":"LEAK-7f3a"}}]}`),
		"text that changes":            change(`{"source":0,"texts":[{"id":10,"value":"LEAK-7f3a"}],"attributes":[],"removes":[],"adds":[]}`),
		"text of nobody":               change(`{"source":0,"texts":[{"id":888,"value":"LEAK-7f3a"}],"attributes":[],"removes":[],"adds":[]}`),
		"attribute of a field":         change(attr(6, `"value":"LEAK-7f3a"`)),
		"attribute of nobody":          change(attr(889, `"title":"LEAK-7f3a"`)),
		"mask taken away":              change(attr(9, `"data-mask":null`)) + "," + change(`{"source":0,"texts":[{"id":10,"value":"LEAK-7f3a"}],"attributes":[],"removes":[],"adds":[]}`),
		"mask put around it":           change(el("p", ``, text("x"))) + "," + change(attr(50, `"data-mask":""`)) + "," + change(`{"source":0,"texts":[{"id":51,"value":"LEAK-7f3a"}],"attributes":[],"removes":[],"adds":[]}`),
		"mask put around its parent":   change(el("p", ``, `{"type":2,"id":55,"tagName":"i","attributes":{},"childNodes":[]}`)) + "," + change(attr(50, `"data-mask":""`)) + "," + change(attr(55, `"title":"LEAK-7f3a"`)),
		"card in plain text":           change(el("p", ``, text("paid with 4111 1111 1111 1111"))),
		"token in a title":             change(el("p", `"title":"Bearer LEAK-7f3aLEAK-7f3a"`, "")),
		"snapshot":                     strings.Replace(whole, `"name":"title"`, `"name":"title","value":"LEAK-7f3a"`, 1),
	}
	silent := map[string]string{ // of these nothing is kept that could hold a value
		"custom":       `{"type":5,"timestamp":1,"data":{"tag":"x","payload":"LEAK-7f3a"}}`,
		"plugin":       `{"type":6,"timestamp":1,"data":{"plugin":"console","payload":["LEAK-7f3a"]}}`,
		"asset":        `{"type":7,"timestamp":1,"data":{"url":"LEAK-7f3a"}}`,
		"annotation":   `{"type":8,"timestamp":1,"data":{"text":"LEAK-7f3a"}}`,
		"ready":        `{"type":0,"timestamp":1,"data":{"x":"LEAK-7f3a"}}`,
		"load":         `{"type":1,"timestamp":1,"data":"LEAK-7f3a"}`,
		"rule":         change(`{"source":8,"id":3,"adds":[{"rule":"a{content:'LEAK-7f3a'}"}]}`),
		"canvas":       change(`{"source":9,"id":3,"type":0,"commands":[{"property":"fillText","args":["LEAK-7f3a"]}]}`),
		"font":         change(`{"source":10,"family":"LEAK-7f3a","fontSource":"x","buffer":false}`),
		"log":          change(`{"source":11,"payload":"LEAK-7f3a"}`),
		"declaration":  change(`{"source":13,"id":3,"index":[0],"set":{"property":"--x","value":"LEAK-7f3a"}}`),
		"adopted":      change(`{"source":15,"id":3,"styleIds":[1],"styles":[{"styleId":1,"rules":[{"rule":"LEAK-7f3a"}]}]}`),
		"element":      change(`{"source":16,"define":{"name":"LEAK-7f3a"}}`),
		"more members": change(`{"source":3,"id":1,"x":1,"y":2,"note":"LEAK-7f3a"}`),
		"pointer":      change(`{"source":1,"positions":[{"x":1,"y":2,"id":4,"timeOffset":0,"note":"LEAK-7f3a"}],"note":"LEAK-7f3a"}`),
		"clicked":      change(`{"source":2,"type":2,"id":6,"x":3,"y":4,"note":"LEAK-7f3a"}`),
		"selection":    change(`{"source":14,"ranges":[{"start":8,"startOffset":0,"end":8,"endOffset":2,"note":"LEAK-7f3a"}]}`),
		"media":        change(`{"source":7,"type":0,"id":4,"note":"LEAK-7f3a"}`),
		"size":         change(`{"source":4,"width":1,"height":2,"note":"LEAK-7f3a"}`),
		"comment":      change(`{"source":0,"texts":[],"attributes":[],"removes":[],"adds":[{"parentId":4,"nextId":null,"node":{"type":5,"id":54,"textContent":"LEAK-7f3a"}}]}`),
		"script":       change(el("script", `"src":"/LEAK-7f3a.js"`, text("LEAK-7f3a"))),
		"handler":      change(el("p", `"onclick":"LEAK-7f3a()","rr_dataURL":"data:LEAK-7f3a"`, "")),
	}
	each(t, false, func(t *testing.T, b *bench) {
		s, c := b.open(t, "dana")
		last := func() browserrec.Chunk {
			all, err := b.svc.Chunks(t.Context(), s.ID)
			require.NoError(t, err)
			return all[len(all)-1]
		}
		for counts, cases := range map[bool]map[string]string{true: leaks, false: silent} {
			for name, e := range cases {
				b.Advance(time.Second)
				page, _ := b.visit(t, "dana", c)
				require.Equal(t, 204, b.post(t, "dana", c, report(page, 1, "open", meta, whole)), name)
				require.Zero(t, last().Masked, "a page that masks as it should is no alarm: %s", name)
				require.Equal(t, 204, b.post(t, "dana", c, report(page, 2, "open", e)), name)
				require.Equal(t, counts, last().Masked > 0, name)
				kept := b.stored(t)
				require.False(t, strings.Contains(kept, "LEAK-7f3a") || strings.Contains(kept, "4111 1111"), name)
			}
		}
		require.Contains(t, b.stored(t), "Title of it")
		alerts, err := b.Kernel.Alerts(t.Context(), governance.AlertFilter{Limit: 50})
		require.NoError(t, err)
		told := 0
		for _, a := range alerts {
			if strings.HasPrefix(a.Key, "impersonation.unmasked:") {
				told++
			}
			require.NotContains(t, a.Body, "LEAK")
		}
		require.Equal(t, 1, told, "one alert for a session, not one for each value")
		for _, bad := range []string{`{"type":2,"timestamp":1,"data":{"node":{"type":9,"id":1}}}`, `{"type":3,"timestamp":1,"data":"x"}`, change(`{"source":5,"id":"x"}`), change(el(`x onload=a`, ``, ``))} {
			page, _ := b.visit(t, "dana", c)
			require.Equal(t, 422, b.post(t, "dana", c, report(page, 1, "open", bad)), bad)
		}
	})
}

// TestService_BoundToTheSession: a report counts for the session of its cookie and for
// a page that was sent in it, in order, once, at a bounded size and rate, and not after
// the end.
func TestService_BoundToTheSession(t *testing.T) {
	t.Parallel()
	each(t, false, func(t *testing.T, b *bench) {
		s, c := b.open(t, "dana")
		_, other := b.open(t, "kim")
		page, code := b.visit(t, "dana", c)
		require.Equal(t, 200, code)
		before, err := b.over.Session(t.Context(), s.ID)
		require.NoError(t, err)
		b.Advance(time.Second)
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 1, "open", meta, whole)))
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 1, "open", meta, whole)), "its answer was lost")
		require.Equal(t, 409, b.post(t, "dana", c, report(page, 1, "open", meta)), "another of the same number")
		require.Equal(t, 404, b.post(t, "kim", other, report(page, 1, "open", meta)), "a page of another session")
		require.Equal(t, 404, b.post(t, "dana", c, report(uuid.NewString(), 1, "open", meta)), "a page that was never sent")
		require.Equal(t, 401, b.post(t, "dana", &http.Cookie{Name: c.Name, Value: "guess"}, report(page, 2, "open", typed)))
		require.Equal(t, 422, b.post(t, "dana", c, `{"page":"`+page+`","tab":"t1","n":-1,"state":"open"}`))
		require.Equal(t, 422, b.post(t, "dana", c, "x"))
		require.Equal(t, 413, b.post(t, "dana", c, report(page, 2, "open", `{"type":0,"timestamp":1,"data":"`+strings.Repeat("x", 256<<10)+`"}`)))
		foreign := httptest.NewRequest("POST", "/recording/chunks", strings.NewReader(report(page, 2, "open", typed)))
		foreign = foreign.WithContext(governance.WithIdentity(t.Context(), b.As("dana")))
		foreign.AddCookie(c)
		foreign.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		b.svc.Handler().ServeHTTP(w, foreign)
		require.Equal(t, 403, w.Code)
		after, err := b.over.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, before.SeenAt, after.SeenAt, "a report does not keep a session from being idle")
		require.Equal(t, before.Requests, after.Requests)

		require.Equal(t, 204, b.post(t, "dana", c, report(page, 4, "open", typed)), "what comes after a loss is kept")
		got, err := b.svc.Replay(t.Context(), s.ID)
		require.NoError(t, err)
		require.Contains(t, got.Pages[0].Gaps, "2 parts of it never came")
		require.Empty(t, got.Problems)

		codes := map[int]int{}
		for range 60 {
			codes[b.post(t, "dana", c, report(page, 0, "open"))]++
		}
		require.NotZero(t, codes[429])
		b.Advance(6 * time.Second)
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 5, "closed")))
		require.Equal(t, 409, b.post(t, "dana", c, report(page, 6, "open", typed)), "a page that was left")

		live, err := b.over.Session(t.Context(), s.ID)
		require.NoError(t, err)
		page, _ = b.visit(t, "dana", c)
		require.NoError(t, b.over.End(t.Context(), b.As("dana"), s.ID, ""))
		require.Equal(t, 401, b.post(t, "dana", c, report(page, 1, "open", meta)), "the session is over")
		require.ErrorIs(t, b.svc.Take(t.Context(), live, b.As("dana"), []byte(report(page, 1, "open", meta))), governance.ErrNotFound, "it ended while the report was under way")
		got, err = b.svc.Replay(t.Context(), s.ID)
		require.NoError(t, err)
		require.Empty(t, got.Problems)
		require.Equal(t, 3, got.Chunks)
	})
}

// TestService_SilencePausesThenEnds: where the report is required, a browser that falls
// silent pauses the session, nothing is shown meanwhile, a report brings it back, and
// one that stays silent is over. Where it is not, there is a gap and an alert.
func TestService_SilencePausesThenEnds(t *testing.T) {
	t.Parallel()
	each(t, true, func(t *testing.T, b *bench) {
		s, c := b.open(t, "dana")
		state := func() oversight.Session {
			got, err := b.over.Session(t.Context(), s.ID)
			require.NoError(t, err)
			return got
		}
		page, _ := b.visit(t, "dana", c)
		b.Advance(14 * time.Second)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.StateActive, state().State)
		b.Advance(time.Second)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.StatePaused, state().State, "a page that never told of itself")
		require.Equal(t, oversight.ByBrowser, state().PausedBy)
		_, code := b.visit(t, "dana", c)
		require.Equal(t, http.StatusServiceUnavailable, code)
		require.NoError(t, b.rec.Recover(t.Context()))
		require.Equal(t, oversight.StatePaused, state().State, "the server's recorder does not bring it back")
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 1, "open", meta, whole)))
		require.Equal(t, oversight.StateActive, state().State)

		b.Advance(10 * time.Second)
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 0, "hidden")), "behind another window it may be silent")
		b.Advance(time.Minute)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.StateActive, state().State)
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 0, "open")))
		b.Advance(15 * time.Second)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.StatePaused, state().State)
		b.Advance(2 * time.Minute)
		require.NoError(t, b.over.Sweep(t.Context()))
		require.Equal(t, oversight.EndBrowser, state().Ended)
		got, err := b.svc.Replay(t.Context(), s.ID)
		require.NoError(t, err)
		require.Contains(t, got.Pages[0].Gaps, "The browser fell silent on this page")
	})
	each(t, false, func(t *testing.T, b *bench) {
		s, c := b.open(t, "dana")
		b.visit(t, "dana", c)
		b.visit(t, "dana", c) // the answer before it was dropped: it is no silence, and is named in the end
		b.Advance(15 * time.Second)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.NoError(t, b.svc.Sweep(t.Context()))
		got, err := b.over.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.StateActive, got.State)
		alerts, err := b.Kernel.Alerts(t.Context(), governance.AlertFilter{Limit: 50})
		require.NoError(t, err)
		told := 0
		for _, a := range alerts {
			if a.Key == "impersonation.browser:"+s.ID.String() {
				told++
			}
		}
		require.Equal(t, 1, told)
		require.NoError(t, b.over.End(t.Context(), b.As("dana"), s.ID, ""))
		rep, err := b.svc.Replay(t.Context(), s.ID)
		require.NoError(t, err)
		for _, p := range rep.Pages {
			require.Equal(t, []string{"The browser told nothing of this page"}, p.Gaps)
		}
	})
}

// TestService_SilentFromPageToPage: a browser that reports nothing is as silent when its
// pages are left before each of them should have told of itself.
func TestService_SilentFromPageToPage(t *testing.T) {
	t.Parallel()
	each(t, true, func(t *testing.T, b *bench) {
		s, c := b.open(t, "dana")
		state := func() oversight.State {
			require.NoError(t, b.svc.Sweep(t.Context()))
			got, err := b.over.Session(t.Context(), s.ID)
			require.NoError(t, err)
			return got.State
		}
		first, _ := b.visit(t, "dana", c)
		for range 4 { // somebody who reads fast, whose pages tell of themselves
			require.Equal(t, 204, b.post(t, "dana", c, report(first, 1, "closed", meta, whole)))
			b.Advance(9 * time.Second)
			first, _ = b.visit(t, "dana", c)
			require.Equal(t, oversight.StateActive, state())
		}
		b.Advance(9 * time.Second)
		dropped, _ := b.visit(t, "dana", c)
		require.NotEmpty(t, dropped)
		require.Equal(t, oversight.StateActive, state())
		last, _ := b.visit(t, "dana", c)
		require.Equal(t, 204, b.post(t, "dana", c, report(last, 1, "closed", meta, whole)), "the answer before it was dropped")
		b.Advance(time.Minute)
		require.Equal(t, oversight.StateActive, state())

		for range 2 { // nothing comes any more, and no page is as old as the silence
			b.visit(t, "dana", c)
			require.Equal(t, oversight.StateActive, state())
			b.Advance(9 * time.Second)
		}
		require.Equal(t, oversight.StatePaused, state())
	})
}

// TestService_AnchoredAndReplayed: every chunk stands in the ledger while the session
// runs, what was changed afterwards is found and not shown, and a page is drawn without
// anything that runs.
func TestService_AnchoredAndReplayed(t *testing.T) {
	t.Parallel()
	each(t, false, func(t *testing.T, b *bench) {
		s, c := b.open(t, "dana")
		page, _ := b.visit(t, "dana", c)
		id := uuid.MustParse(page)
		evil := change(`{"source":0,"texts":[],"attributes":[],"removes":[{"parentId":4,"id":7}],"adds":[{"parentId":4,"nextId":9,"node":{"type":2,"id":60,"tagName":"p","attributes":{"onclick":"a()","style":"color:red"},"childNodes":[{"type":3,"id":61,"textContent":"<script>a()</script> added"}]}},{"parentId":4,"nextId":null,"node":{"type":2,"id":62,"tagName":"iframe","attributes":{"srcdoc":"x"},"childNodes":[]}},{"parentId":3,"nextId":null,"node":{"type":2,"id":63,"tagName":"style","attributes":{},"childNodes":[{"type":3,"id":64,"textContent":"</style><img src=x>"}]}},{"parentId":4,"nextId":null,"node":{"type":2,"id":65,"tagName":"a","attributes":{"href":"javascript:a()"},"childNodes":[]}}]}`)
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 1, "open", meta, whole)))
		records, err := b.rec.Records(t.Context(), s)
		require.NoError(t, err)
		anchored := 0
		for _, r := range records {
			if strings.Contains(string(r.Body), browserrec.ActionChunk) {
				anchored++
			}
			if strings.Contains(string(r.Body), `"impersonation.open"`) {
				require.Contains(t, string(r.Body), `"version":"2.1.6"`, "with what it is recorded stands in the record of its beginning")
				require.Contains(t, string(r.Body), "node_modules/@rrweb/record/dist/record.js")
			}
		}
		require.Equal(t, 1, anchored)
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 2, "open", typed, evil)))
		// Another server, or this one after a restart, knows the page from what is stored.
		k, err := browserrec.OpenKit(kit(t, "2.1.6"))
		require.NoError(t, err)
		first := b.svc
		b.svc, err = browserrec.New(t.Context(), b.over, b.rec, k, nil)
		require.NoError(t, err)
		require.Equal(t, 204, b.post(t, "dana", c, report(page, 3, "closed", change(`{"source":0,"texts":[{"id":10,"value":"later"}],"attributes":[],"removes":[],"adds":[]}`), change(`{"source":2,"type":2,"id":6,"x":30,"y":40}`))))
		require.NoError(t, b.over.End(t.Context(), b.As("dana"), s.ID, ""))
		got, err := first.Replay(t.Context(), s.ID)
		require.NoError(t, err)
		require.Empty(t, got.Problems)
		require.Empty(t, got.Pages[0].Gaps)
		require.Len(t, got.Pages[0].Events, 6)
		require.Equal(t, "Typed or chose, masked", got.Pages[0].Events[2].What)
		begin, err := first.Page(t.Context(), s.ID, id, 2)
		require.NoError(t, err)
		require.Contains(t, begin, "Title of it")
		drawn, err := first.Page(t.Context(), s.ID, id, 6)
		require.NoError(t, err)
		require.NotContains(t, drawn, "Title of it")
		require.NotContains(t, drawn, "later", "masked, although the server did not see the page's beginning")
		require.Contains(t, drawn, "&lt;script&gt;a()&lt;/script&gt; added")
		require.Contains(t, drawn, "left:23px;top:33px")
		require.Less(t, strings.Index(drawn, "added"), strings.Index(drawn, "data-mask"), "it stands where it was put")
		for _, bad := range []string{"<script", "onclick", "<iframe", "<img", "javascript:"} {
			require.NotContains(t, drawn, bad)
		}
		_, err = first.Page(t.Context(), s.ID, id, 7)
		require.ErrorIs(t, err, governance.ErrNotFound)

		found, err := filepath.Glob(filepath.Join(b.dir, "*", "browser", "000002-*"))
		require.NoError(t, err)
		raw, err := os.ReadFile(found[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(found[0], bytes.Replace(raw, []byte("added"), []byte("other"), 1), 0o600))
		got, err = first.Replay(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"browser chunk 2: its bytes are not those that were recorded"}, got.Problems)
		require.Equal(t, got.Problems, got.Pages[0].Gaps)
		require.Len(t, got.Pages[0].Events, 4, "what is sound is there")
		_, err = b.DB.Handle().ExecContext(t.Context(), "DELETE FROM browserrec_chunk WHERE seq = 3")
		require.NoError(t, err)
		got, err = first.Replay(t.Context(), s.ID)
		require.NoError(t, err)
		require.Contains(t, got.Problems, "the ledger knows of a browser chunk 3 that is not there")
		require.Contains(t, got.Problems, "the session ended with 3 browser chunks, there are 2")
	})
}

// TestOpenKit: only a plain release is taken, from that folder alone, and another one
// is written down.
func TestOpenKit(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.0.0-alpha.18", "1.1.3", "3.0.0", "2.1.6 <b>"} {
		_, err := browserrec.OpenKit(kit(t, version))
		require.ErrorContains(t, err, "want a release 2.x", version)
	}
	_, err := browserrec.OpenKit(t.TempDir())
	require.Error(t, err)
	_, err = browserrec.OpenKit("")
	require.Error(t, err)
	out := kit(t, "2.1.6")
	script := filepath.Join(out, "node_modules", "@rrweb", "record", "dist", "record.js")
	require.NoError(t, os.Remove(script))
	require.NoError(t, os.Symlink("/etc/hostname", script))
	_, err = browserrec.OpenKit(out)
	require.Error(t, err, "a link that leads out of the folder")
	each(t, false, func(t *testing.T, b *bench) {
		dir := kit(t, "2.1.7")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "node_modules", "@rrweb", "record", "dist", "record.js"), []byte("export const record = 2;"), 0o600))
		k, err := browserrec.OpenKit(dir)
		require.NoError(t, err)
		for range 2 {
			_, err = browserrec.New(t.Context(), b.over, b.rec, k, nil)
			require.NoError(t, err)
		}
		rows, err := b.Kernel.Ledger().Records(t.Context(), ledger.Filter{AllTenants: true, Search: "impersonation.browser_recorder", Limit: 50})
		require.NoError(t, err)
		require.Len(t, rows, 2, "one for each recorder")
		var body struct {
			Data struct{ Version, Licence string }
		}
		require.NoError(t, json.Unmarshal(rows[0].Body, &body))
		require.Equal(t, "2.1.7", body.Data.Version)
		require.Equal(t, "MIT", body.Data.Licence)
	})
}
