package integrations_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/connector"
)

// received is one message as the receiver saw it.
type received struct {
	ID, Tenant, Type string
	Version, Seq     int64
	Body             string
	Signatures       int
}

// receiver is a webhook endpoint that knows nothing of our code: it checks signatures
// by the text of the specification and applies what is newer than what it has.
type receiver struct {
	mu      sync.Mutex
	secrets []string
	got     []received
	state   map[string]received // by tenant, the newest
	answer  func(r received) (status int, header http.Header, body string)
	dies    func(r received) bool // the sender's process ends before it reads the answer
	bad     []string
}

func (r *receiver) trust(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets = append([]string{secret}, r.secrets...)
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

func (r *receiver) types() []string {
	out := []string{}
	for _, g := range r.all() {
		out = append(out, g.Type)
	}
	return out
}

// RoundTrip makes the receiver the network of the sender.
func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var m struct {
		Type          string `json:"type"`
		Tenant        string `json:"tenant"`
		TenantVersion int64  `json:"tenant_version"`
		TenantSeq     int64  `json:"tenant_seq"`
		Time          time.Time
		Data          json.RawMessage
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	got := received{ID: req.Header.Get("webhook-id"), Tenant: m.Tenant, Type: m.Type, Version: m.TenantVersion, Seq: m.TenantSeq, Body: string(b)}
	r.mu.Lock()
	good := false
	for _, s := range r.secrets {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(got.ID + "." + req.Header.Get("webhook-timestamp") + "." + string(b)))
		want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		for _, have := range strings.Split(req.Header.Get("webhook-signature"), " ") {
			good = good || have == want
		}
	}
	got.Signatures = len(strings.Split(req.Header.Get("webhook-signature"), " "))
	if !good || m.Time.IsZero() || len(m.Data) == 0 {
		r.bad = append(r.bad, got.ID)
	}
	status, header, body := http.StatusOK, http.Header{}, "ok"
	answer, dies := r.answer, r.dies
	r.mu.Unlock()
	if answer != nil {
		status, header, body = answer(got)
	}
	r.mu.Lock()
	if status < 300 {
		r.got = append(r.got, got)
		if have := r.state[got.Tenant]; got.Version > have.Version {
			r.state[got.Tenant] = got
		}
	}
	r.mu.Unlock()
	if dies != nil && dies(got) {
		runtime.Goexit()
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// vendor is a CRM and a help desk in memory.
type vendor struct {
	mu       sync.Mutex
	accounts map[string]connector.Account
	calls    []connector.Account
	tickets  map[string]connector.Ticket
	lists    map[string]bool
	opened   int
	fail     func(a connector.Account) error // before it had any effect
	dies     func() bool                     // after it had one
	config   connector.Config
}

func newVendor() *vendor {
	return &vendor{accounts: map[string]connector.Account{}, tickets: map[string]connector.Ticket{}, lists: map[string]bool{}}
}

var descriptors = []connector.Descriptor{
	{ID: "acme-crm", Name: "Acme CRM", Version: "1.0.0", Kind: connector.CRM, Config: []connector.Field{
		{Key: "region", Title: "Region"}, {Key: "api_key", Title: "API key", Required: true, Secret: true}}},
	{ID: "acme-desk", Name: "Acme Desk", Version: "1.0.0", Kind: connector.Ticketing},
}

// shuffled lists them in another order now and then, as a host that keeps them in a map.
func shuffled() []connector.Descriptor {
	out := append([]connector.Descriptor(nil), descriptors...)
	if rand.IntN(2) == 0 {
		out[0], out[1] = out[1], out[0]
	}
	return out
}

func (v *vendor) Describe() connector.Descriptor { return descriptors[0] }
func (v *vendor) Configure(_ context.Context, cfg connector.Config) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.config = cfg
	return nil
}

func (v *vendor) Check(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.config["api_key"] == "wrong" {
		return &connector.Error{Code: connector.Auth, Message: "the key " + v.config["api_key"] + " is refused"}
	}
	return nil
}

func (v *vendor) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	return connector.Each(ctx, batch, func(a connector.Account) (connector.Result, error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.calls = append(v.calls, a)
		if v.fail != nil {
			if err := v.fail(a); err != nil {
				return connector.Result{}, err
			}
		}
		var held *connector.Account
		if h, ok := v.accounts[a.TenantID]; ok {
			held = &h
		}
		outcome := connector.Judge(held, a)
		if outcome == connector.Created || outcome == connector.Updated {
			v.accounts[a.TenantID] = a
		}
		if v.dies != nil && v.dies() {
			runtime.Goexit()
		}
		return connector.Result{Outcome: outcome, RemoteID: "acc-" + a.TenantID, RemoteURL: "https://crm.example/acc/" + a.TenantID}, nil
	})
}

func (v *vendor) OpenTicket(_ context.Context, d connector.TicketDraft) (connector.Ticket, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t, ok := v.tickets[d.DedupKey]; ok {
		return t, false, nil
	}
	if v.fail != nil {
		if err := v.fail(connector.Account{Meta: d.Meta}); err != nil {
			return connector.Ticket{}, false, err
		}
	}
	v.opened++
	t := connector.Ticket{ID: fmt.Sprintf("T-%d", v.opened), URL: "https://desk.example/1", TenantID: d.TenantID, DedupKey: d.DedupKey, Subject: d.Subject, State: connector.TicketOpen}
	v.tickets[d.DedupKey] = t
	if v.dies != nil && v.dies() {
		runtime.Goexit()
	}
	return t, true, nil
}

func (v *vendor) FindTicket(_ context.Context, key string) (connector.Ticket, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t, ok := v.tickets[key]; ok {
		return t, nil
	}
	return connector.Ticket{}, &connector.Error{Code: connector.NotFound}
}

func (v *vendor) CommentTicket(context.Context, connector.TicketComment) (connector.Outcome, error) {
	return connector.Updated, nil
}

func (v *vendor) CloseTicket(context.Context, connector.TicketComment) (connector.Outcome, error) {
	return connector.Updated, nil
}

func (v *vendor) setList(m connector.Membership, on bool) (connector.Outcome, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key := m.List + "/" + m.TenantID
	if v.lists[key] == on {
		return connector.Unchanged, nil
	}
	v.lists[key] = on
	return connector.Updated, nil
}

func (v *vendor) AddToList(_ context.Context, m connector.Membership) (connector.Outcome, error) {
	return v.setList(m, true)
}

func (v *vendor) RemoveFromList(_ context.Context, m connector.Membership) (connector.Outcome, error) {
	return v.setList(m, false)
}

func (v *vendor) InList(_ context.Context, list, tenant string) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lists[list+"/"+tenant], nil
}

func (v *vendor) told() []connector.Account {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]connector.Account(nil), v.calls...)
}

// world is one database, the systems outside, and a server.
type world struct {
	t      *testing.T
	env    *govtest.Env
	kopts  *governance.Options
	recv   *receiver
	vendor *vendor
	*server
}

// server is one process: a kernel and a service of its own.
type server struct {
	k   *governance.Kernel
	svc *integrations.Service
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	kopts := map[*testing.T]*governance.Options{}
	var mu sync.Mutex
	run := func(name string, make func(testing.TB, *govtest.Options) *govtest.Env) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &govtest.Options{Schemas: []govdb.Schema{integrations.Schema()}, Kernel: func(o *governance.Options) {
				mu.Lock()
				defer mu.Unlock()
				o.Links = func(kind, id string) string { return "https://console.example/" + kind + "/" + id }
				kopts[t] = o
			}}
			w := &world{t: t, env: make(t, o), vendor: newVendor(), recv: &receiver{state: map[string]received{}}}
			mu.Lock()
			w.kopts = kopts[t]
			mu.Unlock()
			w.env.People.Put("dana", "root")
			w.env.People.Put("carl", "cs_agent")
			w.server = w.boot(w.env.Kernel)
			fn(t, w)
			require.Empty(t, w.recv.bad, "messages with a bad signature or body")
		})
	}
	run("sqlite", govtest.New)
	run("postgres", govtest.NewPostgres)
}

func (w *world) boot(k *governance.Kernel) *server {
	w.t.Helper()
	if k == nil {
		var err error
		k, err = governance.New(w.env.DB, w.kopts)
		require.NoError(w.t, err)
	}
	sealer, err := integrations.NewSealer([]byte("0123456789abcdef0123456789abcdef"))
	require.NoError(w.t, err)
	svc, err := integrations.New(k, &integrations.Options{
		Sealer: sealer, Client: &http.Client{Transport: w.recv}, Descriptors: shuffled,
		Connect: func(ctx context.Context, in integrations.Instance) (connector.Connector, error) {
			return w.vendor, w.vendor.Configure(ctx, in.Config)
		},
	})
	require.NoError(w.t, err)
	return &server{k, svc}
}

// restart gives the world another process on the same database.
func (w *world) restart() { w.server = w.boot(nil) }

// drain always uses the first process: the lease on numbering events runs by the
// database's own clock, so another would have to wait for real.
func (w *world) drain() {
	w.t.Helper()
	for range 100 {
		n, err := w.env.Kernel.Outbox().Turn(w.t.Context())
		require.NoError(w.t, err)
		if n == 0 {
			return
		}
	}
	w.t.Fatal("the outbox does not come to rest")
}

// turn fans out and delivers what is due.
func (w *world) turn() int {
	w.t.Helper()
	w.drain()
	n, err := w.svc.Turn(w.t.Context())
	require.NoError(w.t, err)
	return n
}

// die fans out and delivers on a process that may end in the middle of it.
func (w *world) die() {
	w.t.Helper()
	w.drain()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = w.svc.Turn(w.t.Context())
	}()
	<-done
}

func (w *world) tenant(id, plan string) governance.Tenant {
	w.t.Helper()
	var out governance.Tenant
	require.NoError(w.t, w.env.DB.Do(w.t.Context(), func(ctx context.Context, tx *governance.Tx) (err error) {
		out, err = w.k.UpsertTenantTx(ctx, tx, w.env.As("dana"), governance.Tenant{ID: governance.TenantID(id), Name: strings.ToUpper(id), Country: "DE", Status: governance.TenantActive,
			Plan: plan, Seats: 5, Owner: "carl", ExternalKeys: map[string][]string{"domain": {id + ".example"}, "email": {"boss@" + id + ".example"}, "crm": {"crm-" + id}}})
		return err
	}))
	return out
}

func (w *world) restrict(id, reason string) {
	w.t.Helper()
	require.NoError(w.t, w.env.DB.Do(w.t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, _, err := w.k.RestrictTx(ctx, tx, w.env.As("dana"), governance.TenantID(id), governance.Restriction{Reason: reason, Detail: "call the CFO at +49 30 1234"})
		return err
	}))
}

func (w *world) lift(id, reason string) {
	w.t.Helper()
	require.NoError(w.t, w.env.DB.Do(w.t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		return w.k.LiftTx(ctx, tx, w.env.As("dana"), governance.TenantID(id), reason, 0)
	}))
}

func (w *world) webhook(mode integrations.Mode) integrations.Created {
	w.t.Helper()
	c, _, err := w.svc.CreateTarget(w.t.Context(), w.env.As("dana"), integrations.TargetInput{Name: "helpdesk", Kind: integrations.Webhook,
		Config: map[string]string{"url": "https://hooks.example/in"}, Events: []string{"tenant.*", "entitlement.*"}, Mode: mode}, nil)
	require.NoError(w.t, err)
	require.True(w.t, strings.HasPrefix(c.Secret, "whsec_"))
	w.recv.trust(c.Secret)
	return c
}

func (w *world) crm() integrations.Created {
	w.t.Helper()
	c, _, err := w.svc.CreateTarget(w.t.Context(), w.env.As("dana"), integrations.TargetInput{Name: "crm", Kind: integrations.CRM, Connector: "acme-crm",
		Secrets: map[string]string{"api_key": "key-of-acme-42"}, Events: []string{"tenant.*", "entitlement.*"}}, nil)
	require.NoError(w.t, err)
	return c
}

func (w *world) deliveries(f integrations.DeliveryFilter) []integrations.Delivery {
	w.t.Helper()
	ds, err := w.svc.Deliveries(w.t.Context(), f)
	require.NoError(w.t, err)
	return ds
}

func (w *world) states(f integrations.DeliveryFilter) []string {
	w.t.Helper()
	out := []string{}
	for _, d := range w.deliveries(f) {
		out = append(out, d.Type+" "+string(d.State))
	}
	return out
}

func status(code int) func(received) (int, http.Header, string) {
	return func(received) (int, http.Header, string) { return code, nil, "no" }
}
