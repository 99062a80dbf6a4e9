package govapi

import (
	"fmt"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alertroute"
)

// GovAlert is something people must see.
type GovAlert struct {
	ID       string    `json:"id"`
	Key      string    `json:"key"`
	Severity string    `json:"severity" enum:"info,warning,critical"`
	Title    string    `json:"title"`
	Body     string    `json:"body"`
	Tenant   string    `json:"tenant,omitempty"`
	Links    []GovLink `json:"links"`
	State    string    `json:"state" enum:"firing,acked,resolved"`
	Times    int64     `json:"times"`
	FirstAt  time.Time `json:"first_at"`
	LastAt   time.Time `json:"last_at"`
	AckedBy  string    `json:"acked_by,omitempty"`
}

func wireAlert(a governance.Alert) GovAlert {
	out := GovAlert{a.ID.String(), a.Key, string(a.Severity), a.Title, a.Body, string(a.Tenant), []GovLink{}, string(a.State), a.Times, a.FirstAt, a.LastAt, a.AckedBy}
	for _, l := range a.Links {
		out.Links = append(out.Links, GovLink(l))
	}
	return out
}

// GovAlertGroup is the open alerts that are told together.
type GovAlertGroup struct {
	ID     string            `json:"id"`
	Title  string            `json:"title"`
	Route  string            `json:"route" doc:"The first route that takes them"`
	Worst  string            `json:"worst" enum:"info,warning,critical"`
	Alerts []GovGroupedAlert `json:"alerts"`
	Labels []GovAlertLabel   `json:"labels"`
}

// GovAlertLabel is what the alerts of a group have in common.
type GovAlertLabel struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// GovGroupedAlert is an alert with what routing makes of it.
type GovGroupedAlert struct {
	Alert       GovAlert   `json:"alert"`
	Routes      []string   `json:"routes"`
	Muted       string     `json:"muted,omitempty" doc:"silence:<id> or inhibited:<alert>; absent: it is told"`
	Step        int        `json:"step" doc:"Of the escalation, from 0"`
	Steps       int        `json:"steps"`
	EscalatesAt *time.Time `json:"escalates_at,omitempty" doc:"If nobody acknowledges it"`
	Failing     int        `json:"failing" doc:"Messages about it that a notifier has not taken"`
}

func wireGroup(g governance.AlertGroup) GovAlertGroup {
	out := GovAlertGroup{ID: g.ID, Title: g.Title, Route: g.Route, Worst: string(g.Worst()), Alerts: []GovGroupedAlert{}, Labels: []GovAlertLabel{}}
	for _, name := range []string{"prefix", "tenant", "policy", "key"} {
		if v, ok := g.Labels[name]; ok {
			out.Labels = append(out.Labels, GovAlertLabel{name, v})
		}
	}
	for _, a := range g.Alerts {
		out.Alerts = append(out.Alerts, GovGroupedAlert{wireAlert(a.Alert), a.Routes, a.Muted, a.Step, a.Steps, optional(a.NextAt), a.Failing})
	}
	return out
}

// GovAlertDelivery is a message to a notifier, with every try.
type GovAlertDelivery struct {
	ID       string            `json:"id"`
	Notifier string            `json:"notifier"`
	Kind     string            `json:"kind" enum:"raised,repeated,escalated,acknowledged,resolved"`
	State    string            `json:"state" enum:"waiting,sent,dead,moot"`
	Alerts   []string          `json:"alerts"`
	Attempts []GovAlertAttempt `json:"attempts"`
	At       time.Time         `json:"at"`
	NextAt   *time.Time        `json:"next_at,omitempty"`
	SentAt   *time.Time        `json:"sent_at,omitempty"`
}

// GovAlertAttempt is one try.
type GovAlertAttempt struct {
	N      int       `json:"n"`
	At     time.Time `json:"at"`
	TookMS int64     `json:"took_ms"`
	Error  string    `json:"error,omitempty" doc:"Absent: it was taken"`
}

func wireAlertDelivery(d governance.AlertDelivery) GovAlertDelivery {
	out := GovAlertDelivery{ID: d.ID.String(), Notifier: d.Notifier, Kind: string(d.Kind), State: string(d.State), Alerts: []string{}, Attempts: []GovAlertAttempt{},
		At: d.At, NextAt: optional(d.NextAt), SentAt: optional(d.SentAt)}
	for _, a := range d.Alerts {
		out.Alerts = append(out.Alerts, a.String())
	}
	for _, a := range d.Attempts {
		out.Attempts = append(out.Attempts, GovAlertAttempt{a.N, a.At, a.Took.Milliseconds(), a.Error})
	}
	return out
}

// GovAlertMatch selects alerts; an absent list takes every value.
type GovAlertMatch struct {
	Severities []string `json:"severities,omitempty" maxItems:"3" enum:"info,warning,critical"`
	Keys       []string `json:"keys,omitempty" maxItems:"100" doc:"Beginnings of the key"`
	Tenants    []string `json:"tenants,omitempty" maxItems:"100"`
}

// GovAlertSilence is a time in which alerts reach no notifier.
type GovAlertSilence struct {
	ID      string        `json:"id"`
	Match   GovAlertMatch `json:"match"`
	Author  string        `json:"author"`
	Reason  string        `json:"reason"`
	From    time.Time     `json:"from"`
	Until   time.Time     `json:"until"`
	EndedBy string        `json:"ended_by,omitempty"`
}

func wireSilence(s governance.StoredSilence) GovAlertSilence {
	return GovAlertSilence{s.ID.String(), GovAlertMatch(s.Match), s.Author, s.Reason, s.From, s.Until, s.EndedBy}
}

// GovAlertSilenced is the result of making a silence.
type GovAlertSilenced struct {
	Silence string `json:"silence"`
}

// GovAlertRouting says who is told what.
type GovAlertRouting struct {
	Receivers []GovAlertReceiver `json:"receivers,omitempty" maxItems:"50"`
	Routes    []GovAlertRoute    `json:"routes,omitempty" maxItems:"50" doc:"The first that matches takes an alert; what none takes goes to everyone"`
}

// GovAlertReceiver names notifiers that are told together.
type GovAlertReceiver struct {
	Name      string   `json:"name" maxLength:"64"`
	Notifiers []string `json:"notifiers" minItems:"1" maxItems:"50" doc:"* is all there are"`
}

// GovAlertRoute takes the alerts that match it.
type GovAlertRoute struct {
	Name           string         `json:"name" maxLength:"64"`
	Match          *GovAlertMatch `json:"match,omitempty"`
	Steps          []GovAlertStep `json:"steps" minItems:"1" maxItems:"5"`
	GroupBy        []string       `json:"group_by,omitempty" maxItems:"4" enum:"tenant,prefix,policy,key"`
	GroupWait      string         `json:"group_wait,omitempty" maxLength:"20" example:"30s"`
	GroupInterval  string         `json:"group_interval,omitempty" maxLength:"20" example:"5m"`
	RepeatInterval string         `json:"repeat_interval,omitempty" maxLength:"20" example:"4h"`
	Continue       bool           `json:"continue,omitempty"`
}

// GovAlertStep is who is told, and after how long without an acknowledgement.
type GovAlertStep struct {
	Receiver string `json:"receiver" maxLength:"64"`
	After    string `json:"after,omitempty" maxLength:"20" example:"15m"`
}

// GovAlertRoutingVersion is a stored document of routes; version 0 is what is there
// without one.
type GovAlertRoutingVersion struct {
	Routing   GovAlertRouting `json:"routing"`
	Version   int             `json:"version"`
	Hash      string          `json:"hash,omitempty"`
	Active    bool            `json:"active"`
	EditedBy  string          `json:"edited_by,omitempty"`
	At        *time.Time      `json:"at,omitempty"`
	Notifiers []string        `json:"notifiers" doc:"Those there are on this server"`
}

// GovAlertRoutingPut is the result of editing the routes.
type GovAlertRoutingPut struct {
	Version int    `json:"version"`
	Hash    string `json:"hash"`
}

func wireRoutes(v governance.AlertRoutes, notifiers []string) GovAlertRoutingVersion {
	out := GovAlertRoutingVersion{Version: v.Version, Hash: string(v.Hash), Active: v.Active, EditedBy: string(v.EditedBy), At: optional(v.At), Notifiers: append([]string{}, notifiers...)}
	for _, r := range v.Receivers {
		out.Routing.Receivers = append(out.Routing.Receivers, GovAlertReceiver(r))
	}
	span := func(d alertroute.Duration) string {
		if d.Duration == 0 {
			return ""
		}
		return d.String()
	}
	for _, r := range v.Routes {
		w := GovAlertRoute{Name: r.Name, GroupBy: r.GroupBy, GroupInterval: span(r.GroupInterval), RepeatInterval: span(r.RepeatInterval), Continue: r.Continue}
		if m := GovAlertMatch(r.Match); len(m.Severities)+len(m.Keys)+len(m.Tenants) > 0 {
			w.Match = &m
		}
		if r.GroupWait != nil {
			w.GroupWait = r.GroupWait.String()
		}
		for _, s := range r.Steps {
			w.Steps = append(w.Steps, GovAlertStep{s.Receiver, span(s.After)})
		}
		out.Routing.Routes = append(out.Routing.Routes, w)
	}
	return out
}

func (g GovAlertRouting) document() (alertroute.Document, error) {
	var d alertroute.Document
	for _, r := range g.Receivers {
		d.Receivers = append(d.Receivers, alertroute.Receiver(r))
	}
	var bad error
	span := func(at, s string) (out alertroute.Duration) {
		if s == "" {
			return out
		}
		if err := out.UnmarshalText([]byte(s)); err != nil && bad == nil {
			bad = governance.Invalid("body.routing."+at, "%v", err)
		}
		return out
	}
	for i, r := range g.Routes {
		at := fmt.Sprintf("routes[%d].", i)
		w := alertroute.Route{Name: r.Name, GroupBy: r.GroupBy, GroupInterval: span(at+"group_interval", r.GroupInterval), RepeatInterval: span(at+"repeat_interval", r.RepeatInterval), Continue: r.Continue}
		if r.Match != nil {
			w.Match = alertroute.Match(*r.Match)
		}
		if r.GroupWait != "" {
			d := span(at+"group_wait", r.GroupWait)
			w.GroupWait = &d
		}
		for j, s := range r.Steps {
			w.Steps = append(w.Steps, alertroute.Step{Receiver: s.Receiver, After: span(fmt.Sprintf("%ssteps[%d].after", at, j), s.After)})
		}
		d.Routes = append(d.Routes, w)
	}
	return d, bad
}
