package product

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

// Walk opens a session and works as a user for a few requests, through the same
// handlers as a browser, renames a document, tries what is out of reach, and ends
// it: a recorded impersonation to look at. h is the App inside recorder and
// oversight middleware, and base is the App's.
func (s *Service) Walk(ctx context.Context, h http.Handler, base string, o *oversight.Service, id governance.Identity, r oversight.Request) (oversight.Session, error) {
	r.Scope = oversight.ReadWrite
	out, err := o.Start(ctx, id, r)
	if err != nil {
		return oversight.Session{}, err
	}
	session, token, err := o.Open(ctx, id, out.Action)
	if err != nil {
		return session, err
	}
	send := func(method, path string, form url.Values, want int) error {
		req, err := http.NewRequestWithContext(governance.WithIdentity(ctx, id), method, path, strings.NewReader(form.Encode()))
		if err != nil {
			return fmt.Errorf("walk %s: %w", path, err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("User-Agent", "walk")
		req.AddCookie(o.Cookie(session, token))
		w := &response{header: http.Header{}}
		h.ServeHTTP(w, req)
		if w.status != want {
			return fmt.Errorf("walk %s: answered %d, want %d", path, w.status, want)
		}
		return nil
	}
	type step struct {
		method, path string
		form         url.Values
		want         int
	}
	steps := []step{{http.MethodGet, base, nil, http.StatusOK}, {http.MethodGet, base + "documents", nil, http.StatusOK}}
	docs, err := s.Documents(ctx, r.Tenant, 1)
	if err != nil {
		return session, err
	}
	if len(docs) > 0 {
		at := base + "documents/" + url.PathEscape(docs[0].ID)
		steps = append(steps, step{http.MethodGet, at, nil, http.StatusOK},
			step{http.MethodPost, at, url.Values{"title": {docs[0].Title + " (checked)"}, "version": {strconv.FormatInt(docs[0].Version, 10)}}, http.StatusSeeOther})
	}
	steps = append(steps, step{http.MethodGet, base + "invoices", nil, http.StatusOK}, step{http.MethodGet, base + "settings", nil, http.StatusOK},
		step{http.MethodPost, base + "settings/payout", url.Values{"holder": {"Somebody else"}, "iban": {"DE89370400440532013000"}}, http.StatusForbidden}, step{http.MethodGet, base + "documents", nil, http.StatusOK})
	for _, st := range steps {
		if err := send(st.method, st.path, st.form, st.want); err != nil {
			return session, err
		}
	}
	if err := o.End(ctx, id, session.ID, "Found and put right"); err != nil {
		return session, err
	}
	return o.Session(ctx, session.ID)
}

// response takes an answer that nobody reads.
type response struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (r *response) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// Write implements http.ResponseWriter.
func (r *response) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return len(b), nil
}
