package console

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/recorder"
)

// browserPage is what a session's browser told, one page of the product at a time.
type browserPage struct {
	S          sessionView
	Pages      []browserrec.Page
	Page       browserrec.Page
	N          int
	Prev, Next int
	What       string
	Rows       []replayRow
	Strip      template.HTML
	Problems   []string
	Masked     int64
	Cut        bool
}

// mostEvents of a page are listed; all can be drawn.
const mostEvents = 1000

func (p oversightPages) browserSession(c *Ctx) (oversight.Session, error) {
	id, err := c.UUID("id")
	if err != nil {
		return oversight.Session{}, err
	}
	s, err := p.svc.Session(c.Context(), id)
	if err != nil {
		return s, err
	}
	if err := c.Authorize(oversight.PermissionRead, governance.Target{Tenant: s.Tenant, Resource: governance.RefTo("session", id)}); err != nil {
		return s, err
	}
	return s, p.rec.Watch(c.Context(), c.Identity, s)
}

func (p oversightPages) browser(c *Ctx) (View, error) {
	s, err := p.browserSession(c)
	if err != nil {
		return View{}, err
	}
	got, err := p.opts.Browser.Replay(c.Context(), s.ID)
	if err != nil {
		return View{}, err
	}
	page := browserPage{S: newSessionView(c, s), Pages: got.Pages, Problems: got.Problems, Masked: got.Masked}
	if len(got.Pages) == 0 {
		return browserView(page), nil
	}
	page.Page = got.Pages[0]
	if want := c.Query("page"); want != "" {
		i := slices.IndexFunc(got.Pages, func(x browserrec.Page) bool { return x.ID.String() == want })
		if i < 0 {
			return View{}, governance.ErrNotFound
		}
		page.Page = got.Pages[i]
	}
	n, err := strconv.Atoi(cmp.Or(c.Query("n"), "0"))
	if err != nil || n < 0 || n > len(page.Page.Events) {
		return View{}, governance.ErrNotFound
	}
	records, err := p.rec.Records(c.Context(), s)
	if err != nil {
		return View{}, err
	}
	known := people(c)
	var lines []replayRow
	for _, r := range records {
		if v, err := governance.ReadRecord(r.Body); err == nil && v.Action != recorder.ActionChunk && v.Action != browserrec.ActionChunk {
			it := sessionItem(v, r.ID, known, c.Can("ledger:read"))
			lines = append(lines, replayRow{Ledger: &it, At: it.At})
		}
	}
	page.lay(n, lines)
	return browserView(page), nil
}

// lay puts a page's events, its gaps and the lines of the ledger into one order.
func (page *browserPage) lay(n int, lines []replayRow) {
	x := page.Page
	if n == 0 { // the first that shows something
		n = min(2, len(x.Events))
	}
	page.N = n
	if n > 1 {
		page.Prev = n - 1
	}
	if n < len(x.Events) {
		page.Next = n + 1
	}
	last := x.At
	for i, e := range x.Events {
		if e.N == n {
			page.What = e.What
		}
		last = later(last, e.At)
		if i >= mostEvents {
			page.Cut = true
			continue
		}
		page.Rows = append(page.Rows, replayRow{Frame: &recorder.FrameInfo{N: e.N, At: e.At, Path: e.What}, At: e.At, Current: e.N == n})
	}
	for _, g := range x.Gaps {
		page.Rows = append(page.Rows, replayRow{Gap: &recorder.Gap{Kind: recorder.GapMissing, From: last, Until: last.Add(time.Second), Text: g}, At: last})
	}
	for _, l := range lines {
		if !l.At.Before(x.At.Add(-time.Second)) && !l.At.After(last.Add(time.Minute)) {
			page.Rows = append(page.Rows, l)
		}
	}
	slices.SortStableFunc(page.Rows, func(a, b replayRow) int { return a.At.Compare(b.At) })
	s := page.S.Session
	s.OpenedAt = x.At
	page.Strip = strip(page.Rows, s)
}

func browserView(page browserPage) View {
	return View{Title: "In the browser: " + page.S.Who + " as " + page.S.For, Badge: string(page.S.State), Frames: true, Template: "oversight_browser", Data: page,
		Crumbs: []Crumb{{"Sessions", "/sessions"}, {ShortID(page.S.ID.String()), "/sessions/" + page.S.ID.String()}, {"In the browser", ""}}}
}

// browserFrame draws a page at a moment, without any script.
func (p oversightPages) browserFrame(c *Ctx, w http.ResponseWriter) error {
	s, err := p.browserSession(c)
	if err != nil {
		return err
	}
	page, perr := uuid.Parse(c.Path("page"))
	n, nerr := strconv.Atoi(c.Path("n"))
	if errors.Join(perr, nerr) != nil {
		return governance.ErrNotFound
	}
	drawn, err := p.opts.Browser.Page(c.Context(), s.ID, page, n)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", recorder.ReplayPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if _, err := io.WriteString(w, drawn); err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	return nil
}
