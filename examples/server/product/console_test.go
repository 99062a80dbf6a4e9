package product_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/console"
	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
)

// TestSection gives, changes and exports through the console's forms.
func TestSection(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		b.People.Put("kim", "root")
		b.People.Put("vic", "viewer")
		b.People.Allow("viewer", "tenant:read")
		section := product.Section(b.svc)
		h, err := console.New(&console.Options{Kernel: b.Kernel, Sections: []console.Section{section}, Stories: true})
		require.NoError(t, err)
		send := func(as governance.PersonID, method, path string, form url.Values) (int, string, string) {
			r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As(as)), method, "/console"+path, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code, w.Body.String(), w.Header().Get("Location")
		}
		for i := range section.Stories {
			code, body, _ := send("kim", "GET", "/_stories/product/"+strconv.Itoa(i), nil)
			require.Equal(t, 200, code, body)
			require.NotContains(t, body, "style=")
		}
		code, body, _ := send("kim", "GET", "/tenants/acme/billing", nil)
		require.Equal(t, 200, code, body)
		require.Contains(t, body, "Give credit")
		code, body, _ = send("vic", "GET", "/tenants/acme/billing", nil)
		require.Equal(t, 200, code)
		require.NotContains(t, body, "Give credit")
		require.NotContains(t, body, "Exports")
		code, _, _ = send("vic", "POST", "/tenants/acme/credits", url.Values{"amount": {"5"}, "currency": {"EUR"}, "credit_reason": {"x"}})
		require.Equal(t, 403, code)

		code, _, to := send("kim", "POST", "/tenants/acme/credits", url.Values{"amount": {"5.00"}, "currency": {"EUR"}, "credit_reason": {"sorry"}, "_key": {"k1"}})
		require.Equal(t, http.StatusSeeOther, code)
		require.Equal(t, "/console/tenants/acme/billing", to)
		_, _, _ = send("kim", "POST", "/tenants/acme/credits", url.Values{"amount": {"5.00"}, "currency": {"EUR"}, "credit_reason": {"sorry"}, "_key": {"k1"}})
		_, body, _ = send("kim", "GET", "/tenants/acme/billing", nil)
		require.Equal(t, 1, strings.Count(body, "€5.00"), "a form sent twice acts once")
		code, body, _ = send("kim", "POST", "/tenants/acme/credits", url.Values{"amount": {"5,00"}, "currency": {"EUR"}, "credit_reason": {""}})
		require.Equal(t, http.StatusUnprocessableEntity, code)
		require.Contains(t, body, "5,00")
		require.Contains(t, body, "f-credit_reason-error")
		code, _, to = send("kim", "POST", "/tenants/acme/credits", url.Values{"amount": {"2000"}, "currency": {"EUR"}, "credit_reason": {"sorry"}})
		require.Equal(t, http.StatusSeeOther, code)
		require.Contains(t, to, "/console/approvals/")

		code, _, to = send("kim", "POST", "/tenants/acme/plan", url.Values{"plan": {"starter"}, "plan_reason": {"smaller"}})
		require.Equal(t, http.StatusSeeOther, code)
		require.Equal(t, "/console/tenants/acme/billing", to)

		b.bill(t, product.Invoice{Number: "A-1", Tenant: "acme", Money: eur(50_000), Paid: true})
		refund := func(amount, key string) (int, string) {
			code, body, _ := send("kim", "POST", "/tenants/acme/refunds", url.Values{"invoice": {"A-1"}, "refund_amount": {amount}, "refund_reason": {"charged twice"}, "_key": {key}})
			return code, body
		}
		for _, amount := range []string{"500.01", "0.00", "five"} {
			code, body = refund(amount, "r"+amount)
			require.Equal(t, http.StatusUnprocessableEntity, code, amount)
			require.Contains(t, body, "f-refund_amount-error", amount)
		}
		for range 2 {
			code, body = refund("500.00", "r1")
			require.Equal(t, http.StatusSeeOther, code, body)
		}

		code, _, _ = send("kim", "POST", "/tenants/acme/exports", url.Values{"dataset": {"users"}, "export_reason": {"asked"}})
		require.Equal(t, http.StatusSeeOther, code)
		_, body, _ = send("kim", "GET", "/tenants/acme/billing", nil)
		link := regexp.MustCompile(`/console(/exports/[^"]+)`).FindStringSubmatch(body)
		require.Len(t, link, 2)
		path := strings.ReplaceAll(link[1], "&amp;", "&")
		code, body, _ = send("kim", "GET", path, nil)
		require.Equal(t, 200, code)
		require.True(t, strings.HasPrefix(body, "PK"))
		code, _, _ = send("dana", "GET", path, nil)
		require.Equal(t, 403, code)
	})
}
