package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// API is a client of a vendor's JSON API whose errors carry the right codes. It
// follows no redirect, because the credentials would go along.
type API struct {
	URL    string        // "https://api.example.com/v1", without a slash at the end
	Header http.Header   // sent with every request: "Authorization"
	Limit  int64         // most bytes of an answer; default 8 MiB
	Wait   time.Duration // longest wait for an answer; default 20s
}

// Do sends in as JSON, when it is not nil, and reads the answer into out, when it is
// not nil. Pairs are extra headers: name, value, name, value.
//
// A write whose fate is open (a broken connection, a 500) ends with [Other]; one that
// surely did not happen ends with [Unavailable], [RateLimited] or a refusal.
func (a *API) Do(ctx context.Context, method, path string, in, out any, pairs ...string) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return &Error{Code: Invalid, Message: "record does not encode: " + err.Error()}
		}
		body = bytes.NewReader(b)
	}
	wait, limit := a.Wait, a.Limit
	if wait <= 0 {
		wait = 20 * time.Second
	}
	if limit <= 0 {
		limit = 8 << 20
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(a.URL, "/")+path, body)
	if err != nil {
		return &Error{Code: Invalid, Message: "the address is not a URL"} // err would quote it whole
	}
	for k, v := range a.Header {
		req.Header[k] = v
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		req.Header.Set(pairs[i], pairs[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return a.broken(method, err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := status(method, res); err != nil {
		return err
	}
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(res.Body, limit))
	} else {
		err = json.NewDecoder(io.LimitReader(res.Body, limit)).Decode(out)
	}
	if err != nil {
		return &Error{Code: Other, Message: fmt.Sprintf("%s: the answer does not read", method)}
	}
	return nil
}

func (a *API) broken(method string, err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return &Error{Code: Unavailable, Message: "the vendor was not reached"}
	}
	if method == http.MethodGet || method == http.MethodHead {
		return &Error{Code: Unavailable, Message: "no answer from the vendor"}
	}
	return &Error{Code: Other, Message: "no answer from the vendor: it may have happened"}
}

func status(method string, res *http.Response) error {
	s := res.StatusCode
	e := &Error{Message: fmt.Sprintf("the vendor answered %d", s), VendorCode: strconv.Itoa(s)}
	switch {
	case s >= 200 && s < 300:
		return nil
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		e.Code = Auth
	case s == http.StatusNotFound || s == http.StatusGone:
		e.Code = NotFound
	case s == http.StatusConflict || s == http.StatusPreconditionFailed:
		e.Code = Conflict
	case s == http.StatusTooManyRequests:
		e.Code, e.RetryAfter = RateLimited, retryAfter(res.Header)
	case s == http.StatusServiceUnavailable:
		e.Code, e.RetryAfter = Unavailable, retryAfter(res.Header)
	case s >= 500 && method == http.MethodGet:
		e.Code = Unavailable
	case s >= 500 || s == http.StatusRequestTimeout:
		e.Code = Other
	default:
		e.Code = Invalid
	}
	return e
}

// MaxRetryAfter bounds what a vendor may ask for: nobody parks our queue for a week.
const MaxRetryAfter = time.Hour

func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	var d time.Duration
	if n, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(max(n, 0), int(MaxRetryAfter/time.Second))) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		if sent, err := http.ParseTime(h.Get("Date")); err == nil { // the vendor's clock, not ours
			d = t.Sub(sent)
		}
	}
	return min(max(d, 0), MaxRetryAfter)
}
