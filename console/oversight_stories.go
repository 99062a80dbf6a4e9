package console

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/recorder"
)

func oversightStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	id := uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f")
	s := oversight.Session{ID: id, Tenant: "acme", User: "u1", Actor: governance.Actor{ID: "user:dana", Name: "Dana Weiss"}, Subject: governance.Actor{ID: "product:u1", Name: "Olga Admin"},
		Scope: oversight.ReadWrite, Reason: "The list of documents is empty for her", Ticket: "HELP-120", State: oversight.StateActive, Requests: 12, Blocked: 1,
		CreatedAt: at.Add(-time.Hour), OpenedAt: at.Add(-10 * time.Minute), ExpiresAt: at.Add(20 * time.Minute), SeenAt: at}
	v := sessionView{s, "Dana Weiss", "Olga Admin", "Acme GmbH"}
	ended, ready, paused := v, v, v
	ended.State, ended.Ended, ended.EndedBy, ended.EndedAt = oversight.StateEnded, oversight.EndKilled, "user:kim", at
	ended.TenantName, ended.Reason = "شركة أكمي للتجارة", strings.Repeat("long reason ", 40)
	ready.State, ready.OpenBy = oversight.StateReady, at.Add(time.Hour)
	paused.State, paused.PausedWhy = oversight.StatePaused, "the recorder could not store what was shown"
	empty := sessionListPage{Empty: Empty{Icon: "session", Title: "Nobody worked as a customer yet", Text: "A session is opened from a tenant's page."}}

	detail := func(v sessionView, change func(p *sessionPage)) View {
		p := newSessionPage(v)
		p.Reason = Field{Name: "reason", Label: "Why it ends"}
		p.Recorded = true
		p.Report = &recorder.Report{Frames: 2, Requests: 2, Problems: []string{}}
		if change != nil {
			change(&p)
		}
		return sessionDetailView(p)
	}
	frames := func(p *sessionPage) {
		p.Frames = []recorder.FrameInfo{{N: 1, At: at, Method: "GET", Path: "/app/documents", Status: 200, ContentType: "text/html", Size: 4200, Shown: true, Chunk: 1},
			{N: 4, At: at.Add(time.Minute), Method: "POST", Path: "/app/documents/" + strings.Repeat("d", 120), Status: 303, Chunk: 2}}
		p.Rows = []replayRow{{Ledger: &TimelineItem{At: at, Icon: "eye", Title: "Impersonation open", Actor: "Dana Weiss as Olga Admin", Href: "/ledger/x"}, At: at}}
		p.lay(1)
		p.choose(recorder.Frame{At: at, Method: "POST", Path: "/app/documents", Status: 200, TookMillis: 12, Size: 4200, SHA256: "sha256:9f2c", Form: map[string][]string{"title": {"New"}, "password": {recorder.Masked}}}, 1)
		p.End, p.CanEvidence = true, true
		p.Timeline = []TimelineItem{{At: at, Icon: "eye", Title: "Impersonation open", Actor: "Dana Weiss as Olga Admin", Href: "/ledger/x"}, {At: at, Icon: "eye", Title: "Impersonation request", Status: "denied", Tone: ToneDanger, Actor: "Dana Weiss as Olga Admin"}}
	}
	user := Field{Name: "user", Label: "User", Kind: "select", Required: true, Options: []Option{{"u1", "Olga Admin (admin)"}}}
	bare := &Ctx{R: &http.Request{Method: http.MethodGet}}
	form := sessionStartPage{Tenant: "acme", Name: "Acme GmbH", Fields: startFields(bare, user, 30)}
	none := sessionStartPage{Tenant: "acme", Name: "Acme GmbH", NoUser: true}

	card := wallCard{sessionView: v, Frame: 3, Left: "12m30s", Observers: []string{"Kim Root"}, Kill: true}
	unwatched, broken := card, card
	unwatched.sessionView, unwatched.Frame, unwatched.Observers, unwatched.Own = paused, 0, nil, true
	unwatched.PausedBy, unwatched.PausedWhy, unwatched.GraceAt = oversight.ByObserver, "nobody watches, and somebody has to", at.Add(time.Minute)
	broken.Frame, broken.Broken = 0, "Its recording is missing or was changed."
	pending := v
	pending.State, pending.OpenedAt = oversight.StatePending, time.Time{}
	late := ended
	late.Review = oversight.Review{State: oversight.ReviewOverdue, Due: at.Add(-time.Hour)}
	access := oversight.Access{Session: id, Staff: "Dana Weiss", User: "u1", Name: "Olga Admin", Scope: oversight.ReadWrite, Reason: "The list of documents is empty for her", Ticket: "HELP-120", From: at, Until: at.Add(time.Minute), Requests: 12, Blocked: 1}
	act := oversight.Act{ID: id, Action: oversight.ActionCredit, Tenant: "acme", Actor: s.Actor, Reason: "Outage on Monday", Measures: []governance.Measure{{Unit: "EUR.cent", Value: 70_000}}, Effect: governance.Hold, Over: true,
		Meters: []oversight.Meter{{Policy: "credit-24h", Unit: "EUR.cent", Before: 40_000, Amount: 70_000, Max: 100_000, Window: governance.Duration{Duration: 24 * time.Hour}, Exceeds: true}}, State: governance.StatePending, At: at}
	inside := act
	inside.Action, inside.Effect, inside.Over, inside.State, inside.Subject, inside.SessionID = oversight.ActionPlan, governance.Allow, false, governance.StateExecuted, &s.Subject, id.String()
	told := browserrec.Page{ID: id, Path: "/app/documents", At: at, State: "gone", Gaps: []string{"The browser fell silent on this page"},
		Events: []browserrec.Event{{N: 1, At: at, What: "Opened /app/documents, 1280 by 720"}, {N: 2, At: at.Add(time.Second), What: "The whole page"}, {N: 3, At: at.Add(time.Minute), What: "Typed or chose, masked"}}}
	inBrowser := browserPage{S: ended, Pages: []browserrec.Page{told}, Page: told, Masked: 2, Problems: []string{"browser chunk 2 is missing"}}
	inBrowser.lay(2, []replayRow{{Ledger: &TimelineItem{At: at, Icon: "eye", Title: "Impersonation request", Status: "denied", Href: "/ledger/x"}, At: at.Add(2 * time.Second)}})
	filters := actFilters("", "", "", "")
	return []Story{
		{Name: "sessions, first use", View: sessionListView(empty)},
		{Name: "sessions, live and past", View: sessionListView(sessionListPage{Pending: []sessionView{pending}, Reviews: 2, Live: []sessionView{v, paused, ready}, Past: []sessionView{ended}, Pager: Pager{Next: "/sessions?cursor=x"}})},
		{Name: "session, live with its recording", View: detail(v, frames)},
		{Name: "session, nothing recorded yet", View: detail(v, nil)},
		{Name: "session, paused", View: detail(paused, nil)},
		{Name: "session, ready", View: detail(ready, func(p *sessionPage) {
			p.Open = &Button{Text: "Open now", Kind: "primary", Post: "/sessions/x/open"}
		})},
		{Name: "session, ended, recording changed", View: detail(ended, func(p *sessionPage) {
			p.Report.Gaps = []recorder.Gap{{Kind: recorder.GapAltered, Chunk: 2, After: 1, Frames: 2, From: at, Until: at.Add(30 * time.Second), Text: "chunk 2: its bytes are not those that were recorded"}}
			p.Report.Problems, p.Changed = []string{"chunk 2: its bytes are not those that were recorded"}, "This part is missing or was changed, so nothing of it is shown."
			frames(p)
		})},
		{Name: "session, right to left", RTL: true, View: detail(ended, frames)},
		{Name: "session, waits for approval", View: detail(pending, func(p *sessionPage) { p.Recorded, p.Report, p.Pending = false, nil, "/approvals/x" })},
		{Name: "session, to be reviewed", View: detail(late, func(p *sessionPage) { p.Review = reviewFields(bare) })},
		{Name: "browser, nothing told", View: browserView(browserPage{S: ended})},
		{Name: "browser, with a gap", View: browserView(inBrowser)},
		{Name: "wall, nobody", View: wallView(wallPage{Empty: Empty{Icon: "eye", Title: "Nobody works as a customer now"}})},
		{Name: "wall, watched, paused and broken", View: wallView(wallPage{Cards: []wallCard{card, unwatched, broken}})},
		{Name: "watch, present", View: watchView(watchPage{wallCard: card, Present: true, For: "1m0s", Reason: Field{Name: "reason", Label: "Why it ends"}})},
		{Name: "watch, not yet", View: watchView(watchPage{wallCard: broken, For: "1m0s", Reason: Field{Name: "reason", Label: "Why it ends"}})},
		{Name: "watch, over", View: watchView(watchPage{wallCard: wallCard{sessionView: ended}, Over: true})},
		{Name: "reviews, none", View: reviewsView(reviewsPage{Empty: Empty{Icon: "check", Title: "No review is due"}})},
		{Name: "reviews, overdue", View: reviewsView(reviewsPage{Rows: []sessionView{late}})},
		{Name: "staff access, none", View: View{Title: "Staff access", Template: "oversight_access", Data: accessPage{nil, accessEmpty()}}},
		{Name: "staff access, rows", View: View{Title: "Staff access", Template: "oversight_access", Data: accessPage{[]oversight.Access{access}, accessEmpty()}}},
		{Name: "start, sign in again", View: sessionStartView(sessionStartPage{Tenant: "acme", Name: "Acme GmbH", SignIn: "/console/signin"})},
		{Name: "start, form", View: sessionStartView(form)},
		{Name: "start, no reason given", View: sessionStartView(sessionStartPage{Tenant: "acme", Name: "Acme GmbH", Fields: startFields(&Ctx{R: bare.R, errs: []FieldError{{"reason", "is required"}}}, user, 30)}), Errors: []FieldError{{"reason", "is required"}}},
		{Name: "start, tenant without users", View: sessionStartView(none)},
		{Name: "acts, first use", View: actListView(actListPage{Filters: filters, Empty: Empty{Icon: "shield", Title: "Nothing sensitive was done yet"}})},
		{Name: "acts, none match", View: actListView(actListPage{Filters: filters, Empty: Empty{Icon: "search", Title: "No action matches", Action: &Button{Text: "Clear filters", Href: "/acts"}}})},
		{Name: "acts, rows", View: actListView(actListPage{Filters: filters, Now: []Meter{{Label: "credit-24h", Used: 40_000, Max: 100_000, Text: "Credits of a tenant: €400.00 of €1,000.00 in 24 h"}}, Rows: []actRow{newActRow(act), newActRow(inside)}})},
	}
}
