package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/internal/demodata/billing"
	"github.com/reevehq/reeve/internal/hostdata"
	"github.com/reevehq/reeve/oversight"
)

// asServer is the environment variable that makes the test binary be the server.
const asServer = "REEVE_TEST_AS_SERVER"

// TestMain lets the test binary be the demo's connectors, as the server's own is, and
// the server.
func TestMain(m *testing.M) {
	if code, done := servePlugin(os.Args[1:]); done {
		os.Exit(code)
	}
	if os.Getenv(asServer) != "" {
		main()
	}
	os.Exit(m.Run())
}

// world is a small demo behind an HTTP server. Its background work runs only when a
// test asks for it.
type world struct {
	*app
	demo    *demonstration
	url     string
	keys    map[string]string
	tenants []billing.Tenant // active ones, the first in EUR
	log     *lockedBuffer
}

// small is the demo's business with a tenth of its tenants.
func small(seed uint64, today time.Time) *billing.Data {
	all := billing.Generate(seed, today)
	out := &billing.Data{}
	kept := map[governance.TenantID]bool{}
	for i, t := range all.Tenants {
		shown := t.Plan == "enterprise" && t.MRR > 300000 || t.Plan == "business" && t.Currency == "USD" // what demonstration.work looks for
		if i < 8 || t.Status == governance.TenantActive && t.Note == "" && (shown || i%10 == 0) {
			out.Tenants = append(out.Tenants, t)
			kept[governance.TenantID(t.ID)] = true
		}
	}
	for _, f := range all.Facts {
		if f.Tenant == "" || kept[f.Tenant] {
			out.Facts = append(out.Facts, f)
		}
	}
	return out
}

func newWorld(t *testing.T, database string) *world {
	t.Helper()
	ctx := t.Context()
	flags := map[string]string{"data": t.TempDir(), "log_level": "warn"}
	if database != "" {
		flags["database"], flags["database_schema"] = database, govtest.Schema(t)
	}
	cfg, err := loadConfig("", nil, flags)
	require.NoError(t, err)
	w := &world{keys: map[string]string{}, log: &lockedBuffer{}}
	w.app, err = open(ctx, cfg, slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		openOptions{demo: true, policies: oversight.Policies(&oversight.PolicyOptions{PersonalKey: true, ExportRows: 10})})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.close()) })
	srv := httptest.NewServer(w.handler)
	t.Cleanup(srv.Close)
	w.url = srv.URL

	w.demo = &demonstration{app: w.app, seed: 7, today: w.db.Now(), progress: io.Discard}
	d := w.demo
	data := small(d.seed, d.today)
	for _, tn := range data.Tenants {
		if tn.Status == governance.TenantActive && tn.Note == "" {
			w.tenants = append(w.tenants, tn)
		}
	}
	slices.SortStableFunc(w.tenants, func(a, b billing.Tenant) int { return strings.Compare(a.Currency, b.Currency) })
	require.NoError(t, d.outside(ctx))
	require.NoError(t, d.people(ctx))
	require.NoError(t, d.tenants(ctx, data))
	require.NoError(t, d.facts(ctx, data))
	w.fill(t)
	b, err := os.ReadFile(d.keyFile())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &w.keys))
	return w
}

// fill makes one of everything that can be listed.
func (w *world) fill(t *testing.T) {
	ctx := t.Context()
	dsn, schema := w.demo.hostDSN()
	if schema != "" {
		schema = w.cfg.text("database_schema") + "_host"
		t.Cleanup(func() {
			_, _ = w.db.Handle().ExecContext(context.Background(), "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
		})
	}
	host, err := openHost(ctx, dsn, schema)
	require.NoError(t, err)
	w.onClose(host.Close)
	require.NoError(t, hostdata.Generate(ctx, host, schema != "", w.demo.seed, 400, w.demo.today))
	ms, err := hostdata.Mapping()
	require.NoError(t, err)
	require.NoError(t, w.addSources(ctx, host, ms))
	require.NoError(t, w.demo.retention(ctx))
	require.NoError(t, w.demo.playbooks(ctx))
	admin := w.as(t, "dana")
	_, _, err = w.reeve.Integrations.CreateTarget(ctx, admin, integrations.TargetInput{Name: "data-platform", Kind: integrations.Webhook, Config: map[string]string{"url": w.demo.hook},
		Events: []string{"tenant.*"}}, &governance.DoOptions{Reason: "Test"})
	_, err = w.demo.approved(ctx, err)
	require.NoError(t, err)
	_, err = w.product.Export(ctx, w.as(t, "dana"), governance.TenantID(w.tenants[0].ID), "documents", &governance.DoOptions{Reason: "Test"})
	_, err = w.demo.approved(ctx, err)
	require.NoError(t, err)
	require.NoError(t, w.demo.walk(ctx, &billing.Data{Tenants: []billing.Tenant{w.tenants[0]}}))
}

func (w *world) as(t *testing.T, person string) governance.Identity {
	t.Helper()
	id, err := w.demo.as(t.Context(), person)
	require.NoError(t, err)
	return id
}

// settle does the background work of the ledger and the outbox until none is left.
func (w *world) settle(t *testing.T) {
	t.Helper()
	for range 1000 {
		sealed, err := w.reeve.Kernel.Ledger().Seal(t.Context())
		require.NoError(t, err)
		moved, err := w.reeve.Kernel.Outbox().Turn(t.Context())
		require.NoError(t, err)
		if sealed+moved == 0 {
			return
		}
	}
	t.Fatal("the outbox does not come to rest")
}

// each runs fn on a world on each engine.
func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		fn(t, newWorld(t, ""))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		fn(t, newWorld(t, govtest.PostgresDSN(t)))
	})
}

// answer is what the server said.
type answer struct {
	status int
	header http.Header
	raw    string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.raw), &v), a.raw)
	return v
}

// text is a field of the answer's object.
func (a answer) text(t *testing.T, name string) string {
	t.Helper()
	s, _ := a.json(t)[name].(string)
	return s
}

// send makes a request as the holder of a demo key; who may be empty. Headers come in
// pairs; a header without a value is left out.
func (w *world) send(t *testing.T, who, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if who != "" {
		key, ok := w.keys[who]
		require.True(t, ok, who)
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return answer{res.StatusCode, res.Header, string(raw)}
}

// state counts the rows of every table of ours, but for what reading may write: when
// a credential was last used, who looked at a recording, and refusals.
func (w *world) state(t *testing.T) map[string]int64 {
	t.Helper()
	ctx := t.Context()
	query := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if w.db.Postgres() {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
	}
	var tables []string
	require.NoError(t, w.db.Handle().NewRaw(query).Scan(ctx, &tables))
	out := map[string]int64{}
	for _, table := range tables {
		prefix, _, _ := strings.Cut(table, "_")
		if !slices.Contains([]string{"gov", "product", "retention", "oversight", "analytics", "playbook", "integration", "auth", "server", "ledger", "outbox"}, prefix) {
			continue
		}
		var n int64
		require.NoError(t, w.db.Handle().NewRaw("SELECT COUNT(*) FROM "+table).Scan(ctx, &n))
		out[table] = n
	}
	return out
}

// lockedBuffer is a log that a test may read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
