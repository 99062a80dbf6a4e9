package connector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Outcome is what became of one record.
type Outcome string

// The outcomes.
const (
	Created      Outcome = "created"
	Updated      Outcome = "updated"
	Unchanged    Outcome = "unchanged"     // the vendor held it already
	SkippedStale Outcome = "skipped_stale" // the vendor holds something newer
	Failed       Outcome = "failed"        // it did not happen; Err says why
	Unknown      Outcome = "unknown"       // nobody knows whether it happened; repeat it, it is idempotent
)

// Done tells whether nothing is left to do for the record.
func (o Outcome) Done() bool {
	return o == Created || o == Updated || o == Unchanged || o == SkippedStale
}

// Result is what became of one account.
type Result struct {
	TenantID  string
	Outcome   Outcome
	RemoteID  string // the vendor's id, when it has one
	RemoteURL string // where a person finds it
	Err       *Error // with Failed and Unknown
}

// Code says what kind of error it was.
type Code string

// The codes of errors.
const (
	Auth        Code = "auth"         // credentials refused: pause the connector, no retry helps
	RateLimited Code = "rate_limited" // wait for RetryAfter
	Invalid     Code = "invalid"      // the vendor refuses this record as it is
	NotFound    Code = "not_found"    // there is no such object
	Conflict    Code = "conflict"     // somebody else changed it: read again, then repeat
	Unavailable Code = "unavailable"  // the vendor or the plugin is not there; it did not happen
	Unsupported Code = "unsupported"  // the connector has no such capability
	Other       Code = "unknown"      // nobody can say
)

// Error is an error with a code. Its text may be shown and stored: an author puts no
// secret and no payload in it.
type Error struct {
	Code       Code
	Message    string
	Field      string        // with Invalid: which one
	VendorCode string        // the vendor's own word
	RetryAfter time.Duration // with RateLimited and Unavailable: when the vendor said so
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Field != "" {
		s += ": " + e.Field
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.VendorCode != "" {
		s += " (" + e.VendorCode + ")"
	}
	return s
}

// Temporary tells whether the same record may succeed later.
func (e *Error) Temporary() bool {
	switch e.Code {
	case RateLimited, Conflict, Unavailable, Other:
		return true
	}
	return false
}

// CodeOf is the code of err: empty for nil, [Other] for an error without one.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Other
}

// AsError gives any error a code. An error that had none gets [Other], because the
// call may have reached the vendor.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Error{Code: Other, Message: "no answer in time"}
	}
	return &Error{Code: Other, Message: err.Error()}
}

// Fail is the result of a record that ended in err: Failed when the code says that
// it did not happen, Unknown when nobody can say.
func Fail(a Account, err error) Result {
	r := Result{TenantID: a.TenantID, Outcome: Failed, Err: AsError(err)}
	if r.Err.Code == Other {
		r.Outcome = Unknown
	}
	return r
}

// Each writes a batch one account at a time. One bad record, or a panic on it, fails
// alone; refused credentials and rate limits end the batch, because the rest would
// meet the same; so does the end of ctx.
func Each(ctx context.Context, batch []Account, write func(Account) (Result, error)) []Result {
	out := make([]Result, 0, len(batch))
	var stop *Error
	for _, a := range batch {
		if stop == nil && ctx.Err() != nil {
			stop = &Error{Code: Unavailable, Message: "no time left for this record"}
		}
		if stop != nil {
			out = append(out, Fail(a, stop))
			continue
		}
		r := one(a, write)
		if r.Err != nil && (r.Err.Code == Auth || r.Err.Code == RateLimited) {
			stop = r.Err
		}
		out = append(out, r)
	}
	return out
}

func one(a Account, write func(Account) (Result, error)) (r Result) {
	defer func() {
		if p := recover(); p != nil { // its value may hold a payload: say only that it was one
			r = Fail(a, errors.New("the connector panicked on this record"))
		}
	}()
	if err := a.Validate(); err != nil {
		return Fail(a, err)
	}
	r, err := write(a)
	if err != nil {
		return Fail(a, err)
	}
	if !r.Outcome.Done() {
		return Fail(a, fmt.Errorf("the connector answered outcome %q without an error", r.Outcome))
	}
	r.TenantID = a.TenantID
	return r
}

// Judge says what is to be done with an account when the vendor holds held, or
// nothing: Created and Updated call for a write, Unchanged and SkippedStale do not.
// A newer version of the same content is an update too: were its version not kept, a
// late older state could come after it and win.
func Judge(held *Account, a Account) Outcome {
	switch {
	case held == nil:
		return Created
	case held.SourceVersion > a.SourceVersion:
		return SkippedStale
	case held.SourceVersion == a.SourceVersion && same(*held, a):
		return Unchanged
	}
	return Updated
}

func same(a, b Account) bool {
	return a.TenantID == b.TenantID && a.Name == b.Name && a.Country == b.Country && a.Region == b.Region && a.Owner == b.Owner &&
		a.Status == b.Status && a.Suspended == b.Suspended && a.Plan == b.Plan && a.Seats == b.Seats && a.RenewalAt.Equal(b.RenewalAt) &&
		slices.EqualFunc(a.Entitlements, b.Entitlements, func(x, y Entitlement) bool {
			return x.Feature == y.Feature && x.Quantity == y.Quantity && x.ExpiresAt.Equal(y.ExpiresAt)
		}) && maps.EqualFunc(a.ExternalKeys, b.ExternalKeys, slices.Equal) && maps.Equal(a.Attributes, b.Attributes)
}
