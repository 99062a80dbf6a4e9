package connectortest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/integrations/connectortest"
	"github.com/reevehq/reeve/plugins/sandboxconnector"
	"github.com/reevehq/reeve/plugins/serve"
)

// A kit is worth what it catches: each of these connectors has one fault, and the test
// that must find it.
var faulty = map[string]struct {
	connector connector.Connector
	test      string
}{
	"takes older states":        {amnesiac{good()}, "upsert_is_idempotent_and_keeps_order"},
	"makes a new one each time": {duplicator{good(), new(atomic.Int64)}, "upsert_is_idempotent_and_keeps_order"},
	"says updated always":       {busy{good()}, "upsert_is_idempotent_and_keeps_order"},
	"fails a batch as one":      {brittle{good()}, "upsert_is_idempotent_and_keeps_order"},
	"loses the batch's end":     {short{good()}, "upsert_is_idempotent_and_keeps_order"},
	"prints the token":          {&talker{crm: good()}, "secrets_stay_in"},
	"shows the token":           {&shower{crm: good()}, "secrets_stay_in"},
	"checks nothing":            {careless{good()}, "settings"},
	"skips between pages":       {skipper{good()}, "reading_back_and_paging"},
	"repeats on a page":         {stutterer{good()}, "reading_back_and_paging"},
	"has no semantic version":   {unversioned{good()}, "descriptor"},
	"forgets list versions":     {lister{good()}, "lists"},
	"hides rate limits":         {vague{good()}, "the_vendor's_refusals_have_codes"},
	"opens tickets twice":       {opener{sandboxconnector.Ticketing().(desk)}, "tickets"},
}

func TestMain(m *testing.M) {
	all := map[string]connector.Connector{}
	for name, f := range faulty {
		all[name] = f.connector
	}
	if serve.IfPlugin(all) {
		return
	}
	os.Exit(m.Run())
}

type (
	crm interface {
		connector.Connector
		connector.Upserter
		connector.Reader
		connector.Lists
	}
	desk interface {
		connector.Connector
		connector.Upserter
		connector.Reader
		connector.Tickets
	}
)

func good() crm { return sandboxconnector.CRM().(crm) }

type amnesiac struct{ crm }

func (c amnesiac) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	batch = slices.Clone(batch)
	for i := range batch {
		batch[i].SourceVersion = 1
	}
	return c.crm.Upsert(ctx, batch)
}

type duplicator struct {
	crm
	n *atomic.Int64
}

func (c duplicator) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	batch, names := slices.Clone(batch), []string{}
	for i := range batch {
		names = append(names, batch[i].TenantID)
		batch[i].TenantID += "#" + strconv.FormatInt(c.n.Add(1), 10)
	}
	out := c.crm.Upsert(ctx, batch)
	for i := range out {
		out[i].TenantID = names[i]
	}
	return out
}

type busy struct{ crm }

func (c busy) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	out := c.crm.Upsert(ctx, batch)
	for i := range out {
		if out[i].Outcome == connector.Unchanged {
			out[i].Outcome = connector.Updated
		}
	}
	return out
}

type brittle struct{ crm }

func (c brittle) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	if len(batch) > 1 {
		return connector.Each(ctx, batch, func(connector.Account) (connector.Result, error) {
			return connector.Result{}, &connector.Error{Code: connector.Invalid}
		})
	}
	return c.crm.Upsert(ctx, batch)
}

type short struct{ crm }

func (c short) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	return append(c.crm.Upsert(ctx, batch[:1]), make([]connector.Result, len(batch)-1)...)
}

type talker struct{ crm }

func (c *talker) Configure(ctx context.Context, cfg connector.Config) error {
	fmt.Fprintln(os.Stderr, "using", cfg["token"])
	return c.crm.Configure(ctx, cfg)
}

type shower struct {
	crm
	token string
}

func (c *shower) Configure(ctx context.Context, cfg connector.Config) error {
	c.token = cfg["token"]
	return c.crm.Configure(ctx, cfg)
}

func (c *shower) Check(ctx context.Context) error {
	err := c.crm.Check(ctx)
	if connector.CodeOf(err) == connector.Auth {
		return &connector.Error{Code: connector.Auth, Message: "refused: Bearer " + c.token}
	}
	return err
}

type careless struct{ crm }

func (careless) Check(context.Context) error { return nil }

type skipper struct{ crm }

func (c skipper) List(ctx context.Context, cursor string, limit int) (connector.Page, error) {
	p, err := c.crm.List(ctx, cursor, limit)
	if len(p.Items) > 1 {
		p.Items = p.Items[1:]
	}
	return p, err
}

type stutterer struct{ crm }

func (c stutterer) List(ctx context.Context, cursor string, limit int) (connector.Page, error) {
	p, err := c.crm.List(ctx, cursor, limit-1)
	if len(p.Items) > 0 {
		p.Items = append(p.Items, p.Items[0])
	}
	return p, err
}

type unversioned struct{ crm }

func (c unversioned) Describe() connector.Descriptor {
	d := c.crm.Describe()
	d.Version = "v2"
	return d
}

type lister struct{ crm }

func (c lister) RemoveFromList(ctx context.Context, m connector.Membership) (connector.Outcome, error) {
	m.SourceVersion = time.Now().Unix()
	return c.crm.RemoveFromList(ctx, m)
}

type vague struct{ crm }

func (c vague) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	out := c.crm.Upsert(ctx, batch)
	for i := range out {
		if out[i].Err != nil && out[i].Err.Code == connector.RateLimited {
			out[i].Err = &connector.Error{Code: connector.Unavailable}
		}
	}
	return out
}

type opener struct{ desk }

func (c opener) OpenTicket(ctx context.Context, d connector.TicketDraft) (connector.Ticket, bool, error) {
	d.DedupKey = fmt.Sprint(d.DedupKey, time.Now().UnixNano())
	return c.desk.OpenTicket(ctx, d)
}

// TestFaulty_one is run by TestRun_catches in a process of its own, and is to fail.
func TestFaulty_one(t *testing.T) {
	name := os.Getenv("REEVE_TEST_FAULTY")
	if name == "" {
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	collection := "companies"
	if name == "opens tickets twice" {
		collection = "organizations"
	}
	connectortest.Run(t, connectortest.Sandbox(t, connectortest.Plugin{Path: self, Serve: name}, collection))
}

func TestRun_catches(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	for name, f := range faulty {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFaulty_one$/^"+f.test+"$", "-test.v")
			cmd.Env = append(os.Environ(), "REEVE_TEST_FAULTY="+name)
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "the kit let it pass:\n%s", out)
			require.Contains(t, string(out), "--- FAIL: TestFaulty_one/"+f.test, "%s", out)
			require.NotContains(t, string(out), "panic:")
		})
	}
}
