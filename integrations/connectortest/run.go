package connectortest

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/integrations/connector"
	pb "github.com/reevehq/reeve/plugins/connectorpb/v1"
	"github.com/reevehq/reeve/plugins/wire"
)

// patience is how long after a deadline an answer may come.
const patience = time.Second

// Run proves p. It starts and ends processes of its own, and leaves accounts and
// tickets at the vendor.
func Run(t *testing.T, p Plugin) {
	require.NotEmpty(t, p.Path, "Path is required")
	offered := connector.Capabilities(p.start(t, true).Connector)
	t.Log("capabilities:", offered)

	t.Run("descriptor", p.descriptor)
	t.Run("settings", p.settings)
	t.Run("capabilities not offered are refused", p.refusals)
	t.Run("secrets stay in", p.secrets)
	t.Run("deadline", p.deadline)
	for _, c := range []struct {
		needs connector.Capability
		name  string
		test  func(*testing.T)
	}{
		{connector.CanUpsert, "upsert is idempotent and keeps order", p.upsert},
		{connector.CanUpsert, "kill in the middle of a batch", p.killed},
		{connector.CanUpsert, "the vendor's refusals have codes", p.faults},
		{connector.CanRead, "reading back and paging", p.reading},
		{connector.CanLists, "lists", p.lists},
		{connector.CanTickets, "tickets", p.tickets},
	} {
		if slices.Contains(offered, c.needs) {
			t.Run(c.name, c.test)
		}
	}
}

// account makes a record; text that gets lost on the way would show.
func account(tenant string, version int64) connector.Account {
	return connector.Account{
		Meta:  connector.Meta{TenantID: tenant, SourceVersion: version, IdempotencyID: fmt.Sprintf("%s-%d", tenant, version)},
		Event: "tenant.updated", Name: fmt.Sprintf("Łódź 株式会社 “%s” %d", tenant, version), Country: "PL", Region: "EU", Owner: "kim", Status: "active",
		Plan: "team", Seats: 10 + version, RenewalAt: time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC),
		Entitlements: []connector.Entitlement{{Feature: "sso"}, {Feature: "api", Quantity: 1000, ExpiresAt: time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)}},
		ExternalKeys: map[string][]string{"domain": {tenant + ".example"}}, Attributes: map[string]string{"tier": "gold"},
	}
}

// name makes tenant ids and keys that no earlier run has left at the vendor.
func name(t *testing.T, what string) string {
	return fmt.Sprintf("%s-%d", what, time.Now().UnixNano())
}

func (p Plugin) descriptor(t *testing.T) {
	d := p.start(t, true).Describe()
	require.Regexp(t, `^[a-z0-9][a-z0-9-]*$`, d.ID)
	require.NotEmpty(t, d.Name)
	require.Regexp(t, regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`), d.Version, "want a semantic version")
	require.Contains(t, []connector.Kind{connector.CRM, connector.Billing, connector.Ticketing}, d.Kind)
	seen := map[string]bool{}
	for _, f := range d.Config {
		require.NotEmpty(t, f.Key)
		require.False(t, seen[f.Key], "setting %q is described twice", f.Key)
		seen[f.Key] = true
		if f.Secret {
			require.NotContains(t, fmt.Sprintf("%+v", d), p.Settings[f.Key], "a secret is in the descriptor")
		}
	}
}

func (p Plugin) settings(t *testing.T) {
	h := p.start(t, false)
	d := h.Describe()
	if slices.ContainsFunc(d.Config, func(f connector.Field) bool { return f.Required }) {
		require.Equal(t, connector.Unavailable, connector.CodeOf(h.Check(t.Context())), "it answers before it was configured")
	}
	for _, f := range d.Config {
		if f.Required {
			cfg := maps.Clone(p.Settings)
			delete(cfg, f.Key)
			err := h.Configure(t.Context(), cfg)
			require.Equal(t, connector.Invalid, connector.CodeOf(err), "without %s: %v", f.Key, err)
			require.Equal(t, f.Key, connector.AsError(err).Field)
		}
	}
	odd := maps.Clone(p.Settings)
	odd["no-such-setting"] = "x"
	require.Equal(t, connector.Invalid, connector.CodeOf(h.Configure(t.Context(), odd)), "it takes a setting that it does not describe")
	for _, f := range d.Config {
		if f.Secret {
			cfg := maps.Clone(p.Settings)
			cfg[f.Key] += "-wrong"
			require.NoError(t, h.Configure(t.Context(), cfg))
			err := h.Check(t.Context())
			require.Equal(t, connector.Auth, connector.CodeOf(err), "with a wrong %s: %v", f.Key, err)
		}
	}
	require.NoError(t, h.Configure(t.Context(), p.Settings))
	require.NoError(t, h.Check(t.Context()))
	h.kill(t)
	require.NoError(t, h.Check(t.Context()), "settings are given again after a restart")
}

// refusals calls past the host, which would not offer the call at all.
func (p Plugin) refusals(t *testing.T) {
	b := p.bare(t)
	res, err := b.rpc.Describe(t.Context(), &pb.DescribeRequest{})
	require.NoError(t, err)
	_, err = b.rpc.Configure(t.Context(), &pb.ConfigureRequest{Config: p.Settings})
	require.NoError(t, err)
	meta := &pb.Meta{TenantId: "t", SourceVersion: 1, IdempotencyId: "i"}
	calls := map[connector.Capability][]func() error{
		connector.CanUpsert: {func() error {
			_, err := b.rpc.Upsert(t.Context(), &pb.UpsertRequest{Accounts: []*pb.Account{{Meta: meta, Name: "n"}}})
			return err
		}},
		connector.CanRead: {
			func() error { _, err := b.rpc.Get(t.Context(), &pb.GetRequest{TenantId: "t"}); return err },
			func() error { _, err := b.rpc.List(t.Context(), &pb.ListRequest{}); return err },
		},
		connector.CanLists: {
			func() error {
				_, err := b.rpc.AddToList(t.Context(), &pb.AddToListRequest{Meta: meta, List: "l"})
				return err
			},
			func() error {
				_, err := b.rpc.RemoveFromList(t.Context(), &pb.RemoveFromListRequest{Meta: meta, List: "l"})
				return err
			},
			func() error {
				_, err := b.rpc.InList(t.Context(), &pb.InListRequest{List: "l", TenantId: "t"})
				return err
			},
		},
		connector.CanTickets: {
			func() error {
				_, err := b.rpc.OpenTicket(t.Context(), &pb.OpenTicketRequest{Meta: meta, DedupKey: "k"})
				return err
			},
			func() error {
				_, err := b.rpc.FindTicket(t.Context(), &pb.FindTicketRequest{DedupKey: "k"})
				return err
			},
			func() error {
				_, err := b.rpc.CommentTicket(t.Context(), &pb.CommentTicketRequest{Meta: meta, TicketId: "1"})
				return err
			},
			func() error {
				_, err := b.rpc.CloseTicket(t.Context(), &pb.CloseTicketRequest{Meta: meta, TicketId: "1"})
				return err
			},
		},
	}
	for c, list := range calls {
		if slices.Contains(res.Capabilities, string(c)) {
			continue
		}
		for i, call := range list {
			require.Equal(t, connector.Unsupported, wire.FromStatus(call()).Code, "%s, call %d", c, i)
		}
	}
	if slices.Contains(res.Capabilities, string(connector.CanUpsert)) {
		_, err = b.rpc.Upsert(t.Context(), &pb.UpsertRequest{Accounts: []*pb.Account{{Meta: &pb.Meta{TenantId: "t", IdempotencyId: "i"}, Name: "n"}}})
		require.Equal(t, connector.Invalid, wire.FromStatus(err).Code, "it takes a record without a version")
	}
}

// secrets reads all that the plugin prints and answers, before a host cleans it.
func (p Plugin) secrets(t *testing.T) {
	b := p.bare(t)
	res, err := b.rpc.Describe(t.Context(), &pb.DescribeRequest{})
	require.NoError(t, err)
	d, caps := wire.Descriptor(res)
	said := fmt.Sprint(res)
	try := func(cfg connector.Config) {
		if _, err := b.rpc.Configure(t.Context(), &pb.ConfigureRequest{Config: cfg}); err != nil {
			said += fmt.Sprint(err)
		}
		if _, err := b.rpc.Check(t.Context(), &pb.CheckRequest{}); err != nil {
			said += fmt.Sprint(err)
		}
		if slices.Contains(caps, connector.CanUpsert) {
			res, err := b.rpc.Upsert(t.Context(), &pb.UpsertRequest{Accounts: []*pb.Account{wire.FromAccount(account(name(t, "secret"), 1))}})
			said += fmt.Sprint(res, err)
		}
	}
	try(p.Settings)
	for _, f := range d.Config {
		for _, spoil := range []string{"-wrong", "\x7f%zz"} { // refused by the vendor, and by whoever parses it
			cfg := maps.Clone(p.Settings)
			cfg[f.Key] += spoil
			try(cfg)
		}
	}
	if p.Vendor.Fail != nil {
		p.Vendor.Fail(500, 0)
		try(p.Settings)
		p.Vendor.Fail(0, 0)
	}
	said += b.out.String()
	for _, f := range d.Config {
		if f.Secret {
			require.GreaterOrEqual(t, len(p.Settings[f.Key]), 8, "give the secret %s at least 8 bytes, or nothing can be told", f.Key)
			require.NotContains(t, said, p.Settings[f.Key], "%s was printed or answered", f.Key)
		}
	}
}

func (p Plugin) deadline(t *testing.T) {
	if p.Vendor.Slow == nil {
		t.Log("left out: Vendor.Slow is not given")
		return
	}
	h := p.start(t, true)
	require.NoError(t, h.Check(t.Context()))
	p.Vendor.Slow(time.Minute)
	defer p.Vendor.Slow(0)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	late := []connector.Code{connector.Other, connector.Unavailable} // the plugin may just make it to say that the vendor did not
	require.Contains(t, late, connector.CodeOf(h.Check(ctx)))
	require.Less(t, time.Since(began), 300*time.Millisecond+patience)
	up, ok := h.Connector.(connector.Upserter)
	var a connector.Account
	if ok {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began, a = time.Now(), account(name(t, "late"), 1)
		r := up.Upsert(ctx, []connector.Account{a})
		require.False(t, r[0].Outcome.Done(), "it says %s of what it cannot have done", r[0].Outcome)
		require.Contains(t, late, r[0].Err.Code)
		require.Less(t, time.Since(began), 300*time.Millisecond+patience)
	}
	p.Vendor.Slow(0)
	require.NoError(t, h.Check(t.Context()), "it does not recover")
	if ok {
		requireDone(t, up.Upsert(t.Context(), []connector.Account{a}))
		require.Equal(t, 1, p.Vendor.Accounts()[a.TenantID])
	}
}

func requireDone(t *testing.T, results []connector.Result) {
	t.Helper()
	for _, r := range results {
		require.True(t, r.Outcome.Done(), "%s: %s %v", r.TenantID, r.Outcome, r.Err)
	}
}

func (p Plugin) upsert(t *testing.T) {
	require.NotNil(t, p.Vendor.Accounts, "Vendor.Accounts is required")
	up := p.start(t, true).Connector.(connector.Upserter)
	put := func(batch ...connector.Account) (out []connector.Outcome) {
		results := up.Upsert(t.Context(), batch)
		require.Len(t, results, len(batch))
		for i, r := range results {
			require.Equal(t, batch[i].TenantID, r.TenantID)
			require.Equal(t, r.Outcome.Done(), r.Err == nil, "%s %v", r.Outcome, r.Err)
			out = append(out, r.Outcome)
		}
		return out
	}
	a, b := name(t, "a"), name(t, "b")
	one := func(o connector.Outcome) []connector.Outcome { return []connector.Outcome{o} }

	require.Equal(t, one(connector.Created), put(account(a, 2)))
	require.Equal(t, one(connector.Unchanged), put(account(a, 2)), "the second time")
	require.Equal(t, one(connector.Updated), put(account(a, 4)))
	require.Equal(t, one(connector.SkippedStale), put(account(a, 3)), "an older state after a newer one")
	require.Equal(t, one(connector.Unchanged), put(account(a, 4)), "the stale write left something behind")

	same := account(a, 5) // the newer version says the same as the older one
	same.Name, same.Seats = account(a, 4).Name, account(a, 4).Seats
	require.True(t, put(same)[0].Done())
	require.Equal(t, one(connector.SkippedStale), put(account(a, 4)), "the version of an equal state was not kept")

	cleared := connector.Account{Meta: connector.Meta{TenantID: a, SourceVersion: 6, IdempotencyID: "clear"}, Name: "only a name", Country: "PL", Status: "active", Plan: "free"}
	require.Equal(t, one(connector.Updated), put(cleared))
	require.Equal(t, one(connector.Unchanged), put(cleared), "fields that became empty were not cleared")

	bad := account("", 1)
	require.Equal(t, []connector.Outcome{connector.SkippedStale, connector.Failed, connector.Created, connector.Unchanged, connector.Updated},
		put(account(a, 1), bad, account(b, 1), account(b, 1), account(b, 2)), "a mixed batch: one bad record fails alone, one tenant may come twice")

	many := make([]connector.Account, 0, 230) // more than one call takes
	for i := range 230 {
		many = append(many, account(fmt.Sprintf("%s-%d", b, i), 1))
	}
	requireDone(t, up.Upsert(t.Context(), many))
	held := p.Vendor.Accounts()
	for _, m := range append(many, account(a, 1), account(b, 1)) {
		require.Equal(t, 1, held[m.TenantID], "accounts of %s at the vendor", m.TenantID)
	}
}

func (p Plugin) killed(t *testing.T) {
	if p.Vendor.Slow == nil {
		t.Log("left out: Vendor.Slow is not given")
		return
	}
	h := p.start(t, true)
	up := h.Connector.(connector.Upserter)
	batch := make([]connector.Account, 0, 60)
	prefix := name(t, "killed")
	for i := range 60 {
		batch = append(batch, account(fmt.Sprintf("%s-%02d", prefix, i), 1))
	}
	written := func() (n int) {
		for tenant := range p.Vendor.Accounts() {
			if strings.HasPrefix(tenant, prefix) {
				n++
			}
		}
		return n
	}
	p.Vendor.Slow(4 * time.Millisecond)
	defer p.Vendor.Slow(0)
	for _, after := range []int{1, 20, 45} { // each time further into the batch
		answers := make(chan []connector.Result, 1)
		go func() { answers <- up.Upsert(context.WithoutCancel(t.Context()), batch) }()
		require.Eventually(t, func() bool { return written() >= after }, 30*time.Second, time.Millisecond)
		h.kill(t)
		for _, r := range <-answers {
			require.NotEqual(t, connector.Created, r.Outcome, "a call that broke cannot know")
		}
	}
	p.Vendor.Slow(0)
	requireDone(t, up.Upsert(t.Context(), batch))
	for _, r := range up.Upsert(t.Context(), batch) {
		require.Equal(t, connector.Unchanged, r.Outcome, "%s after the retry", r.TenantID)
	}
	held := p.Vendor.Accounts()
	for _, a := range batch {
		require.Equal(t, 1, held[a.TenantID], "accounts of %s at the vendor", a.TenantID)
	}
}

func (p Plugin) faults(t *testing.T) {
	if p.Vendor.Fail == nil {
		t.Log("left out: Vendor.Fail is not given")
		return
	}
	h := p.start(t, true)
	up := h.Connector.(connector.Upserter)
	defer p.Vendor.Fail(0, 0)
	for _, c := range []struct {
		status int
		wait   time.Duration
		want   []connector.Code
	}{
		{401, 0, []connector.Code{connector.Auth}},
		{429, 7 * time.Second, []connector.Code{connector.RateLimited}},
		{422, 0, []connector.Code{connector.Invalid}},
		{500, 0, []connector.Code{connector.Unavailable, connector.Other}},
		{503, 3 * time.Second, []connector.Code{connector.Unavailable}},
	} {
		a := account(name(t, "fault"), 1)
		p.Vendor.Fail(c.status, c.wait)
		r := up.Upsert(t.Context(), []connector.Account{a})[0]
		p.Vendor.Fail(0, 0)
		require.NotNil(t, r.Err, "HTTP %d: %s", c.status, r.Outcome)
		require.Contains(t, c.want, r.Err.Code, "HTTP %d", c.status)
		require.Equal(t, c.wait, r.Err.RetryAfter, "HTTP %d", c.status)
		requireDone(t, up.Upsert(t.Context(), []connector.Account{a}))
		require.Equal(t, 1, p.Vendor.Accounts()[a.TenantID])
	}
}

func (p Plugin) reading(t *testing.T) {
	h := p.start(t, true)
	rd := h.Connector.(connector.Reader)
	_, err := rd.Get(t.Context(), name(t, "nobody"))
	require.Equal(t, connector.NotFound, connector.CodeOf(err))

	up, ok := h.Connector.(connector.Upserter)
	want := map[string]bool{}
	prefix := name(t, "page")
	put := func(i int) {
		a := account(fmt.Sprintf("%s-%02d", prefix, i), int64(i+1))
		requireDone(t, up.Upsert(t.Context(), []connector.Account{a}))
		want[a.TenantID] = true
	}
	if ok {
		for i := range 25 {
			put(i)
		}
		got, err := rd.Get(t.Context(), prefix+"-03")
		require.NoError(t, err)
		sent := account(prefix+"-03", 4)
		require.Equal(t, sent.TenantID, got.TenantID)
		require.Equal(t, sent.SourceVersion, got.SourceVersion, "the version does not come back")
		kept := func(field string) bool { return len(got.Fields) == 0 || slices.Contains(got.Fields, field) }
		for _, f := range []struct {
			name      string
			got, sent any
		}{
			{"name", got.Name, sent.Name}, {"country", got.Country, sent.Country}, {"owner", got.Owner, sent.Owner}, {"status", got.Status, sent.Status},
			{"suspended", got.Suspended, sent.Suspended}, {"plan", got.Plan, sent.Plan}, {"seats", got.Seats, sent.Seats},
			{"renewal_at", got.RenewalAt.UTC(), sent.RenewalAt}, {"entitlements", got.Entitlements, sent.Entitlements},
		} {
			if kept(f.name) {
				require.Equal(t, f.sent, f.got, "%s comes back another way", f.name)
			}
		}
	}
	seen, cursor := map[string]int{}, ""
	for pages := 0; ; pages++ {
		require.Less(t, pages, 10_000, "the pages do not end")
		page, err := rd.List(t.Context(), cursor, 7)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Items), 7)
		for _, r := range page.Items {
			seen[r.TenantID]++
		}
		if pages == 1 && ok {
			put(25) // a newcomer between two pages shifts nobody
			delete(want, prefix+"-25")
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for tenant := range want {
		require.Equal(t, 1, seen[tenant], "%s in the pages", tenant)
	}
	for tenant, n := range seen {
		require.Equal(t, 1, n, "%s in the pages", tenant)
	}
}

func (p Plugin) lists(t *testing.T) {
	ls := p.start(t, true).Connector.(connector.Lists)
	m := func(version int64) connector.Membership {
		return connector.Membership{Meta: connector.Meta{TenantID: "lister", SourceVersion: version, IdempotencyID: fmt.Sprint("m", version)}, List: name(t, "list")}
	}
	list := m(1).List
	at := func(version int64) connector.Membership { v := m(version); v.List = list; return v }
	in := func() bool {
		ok, err := ls.InList(t.Context(), list, "lister")
		require.NoError(t, err)
		return ok
	}
	step := func(f func(context.Context, connector.Membership) (connector.Outcome, error), version int64, want connector.Outcome) {
		t.Helper()
		got, err := f(t.Context(), at(version))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.False(t, in())
	step(ls.AddToList, 5, connector.Updated)
	step(ls.AddToList, 5, connector.Unchanged)
	require.True(t, in())
	step(ls.RemoveFromList, 4, connector.SkippedStale)
	require.True(t, in(), "an older removal came late and won")
	step(ls.RemoveFromList, 6, connector.Updated)
	require.False(t, in())
	step(ls.AddToList, 5, connector.SkippedStale)
	require.False(t, in(), "an older addition came late and won")
	_, err := ls.AddToList(t.Context(), connector.Membership{List: list})
	require.Equal(t, connector.Invalid, connector.CodeOf(err))
}

func (p Plugin) tickets(t *testing.T) {
	require.NotNil(t, p.Vendor.Tickets, "Vendor.Tickets is required")
	h := p.start(t, true)
	tk := h.Connector.(connector.Tickets)
	key := name(t, "ticket")
	draft := connector.TicketDraft{Meta: connector.Meta{TenantID: "asker", SourceVersion: 1, IdempotencyID: key}, DedupKey: key, Subject: "Zahlung überfällig", Body: "Bitte prüfen", Priority: "high"}

	_, err := tk.FindTicket(t.Context(), key)
	require.Equal(t, connector.NotFound, connector.CodeOf(err))

	var mu sync.Mutex
	var wg sync.WaitGroup
	made, ids := 0, map[string]bool{}
	for range 8 {
		wg.Go(func() {
			got, created, err := tk.OpenTicket(t.Context(), draft)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				ids[got.ID] = true
			}
			if created {
				made++
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, made, "tickets made by eight calls at once with one key")
	require.Len(t, ids, 1)
	h.kill(t)
	first, created, err := tk.OpenTicket(t.Context(), draft)
	require.NoError(t, err)
	require.False(t, created, "a second ticket after a restart")
	require.Equal(t, 1, p.Vendor.Tickets()[key])
	require.Equal(t, connector.TicketOpen, first.State)
	require.Equal(t, draft.Subject, first.Subject)
	require.Equal(t, key, first.DedupKey)
	found, err := tk.FindTicket(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, first.ID, found.ID)

	say := connector.TicketComment{Meta: connector.Meta{TenantID: "asker", SourceVersion: 1, IdempotencyID: key + "-c"}, TicketID: first.ID, Body: "noch offen"}
	got, err := tk.CommentTicket(t.Context(), say)
	require.NoError(t, err)
	require.NotEqual(t, connector.Unchanged, got)
	got, err = tk.CommentTicket(t.Context(), say)
	require.NoError(t, err)
	require.Equal(t, connector.Unchanged, got, "the same comment twice")
	_, err = tk.CommentTicket(t.Context(), connector.TicketComment{Meta: say.Meta, TicketID: "no-such-ticket", Body: "x"})
	require.Equal(t, connector.NotFound, connector.CodeOf(err))

	last := connector.TicketComment{Meta: connector.Meta{TenantID: "asker", SourceVersion: 2, IdempotencyID: key + "-z"}, TicketID: first.ID, Body: "bezahlt"}
	got, err = tk.CloseTicket(t.Context(), last)
	require.NoError(t, err)
	require.Equal(t, connector.Updated, got)
	got, err = tk.CloseTicket(t.Context(), last)
	require.NoError(t, err)
	require.Equal(t, connector.Unchanged, got)
	again, created, err := tk.OpenTicket(t.Context(), draft)
	require.NoError(t, err)
	require.False(t, created, "one key, one ticket, also when it is closed")
	require.Equal(t, connector.TicketClosed, again.State)
}
