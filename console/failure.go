package console

import (
	"errors"
	"net/http"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

// failurePage is what an error page says. Nothing of the error itself is in it,
// unless its text was written for people.
type failurePage struct {
	Status  int
	Text    string
	Fields  []FieldError
	Request string
	Back    string
}

func (c *console) failErr(x *Ctx, err error) {
	var denied *governance.DeniedError
	switch {
	case len(fieldErrors(err)) > 0:
		x.errs = fieldErrors(err)
		c.fail(x, http.StatusUnprocessableEntity, "")
	case errors.As(err, &denied):
		c.fail(x, http.StatusForbidden, denied.Reason)
	case errors.Is(err, governance.ErrNotFound), errors.Is(err, ledger.ErrNotFound):
		c.fail(x, http.StatusNotFound, "")
	case errors.Is(err, governance.ErrConflict), errors.Is(err, governance.ErrRetry):
		c.log.InfoContext(x.Context(), "conflict", "path", x.R.URL.Path, "request_id", x.Identity.Origin.RequestID, "error", err)
		c.fail(x, http.StatusConflict, "")
	default:
		c.log.ErrorContext(x.Context(), "console page failed", "path", x.R.URL.Path, "request_id", x.Identity.Origin.RequestID, "error", err)
		c.fail(x, http.StatusInternalServerError, "")
	}
}

func (c *console) fail(x *Ctx, status int, text string) {
	c.render(x, failureView(x.Identity.Origin.RequestID, status, text, x.errs))
}

func failureView(request string, status int, text string, fields []FieldError) View {
	title := map[int]string{
		http.StatusForbidden:           "You may not do this",
		http.StatusNotFound:            "There is nothing here",
		http.StatusConflict:            "Somebody was faster",
		http.StatusUnprocessableEntity: "That cannot be right",
		http.StatusInternalServerError: "Something went wrong on our side",
	}[status]
	lead := map[int]string{
		http.StatusForbidden:           "Your roles do not allow it, or a policy refuses it. The refusal is recorded.",
		http.StatusNotFound:            "The address is wrong, or what was here is gone.",
		http.StatusConflict:            "What you saw has changed meanwhile. Go back, reload and look again before you decide.",
		http.StatusUnprocessableEntity: "Nothing was changed. Go back and correct what is named here.",
		http.StatusInternalServerError: "Nothing was changed by halves: either all of it happened or none. Try again, and give the number below to whoever runs this server.",
	}[status]
	return View{Title: title, Lead: lead, Status: status, Template: "failure", Narrow: true,
		Data: failurePage{Status: status, Text: text, Fields: fields, Request: request}}
}
