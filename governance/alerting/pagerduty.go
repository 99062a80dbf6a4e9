package alerting

import (
	"context"
	"errors"
	"time"

	"github.com/reevehq/reeve/governance"
)

// PagerDuty triggers incidents by the Events API, version 2.
type PagerDuty struct {
	opts Options
	url  string
	key  string
	from string
}

var _ governance.Notifier = (*PagerDuty)(nil)

// PagerDutyEvents is where events go by default.
const PagerDutyEvents = "https://events.pagerduty.com/v2/enqueue"

// NewPagerDuty makes a PagerDuty for a service's routing key. source names this
// server; address is empty for [PagerDutyEvents], and another for the European site.
func NewPagerDuty(routingKey, source, address string, opts *Options) (*PagerDuty, error) {
	if routingKey == "" || source == "" {
		return nil, errors.New("alerting: PagerDuty needs a routing key and a source")
	}
	if address == "" {
		address = PagerDutyEvents
	}
	u, err := parseURL("PagerDuty", address)
	if err != nil {
		return nil, err
	}
	return &PagerDuty{opts.withDefaults("pagerduty"), u, routingKey, source}, nil
}

type pagerEvent struct {
	RoutingKey  string       `json:"routing_key"`
	EventAction string       `json:"event_action"`
	DedupKey    string       `json:"dedup_key"`
	Client      string       `json:"client"`
	Payload     pagerPayload `json:"payload"`
	Links       []pagerLink  `json:"links"`
}

type pagerPayload struct {
	Summary   string            `json:"summary"`
	Source    string            `json:"source"`
	Severity  string            `json:"severity"`
	Timestamp time.Time         `json:"timestamp"`
	Details   map[string]string `json:"custom_details"`
}

type pagerLink struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

// Name implements governance.Notifier.
func (p *PagerDuty) Name() string { return p.opts.Name }

// Notify implements governance.Notifier. The alert's id is the dedup key, so a
// repeated try opens no second incident.
func (p *PagerDuty) Notify(ctx context.Context, a governance.Alert) error {
	severity := "warning"
	switch a.Severity {
	case governance.Critical:
		severity = "critical"
	case governance.Info:
		severity = "info"
	}
	e := pagerEvent{RoutingKey: p.key, EventAction: "trigger", DedupKey: a.ID.String(), Client: "Reeve",
		Payload: pagerPayload{Summary: cut(a.Title, 1024), Source: p.from, Severity: severity, Timestamp: a.FirstAt.UTC(),
			Details: map[string]string{"body": cut(a.Body, 4000), "key": a.Key, "tenant": string(a.Tenant)}},
		Links: []pagerLink{}}
	for _, l := range absolute(a.Links) {
		e.Links = append(e.Links, pagerLink{l.URL, cut(l.Title, 200)})
	}
	body, err := encode(e)
	if err != nil {
		return err
	}
	return p.opts.post(ctx, p.url, body, nil)
}
