package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/webhook"
	"github.com/reevehq/reeve/internal/demodata/billing"
	"github.com/reevehq/reeve/internal/hostdata"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/plugins/sandboxvendor"
	"github.com/reevehq/reeve/retention"
)

type demoOptions struct {
	JSON bool
	Seed uint64
	Keep bool
}

// hostCustomers is how many customers the demo's host database has.
const hostCustomers = 50_000

// demoPerson is somebody in the demo.
type demoPerson struct {
	id, name, key string
	roles         []string
}

// The first six customer-success people own the tenants, in this order.
func demoPeople() []demoPerson {
	return []demoPerson{
		{"cleo", "Cleo Okonjo", "cs_agent", []string{"cs_agent"}},
		{"mika", "Mika Sørensen", "", []string{"cs_agent"}},
		{"jonas", "Jonas Adler", "", []string{"cs_agent"}},
		{"priya", "Priya Raman", "", []string{"cs_agent"}},
		{"luca", "Luca Ferri", "", []string{"cs_agent"}},
		{"sana", "Sana Malik", "", []string{"cs_agent"}},
		{"dana", "Dana Whitlock", "super_admin", []string{"super_admin"}},
		{"noor", "Noor Haddad", "gov_approver", []string{"gov_approver"}},
		{"tomas", "Tomas Lindqvist", "gov_approver_2", []string{"gov_approver"}},
		{"ines", "Ines Carvalho", "gov_auditor", []string{"gov_auditor"}},
		{"felix", "Felix Brandt", "finance_viewer", []string{"finance_viewer"}},
		{"robin", "Robin Hale", "support", []string{"support_key"}},
	}
}

// demoReady is the line that --json prints.
type demoReady struct {
	ConsoleURL string `json:"console_url"`
	APIURL     string `json:"api_url"`
	SignInURL  string `json:"sign_in_url"`
	// CustomerURL signs a customer's own user in to the product.
	CustomerURL string            `json:"customer_url"`
	Keys        map[string]string `json:"keys"`
}

// demo runs the server with made-up data. What a folder has already is kept.
func demo(ctx context.Context, cfg configuration, o demoOptions, stdout, stderr io.Writer) error {
	if !o.Keep {
		dir, err := os.MkdirTemp("", "reeve-demo-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cfg.values["data"] = dir
	}
	if cfg.source["log_level"] == "default" {
		cfg.values["log_level"] = "error" // progress is shown on the same stream
	}
	log := newLogger(cfg, stderr)
	// The socket first: links in alerts and records name the address.
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.text("listen"))
	if err != nil {
		return fmt.Errorf("listen on %s: %w", cfg.text("listen"), err)
	}
	defer func() { _ = l.Close() }()
	if cfg.source["public_url"] == "default" {
		cfg.values["public_url"] = "http://" + l.Addr().String()
	}
	stopPager, err := pager(cfg, log)
	if err != nil {
		return err
	}
	defer stopPager()
	a, err := open(ctx, cfg, log, openOptions{demo: true, policies: oversight.Policies(&oversight.PolicyOptions{PersonalKey: true, ExportRows: 10})})
	if err != nil {
		return err
	}
	defer func() {
		if err := a.close(); err != nil {
			log.Error("close", "error", err)
		}
	}()
	d := &demonstration{app: a, seed: o.Seed, today: a.db.Now(), progress: stderr}
	if err := d.outside(ctx); err != nil {
		return err
	}
	if err := d.fill(ctx); err != nil {
		return err
	}
	ready, err := d.ready(ctx)
	if err != nil {
		return err
	}
	if o.JSON {
		b, err := json.Marshal(ready)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(stdout, "%s\n", b)
	} else {
		banner(stdout, ready, cfg.text("data"), o.Keep)
	}
	if err := a.run(ctx, l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// pager is where the demo's alerts go when the settings name no other place: a
// receiver on this machine that takes what is signed.
func pager(cfg configuration, log *slog.Logger) (stop func(), err error) {
	if cfg.text("notify_webhook") != "" {
		return func() {}, nil
	}
	secret := randomBytes(32)
	key, err := webhook.ParseSecret("whsec_" + base64.StdEncoding.EncodeToString(secret))
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = webhook.Verify(r.Header, body, time.Now(), key)
		}
		if err != nil {
			log.Warn("the pager refused an alert", "error", err)
			http.Error(w, "signature", http.StatusUnauthorized)
			return
		}
		log.Debug("alert received", "id", r.Header.Get(webhook.HeaderID))
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = srv.Serve(l) }()
	cfg.values["notify_webhook"], cfg.values["notify_webhook_secret"] = "http://"+l.Addr().String(), string(secret)
	return func() { _ = srv.Close() }, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func banner(w io.Writer, r demoReady, data string, keep bool) {
	_, _ = fmt.Fprintf(w, `
Reeve is ready.

  Console    %s
  Sign in    %s   (as super admin; the page asks once)
  Customer   %s   (a customer's own user, in the product)
  API        %s   with reference at /docs
  Receiver   a webhook endpoint and three connector processes run beside it

Try this:
  · Approvals: a credit, a downgrade and an export wait. Sign in as an approver
    with a key below and decide; you may not decide on your own.
  · Tenants: give one a credit of more than EUR 1,000 and see it held.
  · Retention: a purge plan waits for approval. Nothing under legal hold is in it.
  · Revenue: click any number down to the facts that make it.
  · Sessions: replay the recorded impersonation. As the customer, read who of the
    staff was in the account and why.

Keys (personal, each of one person):
`, r.ConsoleURL, r.SignInURL, r.CustomerURL, r.APIURL)
	for _, name := range []string{"super_admin", "gov_approver", "gov_approver_2", "gov_auditor", "finance_viewer", "cs_agent", "support"} {
		_, _ = fmt.Fprintf(w, "  %-15s %s\n", name, r.Keys[name])
	}
	if keep {
		_, _ = fmt.Fprintf(w, "\nData is kept in %s. Press Ctrl-C to stop.\n\n", data)
	} else {
		_, _ = fmt.Fprint(w, "\nData goes when you press Ctrl-C; give --data DIR to keep it.\n\n")
	}
}

// demonstration fills a server.
type demonstration struct {
	app      *app
	seed     uint64
	today    time.Time
	progress io.Writer
	vendors  map[string]string // address by kind
	token    string
	hook     string // address of the webhook receiver
	secret   *hookSecret
}

// stage runs fn once for this data folder and says so on stderr.
func (d *demonstration) stage(ctx context.Context, name, title string, fn func(context.Context) error) error {
	var done bool
	if err := d.app.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
		done, err = flagTx(ctx, tx, "demo."+name)
		return err
	}); err != nil || done {
		return err
	}
	start := time.Now()
	_, _ = fmt.Fprintf(d.progress, "demo: %-44s", title)
	if err := fn(ctx); err != nil {
		_, _ = fmt.Fprintln(d.progress, "failed")
		return fmt.Errorf("demo data: %s: %w", name, err)
	}
	_, _ = fmt.Fprintf(d.progress, "%5.1f s\n", time.Since(start).Seconds())
	return d.app.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error { return setFlagTx(ctx, tx, "demo."+name) })
}

func (d *demonstration) fill(ctx context.Context) error {
	data := billing.Generate(d.seed, d.today)
	for _, s := range []struct {
		name, title string
		fn          func(context.Context) error
	}{
		{"people", "people and their keys", d.people},
		{"targets", "connectors and a webhook endpoint", d.targets},
		{"tenants", fmt.Sprintf("%d tenants with users and documents", len(data.Tenants)), func(ctx context.Context) error { return d.tenants(ctx, data) }},
		{"facts", fmt.Sprintf("%d facts of billing and usage", len(data.Facts)), func(ctx context.Context) error { return d.facts(ctx, data) }},
		{"host", fmt.Sprintf("a host database with %d customers", hostCustomers), d.hostDatabase},
	} {
		if err := d.stage(ctx, s.name, s.title, s.fn); err != nil {
			return err
		}
	}
	if err := d.hostSources(ctx); err != nil { // at every start: the sources live in memory
		return err
	}
	if err := d.stage(ctx, "retention", "policies, a legal hold, purge plans", d.retention); err != nil {
		return err
	}
	if err := d.stage(ctx, "playbooks", "playbooks, tried in shadow and then run", d.playbooks); err != nil {
		return err
	}
	if err := d.stage(ctx, "work", "approvals that wait", func(ctx context.Context) error { return d.work(ctx, data) }); err != nil {
		return err
	}
	return d.stage(ctx, "walk", "a recorded impersonation", func(ctx context.Context) error { return d.walk(ctx, data) })
}

// as is the identity of a person who has signed in.
func (d *demonstration) as(ctx context.Context, person string) (governance.Identity, error) {
	p, err := d.app.reeve.Kernel.Directory().Resolve(ctx, governance.PersonID(person))
	if err != nil {
		return governance.Identity{}, err
	}
	return governance.Identity{Actor: governance.Actor{ID: "user:" + person, Kind: governance.ActorUser, Person: p.ID, Name: p.Name, Roles: p.Roles, Groups: p.Groups, AuthTime: d.app.db.Now()}}, nil
}

func (d *demonstration) keyFile() string {
	return filepath.Join(d.app.cfg.text("data"), "demo-keys.json")
}

func (d *demonstration) people(ctx context.Context) error {
	keys := map[string]string{}
	for _, p := range demoPeople() {
		_, err := d.app.auth.AddUser(ctx, govauth.User{ID: governance.PersonID(p.id), Name: p.name, Email: p.id + "@reeve.example", Roles: p.roles})
		if err != nil && !errors.Is(err, governance.ErrConflict) {
			return err
		}
		if p.key == "" {
			continue
		}
		key, err := d.app.auth.MintKey(ctx, govauth.CreateKey{Kind: govauth.KeyPersonal, Person: governance.PersonID(p.id), Name: "demo: " + p.key})
		if err != nil {
			return err
		}
		keys[p.key] = key
	}
	b, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(d.keyFile(), b, 0o600)
}

func (d *demonstration) ready(ctx context.Context) (demoReady, error) {
	r := demoReady{ConsoleURL: d.app.cfg.text("public_url") + "/console", APIURL: d.app.cfg.text("public_url") + "/v1", Keys: map[string]string{}}
	b, err := os.ReadFile(d.keyFile())
	if err != nil {
		return r, fmt.Errorf("keys of the demo: %w", err)
	}
	if err := json.Unmarshal(b, &r.Keys); err != nil {
		return r, fmt.Errorf("keys of the demo: %w", err)
	}
	link, err := d.app.auth.MintSignInLink(ctx, "dana", 24*time.Hour)
	if err != nil {
		return r, err
	}
	r.SignInURL = link.URL
	// The user whom the recorded impersonation was about: their access log has it.
	walked, err := d.app.reeve.Oversight.Sessions(ctx, oversight.Filter{Person: "cleo", Begun: true, Limit: 200})
	if err != nil || len(walked) == 0 {
		return r, err
	}
	token, err := d.app.product.SignInToken(ctx, walked[len(walked)-1].User)
	r.CustomerURL = d.app.cfg.text("public_url") + appBase + "signin/" + token
	return r, err
}

// outside starts what the demo has instead of the world: three vendors, each with
// its own state, and a webhook receiver that checks signatures.
func (d *demonstration) outside(ctx context.Context) error {
	dir := filepath.Join(d.app.cfg.text("data"), "vendors")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	keys := secrets{d.app.db, d.app.cfg.keysDir()}
	token, err := keys.bytes(ctx, "vendor-token", 16)
	if err != nil {
		return err
	}
	d.token, d.vendors = hex.EncodeToString(token), map[string]string{}
	for _, kind := range []string{"crm", "billing", "ticketing"} {
		v, err := sandboxvendor.Open(filepath.Join(dir, kind+".jsonl"), sandboxvendor.Options{Token: d.token})
		if err != nil {
			return err
		}
		d.app.onClose(v.Close)
		if d.vendors[kind], err = d.local(v); err != nil {
			return err
		}
	}
	d.secret = &hookSecret{file: filepath.Join(dir, "webhook-secret")}
	d.hook, err = d.local(receiver(d.secret, d.app.log))
	if err != nil {
		return err
	}
	return d.readdress(ctx)
}

// local serves h on a port of this machine.
func (d *demonstration) local(h http.Handler) (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(d.app.log.Handler(), slog.LevelDebug)}
	go func() { _ = srv.Serve(l) }()
	d.app.onClose(srv.Close)
	return "http://" + l.Addr().String(), nil
}

// hookSecret is the receiver's copy of the webhook's signing secret.
type hookSecret struct{ file string }

func (h *hookSecret) put(secret string) error { return os.WriteFile(h.file, []byte(secret), 0o600) }

func (h *hookSecret) verify(r *http.Request, body []byte) error {
	b, err := os.ReadFile(h.file)
	if err != nil {
		return err
	}
	key, err := webhook.ParseSecret(string(b))
	if err != nil {
		return err
	}
	return webhook.Verify(r.Header, body, time.Now(), key)
}

// receiver is the customer's side of a webhook: it takes what is signed and no more.
func receiver(secret *hookSecret, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err := secret.verify(r, body); err != nil {
			log.Warn("the receiver refused a webhook", "error", err)
			http.Error(w, "signature", http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func (d *demonstration) targetInputs() map[string]integrations.TargetInput {
	conn := func(kind integrations.Kind, name string) integrations.TargetInput {
		return integrations.TargetInput{Name: name, Kind: kind, Connector: "sandbox-" + string(kind), Events: []string{"tenant.*", "entitlement.*"}, Config: map[string]string{"url": d.vendors[string(kind)]}, Secrets: map[string]string{"token": d.token}}
	}
	return map[string]integrations.TargetInput{
		"crm": conn(integrations.CRM, "crm"), "billing": conn(integrations.Billing, "billing"), "ticketing": conn(integrations.Ticketing, "helpdesk"),
		"webhook": {Name: "data-platform", Kind: integrations.Webhook, Config: map[string]string{"url": d.hook}, Events: []string{"tenant.*", "entitlement.*", "approval.*"}},
	}
}

// targets connects the outside through the same door as an administrator; what is
// held for approval is approved by somebody else.
func (d *demonstration) targets(ctx context.Context) error {
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	have, err := d.app.reeve.Integrations.Targets(ctx)
	if err != nil {
		return err
	}
	for _, kind := range []string{"crm", "billing", "ticketing", "webhook"} {
		in := d.targetInputs()[kind]
		if slices.ContainsFunc(have, func(t integrations.Target) bool { return t.Name == in.Name }) {
			continue
		}
		created, _, err := d.app.reeve.Integrations.CreateTarget(ctx, admin, in, &governance.DoOptions{Reason: "Demo"})
		if _, err = d.approved(ctx, err); err != nil {
			return err
		}
		if kind != "webhook" {
			continue
		}
		secret := created.Secret
		if secret == "" { // it was held: whoever may rotates and sees one
			targets, err := d.app.reeve.Integrations.Targets(ctx)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(targets, func(t integrations.Target) bool { return t.Name == in.Name })
			if i < 0 {
				return errors.New("the webhook was not created")
			}
			r, err := d.app.reeve.Integrations.RotateSecret(ctx, admin, targets[i].ID)
			if err != nil {
				return err
			}
			secret = r.Secret
		}
		if err := d.secret.put(secret); err != nil {
			return err
		}
	}
	return nil
}

// readdress tells the targets where the outside listens this time.
func (d *demonstration) readdress(ctx context.Context) error {
	have, err := d.app.reeve.Integrations.Targets(ctx)
	if err != nil || len(have) == 0 {
		return err
	}
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	for _, in := range d.targetInputs() {
		i := slices.IndexFunc(have, func(t integrations.Target) bool { return t.Name == in.Name })
		if i < 0 || have[i].Config["url"] == in.Config["url"] {
			continue
		}
		_, err := d.app.reeve.Integrations.EditTarget(ctx, admin, have[i].ID, have[i].Version, in, &governance.DoOptions{Reason: "The demo's ports changed"})
		if _, err = d.approved(ctx, err); err != nil {
			return fmt.Errorf("target %s: %w", in.Name, err)
		}
	}
	return nil
}

// approved decides on what was held, as the demo's two approvers, so that the rest
// of the demo can be built on it. It says which approval there was.
func (d *demonstration) approved(ctx context.Context, err error) (string, error) {
	var held *governance.ApprovalRequiredError
	if !errors.As(err, &held) {
		return "", err
	}
	for _, who := range []string{"noor", "tomas"} {
		ap, err := d.app.reeve.Kernel.Approval(ctx, held.Approval)
		if err != nil {
			return "", err
		}
		if ap.State != governance.StatePending {
			break
		}
		voter, err := d.as(ctx, who)
		if err != nil {
			return "", err
		}
		if _, err := d.app.reeve.Kernel.Decide(ctx, voter, held.Approval, governance.Vote{Decision: governance.Approve, Digest: ap.Digest, Comment: "Part of setting up"}); err != nil {
			return "", err
		}
	}
	ap, err := d.app.reeve.Kernel.Approval(ctx, held.Approval)
	if err == nil && ap.State != governance.StateExecuted {
		err = fmt.Errorf("approval %s of %s is %s: %s", ap.ID, ap.Action, ap.State, ap.Error)
	}
	return held.Approval.String(), err
}

// held is fine: it is what is to be shown.
func held(err error) error {
	var h *governance.ApprovalRequiredError
	if errors.As(err, &h) {
		return nil
	}
	if err == nil {
		return errors.New("it was to be held and was not")
	}
	return err
}

func (d *demonstration) tenants(ctx context.Context, data *billing.Data) error {
	people := demoPeople()
	for part := range slices.Chunk(data.Tenants, 40) {
		err := d.app.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			for _, t := range part {
				if err := d.tenantTx(ctx, tx, t, governance.PersonID(people[t.Owner].id)); err != nil {
					return fmt.Errorf("tenant %s: %w", t.ID, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demonstration) tenantTx(ctx context.Context, tx *governance.Tx, t billing.Tenant, owner governance.PersonID) error {
	by := governance.System("signup")
	id := governance.TenantID(t.ID)
	_, err := d.app.reeve.Kernel.UpsertTenantTx(ctx, tx, by, governance.Tenant{ID: id, Name: t.Name, Country: t.Country, Region: t.Region, Owner: owner, Status: t.Status,
		Plan: t.Plan, Seats: t.Seats, RenewalAt: t.RenewalAt, ActiveAt: t.LastActivity, CreatedAt: t.CreatedAt,
		ExternalKeys: map[string][]string{"domain": {t.Domain}, "email": {"office@" + t.Domain}}})
	if err != nil {
		return err
	}
	if t.Status == governance.TenantClosed {
		return nil
	}
	if err := d.app.product.SubscribeTx(ctx, tx, by, id, t.Plan, t.Currency, max(t.Seats, 1)); err != nil {
		return err
	}
	if err := d.app.product.PriceTx(ctx, tx, id, governance.Money{Minor: t.MRR, Currency: t.Currency}); err != nil {
		return err
	}
	if err := d.app.product.AddInvoicesTx(ctx, tx, invoicesOf(t, d.today)...); err != nil {
		return err
	}
	return d.usersTx(ctx, tx, t)
}

// invoicesOf are a tenant's bills of the last half year, at what it pays now.
func invoicesOf(t billing.Tenant, today time.Time) []product.Invoice {
	var out []product.Invoice
	first := time.Date(today.Year(), today.Month(), 1, 0, 0, 0, 0, time.UTC)
	for i := range 6 {
		at := first.AddDate(0, -i, 0)
		if at.Before(t.CreatedAt) || t.MRR == 0 {
			break
		}
		out = append(out, product.Invoice{Number: fmt.Sprintf("%s-%s", strings.ToUpper(t.ID), at.Format("2006-01")), Tenant: governance.TenantID(t.ID),
			Money: governance.Money{Minor: t.MRR, Currency: t.Currency}, Paid: i > 0, IssuedAt: at})
	}
	return out
}

func (d *demonstration) facts(ctx context.Context, data *billing.Data) error {
	by := governance.System("billing-export")
	for part := range slices.Chunk(data.Facts, analytics.MaxBatch/2) {
		if _, err := d.app.reeve.Analytics.Ingest(ctx, by, part, nil); err != nil {
			return err
		}
	}
	_, err := d.app.reeve.Analytics.Refresh(ctx, by, "First figures")
	return err
}

// hostDSN is a database that is not ours.
func (d *demonstration) hostDSN() (dsn, schema string) {
	if db := d.app.cfg.text("database"); opendb.IsPostgres(db) {
		if s := d.app.cfg.text("database_schema"); s != "" { // one host for each demo, as each has its own schema
			return db, s + "_host"
		}
		return db, "demo_host"
	}
	return filepath.Join(d.app.cfg.text("data"), "host.db"), ""
}

func (d *demonstration) hostDatabase(ctx context.Context) error {
	dsn, schema := d.hostDSN()
	if schema == "" { // half of one, from a start that was interrupted
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(dsn + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	db, err := openHost(ctx, dsn, schema)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if schema != "" {
		for _, t := range slices.Backward(hostdata.Tables()) {
			if _, err := db.ExecContext(ctx, "DROP TABLE IF EXISTS "+t+" CASCADE"); err != nil {
				return err
			}
		}
	}
	return hostdata.Generate(ctx, db, schema != "", d.seed, hostCustomers, d.today)
}

func (d *demonstration) hostSources(ctx context.Context) error {
	dsn, schema := d.hostDSN()
	db, err := openHost(ctx, dsn, schema)
	if err != nil {
		return err
	}
	d.app.onClose(db.Close)
	ms, err := hostdata.Mapping()
	if err != nil {
		return err
	}
	return d.app.addSources(ctx, db, ms)
}

func (d *demonstration) retention(ctx context.Context) error {
	svc := d.app.reeve.Retention
	if err := svc.Install(ctx, nil, hostdata.Policies()); err != nil {
		return err
	}
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	if _, err := svc.PlaceHold(ctx, admin, retention.NewHold{Matter: "2026-014 tax audit, France", Reason: "The invoices of French customers are evidence in a pending tax audit",
		Selector: retention.Selector{Class: "invoice", Country: "FR"}, Key: "demo-hold"}); err != nil {
		return err
	}
	if err := svc.PlanAll(ctx); err != nil {
		return err
	}
	plans, err := svc.Plans(ctx, retention.PlanFilter{Limit: 20})
	if err != nil {
		return err
	}
	for _, p := range plans {
		if p.Rows > 0 { // one waits for people, the others are there to be looked at
			_, err := svc.Purge(ctx, admin, retention.PurgeInput{Plan: p.ID, Digest: p.Digest}, &governance.DoOptions{Reason: "First run on this source", Key: "demo-purge"})
			return held(err)
		}
	}
	return errors.New("no plan has a row that is due")
}

func (d *demonstration) playbooks(ctx context.Context) error {
	svc := d.app.reeve.Playbook
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	all, err := svc.Playbooks(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.LiveVersion == 0 {
			if _, err := svc.ScanAs(ctx, admin, p.Name); err != nil { // in shadow
				return err
			}
			_, err := svc.Activate(ctx, admin, playbook.ActivateInput{Name: p.Name, Version: p.ShadowVersion}, &governance.DoOptions{Reason: "Its shadow run named the right tenants"})
			if _, err = d.approved(ctx, err); err != nil {
				return err
			}
		}
		if _, err := svc.ScanAs(ctx, admin, p.Name); err != nil {
			return err
		}
	}
	return nil
}

// work leaves something to decide on.
func (d *demonstration) work(ctx context.Context, data *billing.Data) error {
	agent, err := d.as(ctx, "cleo")
	if err != nil {
		return err
	}
	// Somebody else asks for the downgrade: what waits counts against who asked, and
	// whoever tries the agent's key is to find its allowance whole.
	colleague, err := d.as(ctx, "mika")
	if err != nil {
		return err
	}
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	pick := func(ok func(t billing.Tenant) bool, skip int) (billing.Tenant, error) {
		for _, t := range data.Tenants {
			if t.Status == governance.TenantActive && t.Note == "" && ok(t) {
				if skip == 0 {
					return t, nil
				}
				skip--
			}
		}
		return billing.Tenant{}, errors.New("no tenant fits")
	}
	small, err := pick(func(t billing.Tenant) bool { return t.Currency == "EUR" }, 2)
	if err != nil {
		return err
	}
	big, err := pick(func(t billing.Tenant) bool { return t.Plan == "enterprise" && t.MRR > 300000 }, 0)
	if err != nil {
		return err
	}
	other, err := pick(func(t billing.Tenant) bool { return t.Currency == "USD" && t.Plan == "business" }, 1)
	if err != nil {
		return err
	}
	money := func(minor int64, t billing.Tenant) governance.Money {
		return governance.Money{Minor: minor, Currency: t.Currency}
	}
	why := func(s string) *governance.DoOptions { return &governance.DoOptions{Reason: s} }
	// Two small credits go through at once; the third would exceed the limit.
	for _, c := range []int64{12000, 34000} {
		if _, err := d.app.product.Credit(ctx, agent, governance.TenantID(small.ID), money(c, small), why("Outage on Monday")); err != nil {
			return err
		}
	}
	_, err = d.app.product.Credit(ctx, agent, governance.TenantID(small.ID), money(88000, small), why("Second half of the outage, as agreed with their CFO"))
	if err := held(err); err != nil {
		return err
	}
	_, err = d.app.product.ChangePlan(ctx, colleague, governance.TenantID(big.ID), "business", why("They gave up two of their sites"))
	if err := held(err); err != nil {
		return err
	}
	if err := d.moreWork(ctx, small, big); err != nil {
		return err
	}
	_, err = d.app.product.Export(ctx, admin, governance.TenantID(other.ID), "all", why("Their data protection officer asks for a copy"))
	return held(err)
}

func (d *demonstration) walk(ctx context.Context, data *billing.Data) error {
	agent, err := d.as(ctx, "cleo")
	if err != nil {
		return err
	}
	for _, t := range data.Tenants {
		if t.Owner != 0 || t.Status != governance.TenantActive || t.Note != "" {
			continue
		}
		users, err := d.app.product.Users(ctx, governance.TenantID(t.ID), 1)
		if err != nil {
			return err
		}
		h := d.app.reeve.Oversight.Middleware(d.app.reeve.Recorder.Middleware(d.app.tenantApp))
		_, err = d.app.product.Walk(ctx, h, appBase, d.app.reeve.Oversight, agent, oversight.Request{Tenant: governance.TenantID(t.ID), User: users[0].ID, Reason: "Customer cannot find a document", Ticket: "SUP-2041"})
		if _, err := d.approved(ctx, err); err != nil {
			return err
		}
		return nil
	}
	return errors.New("no tenant to visit")
}

// demoPlans are the plans that the billing data was made with, at list price.
func demoPlans() []product.Plan {
	price := func(cents int64) map[string]governance.Money {
		out := map[string]governance.Money{}
		for _, c := range []string{"EUR", "USD", "GBP"} {
			out[c] = governance.Money{Minor: cents, Currency: c}
		}
		return out
	}
	return []product.Plan{
		{ID: "free", Name: "Free", Rank: 0, Prices: price(0), Features: map[string]int64{"documents": 100}},
		{ID: "starter", Name: "Starter", Rank: 1, Prices: price(2052), Features: map[string]int64{"documents": 1000, "exports": 0}},
		{ID: "team", Name: "Team", Rank: 2, Prices: price(4212), Features: map[string]int64{"documents": 0, "exports": 0}},
		{ID: "business", Name: "Business", Rank: 3, Prices: price(7452), Features: map[string]int64{"documents": 0, "exports": 0, "api": 0}},
		{ID: "enterprise", Name: "Enterprise", Rank: 4, Prices: price(10692), Features: map[string]int64{"documents": 0, "exports": 0, "api": 0, "sso": 0, "audit": 0}},
	}
}

// usersTx gives a tenant users and documents of its own.
func (d *demonstration) usersTx(ctx context.Context, tx *governance.Tx, t billing.Tenant) error {
	first := []string{"Ada", "Bruno", "Carla", "Dmitri", "Elif", "Fynn", "Greta", "Hugo", "Ivy", "Jamal", "Kira", "Leon"}
	last := []string{"Albers", "Bianchi", "Costa", "Dufour", "Eriksen", "Fontaine", "Grau", "Hanley", "Ivarsson", "Janssen"}
	titles := []string{"Service agreement", "Price list", "Delivery plan", "Meeting notes", "Quarterly review", "Security questionnaire", "Onboarding checklist"}
	n := int(min(max(t.Seats, 3), 12))
	sum := 0
	for _, c := range []byte(t.ID) {
		sum += int(c)
	}
	var users []product.User
	var docs []product.Document
	for i := range n {
		name := first[(sum+i*5)%len(first)] + " " + last[(sum/3+i*7)%len(last)]
		role := "member"
		if i == 0 {
			role = product.RoleAdmin
		}
		id := fmt.Sprintf("%s-u%02d", t.ID, i)
		users = append(users, product.User{ID: id, Tenant: governance.TenantID(t.ID), Email: fmt.Sprintf("user%02d@%s", i, t.Domain), Name: name, Role: role, Active: true, CreatedAt: t.CreatedAt})
		if i%2 == 0 {
			title := titles[(sum+i)%len(titles)]
			docs = append(docs, product.Document{ID: fmt.Sprintf("%s-d%02d", t.ID, i), Tenant: governance.TenantID(t.ID), Title: title, Body: title + " of " + t.Name + ".", Author: id, Version: 1,
				CreatedAt: t.CreatedAt.AddDate(0, 0, i), UpdatedAt: t.CreatedAt.AddDate(0, 0, i)})
		}
	}
	if err := d.app.product.AddUsersTx(ctx, tx, users...); err != nil {
		return err
	}
	return d.app.product.AddDocumentsTx(ctx, tx, docs...)
}
