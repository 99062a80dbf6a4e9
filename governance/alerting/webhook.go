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

	"github.com/reevehq/reeve/governance"
)

// Webhook posts alerts as JSON, signed after Standard Webhooks: the header
// webhook-signature is "v1," and the base64 HMAC-SHA256 of id, timestamp and body
// joined by dots, webhook-id is the alert's id.
type Webhook struct {
	opts   Options
	url    string
	secret []byte
}

var _ governance.Notifier = (*Webhook)(nil)

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
	Type      string        `json:"type"` // "alert.raised"
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
}

// Name implements governance.Notifier.
func (w *Webhook) Name() string { return w.opts.Name }

// Notify implements governance.Notifier.
func (w *Webhook) Notify(ctx context.Context, a governance.Alert) error {
	now := w.opts.Now().UTC()
	body, err := encode(WebhookAlert{"alert.raised", now, WebhookDetail{a.ID.String(), a.Key, string(a.Severity), a.Title, a.Body, string(a.Tenant),
		append([]governance.Link{}, a.Links...), a.Times, a.FirstAt}})
	if err != nil {
		return err
	}
	id, at := a.ID.String(), strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, w.secret)
	_, _ = mac.Write([]byte(id + "." + at + "."))
	_, _ = mac.Write(body)
	h := http.Header{}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return w.opts.post(ctx, w.url, body, h)
}
