package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The parts of one demo, in the order in which they can share it.
func TestJourneys(t *testing.T) {
	s := start(t, t.TempDir())
	all := s.tenants(t)
	require.GreaterOrEqual(t, len(all), 150)
	free := &pool{all: all}
	t.Run("a script's contract", func(t *testing.T) { contract(t, s, free) })
	t.Run("finance viewer", func(t *testing.T) { financeViewer(t, s) })
	t.Run("a tenant is downgraded", func(t *testing.T) { downgrade(t, s, free) })
	t.Run("revenue moves", func(t *testing.T) { revenue(t, s, free) })
	t.Run("a playbook acts and is rolled back", func(t *testing.T) { unpaid(t, s, free) })
	t.Run("impersonation", func(t *testing.T) { impersonation(t, s, free) })
	var purged purge
	t.Run("a row reaches the end of its retention", func(t *testing.T) { purged = retention(t, s) })
	t.Run("restart", func(t *testing.T) { restart(t, s, purged) })
}

// pool hands out tenants, each once.
type pool struct{ all []tenant }

func (p *pool) take(t *testing.T, ok func(tenant) bool) tenant {
	t.Helper()
	i := slices.IndexFunc(p.all, ok)
	require.GreaterOrEqual(t, i, 0, "no tenant fits")
	c := p.all[i]
	p.all = slices.Delete(p.all, i, i+1)
	return c
}

// untouched are tenants that the demo gave no credit to.
func (p *pool) untouched(t *testing.T, s *server) tenant {
	t.Helper()
	return p.take(t, func(c tenant) bool {
		return len(get[list[any]](t, s, "super_admin", "/tenants/"+c.ID+"/credits").Items) == 0 &&
			len(get[list[any]](t, s, "super_admin", "/approvals?tenant="+c.ID).Items) == 0
	})
}

func credit(amount, currency string) map[string]string {
	return map[string]string{"amount": amount, "currency": currency, "reason": "Outage on Monday"}
}

func contract(t *testing.T, s *server, free *pool) {
	const admin, agent, approver = "super_admin", "cs_agent", "gov_approver"
	give := func(key string, c tenant, amount, currency string) answer {
		return s.call(t, key, http.MethodPost, "/tenants/"+c.ID+"/credits", credit(amount, currency))
	}
	hold := func(key string, c tenant, amount, currency string) held {
		return s.hold(t, key, "/tenants/"+c.ID+"/credits", credit(amount, currency))
	}
	for _, name := range []string{"super_admin", "gov_approver", "gov_approver_2", "gov_auditor", "finance_viewer", "cs_agent", "support"} {
		require.Contains(t, s.Keys, name)
	}

	t.Run("the limit may be reached and not exceeded", func(t *testing.T) {
		c := free.untouched(t, s)
		require.Equal(t, "executed", as[done](t, give(agent, c, "5.00", "EUR").want(t, http.StatusOK)).State)
		give(admin, c, "995.00", "EUR").want(t, http.StatusOK)
		h := hold(agent, c, "0.01", "EUR")
		require.Equal(t, "executed", s.vote(t, approver, h.Approval, "approve").State)
		got := get[list[struct{ Money money }]](t, s, agent, "/tenants/"+c.ID+"/credits")
		require.Equal(t, []string{"0.01", "995.00", "5.00"}, []string{got.Items[0].Money.Amount, got.Items[1].Money.Amount, got.Items[2].Money.Amount})
	})
	t.Run("currencies and actors count together", func(t *testing.T) {
		c := free.untouched(t, s)
		give(agent, c, "400.00", "EUR").want(t, http.StatusOK)
		give(admin, c, "300.00", "USD").want(t, http.StatusOK)
		give(agent, c, "150.00", "GBP").want(t, http.StatusOK)
		h := hold(admin, c, "300.00", "GBP")
		require.Contains(t, string(get[approval](t, s, admin, "/approvals/"+h.Approval).Decision), `"rate`, "the rate is kept with the decision")
	})
	t.Run("what waits counts", func(t *testing.T) {
		c := free.untouched(t, s)
		give(agent, c, "900.00", "EUR").want(t, http.StatusOK)
		first := hold(agent, c, "200.00", "EUR")
		second := hold(admin, c, "50.00", "EUR")
		require.Equal(t, "denied", s.vote(t, approver, first.Approval, "deny").State)
		require.Equal(t, "denied", s.vote(t, "gov_approver_2", second.Approval, "deny").State)
		give(agent, c, "100.00", "EUR").want(t, http.StatusOK)
		s.call(t, approver, http.MethodPost, "/approvals/"+first.Approval+"/execute", nil).want(t, http.StatusConflict)
	})
	t.Run("votes", func(t *testing.T) {
		c := free.untouched(t, s)
		h := hold(admin, c, "1000.01", "EUR")
		votes := "/approvals/" + h.Approval + "/votes"
		body := func(digest string) map[string]string {
			return map[string]string{"decision": "approve", "digest": digest, "comment": "Looked at"}
		}
		s.call(t, admin, http.MethodPost, votes, body(h.Digest)).want(t, http.StatusForbidden) // its requester
		s.call(t, agent, http.MethodPost, votes, body(h.Digest)).want(t, http.StatusForbidden)
		s.call(t, "gov_auditor", http.MethodPost, votes, body(h.Digest)).want(t, http.StatusForbidden)
		s.call(t, approver, http.MethodPost, votes, body("sha256:"+strings.Repeat("0", 64))).want(t, http.StatusConflict)
		s.call(t, approver, http.MethodPost, "/approvals/"+h.Approval+"/execute", nil).want(t, http.StatusConflict) // not approved yet
		require.Equal(t, "pending", get[approval](t, s, agent, "/approvals/"+h.Approval).State)
		require.Empty(t, get[list[any]](t, s, agent, "/tenants/"+c.ID+"/credits").Items)
		ap := as[approval](t, s.call(t, approver, http.MethodPost, votes, body(h.Digest)).want(t, http.StatusOK))
		require.Equal(t, "executed", ap.State)
		require.Len(t, ap.Votes, 1)
		s.call(t, "gov_approver_2", http.MethodPost, votes, body(h.Digest)).want(t, http.StatusConflict)
		s.call(t, admin, http.MethodPost, "/approvals/"+h.Approval+"/execute", nil).want(t, http.StatusConflict)
		require.Len(t, get[list[any]](t, s, agent, "/tenants/"+c.ID+"/credits").Items, 1)
	})
	t.Run("bad requests change nothing", func(t *testing.T) {
		c := free.untouched(t, s)
		path := "/tenants/" + c.ID + "/credits"
		for name, body := range map[string]any{
			"unknown field":  map[string]string{"amount": "1.00", "currency": "EUR", "reason": "x", "limit": "none"},
			"number":         map[string]any{"amount": 1.00, "currency": "EUR", "reason": "x"},
			"negative":       credit("-1.00", "EUR"),
			"zero":           credit("0.00", "EUR"),
			"three decimals": credit("1.001", "EUR"),
			"no currency":    credit("1.00", "XXX"),
			"no reason":      map[string]string{"amount": "1.00", "currency": "EUR"},
		} {
			a := s.call(t, agent, http.MethodPost, path, body)
			require.Equal(t, http.StatusUnprocessableEntity, a.Status, "%s: %s", name, a.Body)
			require.Contains(t, a.Header.Get("Content-Type"), "application/problem+json")
		}
		s.call(t, agent, http.MethodPost, path, map[string]string{"amount": "1.00", "currency": "EUR", "reason": "a\x00b"}).want(t, http.StatusBadRequest)
		s.call(t, agent, http.MethodPost, path+"?dry_run=true", credit("1.00", "EUR")).want(t, http.StatusUnprocessableEntity)
		s.call(t, agent, http.MethodPost, "/tenants/nobody/credits", credit("1.00", "EUR")).want(t, http.StatusNotFound)
		s.call(t, "", http.MethodPost, path, credit("1.00", "EUR")).want(t, http.StatusUnauthorized)
		for _, key := range []string{"gov_approver", "gov_auditor", "finance_viewer", "support"} {
			s.call(t, key, http.MethodPost, path, credit("1.00", "EUR")).want(t, http.StatusForbidden)
		}
		require.Empty(t, get[list[any]](t, s, agent, path).Items)
	})
	t.Run("a key makes a request once", func(t *testing.T) {
		c := free.untouched(t, s)
		send := func(amount string) answer {
			b, err := json.Marshal(credit(amount, "EUR"))
			require.NoError(t, err)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL+"/tenants/"+c.ID+"/credits", strings.NewReader(string(b)))
			require.NoError(t, err)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", "order-4711-"+c.ID)
			return s.send(t, agent, req)
		}
		first := as[done](t, send("7.00").want(t, http.StatusOK))
		require.Equal(t, first.Action, as[done](t, send("7.00").want(t, http.StatusOK)).Action)
		send("8.00").want(t, http.StatusConflict)
		require.Len(t, get[list[any]](t, s, agent, "/tenants/"+c.ID+"/credits").Items, 1)
	})
}

// financeViewer asks for everything that can be read and gets analytics alone.
func financeViewer(t *testing.T, s *server) {
	type operation struct {
		Permission *string `json:"x-permission"`
		Parameters []struct {
			Name, In string
			Required bool
			Schema   struct {
				Type   any
				Format string
				Enum   []any
			}
		}
	}
	doc := get[struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}](t, s, "", "/openapi.json")
	require.Equal(t, "3.1.0", doc.OpenAPI)
	read, refused := 0, 0
	for path, ops := range doc.Paths {
		raw, ok := ops["get"]
		if !ok {
			continue
		}
		var op operation
		require.NoError(t, json.Unmarshal(raw, &op))
		url, query := path, []string{}
		for _, p := range op.Parameters {
			value := "t-alder-analytics"
			switch {
			case len(p.Schema.Enum) > 0:
				value, _ = p.Schema.Enum[0].(string)
			case p.Schema.Format == "uuid":
				value = "01a20e55-f187-7098-8860-bf8688b863e2"
			case p.Schema.Type == "integer":
				value = "1"
			case p.Name == "month":
				value = "2026-10"
			}
			switch {
			case p.In == "path":
				url = strings.ReplaceAll(url, "{"+p.Name+"}", value)
			case p.In == "query" && p.Required:
				query = append(query, p.Name+"="+value)
			}
		}
		if len(query) > 0 {
			url += "?" + strings.Join(query, "&")
		}
		a := s.call(t, "finance_viewer", http.MethodGet, url, nil)
		switch {
		case op.Permission != nil && *op.Permission == "analytics:read":
			require.NotEqual(t, http.StatusForbidden, a.Status, "%s: %s", path, a.Body)
			require.Less(t, a.Status, 500, "%s: %s", path, a.Body)
			read++
		case op.Permission == nil && (path == "/me" || path == "/passkeys" || strings.HasPrefix(path, "/me/")): // one's own
			a.want(t, http.StatusOK)
		default:
			require.Equal(t, http.StatusForbidden, a.Status, "%s: %s", path, a.Body)
			refused++
		}
	}
	require.Greater(t, read, 8)
	require.Greater(t, refused, 40)
	for _, path := range []string{"/analytics/facts", "/analytics/refreshes"} {
		s.call(t, "finance_viewer", http.MethodPost, path, map[string]any{}).want(t, http.StatusForbidden)
	}
	s.call(t, "finance_viewer", http.MethodGet, "/analytics/summary", nil).want(t, http.StatusOK)
}
