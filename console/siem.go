package console

import (
	"context"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight/siem"
)

// SIEM is the page that says how the copies of the log stand.
func SIEM(svc *siem.Service) Section {
	p := siemPages{svc}
	return Section{
		Name: "siem",
		Nav:  []NavItem{{Group: GroupOversight, Order: 45, Title: "Log export", Path: "/siem", Icon: "delivery", Permission: siem.PermissionRead, Count: p.troubled}},
		Routes: []Route{
			{Pattern: "GET /siem", Permission: siem.PermissionRead, Page: p.list},
			{Pattern: "POST /siem/{name}/pause", Permission: siem.PermissionWrite, Post: p.pause, Back: p.list},
			{Pattern: "POST /siem/{name}/resume", Permission: siem.PermissionWrite, Post: p.resume, Back: p.list},
		},
		Stories: siemStories(),
	}
}

type siemPages struct{ svc *siem.Service }

// troubled counts the sinks that somebody should look at.
func (p siemPages) troubled(c *Ctx) (int, error) {
	sts, err := p.svc.Statuses(c.Context())
	n := 0
	for _, st := range sts {
		if st.State == siem.Paused || st.State == siem.Active && st.Failures > 0 {
			n++
		}
	}
	return n, err
}

type sinkView struct {
	siem.Status
	Health  string // a word that the status pill knows
	Behind  string
	CanTurn bool
	Reason  Field
}

type siemPage struct {
	Sinks []sinkView
	Empty Empty
}

func newSinkView(c *Ctx, st siem.Status, may bool) sinkView {
	v := sinkView{Status: st, Health: "healthy", CanTurn: may && st.State != siem.Removed, Behind: "nothing waits"}
	switch {
	case st.State == siem.Removed:
		v.Health, v.Behind = "archived", "not in the settings any more"
	case st.State == siem.Paused:
		v.Health = "paused"
	case st.Failures > 0:
		v.Health = "failed"
	case st.SentAt.IsZero():
		v.Health = "waiting"
	}
	if st.Lag > 0 && st.State != siem.Removed {
		v.Behind = "the first waits for " + st.Oldest.Truncate(time.Second).String()
	}
	v.Reason = Field{Name: reasonField(st.Name), Label: "Reason", Required: true, MaxLen: 500}
	if c != nil {
		v.Reason = c.Field(v.Reason)
	}
	return v
}

func (p siemPages) list(c *Ctx) (View, error) {
	sts, err := p.svc.Statuses(c.Context())
	page := siemPage{Empty: Empty{Icon: "delivery", Title: "The log is copied nowhere", Text: "Name a file, a syslog server or an address in the settings of the server."}}
	for _, st := range sts {
		page.Sinks = append(page.Sinks, newSinkView(c, st, c.Can(siem.PermissionWrite)))
	}
	return siemView(page), err
}

func siemView(p siemPage) View {
	return View{Title: "Log export", Lead: "Where the ledger and the alerts are copied to, for those who watch security. Every record arrives once at least, in the order of the log.", Template: "siem", Data: p}
}

// reasonField is unique on the page, as its input's id must be.
func reasonField(sink string) string { return "reason-" + sink }

func (p siemPages) pause(c *Ctx) (Done, error) {
	return p.turn(c, p.svc.Pause, Done{To: "/siem", Flash: "Paused. Records wait until it is resumed.", Tone: ToneWarn})
}

func (p siemPages) resume(c *Ctx) (Done, error) {
	return p.turn(c, p.svc.Resume, Done{To: "/siem", Flash: "Resumed. What waited goes first."})
}

func (p siemPages) turn(c *Ctx, act func(context.Context, governance.Identity, string, *governance.DoOptions) (governance.Outcome, error), done Done) (Done, error) {
	name := c.Path("name")
	reason := c.Form(reasonField(name))
	if reason == "" || len(reason) > 500 {
		return Done{}, governance.Invalid(reasonField(name), "is required, at most 500 bytes")
	}
	_, err := act(c.Context(), c.Identity, name, &governance.DoOptions{Key: c.Key(), Reason: reason})
	return done, err
}

func siemStories() []Story {
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	ok := siem.Status{Name: "file", Kind: "file", Target: "/var/log/reeve/ocsf.jsonl", State: siem.Active, Next: 4182, SentAt: at}
	bad := siem.Status{Name: "syslog", Kind: "syslog", Target: "tls://" + strings.Repeat("collector.", 12) + "example:6514", State: siem.Active, Next: 4000, Lag: 182, Oldest: 47 * time.Minute, Failures: 9,
		Error: "dial tcp: connection refused <b>", NextTry: at.Add(time.Minute), SentAt: at.Add(-time.Hour)}
	paused := siem.Status{Name: "http", Kind: "http", Target: "https://siem.example", State: siem.Paused, Next: 12, Lag: 4170, Oldest: 30 * time.Hour, PausedBy: "user:dana", PausedWhy: "The collector moves", PausedAt: at}
	gone := siem.Status{Name: "old", Kind: "file", Target: "/tmp/old", State: siem.Removed, Next: 7, Lag: 4175}
	fresh := siem.Status{Name: "fresh", Kind: "file", Target: "/tmp/fresh", State: siem.Active}
	view := func(may bool, sts ...siem.Status) View {
		p := siemPage{Empty: Empty{Icon: "delivery", Title: "The log is copied nowhere"}}
		for _, st := range sts {
			p.Sinks = append(p.Sinks, newSinkView(nil, st, may))
		}
		return siemView(p)
	}
	return []Story{
		{Name: "log export, nowhere", View: view(true)},
		{Name: "log export, every state", View: view(true, ok, bad, paused, gone, fresh)},
		{Name: "log export, may only look", View: view(false, ok, bad, paused)},
		{Name: "log export, right to left", View: view(true, ok, paused), RTL: true},
	}
}
