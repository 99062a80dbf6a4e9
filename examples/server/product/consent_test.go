package product_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

func TestApp_Consent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		ctx, day := t.Context(), governance.Duration{Duration: 24 * time.Hour}
		require.NoError(t, b.Kernel.InstallPolicies(ctx, governance.Policy{ID: "ask", Title: "They agree", Actions: []string{oversight.ActionCredit}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: governance.GroupTenant, Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
		over, err := oversight.New(b.Kernel, &oversight.Options{Targets: b.svc.Target})
		require.NoError(t, err)
		app, err := product.NewApp(b.svc, over, product.AppOptions{Base: "/app/"})
		require.NoError(t, err)
		send := func(method, path, form string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, path, strings.NewReader(form))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for _, c := range cookies {
				r.AddCookie(c)
			}
			w := httptest.NewRecorder()
			app.ServeHTTP(w, r)
			return w
		}
		hold := func() governance.Approval {
			_, err := b.svc.Credit(ctx, b.As("dana"), "acme", eur(500), why())
			var held *governance.ApprovalRequiredError
			require.ErrorAs(t, err, &held)
			a, err := b.Kernel.Approval(ctx, held.Approval)
			require.NoError(t, err)
			return a
		}
		yes := func(a governance.Approval) string {
			return url.Values{"decision": {"approve"}, "digest": {string(a.Digest)}}.Encode()
		}
		state := func(a governance.Approval) governance.State {
			got, err := b.Kernel.Approval(ctx, a.ID)
			require.NoError(t, err)
			return got.State
		}
		signIn := func(user string) *http.Cookie {
			token, err := b.svc.SignInToken(ctx, user)
			require.NoError(t, err)
			return send("POST", "/app/signin/"+token, "").Result().Cookies()[0]
		}

		// In the product: an administrator of the tenant, and nobody else.
		a := hold()
		for _, user := range []string{"acme-u01", "globex-u00"} {
			require.NotEqual(t, 200, send("POST", "/app/requests/"+a.ID.String(), yes(a), signIn(user)).Code, user)
			require.Equal(t, governance.StatePending, state(a), user)
		}
		admin := signIn("acme-u00")
		page := send("GET", "/app/requests", "", admin)
		require.Equal(t, 200, page.Code)
		require.Contains(t, page.Body.String(), "Give you a credit")
		require.Equal(t, string(a.Digest), regexp.MustCompile(`name="digest" value="([^"]+)"`).FindStringSubmatch(page.Body.String())[1])
		require.Equal(t, governance.StatePending, state(a), "looking at it is no answer")
		require.Equal(t, http.StatusConflict, send("POST", "/app/requests/"+a.ID.String(), "decision=approve&digest=x", admin).Code)
		require.Equal(t, 200, send("POST", "/app/requests/"+a.ID.String(), yes(a), admin).Code)
		require.Equal(t, governance.StateExecuted, state(a))

		// By a link: for one request, one user, one answer.
		l := hold()
		_, err = b.svc.ConsentToken(ctx, "acme-u01", l.ID)
		require.ErrorIs(t, err, governance.ErrNotFound, "no administrator")
		_, err = b.svc.ConsentToken(ctx, "globex-u00", l.ID)
		require.ErrorIs(t, err, governance.ErrNotFound, "of another tenant")
		token, err := b.svc.ConsentToken(ctx, "acme-u00", l.ID)
		require.NoError(t, err)
		require.Equal(t, 200, send("GET", "/app/consent/"+token, "").Code)
		require.Equal(t, governance.StatePending, state(l), "a link that is opened answers nothing")
		other := hold()
		require.Equal(t, 404, send("POST", "/app/consent/"+other.ID.String()+strings.TrimPrefix(token, l.ID.String()), yes(other)).Code, "another request's")
		require.Equal(t, 404, send("POST", "/app/consent/"+token[:len(token)-2]+"xx", yes(l)).Code)
		require.Equal(t, 200, send("POST", "/app/consent/"+token, yes(l)).Code)
		require.Equal(t, governance.StateExecuted, state(l))
		require.Equal(t, http.StatusConflict, send("POST", "/app/consent/"+token, yes(l)).Code, "once")
		// Whoever is no administrator any more, or turns out to be one of us, does not read it either.
		for what, set := range map[string]string{"no administrator any more": "role = 'viewer'", "one of us": "staff = 'eve'"} {
			was, err := b.svc.ConsentToken(ctx, "acme-u00", other.ID)
			require.NoError(t, err)
			_, err = b.DB.Handle().ExecContext(ctx, "UPDATE product_user SET "+set+" WHERE id = 'acme-u00'")
			require.NoError(t, err)
			require.Equal(t, 404, send("GET", "/app/consent/"+was, "").Code, what)
			require.Equal(t, 404, send("POST", "/app/consent/"+was, yes(other)).Code, what)
			require.Equal(t, governance.StatePending, state(other), what)
			_, err = b.DB.Handle().ExecContext(ctx, "UPDATE product_user SET role = 'admin', staff = '' WHERE id = 'acme-u00'")
			require.NoError(t, err)
		}
		late, err := b.svc.ConsentToken(ctx, "acme-u00", other.ID)
		require.NoError(t, err)
		b.Advance(25 * time.Hour)
		require.Equal(t, 404, send("GET", "/app/consent/"+late, "").Code)
	})
}
