package alerting

import (
	"context"
	"fmt"
	"strings"

	"github.com/reevehq/reeve/governance"
)

// Slack posts alerts to an incoming webhook.
type Slack struct {
	opts Options
	url  string
}

var _ governance.NoticeNotifier = (*Slack)(nil)

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
	return s.Tell(ctx, raised(a))
}

// slackLimit is the most bytes of a message: above 4,000 characters Slack splits it.
const slackLimit = 4000

// Tell implements governance.NoticeNotifier: one message for the group.
func (s *Slack) Tell(ctx context.Context, n governance.Notice) error {
	body, err := encode(map[string]any{"text": slackMessage(n), "unfurl_links": false, "unfurl_media": false})
	if err != nil {
		return err
	}
	return s.opts.post(ctx, s.url, body, nil)
}

func slackMessage(n governance.Notice) string {
	var b strings.Builder
	if len(n.Alerts) > 1 {
		b.WriteString(slackText(cut(headline(n), 300)) + "\n")
	}
	for i, a := range n.Alerts {
		part := slackAlert(n, a)
		if b.Len()+len(part) > slackLimit-80 && i > 0 {
			fmt.Fprintf(&b, "and %d more", len(n.Alerts)-i)
			break
		}
		b.WriteString(part)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func slackAlert(n governance.Notice, a governance.Alert) string {
	word := strings.ToUpper(string(a.Severity))
	if n.Kind != governance.NoticeRaised {
		word = strings.ToUpper(string(n.Kind))
	}
	out := "*" + word + "* " + slackText(cut(a.Title, 300)) + "\n"
	if text := detail(n, a); text != "" {
		out += slackText(cut(text, 1000)) + "\n"
	}
	links := absolute(a.Links)
	for _, l := range links[:min(len(links), 5)] {
		link := "<" + slackURL(l.URL) + "|" + strings.ReplaceAll(slackText(cut(l.Title, 100)), "|", "¦") + ">\n"
		if len(link) < 400 { // half an address leads nowhere
			out += link
		}
	}
	return out
}

// slackText takes the three characters that begin a mention, a channel or a link.
func slackText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func slackURL(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "%3C", ">", "%3E", "|", "%7C").Replace(s)
}
