package alerting

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/reevehq/reeve/governance"
)

// PagerDuty opens, acknowledges and resolves incidents by the Events API, version 2.
type PagerDuty struct {
	opts Options
	url  string
	key  string
	from string
}

var _ governance.NoticeNotifier = (*PagerDuty)(nil)

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
	RoutingKey  string        `json:"routing_key"`
	EventAction string        `json:"event_action"`
	DedupKey    string        `json:"dedup_key"`
	Client      string        `json:"client,omitempty"`
	Payload     *pagerPayload `json:"payload,omitempty"`
	Links       []pagerLink   `json:"links,omitempty"`
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

// Notify implements governance.Notifier.
func (p *PagerDuty) Notify(ctx context.Context, a governance.Alert) error {
	return p.Tell(ctx, raised(a))
}

// Tell implements governance.NoticeNotifier. Each alert of the notice is an incident of
// its own, opened, acknowledged and resolved by the same dedup key, so that a repeated
// try opens no second one.
func (p *PagerDuty) Tell(ctx context.Context, n governance.Notice) error {
	for _, a := range n.Alerts {
		body, err := encode(p.event(n.Kind, a))
		if err != nil {
			return err
		}
		if err := p.opts.post(ctx, p.url, body, nil); err != nil {
			return err
		}
	}
	return nil
}

// dedup names the cause: the same for every alert of one key on this server, and
// another where two servers share a routing key. PagerDuty takes 255 characters.
func (p *PagerDuty) dedup(key string) string {
	sum := sha256.Sum256([]byte(p.from + "\x00" + key))
	return "reeve/" + hex.EncodeToString(sum[:])
}

func (p *PagerDuty) event(kind governance.NoticeKind, a governance.Alert) pagerEvent {
	e := pagerEvent{RoutingKey: p.key, EventAction: "trigger", DedupKey: p.dedup(a.Key)}
	switch kind {
	case governance.NoticeAcked:
		e.EventAction = "acknowledge"
		return e
	case governance.NoticeResolved:
		e.EventAction = "resolve"
		return e
	}
	severity := "warning"
	switch a.Severity {
	case governance.Critical:
		severity = "critical"
	case governance.Info:
		severity = "info"
	}
	e.Client = "Reeve"
	e.Payload = &pagerPayload{Summary: cut(a.Title, 1024), Source: p.from, Severity: severity, Timestamp: a.FirstAt.UTC(),
		Details: map[string]string{"body": cut(a.Body, 4000), "key": cut(a.Key, 500), "tenant": string(a.Tenant), "told": string(kind)}}
	for _, l := range absolute(a.Links)[:min(len(absolute(a.Links)), 20)] {
		e.Links = append(e.Links, pagerLink{l.URL, cut(l.Title, 200)})
	}
	return e
}
