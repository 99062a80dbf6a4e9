package alerting

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Webhook posts alerts as JSON, signed after Standard Webhooks: the header
// webhook-signature is "v1," and the base64 HMAC-SHA256 of id, timestamp and body
// joined by dots.
type Webhook struct {
	opts   Options
	url    string
	secret []byte
}

var _ governance.NoticeNotifier = (*Webhook)(nil)

// NewWebhook makes a Webhook. The secret has at least 24 bytes.
func NewWebhook(address string, secret []byte, opts *Options) (*Webhook, error) {
	u, err := parseURL("a webhook", address)
	if err != nil {
		return nil, err
	}
	if len(secret) < 24 {
		return nil, errors.New("alerting: the secret of a webhook has at least 24 bytes")
	}
	return &Webhook{opts.withDefaults("webhook"), u, append([]byte(nil), secret...)}, nil
}

// WebhookAlert is the body of a [Webhook]'s request.
type WebhookAlert struct {
	Type      string        `json:"type"` // "alert.raised", repeated, escalated, acknowledged, resolved
	Timestamp time.Time     `json:"timestamp"`
	Data      WebhookDetail `json:"data"`
}

// WebhookDetail is the alert.
type WebhookDetail struct {
	ID       string            `json:"id"`
	Key      string            `json:"key"`
	Severity string            `json:"severity"`
	Title    string            `json:"title"`
	Body     string            `json:"body"`
	Tenant   string            `json:"tenant,omitempty"`
	Links    []governance.Link `json:"links"`
	Times    int64             `json:"times"`
	FirstAt  time.Time         `json:"first_at"`
	Group    string            `json:"group,omitempty"` // the same for alerts that were told together
	AckedBy  string            `json:"acked_by,omitempty"`
}

// Name implements governance.Notifier.
func (w *Webhook) Name() string { return w.opts.Name }

// Notify implements governance.Notifier.
func (w *Webhook) Notify(ctx context.Context, a governance.Alert) error {
	return w.Tell(ctx, raised(a))
}

// Tell implements governance.NoticeNotifier: a request for each alert of the notice,
// with an id of its own that stays the same over every try.
func (w *Webhook) Tell(ctx context.Context, n governance.Notice) error {
	for _, a := range n.Alerts {
		id := n.ID
		if id != a.ID {
			id = uuid.NewSHA1(n.ID, a.ID[:])
		}
		if err := w.tell(ctx, n, a, id.String()); err != nil {
			return err
		}
	}
	return nil
}

func (w *Webhook) tell(ctx context.Context, n governance.Notice, a governance.Alert, id string) error {
	now := w.opts.Now().UTC()
	body, err := encode(WebhookAlert{"alert." + string(n.Kind), now, WebhookDetail{a.ID.String(), a.Key, string(a.Severity), a.Title, a.Body, string(a.Tenant),
		append([]governance.Link{}, a.Links...), a.Times, a.FirstAt, n.Group, a.AckedBy}})
	if err != nil {
		return err
	}
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, w.secret)
	_, _ = mac.Write([]byte(id + "." + at + "."))
	_, _ = mac.Write(body)
	h := http.Header{}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return w.opts.post(ctx, w.url, body, h)
}
