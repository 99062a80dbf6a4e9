package console

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/outgoing"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/webhook"
)

type integrationsBench struct {
	*govtest.Env
	svc     *integrations.Service
	section Section
	h       http.Handler
}

func newIntegrationsBench(t *testing.T) *integrationsBench {
	t.Helper()
	b := &integrationsBench{Env: govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{integrations.Schema()}})}
	b.People.Put("kim", "root")
	b.People.Put("dana", "cs_agent")
	b.People.Put("vic", "viewer")
	b.People.Allow("cs_agent", "integration:read", "tenant:read")
	b.People.Allow("viewer", "tenant:read")
	sealer, err := integrations.NewSealer(make([]byte, 32))
	require.NoError(t, err)
	b.svc, err = integrations.New(b.Kernel, &integrations.Options{Sealer: sealer, PlainHTTP: true, Client: outgoing.New(&outgoing.Options{Allow: outgoing.Loopback()})})
	require.NoError(t, err)
	b.section = Integrations(b.svc)
	b.h, err = New(&Options{Kernel: b.Kernel, Sections: []Section{b.section}})
	require.NoError(t, err)
	return b
}

func TestIntegrationsStories(t *testing.T) {
	t.Parallel()
	b := newIntegrationsBench(t)
	requireStories(t, b.Kernel, b.section)
}

var secretText = regexp.MustCompile(`whsec_[A-Za-z0-9+/=]{30,}`)

// TestIntegrations_Journey adds a webhook, starts it, sees a delivery fail, and sends it
// again.
func TestIntegrations_Journey(t *testing.T) {
	t.Parallel()
	b := newIntegrationsBench(t)
	var secret string
	status := http.StatusInternalServerError
	got := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		key, err := webhook.ParseSecret(secret)
		require.NoError(t, err)
		require.NoError(t, webhook.Verify(r.Header, body, b.Now(), key))
		got++
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	kim, dana, vic := browse(t, b.h, b.As("kim")), browse(t, b.h, b.As("dana")), browse(t, b.h, b.As("vic"))

	for _, path := range []string{"/deliveries", "/targets"} {
		vic.get(path, http.StatusForbidden)
		requireMarkup(t, dana.get(path, http.StatusOK).body)
	}
	dana.get("/targets/new", http.StatusForbidden)
	requireMarkup(t, kim.get("/targets/new", http.StatusOK).body)
	bad := kim.post("/targets", http.StatusUnprocessableEntity, "name", "Desk", "config.url", "ftp://x", "events", "tenant.*", "mode", "park")
	require.Contains(t, bad.body, `value="ftp://x"`)
	require.Contains(t, bad.body, "must begin with https://")
	dana.post("/targets", http.StatusForbidden, "name", "Desk", "config.url", srv.URL, "events", "tenant.*", "mode", "park")
	at := kim.post("/targets", http.StatusSeeOther, "name", "Desk", "config.url", srv.URL, "events", "tenant.*", "mode", "park", "_key", "k1").location
	require.Contains(t, kim.get(at, http.StatusOK).body, "It has no signing secret yet")
	dana.post(at+"/secret", http.StatusForbidden)
	shown := kim.post(at+"/secret", http.StatusOK)
	require.Equal(t, "no-store", shown.header.Get("Cache-Control"))
	requireMarkup(t, shown.body)
	secret = secretText.FindString(html.UnescapeString(shown.body))
	require.NotEmpty(t, secret)
	require.NotContains(t, kim.get(at, http.StatusOK).body, secret)

	require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := b.Kernel.UpsertTenantTx(ctx, tx, b.As("kim"), governance.Tenant{ID: "acme", Name: "Acme GmbH", Country: "DE", Status: governance.TenantActive, Plan: "pro"})
		return err
	}))
	b.Drain(t)
	_, err := b.svc.Turn(t.Context())
	require.NoError(t, err)
	list := dana.get("/deliveries?state=waiting", http.StatusOK)
	requireMarkup(t, list.body)
	require.Contains(t, list.body, "HTTP 500")
	require.Contains(t, dana.get("/deliveries?tenant=nobody", http.StatusOK).body, "No delivery matches")
	dana.get("/deliveries?target=x", http.StatusNotFound)
	d := "/deliveries/" + b.deliveries(t)[0].ID.String()
	require.NotContains(t, dana.get(d, http.StatusOK).body, "/replay")
	kim.post(d+"/replay", http.StatusNotFound) // it waits anyway
	require.Contains(t, kim.post(at+"/test", http.StatusSeeOther).location, at)
	require.Contains(t, kim.get(at, http.StatusOK).body, "The test failed: HTTP 500")

	status = http.StatusOK
	b.Advance(30e9)
	_, err = b.svc.Turn(t.Context())
	require.NoError(t, err)
	page := kim.get(d, http.StatusOK)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "Send again")
	dana.post(d+"/replay", http.StatusForbidden)
	before := got
	kim.post(d+"/replay", http.StatusSeeOther, "_key", "k2")
	_, err = b.svc.Turn(t.Context())
	require.NoError(t, err)
	require.Equal(t, before+1, got)

	dana.post(at+"/pause", http.StatusForbidden)
	kim.post(at+"/pause", http.StatusSeeOther)
	require.Contains(t, dana.get("/targets", http.StatusOK).body, "Somebody paused it")
	kim.post(at+"/pause", http.StatusConflict)
	kim.post(at+"/resume", http.StatusSeeOther)
	kim.post(at+"/replay", http.StatusSeeOther, "_key", "k3")
	tab := dana.get("/tenants/acme/systems", http.StatusOK)
	requireMarkup(t, tab.body)
	require.Contains(t, tab.body, "tenant.created")
	vic.get("/tenants/acme/systems", http.StatusForbidden)
	requireMarkup(t, dana.get("/", http.StatusOK).body)
}

func (b *integrationsBench) deliveries(t *testing.T) []integrations.Delivery {
	t.Helper()
	ds, err := b.svc.Deliveries(t.Context(), integrations.DeliveryFilter{})
	require.NoError(t, err)
	return ds
}
