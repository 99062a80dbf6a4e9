package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/reevehq/reeve"
	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/console"
	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/examples/server/product/productapi"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govauth/access"
	"github.com/reevehq/reeve/governance/govauth/access/accessapi"
	"github.com/reevehq/reeve/governance/govauth/authapi"
	"github.com/reevehq/reeve/governance/govauth/passkey"
	"github.com/reevehq/reeve/governance/govauth/passkey/passkeyapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/publish"
	"github.com/reevehq/reeve/governance/outgoing"
	"github.com/reevehq/reeve/governance/policyfile"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/findings"
	"github.com/reevehq/reeve/oversight/recorder"
	"github.com/reevehq/reeve/oversight/siem"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/rulepack"
	"github.com/reevehq/reeve/retention/sqlsource"
)

// appBase is where the product's own pages are.
const appBase = "/app/"

// app is the whole server, opened and wired, not yet serving.
type app struct {
	cfg     configuration
	log     *slog.Logger
	db      *govdb.DB
	reeve   *reeve.Reeve
	auth    *govauth.Service
	access  *access.Service
	keys    *passkey.Service // security keys, for signed votes
	product *product.Service
	plugins *plugins
	metrics *metrics
	health  *health
	api     huma.API
	handler http.Handler
	closers []func() error

	receipts  *publish.Receipts // nil without a sink
	tenantApp http.Handler      // the product's own pages, without its guards
}

// openOptions are what demo and serve do not share.
type openOptions struct {
	demo     bool
	policies []governance.Policy // instead of the standard ones with the same id
}

func newLogger(cfg configuration, w io.Writer) *slog.Logger {
	level := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}[cfg.text("log_level")]
	if cfg.text("log_format") == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// openDatabase opens the operational database that the settings name.
func openDatabase(ctx context.Context, cfg configuration, log *slog.Logger) (*govdb.DB, error) {
	dsn := cfg.text("database")
	if dsn == "" {
		if err := os.MkdirAll(cfg.text("data"), 0o700); err != nil {
			return nil, fmt.Errorf("data folder: %w", err)
		}
		dsn = filepath.Join(cfg.text("data"), "reeve.db")
	}
	return opendb.Open(ctx, dsn, &opendb.Options{Schema: cfg.text("database_schema"), Logger: log})
}

func (c configuration) keysDir() string {
	switch dir := c.text("keys"); {
	case dir != "":
		return dir
	case c.text("database") == "":
		return filepath.Join(c.text("data"), "keys")
	}
	return ""
}

// parts are the options of the library. What has to be there before the kernel is
// handed in.
func parts() *reeve.Options {
	return &reeve.Options{Retention: &retention.Options{}, Oversight: &oversight.Options{}, Findings: &findings.Options{}, SIEM: &siem.Options{}, Analytics: &analytics.Options{}, Playbook: &playbook.Options{}, Integrations: &integrations.Options{}}
}

func schemas() []govdb.Schema {
	return append(reeve.Schemas(parts()), govauth.Schema(), access.Schema(), passkey.Schema(), product.Schema(), serverSchema())
}

// open builds the server. On an error everything opened is closed again.
func open(ctx context.Context, cfg configuration, log *slog.Logger, o openOptions) (_ *app, err error) {
	a := &app{cfg: cfg, log: log, metrics: newMetrics()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if a.db, err = openDatabase(ctx, cfg, log); err != nil {
		return nil, err
	}
	a.onClose(a.db.Close)
	if cfg.yes("auto_migrate") {
		err = govdb.Migrate(ctx, a.db, schemas()...)
	} else {
		err = govdb.CheckVersion(ctx, a.db, schemas()...)
	}
	if err != nil {
		return nil, err
	}
	if err := a.build(ctx, o); err != nil {
		return nil, err
	}
	if err := a.install(ctx, o); err != nil {
		return nil, err
	}
	return a, a.mount(o)
}

func (a *app) onClose(f func() error) { a.closers = append(a.closers, f) }

func (a *app) close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// build makes the services, from the keys up.
func (a *app) build(ctx context.Context, o openOptions) error {
	keys := secrets{a.db, a.cfg.keysDir()}
	signingKey, err := ledgerKey(ctx, a.db, keys, func() (string, error) {
		skey, _, err := ledger.GenerateKey(a.cfg.text("ledger_origin"))
		return skey, err
	})
	if err != nil {
		return err
	}
	sealKey, err := keys.bytes(ctx, "seal", 32)
	if err != nil {
		return err
	}
	linkKey, err := keys.bytes(ctx, "links", 32)
	if err != nil {
		return err
	}
	people, err := govauth.NewStore(a.db)
	if err != nil {
		return err
	}
	authorizer, err := govauth.NewAuthorizer(&govauth.AuthorizerOptions{OnError: func(permission string, faults []string) {
		a.log.Error("authorization policy failed, denied", "permission", permission, "faults", strings.Join(faults, "; "))
	}})
	if err != nil {
		return err
	}
	votes, err := passkey.NewStore(a.db, a.cfg.site)
	if err != nil {
		return err
	}
	rules, err := celrules.New(nil)
	if err != nil {
		return err
	}
	client, allow, err := a.outgoing(o)
	if err != nil {
		return err
	}
	notifiers, err := a.notifiers(client, allow)
	if err != nil {
		return err
	}
	opts := parts()
	opts.Governance = governance.Options{Authorizer: authorizer, Directory: people, LedgerKey: signingKey, Rules: rules, Notifiers: notifiers, Votes: votes,
		Rates: analytics.NewRates(a.db, a.cfg.text("reporting_currency"), 0), Logger: a.log, Hooks: a.metrics.hooks(), Links: a.link, BackTested: true, KeepNotices: a.cfg.duration("alert_history")}
	if opts.Retention.Jurisdictions, err = rulepack.Jurisdictions(); err != nil {
		return err
	}
	opts.Analytics.Reporting = a.cfg.text("reporting_currency")
	day := governance.Duration{Duration: 24 * time.Hour}
	*opts.Findings = findings.Options{Currency: a.cfg.text("reporting_currency"), Raise: &governance.Require{
		AllOf: []governance.Quorum{{Group: govauth.RoleApprover, Approvals: 1}}, DecideWithin: governance.Duration{Duration: 72 * time.Hour}, ExecuteWithin: day, PersonalKey: o.demo}}
	*opts.Oversight = oversight.Options{Path: appBase, EndPath: appBase + "impersonation/end", Home: "/console/sessions", Insecure: !strings.HasPrefix(a.cfg.text("public_url"), "https://"),
		PersonalKey: o.demo, DenyPaths: []string{appBase + "signin", appBase + "signout"}, Observe: a.observe,
		Targets: func(ctx context.Context, tenant governance.TenantID, user string) (governance.Actor, error) {
			return a.product.Target(ctx, tenant, user)
		}}
	opts.Impersonation = &console.OversightOptions{App: appBase, Users: func(ctx context.Context, t governance.TenantID) ([]console.Option, error) {
		return a.product.Choices(ctx, t)
	}}
	if opts.Recordings, err = recorder.OpenDir(filepath.Join(a.cfg.text("data"), "recordings")); err != nil {
		return err
	}
	witnesses, err := witnessPolicy(a.cfg)
	if err != nil {
		return err
	}
	opts.Evidence = &evidence.Options{Witnesses: witnesses}
	if dir := a.cfg.text("rrweb_dir"); dir != "" {
		if opts.BrowserKit, err = browserrec.OpenKit(dir); err != nil {
			return fmt.Errorf("rrweb_dir: %w", err)
		}
		opts.Browser = &browserrec.Options{Base: appBase + "recording/", Require: func(_ governance.TenantID, scope oversight.Scope) bool {
			required := a.cfg.text("rrweb_required")
			return required == "always" || required == "write" && scope == oversight.ReadWrite
		}}
	}
	opts.SIEM.Version, opts.SIEM.Logger = programVersion(), a.log
	if opts.SIEM.Sinks, err = sinks(a.cfg, client); err != nil {
		return err
	}
	if a.plugins, err = newPlugins(a, o.demo); err != nil {
		return err
	}
	a.onClose(func() error { a.plugins.host.Close(); return nil })
	sealer, err := integrations.NewSealer(sealKey)
	if err != nil {
		return err
	}
	*opts.Integrations = integrations.Options{Sealer: sealer, Client: client, PlainHTTP: o.demo, Connect: integrations.Configured(a.plugins.connect), Descriptors: a.plugins.descriptors, Logger: a.log}
	if a.reeve, err = reeve.New(a.db, opts); err != nil {
		return err
	}
	if err := errors.Join(a.publication(ctx, client), a.receiptSinks(client)); err != nil {
		return err
	}
	secure := strings.HasPrefix(a.cfg.text("public_url"), "https://")
	history, err := access.NewHistory(a.db)
	if err != nil {
		return err
	}
	if a.auth, err = govauth.New(a.reeve.Kernel, people, &govauth.Options{Secure: secure, OnChange: history.Keep, LinkURL: func(token string) string {
		return a.cfg.text("public_url") + "/console/signin/" + url.PathEscape(token)
	}}); err != nil {
		return err
	}
	if a.access, err = access.New(a.reeve.Kernel, a.auth, history, nil); err != nil {
		return err
	}
	if a.keys, err = passkey.New(a.reeve.Kernel, votes, nil); err != nil {
		return err
	}
	exports, err := recorder.OpenDir(filepath.Join(a.cfg.text("data"), "exports"))
	if err != nil {
		return err
	}
	plans := product.DefaultPlans()
	if o.demo {
		plans = demoPlans()
	}
	a.product, err = product.New(a.reeve.Kernel, &product.Options{Blobs: exports, LinkKey: linkKey, OnPlanChange: a.planFact, Plans: plans})
	return err
}

// observe says which impersonations somebody has to watch, by the settings.
func (a *app) observe(_ governance.TenantID, scope oversight.Scope) bool {
	switch a.cfg.text("impersonation_observer") {
	case "always":
		return true
	case "write":
		return scope == oversight.ReadWrite
	}
	return false
}

// link is the address of a thing in the console, for alerts.
func (a *app) link(kind, id string) string {
	paths := map[string]string{"approval": "/approvals/", "record": "/ledger/", "tenant": "/tenants/", "session": "/sessions/", "playbook_run": "/playbooks/runs/",
		"runbook": "/runbooks/", "retention_plan": "/retention/plans/", "delivery": "/deliveries/", "alert": "/alerts/", "finding": "/findings/", "access_campaign": "/access/reviews/", "siem": "/siem#", "policy": "/policies/", "review": "/reviews/"}
	p, ok := paths[kind]
	if !ok {
		return ""
	}
	return a.cfg.text("public_url") + "/console" + p + url.PathEscape(id)
}

// outgoing is the one client that calls the world, and the exceptions to its guard.
func (a *app) outgoing(o openOptions) (*http.Client, []outgoing.Allowed, error) {
	prefixes, ports, err := parseAllow(a.cfg.text("allow_outgoing"))
	if err != nil {
		return nil, nil, err
	}
	var allow []outgoing.Allowed
	for i, p := range prefixes {
		allow = append(allow, outgoing.Allowed{Prefix: p, Ports: []uint16{ports[i]}})
	}
	if o.demo { // its receiver and vendors listen on this machine
		allow = append(allow, outgoing.Loopback()...)
	}
	return outgoing.New(&outgoing.Options{Allow: allow}), allow, nil
}

// planFact tells analytics of a plan change in the commit that makes it, on the
// subscription that billing told of.
func (a *app) planFact(ctx context.Context, tx *governance.Tx, id governance.Identity, c product.PlanChanged) error {
	subscription := string(c.Tenant)
	known, err := a.reeve.Analytics.Facts(ctx, analytics.FactFilter{Tenant: c.Tenant, Kind: analytics.KindSubscription, Limit: 50})
	if err != nil {
		return err
	}
	for _, f := range known {
		if !f.Cancelled {
			subscription = f.Subscription
			break
		}
	}
	// The product tells at once, so no day of it is ever incomplete: without its
	// watermark the day of the last plan change would hold all figures back.
	always := analytics.Fact{Source: "product", Key: "through", Kind: analytics.KindWatermark, At: time.Date(2199, 12, 31, 0, 0, 0, 0, time.UTC)}
	return a.reeve.Analytics.IngestTx(ctx, tx, id, []analytics.Fact{always, {
		Source: "product", Key: "plan/" + string(c.Tenant) + "/" + c.At.UTC().Format(time.RFC3339Nano), Kind: analytics.KindSubscription, Tenant: c.Tenant,
		Subscription: subscription, Plan: c.To, Quantity: c.Seats, Amount: c.After.Minor, Currency: c.After.Currency, At: c.At,
	}}, nil)
}

// readPolicies reads the operator's own policies.
func readPolicies(file string) ([]governance.Policy, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	ps, err := policyfile.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("policies: %s: %w", file, err)
	}
	return ps, nil
}

// install stores what a new database starts with; it leaves what people changed.
func (a *app) install(ctx context.Context, o openOptions) error {
	k := a.reeve.Kernel
	standard := append(append(a.reeve.Policies(), govauth.Policies()...), o.policies...)
	own, err := readPolicies(a.cfg.text("policies"))
	if err != nil {
		return err
	}
	standard = append(standard, own...)
	byID := map[string]governance.Policy{}
	var order []string
	for _, p := range standard {
		if _, have := byID[p.ID]; !have {
			order = append(order, p.ID)
		}
		byID[p.ID] = p
	}
	var ps []governance.Policy
	for _, id := range order {
		p := byID[id]
		if o.demo && p.Require != nil { // its keys are personal, and scripts vote with them
			r := *p.Require
			r.PersonalKey = true
			p.Require = &r
		}
		ps = append(ps, p)
	}
	if err := k.InstallPolicies(ctx, ps...); err != nil {
		return err
	}
	rules, err := rulepack.Rules()
	if err != nil {
		return err
	}
	if err := a.reeve.Retention.Install(ctx, rules, nil); err != nil {
		return err
	}
	skipped, err := a.reeve.Playbook.InstallShipped(ctx)
	if err != nil {
		return err
	}
	if len(skipped) > 0 {
		a.log.Warn("playbooks left out", "names", strings.Join(skipped, ", "))
	}
	if err := a.product.Install(ctx); err != nil {
		return err
	}
	if err := a.access.Install(ctx); err != nil {
		return err
	}
	return a.hostSource(ctx)
}

// hostSource puts the host's database under retention when the settings name one.
func (a *app) hostSource(ctx context.Context) error {
	dsn, file := a.cfg.text("host_database"), a.cfg.text("host_mapping")
	if dsn == "" {
		return nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("mapping of the host database: %w", err)
	}
	ms, err := sqlsource.Load(b)
	if err != nil {
		return fmt.Errorf("mapping of the host database %s: %w", file, err)
	}
	db, err := openHost(ctx, dsn, "")
	if err != nil {
		return err
	}
	a.onClose(db.Close)
	return a.addSources(ctx, db, ms)
}

func (a *app) addSources(ctx context.Context, db *sql.DB, ms []sqlsource.Mapping) error {
	for _, m := range ms {
		src, err := sqlsource.New(ctx, db, m, nil)
		if err != nil {
			return err
		}
		if err := a.reeve.Retention.AddSource(ctx, src); err != nil {
			return err
		}
	}
	return nil
}

// openHost opens a database that is not ours, with nothing of ours around it.
func openHost(ctx context.Context, dsn, schema string) (*sql.DB, error) {
	h, err := opendb.Open(ctx, dsn, &opendb.Options{Schema: schema, MaxConns: 10})
	if err != nil {
		return nil, fmt.Errorf("host database: %w", err)
	}
	return h.Handle().DB, nil
}

// newAPI is the HTTP API with every operation on it.
func (a *app) newAPI(mux *http.ServeMux) huma.API {
	c := huma.DefaultConfig("Reeve", "1.0.0")
	c.Info.Description = "Govern and grow a SaaS product: guarded actions, approvals, ledger, retention, oversight, analytics, playbooks and integrations."
	c.Servers = []*huma.Server{{URL: "/v1"}}
	c.DocsPath, c.SchemasPath = "", ""
	c.CreateHooks = nil // no $schema links in answers
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer", Description: "An API key"}}
	api := humago.NewWithPrefix(mux, "/v1", c)
	a.reeve.Register(api)
	authapi.Register(api, a.auth)
	accessapi.Register(api, a.access)
	passkeyapi.Register(api, a.keys)
	productapi.Register(api, a.product)
	return api
}

// mount builds the handler: API, console, the product's own pages, health.
func (a *app) mount(o openOptions) error {
	mux := http.NewServeMux()
	apiMux := http.NewServeMux()
	a.api = a.newAPI(apiMux)
	mux.Handle("/v1/", a.auth.Middleware(govapi.Unknown(apiMux)))
	mux.Handle("/v1/ledger/log/", a.auth.Middleware(a.ledgerLog()))
	reference := govapi.Reference(a.api, "/docs")
	mux.Handle("GET /docs", reference)
	mux.Handle("GET /docs.css", reference)

	sections := append(a.reeve.Sections(), product.Section(a.product), console.Users(a.auth), console.Passkeys(a.keys), console.Access(a.access), console.SignIn(a.auth))
	flash, err := secrets{a.db, a.cfg.keysDir()}.bytes(context.Background(), "flash", 32)
	if err != nil {
		return err
	}
	pages, err := console.New(&console.Options{Kernel: a.reeve.Kernel, Sections: sections, Logger: a.log, Secret: flash, Stories: o.demo})
	if err != nil {
		return err
	}
	mux.Handle("/console/", a.auth.Middleware(pages))
	mux.Handle("/console", a.auth.Middleware(pages))

	if a.tenantApp, err = product.NewApp(a.product, a.reeve.Oversight, product.AppOptions{Base: appBase, Browser: a.reeve.Browser, Secure: strings.HasPrefix(a.cfg.text("public_url"), "https://")}); err != nil {
		return err
	}
	guard := http.NewCrossOriginProtection()
	if a.reeve.Browser != nil {
		mux.Handle(appBase+"recording/", guard.Handler(a.auth.Middleware(a.reeve.Browser.Handler())))
	}
	mux.Handle(appBase, guard.Handler(a.auth.Middleware(a.reeve.Oversight.Middleware(a.reeve.Recorder.Middleware(a.tenantApp)))))

	a.health = &health{ready: func(ctx context.Context) error { return a.db.Read().PingContext(ctx) }}
	mux.HandleFunc("GET /livez", a.health.livez)
	mux.HandleFunc("GET /readyz", a.health.readyz)
	mux.Handle("GET /metrics", a.metrics.handler(a.cfg.text("metrics_token")))
	mux.Handle("GET /{$}", http.RedirectHandler("/console", http.StatusSeeOther))
	a.metrics.gauge("reeve_approvals_pending", "Held actions that wait for people.", func(ctx context.Context) (float64, error) {
		as, err := a.reeve.Kernel.Approvals(ctx, governance.ApprovalFilter{States: []governance.State{governance.StatePending}, Limit: 200})
		return float64(len(as)), err
	})
	a.metrics.gauge("reeve_delivery_lag_seconds", "Age of the oldest delivery that waits, over all targets.", func(ctx context.Context) (float64, error) {
		lags, err := a.reeve.Integrations.Lags(ctx)
		worst := 0.0
		for _, l := range lags {
			worst = max(worst, l.Oldest.Seconds())
		}
		return worst, err
	})
	a.siemMetrics()
	a.handler = observe(a.log, a.metrics, mux)
	return nil
}

// listen opens the socket; an address with port 0 gets a free one, and public_url
// follows when it was not set.
func (a *app) listen(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.cfg.text("listen"))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a.cfg.text("listen"), err)
	}
	if a.cfg.source["public_url"] == "default" {
		a.cfg.values["public_url"] = "http://" + l.Addr().String()
	}
	return l, nil
}

// run serves on l and does the background work until ctx ends.
func (a *app) run(ctx context.Context, l net.Listener) error {
	// Background work goes on while running requests finish: a request may wait for it.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if a.receipts != nil {
		var wg sync.WaitGroup
		wg.Go(func() { a.receipts.Run(work) })
		defer wg.Wait()
		defer stop()
	}
	go func() {
		err := a.reeve.Run(work)
		if err != nil {
			fail(err)
		}
		done <- err
	}()
	err := listenAndServe(serving, l, a.handler, a.health, a.cfg.duration("shutdown_grace"), a.log)
	stop()
	return errors.Join(err, <-done, a.auth.Flush(context.WithoutCancel(ctx)))
}
