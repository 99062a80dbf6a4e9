package alerting

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/outgoing"
)

// Options tunes a notifier. The zero value is ready to use.
type Options struct {
	Name   string       // by which the kernel knows it; default the kind, such as "slack"
	Client *http.Client // default outgoing.New(nil), which reaches public addresses only
	Now    func() time.Time
}

func (o *Options) withDefaults(name string) Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Name == "" {
		c.Name = name
	}
	if c.Client == nil {
		c.Client = outgoing.New(nil)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// parseURL checks an address once, when the notifier is made. The error does not
// repeat it: the address of a Slack webhook is a secret.
func parseURL(kind, address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return "", fmt.Errorf("alerting: the address of %s is not an http address without a user", kind)
	}
	return u.String(), nil
}

// post sends JSON and takes any 2xx for an answer.
func (o Options) post(ctx context.Context, address string, body []byte, header http.Header) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: the request could not be made", o.Name)
	}
	r.Header = header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "reeve-alerting")
	res, err := o.Client.Do(r)
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // without the address
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("%s: answered %d", o.Name, res.StatusCode)
	}
	return nil
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode alert: %w", err)
	}
	return b, nil
}

// absolute is the links that work outside the console.
func absolute(links []governance.Link) []governance.Link {
	out := []governance.Link{}
	for _, l := range links {
		if strings.HasPrefix(l.URL, "https://") || strings.HasPrefix(l.URL, "http://") {
			out = append(out, l)
		}
	}
	return out
}

// cut shortens s to at most n bytes between two characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
