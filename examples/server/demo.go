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
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/integrations/webhook"
	"github.com/reevehq/reeve/internal/demodata/billing"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/plugins/sandboxvendor"
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
