package siem

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance/outgoing"
)

// HTTPOptions tunes an HTTP.
type HTTPOptions struct {
	Secret []byte       // signs each request after Standard Webhooks; at least 24 bytes
	Token  string       // sent as a bearer token. One of Secret and Token is required
	Client *http.Client // default outgoing.New(nil), which reaches public addresses only
	Now    func() time.Time
}

// HTTP posts batches as JSON lines (application/x-ndjson). Idempotency-Key and webhook-id
// are the batch's id: a batch that comes again has the one it had. Any 2xx is taken for
// "it is safe". Use [NewHTTP].
type HTTP struct {
	name, address string
	host          string
	opts          HTTPOptions
}

// NewHTTP makes an HTTP.
func NewHTTP(name, address string, opts *HTTPOptions) (*HTTP, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return nil, fmt.Errorf("siem: the address of sink %s is not an http address without a user", name)
	}
	h := &HTTP{name: name, address: u.String(), host: u.Scheme + "://" + u.Host}
	if opts != nil {
		h.opts = *opts
	}
	if len(h.opts.Secret) == 0 && h.opts.Token == "" {
		return nil, fmt.Errorf("siem: sink %s needs a secret or a token: a receiver must know who writes its log", name)
	}
	if len(h.opts.Secret) > 0 && len(h.opts.Secret) < 24 {
		return nil, fmt.Errorf("siem: the secret of sink %s has at least 24 bytes", name)
	}
	if word(h.opts.Token, 1<<16) != h.opts.Token && h.opts.Token != "" {
		return nil, fmt.Errorf("siem: the token of sink %s has characters that a header does not take", name)
	}
	if h.opts.Client == nil {
		h.opts.Client = outgoing.New(nil)
	}
	if h.opts.Now == nil {
		h.opts.Now = time.Now
	}
	return h, nil
}

// Name implements Sink.
func (h *HTTP) Name() string { return h.name }

// Kind implements Sink.
func (h *HTTP) Kind() string { return "http" }

// Target implements Sink. The path may be a secret.
func (h *HTTP) Target() string { return h.host }

// Send implements Sink.
func (h *HTTP) Send(ctx context.Context, b Batch) error {
	text, err := lines(b.Events)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.address, bytes.NewReader(text))
	if err != nil {
		return errors.New("the request could not be made")
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	r.Header.Set("User-Agent", "reeve-siem")
	r.Header.Set("Idempotency-Key", b.ID)
	if h.opts.Token != "" {
		r.Header.Set("Authorization", "Bearer "+h.opts.Token)
	}
	if len(h.opts.Secret) > 0 {
		at := strconv.FormatInt(h.opts.Now().Unix(), 10)
		mac := hmac.New(sha256.New, h.opts.Secret)
		_, _ = mac.Write([]byte(b.ID + "." + at + "."))
		_, _ = mac.Write(text)
		r.Header.Set("Webhook-Id", b.ID)
		r.Header.Set("Webhook-Timestamp", at)
		r.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	res, err := h.opts.Client.Do(r)
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // without the address
	}
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode >= 200 && res.StatusCode <= 299:
		return nil
	case res.StatusCode == http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	}
	err = fmt.Errorf("the receiver answered %d", res.StatusCode)
	if s, perr := strconv.Atoi(strings.TrimSpace(res.Header.Get("Retry-After"))); perr == nil && s > 0 {
		return &RetryAfterError{time.Duration(min(s, 3600)) * time.Second, err}
	}
	return err
}
