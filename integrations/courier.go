package integrations

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/outgoing"
	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/integrations/webhook"
)

// Code says how an attempt ended, or why a delivery is where it is.
type Code string

// The codes of attempts.
const (
	CodeOK          Code = "ok"
	CodeUnchanged   Code = "unchanged"      // the target held it already
	CodeStale       Code = "skipped_stale"  // the target holds something newer
	CodeStatus      Code = "status"         // a webhook answered anything but 2xx
	CodeAuth        Code = "authentication" // credentials are refused
	CodeGone        Code = "gone"           // a webhook answered 410
	CodeBlocked     Code = "blocked"        // the address may not be called
	CodeThrottled   Code = "throttled"      // the target asks to wait
	CodeInvalid     Code = "invalid"        // the target refuses this record as it is
	CodeNotFound    Code = "not_found"
	CodeConflict    Code = "conflict"
	CodeUnsupported Code = "unsupported" // the connector has no such power
	CodeUnavailable Code = "unavailable" // the target is not there
	CodeTimeout     Code = "timeout"
	CodeUnknown     Code = "unknown"     // no answer: nobody knows whether it arrived
	CodeLost        Code = "no_receipt"  // the server ended between the call and its receipt
	CodeInterrupted Code = "interrupted" // the server was told to stop
	CodeInternal    Code = "internal"    // our own fault: a secret that does not open, say
)

// answer is what came of one call.
type answer struct {
	Code       Code
	Status     int // of HTTP
	Detail     string
	Excerpt    string
	RetryAfter time.Duration
	RemoteID   string
	RemoteURL  string
	Took       time.Duration
}

type verdict int

const (
	verdictRetry verdict = iota
	verdictDone
	verdictDead  // no repetition helps
	verdictPause // nothing to this target helps until somebody repairs it
	verdictHold  // the whole target wants to be left alone for a while
	verdictAgain // not the target's doing
)

func (a answer) verdict(k Kind) verdict {
	switch a.Code {
	case CodeOK, CodeUnchanged, CodeStale:
		return verdictDone
	case CodeAuth, CodeGone, CodeBlocked:
		return verdictPause
	case CodeThrottled:
		return verdictHold
	case CodeInterrupted:
		return verdictAgain
	case CodeInvalid, CodeNotFound, CodeUnsupported:
		if k != Webhook {
			return verdictDead
		}
	}
	return verdictRetry
}

func (a answer) cause() PauseCause {
	switch a.Code {
	case CodeGone:
		return CauseGone
	case CodeBlocked:
		return CauseBlocked
	}
	return CauseAuth
}

// call makes the call of w, outside any transaction. When ctx ends it gets a few
// seconds more, so that most receipts are written.
func (s *Service) call(ctx context.Context, w *work) answer {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.CallLimit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, cancel) })
	defer stop()
	start := time.Now()
	a := s.deliver(call, w)
	a.Took = time.Since(start)
	if ctx.Err() != nil && (a.Code == CodeTimeout || a.Code == CodeUnknown) {
		a.Code = CodeInterrupted
	}
	return a
}

func (s *Service) deliver(ctx context.Context, w *work) (a answer) {
	secrets, err := s.secrets(w.target)
	if err != nil {
		s.opts.Logger.ErrorContext(ctx, "integrations: secrets", "target", w.target.ID, "error", err)
		return answer{Code: CodeAuth, Detail: "a secret cannot be opened: it was sealed with another key"}
	}
	defer func() {
		if p := recover(); p != nil { // foreign code
			a = answer{Code: CodeUnknown, Detail: "the connector panicked"}
		}
		a.Detail, a.Excerpt = scrub(a.Detail, secrets, 300), scrub(a.Excerpt, secrets, 1000)
	}()
	if w.target.Kind == Webhook {
		return s.post(ctx, w.target, w.idem, w.body, secrets)
	}
	return s.upsert(ctx, w, secrets)
}

// signers are the keys that sign for a webhook now: during a rotation two.
func signers(secrets map[string]string) ([]webhook.Signer, error) {
	var out []webhook.Signer
	for _, name := range []string{secretSigning, secretPrevious} {
		text := secrets[name]
		switch {
		case text == "":
		case strings.HasPrefix(text, "whsk_"):
			k, err := webhook.ParsePrivateKey(text)
			if err != nil {
				return nil, err
			}
			out = append(out, k)
		default:
			k, err := webhook.ParseSecret(text)
			if err != nil {
				return nil, err
			}
			out = append(out, k)
		}
	}
	return out, nil
}

func (s *Service) post(ctx context.Context, t Target, id string, body []byte, secrets map[string]string) answer {
	keys, err := signers(secrets)
	if err != nil || len(keys) == 0 {
		return answer{Code: CodeAuth, Detail: "there is no signing secret"}
	}
	res, err := s.sender.Send(ctx, t.Config[configURL], id, body, keys...)
	if err != nil {
		return failure(err)
	}
	a := answer{Code: CodeStatus, Status: res.Status, RetryAfter: res.RetryAfter, Excerpt: string(res.Body), Detail: "HTTP " + strconv.Itoa(res.Status)}
	switch {
	case res.OK():
		a.Code, a.Detail = CodeOK, ""
	case res.Status == http.StatusUnauthorized:
		a.Code = CodeAuth
	case res.Status == http.StatusGone:
		a.Code = CodeGone
	case res.Status == http.StatusTooManyRequests:
		a.Code, a.RetryAfter = CodeThrottled, min(a.RetryAfter, retryAfterMost)
	}
	return a
}

// failure is a call without an answer. The text of the error may hold the address
// with its query, so it is not shown.
func failure(err error) answer {
	switch {
	case errors.Is(err, outgoing.ErrProhibited):
		return answer{Code: CodeBlocked, Detail: "its address leads into a network that may not be called"}
	case errors.Is(err, context.DeadlineExceeded):
		return answer{Code: CodeTimeout, Detail: "no answer in time"}
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return answer{Code: CodeTimeout, Detail: "no answer in time"}
	}
	return answer{Code: CodeUnknown, Detail: "no answer: the connection could not be made, or broke"}
}

// connect asks the host for the connector of a target.
func (s *Service) connect(ctx context.Context, t Target, secrets map[string]string) (connector.Connector, error) {
	if s.opts.Connect == nil {
		return nil, &connector.Error{Code: connector.Unsupported, Message: "this server runs no connectors"}
	}
	cfg := connector.Config{}
	for k, v := range t.Config {
		cfg[k] = v
	}
	for k, v := range secrets {
		cfg[k] = v
	}
	c, err := s.opts.Connect(ctx, Instance{ID: t.ID.String(), Connector: t.Connector, Version: t.Version, Config: cfg})
	if err == nil && c == nil {
		err = &connector.Error{Code: connector.Unavailable, Message: "the connector is not running"}
	}
	return c, err
}

func (s *Service) upsert(ctx context.Context, w *work, secrets map[string]string) answer {
	c, err := s.connect(ctx, w.target, secrets)
	if err != nil {
		return refused(err)
	}
	u, ok := c.(connector.Upserter)
	if !ok {
		return answer{Code: CodeUnsupported, Detail: w.target.Connector + " takes no accounts"}
	}
	rs := u.Upsert(ctx, []connector.Account{account(w.state, w.d.Type, w.idem)})
	if len(rs) != 1 || rs[0].TenantID != "" && rs[0].TenantID != w.lane.tenant {
		return answer{Code: CodeUnknown, Detail: fmt.Sprintf("the connector gave %d results for one account, or one of another tenant", len(rs))}
	}
	r := rs[0]
	a := answer{Code: CodeOK, RemoteID: clip(r.RemoteID, 200), Excerpt: string(r.Outcome)}
	if u := clip(r.RemoteURL, 500); strings.HasPrefix(u, "https://") || strings.HasPrefix(u, "http://") {
		a.RemoteURL = u // it becomes a link in the console
	}
	switch {
	case r.Outcome == connector.Unchanged:
		a.Code = CodeUnchanged
	case r.Outcome == connector.SkippedStale:
		a.Code = CodeStale
	case !r.Outcome.Done() && r.Err == nil:
		a = answer{Code: CodeUnknown, Detail: "the connector gave no reason"}
	case !r.Outcome.Done():
		a = refused(r.Err)
	}
	return a
}

// refused turns a connector's error into an answer.
func refused(err error) answer {
	e := connector.AsError(err)
	a := answer{RetryAfter: e.RetryAfter, Detail: e.Error(), Excerpt: e.Error()}
	switch e.Code {
	case connector.Auth:
		a.Code = CodeAuth
	case connector.RateLimited:
		a.Code = CodeThrottled
	case connector.Invalid:
		a.Code = CodeInvalid
	case connector.NotFound:
		a.Code = CodeNotFound
	case connector.Conflict:
		a.Code = CodeConflict
	case connector.Unavailable:
		a.Code = CodeUnavailable
	case connector.Unsupported:
		a.Code = CodeUnsupported
	default:
		a.Code = CodeUnknown
	}
	return a
}

// account is a tenant's state in the words of the contract.
func account(s governance.TenantState, event, idem string) connector.Account {
	t := s.Tenant
	a := connector.Account{
		Meta:  connector.Meta{TenantID: string(t.ID), SourceVersion: t.Version, IdempotencyID: idem},
		Event: event, Name: t.Name, Country: t.Country, Region: t.Region, Owner: string(t.Owner), Status: string(t.Status), Suspended: s.Suspended,
		Plan: t.Plan, Seats: t.Seats, RenewalAt: t.RenewalAt, ExternalKeys: t.ExternalKeys, Attributes: t.Attributes,
	}
	for _, e := range s.Entitlements {
		a.Entitlements = append(a.Entitlements, connector.Entitlement{Feature: e.Feature, Quantity: e.Quantity, ExpiresAt: e.ExpiresAt})
	}
	return a
}

var (
	bearer = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}`)
	email  = regexp.MustCompile(`[\pL\pN._%+-]+@[\pL\pN-]+(\.[\pL\pN-]+)+`)
	token  = regexp.MustCompile(`\b(wh(sec|sk)|sk|rk|pat|xox[a-z]|ghp)[_-][A-Za-z0-9+/=_-]{8,}`)
)

// scrub makes foreign text fit to be stored and shown: no secret of the target, no
// credentials or addresses of people, no control characters, and not much of it.
func scrub(text string, secrets map[string]string, most int) string {
	if len(text) > 8<<10 {
		text = text[:8<<10]
	}
	for _, secret := range secrets {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	text = strings.ToValidUTF8(text, "�")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.In(r, unicode.Cf):
			return -1
		}
		return r
	}, text)
	text = bearer.ReplaceAllString(text, "[credentials]")
	text = token.ReplaceAllString(text, "[secret]")
	text = email.ReplaceAllString(text, "[e-mail]")
	return clip(text, most)
}

// clip cuts s to at most n bytes, never inside a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
