package govapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// GovProblem is an RFC 9457 problem document.
type GovProblem struct {
	Type   string            `json:"type" doc:"Stable name of the kind of problem" example:"urn:reeve:problem:conflict"`
	Title  string            `json:"title" example:"Conflict"`
	Status int               `json:"status" example:"409"`
	Detail string            `json:"detail,omitempty" doc:"What happened, for people"`
	Rule   string            `json:"rule,omitempty" doc:"The policy, permission or rule that refused"`
	Action string            `json:"action,omitempty" doc:"Id of the action whose outcome is not known yet"`
	Errors []GovProblemField `json:"errors,omitempty" doc:"One for each place in the input that is wrong"`
}

// GovProblemField names one bad place of the input.
type GovProblemField struct {
	Field  string `json:"field" example:"body.amount"`
	Reason string `json:"reason" example:"is required"`
}

// Error implements error.
func (p *GovProblem) Error() string { return p.Title + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *GovProblem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *GovProblem) ContentType(string) string { return "application/problem+json" }

func problem(kind string, status int, detail string) *GovProblem {
	return &GovProblem{Type: "urn:reeve:problem:" + kind, Title: http.StatusText(status), Status: status, Detail: detail}
}

// Problem turns a service's error into a problem document. The texts of our own
// kinds of error are shown; of anything else only that it failed.
func Problem(err error) error {
	if err == nil {
		return nil
	}
	var already *GovProblem
	if errors.As(err, &already) {
		return already
	}
	if fields := invalidFields(err); len(fields) > 0 {
		p := problem("invalid", http.StatusUnprocessableEntity, "The input is not valid.")
		p.Errors = fields
		return p
	}
	var denied *governance.DeniedError
	if errors.As(err, &denied) {
		p := problem("denied", http.StatusForbidden, denied.Reason)
		p.Rule = denied.Rule
		return p
	}
	var status huma.StatusError
	switch {
	case errors.Is(err, governance.ErrNotFound):
		return problem("not-found", http.StatusNotFound, "There is no such thing, or you may not know of it.")
	case errors.Is(err, governance.ErrRetry), errors.Is(err, govdb.ErrClosed):
		return problem("busy", http.StatusServiceUnavailable, "The server lost a race or is stopping; send the request again.")
	case errors.Is(err, governance.ErrConflict):
		return problem("conflict", http.StatusConflict, conflictText(err))
	case errors.As(err, &status):
		return fromHuma(status)
	}
	return problem("internal", http.StatusInternalServerError, "The server could not do it. Its log says why.")
}

// conflictText is our own sentence in front of the sentinel; it is made of our words
// and ids only.
func conflictText(err error) string {
	text := strings.TrimSuffix(err.Error(), ": "+governance.ErrConflict.Error())
	if text == governance.ErrConflict.Error() || len(text) > 300 {
		return "It is in another state or version than the request assumes."
	}
	return text
}

const maxReason = 400

// invalidFields collects every *InvalidError in a tree of joined errors.
func invalidFields(err error) []GovProblemField {
	if invalid, ok := err.(*governance.InvalidError); ok { //nolint:errorlint // the walk itself unwraps
		reason := invalid.Reason
		if value, err := strconv.QuotedPrefix(reason); err == nil { // what was sent does not come back
			reason = strings.TrimSpace(strings.TrimPrefix(reason, value))
		}
		if len(reason) > maxReason { // a value stands in the middle of it
			reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
		}
		return []GovProblemField{{invalid.Field, reason}}
	}
	switch u := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() []error }:
		var out []GovProblemField
		for _, e := range u.Unwrap() {
			out = append(out, invalidFields(e)...)
		}
		return out
	case interface{ Unwrap() error }:
		if inner := u.Unwrap(); inner != nil {
			return invalidFields(inner)
		}
	}
	return nil
}

// fromHuma rewrites an error that huma made, whatever the host made of its type.
func fromHuma(err huma.StatusError) *GovProblem {
	status := err.GetStatus()
	kind := map[int]string{400: "malformed", 401: "unauthenticated", 403: "denied", 404: "not-found", 405: "method", 406: "not-acceptable", 408: "timeout",
		412: "precondition", 413: "too-large", 415: "media-type", 422: "invalid", 429: "too-many"}[status]
	if status >= 500 || kind == "" {
		p := problem("internal", status, "The server could not do it. Its log says why.")
		return p
	}
	p := problem(kind, status, "The request is not valid.")
	if status == http.StatusRequestEntityTooLarge {
		p.Detail = "The body is larger than this operation takes."
	}
	var model *huma.ErrorModel
	if errors.As(err, &model) {
		for _, d := range model.Errors {
			if at, ok := strings.CutPrefix(d.Message, otherCase); ok {
				p.Errors = append(p.Errors, GovProblemField{at, "is named in other letters: upper and lower case count"})
				continue
			}
			p.Errors = append(p.Errors, GovProblemField{d.Location, withoutValue(d)})
		}
	}
	return p
}

// withoutValue keeps the part of a message that speaks of the rule, not of the value
// that was sent.
func withoutValue(d *huma.ErrorDetail) string {
	if s, ok := d.Value.(string); ok && s != "" && strings.Contains(d.Message, s) {
		return "is not valid"
	}
	if strings.Contains(d.Message, "unmarshal") { // the decoder's own words, with the value
		return "has a value that is too large or of another type"
	}
	rule, _, _ := strings.Cut(d.Message, ": ") // after it stands what a parser said
	return rule
}

func writeProblem(ctx huma.Context, p *GovProblem) {
	ctx.SetHeader("Content-Type", "application/problem+json")
	if p.Status == http.StatusUnauthorized {
		ctx.SetHeader("WWW-Authenticate", `Bearer realm="reeve"`)
	}
	ctx.SetStatus(p.Status)
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(p) // the client is gone when this fails
}
