package console

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/evidence/pack"
	"github.com/reevehq/reeve/oversight/recorder"
)

// replayRow is one line of a session's replay: a frame, a gap where one should be, or
// what the ledger says meanwhile.
type replayRow struct {
	Frame   *recorder.FrameInfo
	Gap     *recorder.Gap
	Ledger  *TimelineItem
	At      time.Time
	Current bool
}

type sessionPage struct {
	S           sessionView
	Facts       []Fact
	Frames      []recorder.FrameInfo
	Rows        []replayRow
	Strip       template.HTML
	Observers   []oversight.Observer
	Watch       *Button
	Review      []Field // of the form, for who may review now
	Pending     string  // address of the approval it waits for
	Frame       *recorder.Frame
	N           int
	Prev, Next  int
	FrameFacts  []Fact
	Form        json.RawMessage
	Report      *recorder.Report
	Changed     string // why the recording cannot be replayed
	Timeline    []TimelineItem
	End         bool
	Reason      Field
	Open        *Button
	CanEvidence bool
	Recorded    bool
}

func (p oversightPages) detail(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	s, err := p.svc.Session(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	if err := c.Authorize(oversight.PermissionRead, governance.Target{Tenant: s.Tenant, Resource: governance.RefTo("session", id)}); err != nil {
		return View{}, err
	}
	page := newSessionPage(newSessionView(c, s))
	own := c.Identity.Actor.Person != "" && c.Identity.Actor.Person == s.Actor.Person
	page.End = s.State != oversight.StateEnded && (own || c.Can(oversight.PermissionEnd))
	page.Reason = c.Field(Field{Name: "reason", Label: "Why it ends", MaxLen: 500})
	if own && s.State == oversight.StateReady {
		page.Open = &Button{Text: "Open now", Kind: "primary", Icon: "play", Post: "/sessions/" + id.String() + "/open"}
	}
	if page.Observers, err = p.svc.Observers(c.Context(), id); err != nil {
		return View{}, err
	}
	if s.Live() && !own && c.Can(oversight.PermissionEnd) {
		page.Watch = &Button{Text: "Watch", Icon: "eye", Href: "/sessions/" + id.String() + "/watch"}
	}
	if r := s.Review.State; (r == oversight.ReviewDue || r == oversight.ReviewOverdue) && !own && c.Can(oversight.PermissionReview) {
		page.Review = reviewFields(c)
	}
	if s.State == oversight.StatePending {
		page.Pending = "/approvals/" + id.String()
	}
	if p.rec != nil && !s.OpenedAt.IsZero() {
		if err := p.recording(c, s, &page); err != nil {
			return View{}, err
		}
	}
	v := sessionDetailView(page)
	if page.Recorded && p.opts.Browser != nil {
		v.Actions = append(v.Actions, Button{Text: "In the browser", Icon: "eye", Href: "/sessions/" + id.String() + "/browser"})
	}
	v.Actions = append(v.Actions, evidenceButton(c, pack.KindSession, id)...)
	return v, nil
}

// recording adds frames, the chosen frame, the check against the ledger and the
// timeline. That somebody looks is recorded.
func (p oversightPages) recording(c *Ctx, s oversight.Session, page *sessionPage) error {
	page.Recorded, page.CanEvidence = true, c.Can("ledger:read")
	if err := p.rec.Watch(c.Context(), c.Identity, s); err != nil {
		return err
	}
	records, err := p.rec.Records(c.Context(), s)
	if err != nil {
		return err
	}
	known := people(c)
	names := func(a governance.Actor) string {
		if a.ID == s.Subject.ID && s.Subject.Name != "" {
			return s.Subject.Name
		}
		return known(a)
	}
	for _, r := range records {
		if v, err := governance.ReadRecord(r.Body); err == nil && v.Action != recorder.ActionChunk && v.Action != browserrec.ActionChunk {
			it := sessionItem(v, r.ID, names, c.Can("ledger:read"))
			page.Rows = append(page.Rows, replayRow{Ledger: &it, At: it.At})
			page.Timeline = append(page.Timeline, it)
		}
	}
	slices.Reverse(page.Timeline)
	got, err := p.rec.Replay(c.Context(), s.ID)
	if err != nil {
		return err
	}
	page.Report, page.Frames = &got.Report, got.Frames
	n, err := strconv.Atoi(cmp.Or(c.Query("frame"), "0"))
	if err != nil || n < 0 {
		return governance.ErrNotFound
	}
	if n == 0 && len(got.Frames) > 0 {
		n = got.Frames[0].N
	}
	page.lay(n)
	if n == 0 {
		if len(got.Report.Gaps) > 0 {
			page.Changed = "Nothing of it can be shown."
		}
		return nil
	}
	f, err := p.rec.Frame(c.Context(), s.ID, n)
	if errors.Is(err, recorder.ErrTampered) {
		page.Changed = "This part is missing or was changed, so nothing of it is shown."
		return nil
	}
	if err != nil {
		return err
	}
	page.choose(f, n)
	return nil
}

// lay puts frames, gaps and ledger lines into one order and draws them.
func (page *sessionPage) lay(current int) {
	last := page.S.OpenedAt
	gaps := page.Report.Gaps
	gapsAfter := func(n int) {
		for len(gaps) > 0 && gaps[0].After <= n {
			at := gaps[0].From
			if at.IsZero() {
				at = last
			}
			page.Rows = append(page.Rows, replayRow{Gap: &gaps[0], At: at})
			gaps = gaps[1:]
		}
	}
	for i := range page.Frames {
		f := &page.Frames[i]
		gapsAfter(f.N - 1)
		page.Rows = append(page.Rows, replayRow{Frame: f, At: f.At, Current: f.N == current})
		last = f.At
	}
	gapsAfter(1 << 30)
	slices.SortStableFunc(page.Rows, func(a, b replayRow) int { return a.At.Compare(b.At) })
	page.Strip = strip(page.Rows, page.S.Session)
}

// strip draws a session along its time: what was shown above, what the ledger says
// below, and gaps over both. The table beside it says the same.
func strip(rows []replayRow, s oversight.Session) template.HTML {
	if len(rows) == 0 {
		return ""
	}
	from, until := s.OpenedAt, s.OpenedAt
	for _, r := range rows {
		until = later(until, r.At)
		if r.Gap != nil {
			until = later(until, r.Gap.Until)
		}
	}
	span := max(until.Sub(from), time.Second)
	x := func(t time.Time) int { return int(max(0, min(990, 990*t.Sub(from)/span))) }
	var b strings.Builder
	frames, lines, gaps := 0, 0, 0
	for _, r := range rows {
		switch {
		case r.Gap != nil:
			gaps++
			left := x(r.At)
			fmt.Fprintf(&b, `<rect class="r-gap" x="%d" y="0" width="%d" height="40"/>`, left, max(8, x(later(r.At, r.Gap.Until))-left))
		case r.Frame != nil:
			frames++
			class := "r-frame"
			if r.Current {
				class = "r-frame now"
			}
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="2" width="6" height="20"/>`, class, x(r.At))
		default:
			lines++
			fmt.Fprintf(&b, `<rect class="r-line" x="%d" y="28" width="4" height="10"/>`, x(r.At))
		}
	}
	label := fmt.Sprintf("%s, %s of the ledger and %s over %s", plural(int64(frames), "frame", "frames"), plural(int64(lines), "line", "lines"), plural(int64(gaps), "gap", "gaps"), FormatDuration(span))
	return template.HTML(`<svg class="replay-strip" width="100%" height="40" viewBox="0 0 1000 40" preserveAspectRatio="none" role="img" aria-label="` + template.HTMLEscapeString(label) + `">` + b.String() + `</svg>`) //nolint:gosec // numbers and an escaped label
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (page *sessionPage) choose(f recorder.Frame, n int) {
	page.Frame, page.N = &f, n
	for i, have := range page.Frames {
		if have.N != n {
			continue
		}
		if i > 0 {
			page.Prev = page.Frames[i-1].N
		}
		if i+1 < len(page.Frames) {
			page.Next = page.Frames[i+1].N
		}
	}
	page.FrameFacts = []Fact{{Label: "Request", Value: f.Method + " " + f.Path, Mono: true}, {Label: "Answer", Value: strconv.Itoa(f.Status)}, {Label: "When", At: f.At},
		{Label: "Took", Value: FormatDuration(time.Duration(f.TookMillis) * time.Millisecond)}, {Label: "Size", Value: FormatBytes(f.Size)}, {Label: "SHA-256", Value: f.SHA256, Mono: true}}
	if f.Remasked > 0 {
		page.FrameFacts = append(page.FrameFacts, Fact{Label: "Masked at storing", Value: FormatInt(int64(f.Remasked))})
	}
	if f.Location != "" {
		page.FrameFacts = append(page.FrameFacts, Fact{Label: "Led to", Value: f.Location, Mono: true})
	}
	sent := map[string]any{}
	if len(f.Query) > 0 {
		sent["query"] = f.Query
	}
	if len(f.Form) > 0 {
		sent["form"] = f.Form
	}
	if len(sent) > 0 {
		page.Form, _ = json.Marshal(sent) // maps of strings always encode
	}
}

func sessionItem(v governance.RecordView, id uuid.UUID, names func(governance.Actor) string, link bool) TimelineItem {
	it := TimelineItem{At: v.At, Title: Humanize(v.Action), Text: v.Reason, Actor: names(v.Actor), Icon: actionIcon(v.Action)}
	if v.Subject != nil {
		it.Actor += " as " + names(*v.Subject)
	}
	if link {
		it.Href = "/ledger/" + id.String()
	}
	switch v.Outcome {
	case governance.OutcomeDone, governance.OutcomeObserved:
	case governance.OutcomeHeld:
		it.Tone, it.Status = ToneWarn, string(v.Outcome)
	default:
		it.Tone, it.Status = ToneDanger, string(v.Outcome)
	}
	return it
}

func newSessionPage(s sessionView) sessionPage {
	p := sessionPage{S: s}
	p.Facts = []Fact{{Label: "Actor", Value: s.Who}, {Label: "Works as", Value: s.For}, {Label: "Tenant", Value: s.TenantName, Href: "/tenants/" + string(s.Tenant)},
		{Label: "Reach", Value: map[oversight.Scope]string{oversight.ReadOnly: "Read only", oversight.ReadWrite: "Read and change"}[s.Scope]},
		{Label: "Reason", Value: s.Reason}, {Label: "Ticket", Value: s.Ticket}, {Label: "Asked", At: s.CreatedAt}}
	if s.State == oversight.StateReady {
		p.Facts = append(p.Facts, Fact{Label: "Open by", At: s.OpenBy})
	}
	if !s.OpenedAt.IsZero() {
		p.Facts = append(p.Facts, Fact{Label: "Opened", At: s.OpenedAt}, Fact{Label: "Ends at the latest", At: s.ExpiresAt}, Fact{Label: "Last request", At: s.SeenAt})
	}
	if s.State == oversight.StateEnded {
		p.Facts = append(p.Facts, Fact{Label: "Ended", At: s.EndedAt}, Fact{Label: "Because", Value: endedText(s.Ended)}, Fact{Label: "By", Value: s.EndedBy, Mono: true})
	}
	if s.Observer {
		p.Facts = append(p.Facts, Fact{Label: "Watched", Value: "Somebody has to"})
	}
	if r := s.Review; r.State != "" {
		p.Facts = append(p.Facts, Fact{Label: "Review", Value: Humanize(string(r.State))}, Fact{Label: "Review by", At: r.Due})
		if r.State == oversight.Reviewed {
			p.Facts = append(p.Facts, Fact{Label: "Found", Value: Humanize(string(r.Verdict))}, Fact{Label: "Reviewer", Value: r.By, Mono: true}, Fact{Label: "Note", Value: r.Note})
		}
	}
	p.Facts = append(p.Facts, Fact{Label: "Requests", Value: FormatInt(s.Requests)}, Fact{Label: "Refused", Value: FormatInt(s.Blocked)})
	return p
}

func endedText(r oversight.EndReason) string {
	switch r {
	case oversight.EndStopped:
		return "The actor ended it"
	case oversight.EndKilled:
		return "Somebody else ended it"
	case oversight.EndExpired:
		return "Its time was up"
	case oversight.EndIdle:
		return "Nothing was done for too long"
	case oversight.EndUnopened:
		return "It was not opened in time"
	case oversight.EndRevoked:
		return "The actor may not impersonate any more"
	case oversight.EndChanged:
		return "Somebody else used it"
	case oversight.EndRecorder:
		return "What was shown could not be recorded"
	case oversight.EndBrowser:
		return "The browser did not report what happened in it"
	case oversight.EndObserver:
		return "Nobody watched it"
	case oversight.EndRefused:
		return "It was never allowed"
	case oversight.EndGone:
		return "The user is not there any more"
	}
	return string(r)
}

func sessionDetailView(page sessionPage) View {
	s := page.S
	return View{Title: s.Who + " as " + s.For, Badge: string(s.State), Frames: true, Template: "oversight_session", Data: page,
		Crumbs: []Crumb{{"Sessions", "/sessions"}, {ShortID(s.ID.String()), ""}}}
}

// frame serves one recorded page, in which nothing runs, for the frame of detail.
func (p oversightPages) frame(c *Ctx, w http.ResponseWriter) error {
	id, err := c.UUID("id")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(c.Path("n"))
	if err != nil {
		return governance.ErrNotFound
	}
	s, err := p.svc.Session(c.Context(), id)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Authorize(oversight.PermissionRead, governance.Target{Tenant: s.Tenant}), p.rec.Watch(c.Context(), c.Identity, s)); err != nil {
		return err
	}
	f, err := p.rec.Frame(c.Context(), id, n)
	if err != nil {
		return err
	}
	return recorder.WriteReplay(w, f)
}

func (p oversightPages) evidence(c *Ctx, w http.ResponseWriter) error {
	id, err := c.UUID("id")
	if err != nil {
		return err
	}
	e, err := p.rec.Evidence(c.Context(), c.Identity, id)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("evidence of session %s: %w", id, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="session-`+id.String()+`.json"`)
	_, err = w.Write(raw)
	return err
}
