package alerting

import (
	"context"
	"strings"

	"github.com/reevehq/reeve/governance"
)

// Slack posts alerts to an incoming webhook.
type Slack struct {
	opts Options
	url  string
}

var _ governance.Notifier = (*Slack)(nil)

// NewSlack makes a Slack for the webhook's address, which is a secret.
func NewSlack(address string, opts *Options) (*Slack, error) {
	u, err := parseURL("Slack", address)
	if err != nil {
		return nil, err
	}
	return &Slack{opts.withDefaults("slack"), u}, nil
}

// Name implements governance.Notifier.
func (s *Slack) Name() string { return s.opts.Name }

// Notify implements governance.Notifier.
func (s *Slack) Notify(ctx context.Context, a governance.Alert) error {
	var b strings.Builder
	b.WriteString("*" + strings.ToUpper(string(a.Severity)) + "* " + slackText(cut(a.Title, 300)))
	if a.Body != "" {
		b.WriteString("\n" + slackText(cut(a.Body, 2000)))
	}
	for _, l := range absolute(a.Links) {
		b.WriteString("\n<" + slackURL(l.URL) + "|" + strings.ReplaceAll(slackText(cut(l.Title, 100)), "|", "¦") + ">")
	}
	body, err := encode(map[string]any{"text": b.String(), "unfurl_links": false, "unfurl_media": false})
	if err != nil {
		return err
	}
	return s.opts.post(ctx, s.url, body, nil)
}

// slackText takes the three characters that begin a mention, a channel or a link.
func slackText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func slackURL(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "%3C", ">", "%3E", "|", "%7C").Replace(s)
}
