package product_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

// TestApp works as a customer's user from the start of the session to its replay.
func TestApp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		svc, err := oversight.New(b.Kernel, &oversight.Options{Targets: b.svc.Target, Path: "/app/", EndPath: "/app/impersonation/end", Home: "/console"})
		require.NoError(t, err)
		rec, err := recorder.New(svc, b.blobs, nil)
		require.NoError(t, err)
		app, err := product.NewApp(b.svc, "/app/", svc.EndPath())
		require.NoError(t, err)
		h := svc.Middleware(rec.Middleware(app))
		var cookie *http.Cookie
		send := func(method, path string, form url.Values) (int, string) {
			r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), method, path, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if cookie != nil {
				r.AddCookie(cookie)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code, w.Body.String()
		}
		open := func(user string, scope oversight.Scope) oversight.Session {
			out, err := svc.Start(t.Context(), b.As("dana"), oversight.Request{Tenant: "globex", User: user, Scope: scope, Reason: "the list looks wrong"})
			require.NoError(t, err)
			s, token, err := svc.Open(t.Context(), b.As("dana"), out.Action)
			require.NoError(t, err)
			cookie = svc.Cookie(s, token)
			return s
		}
		code, _ := send("GET", "/app/", nil)
		require.Equal(t, http.StatusUnauthorized, code)

		walked, err := b.svc.Walk(t.Context(), h, "/app/", svc, b.As("eve"), oversight.Request{Tenant: "acme", User: "acme-u00", Reason: "a walk"})
		require.NoError(t, err)
		require.Equal(t, oversight.EndStopped, walked.Ended)
		rep, err := rec.Verify(t.Context(), walked.ID)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		require.EqualValues(t, 5, rep.Frames)
		require.EqualValues(t, 1, walked.Blocked)

		s := open("globex-u00", oversight.ReadWrite)
		code, page := send("GET", "/app/", nil)
		require.Equal(t, http.StatusOK, code)
		require.Contains(t, page, "dana works as <span data-mask>User globex-u00</span> until")
		require.Contains(t, page, `action="/app/impersonation/end"`)
		_, page = send("GET", "/app/documents", nil)
		require.Contains(t, page, "globex-d00")
		require.NotContains(t, page, "acme")
		code, _ = send("GET", "/app/documents/acme-d00", nil)
		require.Equal(t, http.StatusNotFound, code, "another tenant's document")
		code, _ = send("POST", "/app/documents/globex-d03", url.Values{"title": {"Renamed"}, "version": {"1"}})
		require.Equal(t, http.StatusSeeOther, code)
		code, _ = send("POST", "/app/documents/globex-d03", url.Values{"title": {"Again"}, "version": {"1"}})
		require.Equal(t, http.StatusConflict, code)
		code, _ = send("POST", "/app/documents/globex-d03", url.Values{"title": {"\x00"}, "version": {"2"}})
		require.Equal(t, http.StatusUnprocessableEntity, code)
		_, page = send("GET", "/app/team", nil)
		require.Contains(t, page, "globex-u01@example.com")

		// A downgrade through the impersonation is held, and the alert knows the session.
		code, _ = send("POST", "/app/billing/plan", url.Values{"plan": {"free"}})
		require.Equal(t, http.StatusAccepted, code)
		alerts, err := b.Kernel.Alerts(t.Context(), governance.AlertFilter{Tenant: "globex"})
		require.NoError(t, err)
		kinds := map[string]string{}
		for _, l := range alerts[0].Links {
			kinds[l.Kind] = l.ID
		}
		require.Equal(t, s.ID.String(), kinds["session"])
		require.NotEmpty(t, kinds["approval"])
		require.NotEmpty(t, kinds["record"])

		records, err := b.Kernel.Ledger().Records(t.Context(), ledger.Filter{Tenant: "globex", Search: "document.rename"})
		require.NoError(t, err)
		require.Len(t, records, 1)
		require.Contains(t, string(records[0].Body), `"id":"user:dana"`)
		require.Contains(t, string(records[0].Body), `"id":"product:globex-u00"`)
		require.NotContains(t, string(records[0].Body), "Renamed")

		frames, err := rec.Frames(t.Context(), s.ID)
		require.NoError(t, err)
		require.Len(t, frames, 8)
		f, err := rec.Frame(t.Context(), s.ID, 7)
		require.NoError(t, err)
		require.Equal(t, "/app/team", f.Path)
		require.NotContains(t, f.Body, "example.com", "the recording shows the page without the people on it")
		require.Contains(t, f.Body, "<style>")

		code, _ = send("POST", "/app/impersonation/end", nil)
		require.Equal(t, http.StatusSeeOther, code)
		code, _ = send("GET", "/app/", nil)
		require.Equal(t, http.StatusUnauthorized, code)

		// The rights of the user limit the actor, and the scope limits both.
		open("globex-u01", oversight.ReadWrite)
		code, _ = send("GET", "/app/billing", nil)
		require.Equal(t, http.StatusForbidden, code)
		code, _ = send("POST", "/app/billing/plan", url.Values{"plan": {"free"}})
		require.Equal(t, http.StatusForbidden, code)
		_, _ = send("POST", "/app/impersonation/end", nil)
		open("globex-u00", oversight.ReadOnly)
		_, page = send("GET", "/app/documents/globex-d03", nil)
		require.NotContains(t, page, "<button>Rename")
		code, _ = send("POST", "/app/documents/globex-d03", url.Values{"title": {"No"}, "version": {"2"}})
		require.Equal(t, http.StatusForbidden, code)
	})
}
