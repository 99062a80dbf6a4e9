package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// MaxAnswer is how much of an answer is read.
const MaxAnswer = 4 << 10

// Answer is what a receiver said.
type Answer struct {
	Status     int
	RetryAfter time.Duration // 0: not given
	Body       []byte        // at most MaxAnswer bytes
}

// OK tells whether the receiver took the message: any 2xx, nothing else.
func (a Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

// Sender posts signed messages. The zero value is not usable: Client decides which
// addresses may be reached.
type Sender struct {
	Client    *http.Client // must guard against private addresses; redirects are refused whatever it says
	Now       func() time.Time
	UserAgent string
}

// Send posts body once. An error means that there was no answer: the receiver may or
// may not have the message.
func (s Sender) Send(ctx context.Context, url, id string, body []byte, keys ...Signer) (Answer, error) {
	if s.Client == nil || s.Now == nil {
		return Answer{}, errors.New("webhook: Client and Now are required")
	}
	now := s.Now()
	headers, err := Sign(id, now, body, keys...)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("webhook: %w", err)
	}
	for k, v := range headers {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept-Encoding", "identity") // an answer is never unpacked
	req.Header.Set("User-Agent", s.UserAgent)
	client := *s.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("webhook: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	a := Answer{Status: res.StatusCode, RetryAfter: RetryAfter(res.Header.Get("Retry-After"), now)}
	a.Body, _ = io.ReadAll(io.LimitReader(res.Body, MaxAnswer)) // the status is the answer; the body is a courtesy
	return a, nil
}

// RetryAfter reads the header of that name: seconds or a date. What it cannot read,
// and what lies in the past, is 0.
func RetryAfter(header string, now time.Time) time.Duration {
	if n, err := strconv.ParseInt(header, 10, 32); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}
