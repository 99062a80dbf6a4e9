package product_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
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
		app, err := product.NewApp(b.svc, svc, product.AppOptions{Base: "/app/"})
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
		require.EqualValues(t, 7, rep.Frames)
		require.EqualValues(t, 1, walked.Blocked)

		// What is refused is told on a page of its own; nothing was stored, and what was typed is not in the record.
		payout, err := b.svc.Payout(t.Context(), "acme")
		require.NoError(t, err)
		require.Empty(t, payout.IBAN)

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

// TestApp_Customer is a customer's own user: their pages, their settings, and what
// they read of our staff.
func TestApp_Customer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		svc, err := oversight.New(b.Kernel, &oversight.Options{Targets: b.svc.Target, Path: "/app/", EndPath: "/app/impersonation/end", Home: "/console", DenyPaths: []string{"/app/signin", "/app/signout"}})
		require.NoError(t, err)
		rec, err := recorder.New(svc, b.blobs, nil)
		require.NoError(t, err)
		app, err := product.NewApp(b.svc, svc, product.AppOptions{Base: "/app/"})
		require.NoError(t, err)
		h := svc.Middleware(rec.Middleware(app))
		send := func(method, path string, form url.Values, cookies ...*http.Cookie) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for _, c := range cookies {
				r.AddCookie(c)
				if c.Name == "reeve_impersonation" {
					r = r.WithContext(governance.WithIdentity(t.Context(), b.As("dana")))
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		signIn := func(user string) *http.Cookie {
			token, err := b.svc.SignInToken(t.Context(), user)
			require.NoError(t, err)
			require.Contains(t, send("GET", "/app/signin/"+token, nil).Body.String(), "User "+user)
			require.Empty(t, send("GET", "/app/signin/"+token, nil).Result().Cookies(), "a link that is looked at signs nobody in")
			require.Equal(t, 404, send("POST", "/app/signin/"+token+"x", nil).Code)
			w := send("POST", "/app/signin/"+token, nil)
			require.Equal(t, http.StatusSeeOther, w.Code)
			require.Equal(t, 404, send("GET", "/app/signin/"+w.Result().Cookies()[0].Value, nil).Code, "a cookie is no link")
			return w.Result().Cookies()[0]
		}
		require.Equal(t, http.StatusUnauthorized, send("GET", "/app/", nil).Code)
		_, err = b.svc.SignInToken(t.Context(), "nobody")
		require.ErrorIs(t, err, governance.ErrNotFound)
		own := signIn("globex-u00")
		require.True(t, own.HttpOnly)
		require.Equal(t, "/app/", own.Path)
		page := send("GET", "/app/", nil, own)
		require.Equal(t, 200, page.Code)
		require.NotContains(t, page.Body.String(), "works as")
		require.Contains(t, page.Body.String(), "Sign out")
		last := func() time.Time {
			users, err := b.svc.Users(t.Context(), "globex", 1)
			require.NoError(t, err)
			return users[0].SeenAt
		}
		seen := last()
		require.False(t, seen.IsZero())

		// Staff work as them: their last visit stays theirs, and so does their cookie.
		b.Advance(10 * time.Minute)
		out, err := svc.Start(t.Context(), b.As("dana"), oversight.Request{Tenant: "globex", User: "globex-u00", Scope: oversight.ReadWrite, Reason: "<b>the list</b> looks wrong", Ticket: "T-7"})
		require.NoError(t, err)
		s, token, err := svc.Open(t.Context(), b.As("dana"), out.Action)
		require.NoError(t, err)
		acting := svc.Cookie(s, token)
		w := send("GET", "/app/settings", nil, acting, own)
		require.Equal(t, 200, w.Code)
		require.Contains(t, w.Body.String(), "dana works as")
		require.Contains(t, w.Body.String(), "30 min left")
		require.Empty(t, w.Result().Cookies())
		require.Equal(t, seen, last())
		for path, form := range map[string]url.Values{"settings/credentials": {"email": {"dana@example.org"}}, "settings/api-keys": {"name": {"mine"}}, "settings/payout": {"holder": {"Dana"}, "iban": {"DE89370400440532013000"}},
			"signin/" + token: nil, "signout": nil} {
			require.Equal(t, http.StatusForbidden, send("POST", "/app/"+path, form, acting, own).Code, path)
		}
		require.Equal(t, 200, send("GET", "/app/invoices", nil, acting).Code)
		// The user meanwhile is only themselves, and cannot end it.
		require.NotContains(t, send("GET", "/app/", nil, own).Body.String(), "works as")
		require.Equal(t, 404, send("POST", "/app/impersonation/end", nil, own).Code)
		got, err := svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.StateActive, got.State)
		require.EqualValues(t, 5, got.Blocked)

		// They read of it while it goes on and afterwards.
		body := send("GET", "/app/access", nil, own).Body.String()
		require.Contains(t, body, "&lt;b&gt;the list&lt;/b&gt; looks wrong")
		require.Contains(t, body, "Still going on")
		require.NoError(t, svc.End(t.Context(), b.As("dana"), s.ID, ""))
		body = send("GET", "/app/access/"+s.ID.String(), nil, own).Body.String()
		require.Contains(t, body, "Something out of reach was tried and refused")
		require.Contains(t, body, "Session ended")
		w = send("GET", "/app/access.json", nil, own)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		require.Contains(t, w.Body.String(), `"staff":"dana"`)
		require.Contains(t, w.Body.String(), `"blocked":5`)
		// Nobody of another tenant does, and no plain member.
		other := signIn("acme-u00")
		require.NotContains(t, send("GET", "/app/access", nil, other).Body.String(), "looks wrong")
		require.Equal(t, 404, send("GET", "/app/access/"+s.ID.String(), nil, other).Code)
		require.Equal(t, 404, send("GET", "/app/access?before="+s.ID.String(), nil, other).Code)
		require.Equal(t, http.StatusForbidden, send("GET", "/app/access", nil, signIn("globex-u01")).Code)

		// What staff could not, they can.
		require.Equal(t, 422, send("POST", "/app/settings/credentials", url.Values{"email": {"nonsense"}}, own).Code)
		require.Equal(t, 200, send("POST", "/app/settings/credentials", url.Values{"email": {"new@example.org"}}, own).Code)
		require.Regexp(t, `pw_[\w-]{32}`, send("POST", "/app/settings/api-keys", url.Values{"name": {"export"}}, own).Body.String())
		require.NotRegexp(t, `pw_[\w-]{32}`, send("GET", "/app/settings", nil, own).Body.String(), "shown once")
		require.Equal(t, 422, send("POST", "/app/settings/payout", url.Values{"holder": {"Globex"}, "iban": {"12"}}, own).Code)
		require.Equal(t, 200, send("POST", "/app/settings/payout", url.Values{"holder": {"Globex"}, "iban": {"de89 3704 0044 0532 0130 00"}}, own).Code)
		payout, err := b.svc.Payout(t.Context(), "globex")
		require.NoError(t, err)
		require.Equal(t, "DE89370400440532013000", payout.IBAN)
		require.Equal(t, "product:globex-u00", payout.ChangedBy)
		require.Equal(t, http.StatusForbidden, send("POST", "/app/billing/plan", url.Values{"plan": {"free"}}, own).Code)
		for _, id := range []uuid.UUID{s.ID} { // and none of it is readable in the ledger or in the recording
			records, err := b.Kernel.Ledger().Records(t.Context(), ledger.Filter{Tenant: "globex", Limit: 200})
			require.NoError(t, err)
			for _, r := range records {
				require.NotContains(t, string(r.Body), "DE893704")
			}
			frames, err := rec.Frames(t.Context(), id)
			require.NoError(t, err)
			require.Len(t, frames, 2)
			f, err := rec.Frame(t.Context(), id, 1)
			require.NoError(t, err)
			require.NotContains(t, f.Body, "example.com")
			require.NotContains(t, f.Body, "User globex-u00")
		}
		require.Equal(t, http.StatusOK, send("POST", "/app/signout", nil, own).Code)
		b.Advance(13 * time.Hour)
		require.Equal(t, http.StatusUnauthorized, send("GET", "/app/", nil, own).Code)
	})
}
