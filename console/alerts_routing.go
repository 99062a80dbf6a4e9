package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alertroute"
)

func alertRoutingRoutes() []Route {
	return []Route{
		{Pattern: "GET /alerts/silences", Permission: "alert:read", Page: silenceList},
		{Pattern: "GET /alerts/silences/new", Permission: "alert:silence", Page: silenceForm},
		{Pattern: "POST /alerts/silences/new", Permission: "alert:silence", Post: silencePut, Back: silenceForm},
		{Pattern: "POST /alerts/silences/{id}/end", Permission: "alert:silence", Post: silenceEnd},
		{Pattern: "GET /alerts/deliveries", Permission: "alert:read", Page: alertDeliveryList},
		{Pattern: "POST /alerts/deliveries/{id}/resend", Permission: "alert:ack", Post: alertResend},
		{Pattern: "GET /alerts/routes", Permission: "alert:read", Page: alertRoutesPage},
		{Pattern: "GET /alerts/routes/edit", Permission: "alert:route", Page: alertRoutesEdit},
		{Pattern: "POST /alerts/routes/edit", Permission: "alert:route", Post: alertRoutesPut, Back: alertRoutesEdit},
	}
}

type silenceRow struct {
	governance.StoredSilence
	What   string
	Stands bool
	CanEnd bool
}

type silencePage struct {
	Rows  []silenceRow
	Empty Empty
}

func silenceList(c *Ctx) (View, error) {
	ss, err := c.Kernel().Silences(c.Context(), true)
	if err != nil {
		return View{}, err
	}
	v := silenceView(ss, c.Kernel().Now(), c.Can("alert:silence"))
	if c.Can("alert:silence") {
		v.Actions = []Button{{Text: "Silence alerts", Href: "/alerts/silences/new"}}
	}
	return v, nil
}

func silenceView(ss []governance.StoredSilence, now time.Time, can bool) View {
	page := silencePage{Empty: Empty{Icon: "bell", Title: "Nothing is silenced", Text: "A silence keeps alerts from the notifiers for a while. They stay in the list, and are told when it ends."}}
	for _, s := range ss {
		stands := s.Until.After(now)
		page.Rows = append(page.Rows, silenceRow{s, matchSays(s.Match, "information and warnings"), stands, stands && can})
	}
	return View{Title: "Silences", Lead: "That alerts do not arrive, and that somebody broke the glass, is told whatever stands here.", Crumbs: []Crumb{{"Alerts", "/alerts"}, {"Silences", ""}},
		Template: "alerts_silences", Data: page, Tabs: alertTabs("Silences")}
}

// matchSays puts a match into words; every says what no severity means.
func matchSays(m alertroute.Match, every string) string {
	out := every
	if len(m.Severities) > 0 {
		out = strings.Join(m.Severities, ", ")
	}
	if len(m.Keys) > 0 {
		out += " whose key begins " + strings.Join(m.Keys, " or ")
	}
	if len(m.Tenants) > 0 {
		out += " of " + strings.Join(m.Tenants, ", ")
	}
	return out
}

type silenceFormPage struct {
	Key, Tenant, Severity, Hours, Reason Field
}

var silenceHours = []Option{{"1", "1 hour"}, {"4", "4 hours"}, {"24", "1 day"}, {"168", "7 days"}, {"720", "30 days"}}

func silenceForm(c *Ctx) (View, error) {
	return silenceFormView(c, c.Query("key"), c.Query("tenant")), nil
}

func silenceFormView(c *Ctx, key, tenant string) View {
	return View{Title: "Silence alerts", Lead: "They stay in the list. What is still open when the silence ends is told then.", Narrow: true,
		Crumbs: []Crumb{{"Alerts", "/alerts"}, {"Silences", "/alerts/silences"}, {"New", ""}}, Template: "alerts_silence_form",
		Data: silenceFormPage{
			Key:      c.Field(Field{Name: "keys", Label: "Key begins with", Value: key, Mono: true, MaxLen: 200, Hint: "A key or a tenant is needed. The key is shown with each alert."}),
			Tenant:   c.Field(Field{Name: "tenants", Label: "Tenant", Value: tenant, Mono: true, MaxLen: 200}),
			Severity: c.Field(Field{Name: "severity", Label: "Which", Kind: "select", Required: true, Options: []Option{{"", "Information and warnings"}, {"critical", "Critical ones as well"}}}),
			Hours:    c.Field(Field{Name: "until", Label: "For how long", Kind: "select", Required: true, Value: "4", Options: silenceHours}),
			Reason:   c.Field(Field{Name: "reason", Label: "Why", Kind: "textarea", Required: true, MaxLen: 500}),
		}}
}

func silencePut(c *Ctx) (Done, error) {
	hours, err := c.FormInt("until")
	if err != nil || hours < 1 || hours > 720 {
		return Done{}, governance.Invalid("until", "choose one")
	}
	s := governance.Silence{Reason: c.Form("reason"), Until: c.Kernel().Now().Add(time.Duration(hours)*time.Hour - time.Second)}
	if v := c.Form("keys"); v != "" {
		s.Keys = []string{v}
	}
	if v := c.Form("tenants"); v != "" {
		s.Tenants = []string{v}
	}
	if c.Form("severity") == "critical" {
		s.Severities = []string{"info", "warning", "critical"}
	}
	_, err = c.Kernel().SilenceAlerts(c.Context(), c.Identity, s, nil)
	var errs []error
	for _, f := range fieldErrors(err) { // of one entry, which is the field here
		name, _, _ := strings.Cut(f.Field, "[")
		errs = append(errs, governance.Invalid(name, "%s", f.Reason))
	}
	if len(errs) > 0 {
		return Done{}, errors.Join(errs...)
	}
	return Done{To: "/alerts/silences", Flash: "Silenced until " + s.Until.Format("2 Jan 2006 15:04") + " UTC."}, err
}

func silenceEnd(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/alerts/silences", Flash: "The silence has ended. What it held back and is still open is told now."}, c.Kernel().EndSilence(c.Context(), c.Identity, id)
}

type noticeView struct {
	governance.AlertDelivery
	Last      string // error of the last try
	CanResend bool
}

func newNoticeView(c *Ctx, d governance.AlertDelivery) noticeView {
	v := noticeView{AlertDelivery: d, CanResend: d.State == governance.NoticeDead && c.Can("alert:ack")}
	if n := len(d.Attempts); n > 0 {
		v.Last = d.Attempts[n-1].Error
	}
	return v
}

type alertDeliveriesPage struct {
	Filter Field
	Rows   []noticeView
	Empty  Empty
}

func alertDeliveryList(c *Ctx) (View, error) {
	state := c.Query("state")
	ds, err := c.Kernel().AlertDeliveries(c.Context(), governance.DeliveryFilter{State: governance.NoticeState(state), Limit: 200})
	if err != nil {
		return View{}, err
	}
	return alertDeliveriesView(c, ds, state), nil
}

func alertDeliveriesView(c *Ctx, ds []governance.AlertDelivery, state string) View {
	page := alertDeliveriesPage{Empty: Empty{Icon: "bell", Title: "Nothing was sent yet", Text: "Messages to the notifiers stand here, with every try and its error."},
		Filter: Field{Name: "state", Label: "State", Kind: "select", Value: state, Required: true, Options: []Option{{"", "Any"}, {"waiting", "Waiting"}, {"sent", "Sent"}, {"dead", "Dead"}, {"moot", "Moot"}}}}
	if state != "" {
		page.Empty = Empty{Icon: "bell", Title: "None in this state"}
	}
	for _, d := range ds {
		page.Rows = append(page.Rows, newNoticeView(c, d))
	}
	return View{Title: "Deliveries of alerts", Lead: "A message that a notifier will not take is tried eight times over about two hours. Then it is dead, and that is an alert itself.",
		Crumbs: []Crumb{{"Alerts", "/alerts"}, {"Deliveries", ""}}, Template: "alerts_deliveries", Data: page, Tabs: alertTabs("Deliveries")}
}

func alertResend(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/alerts/deliveries", Flash: "It is sent again now."}, c.Kernel().ResendNotice(c.Context(), c.Identity, id)
}

type alertRouteRow struct {
	Name    string
	What    string
	Steps   string
	Timing  string
	Groups  string
	GoesOn  bool
	Default bool
}

type alertRoutesView struct {
	Now       governance.AlertRoutes
	Rows      []alertRouteRow
	Facts     []Fact
	Document  alertroute.Document
	History   []alertRoutesChange
	Notifiers string
}

type alertRoutesChange struct {
	governance.AlertRoutes
	Editor        string
	Before, After json.RawMessage
}

func alertRoutesPage(c *Ctx) (View, error) {
	now, err := c.Kernel().AlertRoutes(c.Context())
	if err != nil {
		return View{}, err
	}
	history, err := c.Kernel().AlertRouteHistory(c.Context())
	if err != nil {
		return View{}, err
	}
	names := people(c)
	v, err := newAlertRoutesView(now, history, c.Kernel().Notifiers(), func(p governance.PersonID) string { return names(governance.Actor{Person: p}) })
	if c.Can("alert:route") {
		v.Actions = []Button{{Text: "Edit", Href: "/alerts/routes/edit"}}
	}
	return v, err
}

func newAlertRoutesView(now governance.AlertRoutes, history []governance.AlertRoutes, notifiers []string, name func(governance.PersonID) string) (View, error) {
	page := alertRoutesView{Now: now, Document: now.Document, Notifiers: strings.Join(notifiers, ", ")}
	rows := append([]alertroute.Route{}, now.Routes...)
	last, _ := now.Route(alertroute.DefaultRoute)
	for _, r := range append(rows, last) {
		row := alertRouteRow{Name: r.Name, What: matchSays(r.Match, "every alert"), GoesOn: r.Continue, Default: r.Name == alertroute.DefaultRoute,
			Groups: strings.Join(r.GroupBy, ", "), Timing: fmt.Sprintf("after %s, then every %s, again after %s", FormatDuration(r.Wait("warning")), FormatDuration(r.Interval()), FormatDuration(r.Repeat()))}
		if r.Wait("warning") == 0 {
			row.Timing = strings.Replace(row.Timing, "after "+FormatDuration(0), "at once", 1)
		}
		if row.Default {
			row.What = "what no route took"
		}
		if row.Groups == "" {
			row.Groups = "tenant, prefix, policy"
		}
		var steps []string
		for i, s := range r.Steps {
			to := s.Receiver
			if s.Receiver == alertroute.Everyone {
				to = "everyone"
			}
			if i > 0 {
				to = "after " + FormatDuration(s.After.Duration) + " " + to
			}
			steps = append(steps, to)
		}
		row.Steps = strings.Join(steps, ", ")
		page.Rows = append(page.Rows, row)
	}
	page.Facts = []Fact{{Label: "Version", Value: FormatInt(int64(now.Version))}, {Label: "In force since", At: now.At}, {Label: "Hash", Value: string(now.Hash), Mono: true}, {Label: "Notifiers here", Value: page.Notifiers, Mono: true}}
	for i, v := range history {
		ch := alertRoutesChange{AlertRoutes: v, Editor: name(v.EditedBy)}
		before := alertroute.Document{}
		if i+1 < len(history) {
			before = history[i+1].Document
		}
		var err error
		if ch.Before, err = json.Marshal(before); err != nil {
			return View{}, err
		}
		if ch.After, err = json.Marshal(v.Document); err != nil {
			return View{}, err
		}
		page.History = append(page.History, ch)
	}
	return View{Title: "Alert routes", Lead: "Who is told what. The first route that matches takes an alert; what none takes goes to every notifier.",
		Crumbs: []Crumb{{"Alerts", "/alerts"}, {"Routes", ""}}, Template: "alerts_routes", Data: page, Tabs: alertTabs("Routes")}, nil
}

type alertRoutesEditPage struct{ Document, Reason Field }

func alertRoutesEdit(c *Ctx) (View, error) {
	now, err := c.Kernel().AlertRoutes(c.Context())
	return alertRoutesEditView(c, now, c.Kernel().Notifiers()), err
}

func alertRoutesEditView(c *Ctx, now governance.AlertRoutes, notifiers []string) View {
	return View{Title: "Edit the alert routes", Lead: "The version in force stays until this edit is approved and executed.", Narrow: true,
		Crumbs: []Crumb{{"Alerts", "/alerts"}, {"Routes", "/alerts/routes"}, {"Edit", ""}}, Template: "alerts_routes_edit",
		Data: alertRoutesEditPage{
			Document: c.Field(Field{Name: "document", Label: "Document", Kind: "textarea", Mono: true, Rows: 24, Required: true, Value: prettyJSON(now.Document),
				Hint: "Receivers name notifiers, of which there are here: " + strings.Join(append([]string{"*"}, notifiers...), ", ") + ". The receiver everyone is always there."}),
			Reason: c.Field(Field{Name: "reason", Label: "Why it changes", Kind: "textarea", Required: true, MaxLen: 2000}),
		}}
}

func alertRoutesPut(c *Ctx) (Done, error) {
	var doc alertroute.Document
	d := json.NewDecoder(bytes.NewReader([]byte(c.Form("document"))))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return Done{}, governance.Invalid("document", "is not a document of routes: %v", err)
	}
	if d.More() {
		return Done{}, governance.Invalid("document", "has something after the document")
	}
	if c.Form("reason") == "" {
		return Done{}, governance.Invalid("reason", "is required")
	}
	out, err := c.Kernel().PutAlertRoutes(c.Context(), c.Identity, doc, &governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")})
	if faults := fieldErrors(err); len(faults) > 0 { // named by their place in the document, which is one field here
		var errs []error
		for _, f := range faults {
			errs = append(errs, governance.Invalid("document", "at %s: %s", f.Field, f.Reason))
		}
		return Done{}, errors.Join(errs...)
	}
	done := Done{To: "/alerts/routes", Flash: "The new routes are in force."}
	if out.Bootstrap {
		done.Flash = "The new routes are in force. They were not held: bootstrap mode."
	}
	return done, err
}

func alertRoutingStories() []Story {
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	c := storyCtx()
	back := storyCtx()
	back.errs = []FieldError{{"document", "at routes[0].steps: want 1 to 5"}, {"keys", "name the beginning of a key, or a tenant"}}
	min := func(n int) alertroute.Duration {
		return alertroute.Duration{Duration: time.Duration(n) * time.Minute}
	}
	wait := min(0)
	doc := alertroute.Document{Receivers: []alertroute.Receiver{{Name: "night", Notifiers: []string{"pagerduty"}}},
		Routes: []alertroute.Route{{Name: "critical", Match: alertroute.Match{Severities: []string{"critical"}, Keys: []string{"approval"}, Tenants: []string{"acme"}}, GroupWait: &wait, GroupBy: []string{"tenant"}, Continue: true,
			Steps: []alertroute.Step{{Receiver: "night"}, {Receiver: "everyone", After: min(15)}}}}}
	v2 := governance.AlertRoutes{Document: doc, Version: 2, Hash: "sha256:9f2c4f6b1c0d8a7e", Active: true, EditedBy: "dana", At: at}
	v1 := governance.AlertRoutes{Version: 1, Hash: "sha256:11", EditedBy: "omar", At: at.AddDate(0, -1, 0)}
	name := func(p governance.PersonID) string { return string(p) }
	first, err := newAlertRoutesView(governance.AlertRoutes{Active: true}, nil, nil, name)
	if err != nil {
		return nil
	}
	full, err := newAlertRoutesView(v2, []governance.AlertRoutes{v2, v1}, []string{"slack", "pagerduty"}, name)
	if err != nil {
		return nil
	}
	stored := func(until time.Time, by string) governance.StoredSilence {
		return governance.StoredSilence{ID: uuid.New(), Author: "user:dana", From: at, EndedBy: by, Silence: governance.Silence{Match: alertroute.Match{Keys: []string{"integration."}, Tenants: []string{"acme"}}, Reason: strings.Repeat("Planned work. ", 10), Until: until}}
	}
	dead := governance.AlertDelivery{ID: uuid.New(), Notifier: "slack", Kind: governance.NoticeRaised, State: governance.NoticeDead, Alerts: []uuid.UUID{uuid.New()}, At: at,
		Attempts: []governance.AlertAttempt{{N: 1, At: at, Took: time.Second, Error: "slack: answered 404"}}}
	return []Story{
		{Name: "silences, none", View: silenceView(nil, at, true)},
		{Name: "silences", View: silenceView([]governance.StoredSilence{stored(at.Add(time.Hour), ""), stored(at.Add(-time.Hour), "user:omar")}, at, true)},
		{Name: "silence, new", View: silenceFormView(c, "approval:1", "acme")},
		{Name: "silence, came back", View: silenceFormView(back, "", ""), Errors: back.errs[1:]},
		{Name: "alert deliveries, none", View: alertDeliveriesView(c, nil, "dead")},
		{Name: "alert deliveries", View: alertDeliveriesView(c, []governance.AlertDelivery{dead}, "")},
		{Name: "alert routes, none", View: first},
		{Name: "alert routes", View: full},
		{Name: "alert routes, edit", View: alertRoutesEditView(c, v2, []string{"slack"})},
		{Name: "alert routes, edit came back", View: alertRoutesEditView(back, v2, nil), Errors: back.errs[:1]},
	}
}
