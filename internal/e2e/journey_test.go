package e2e

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// vendorHas is what a sandbox vendor holds of a thing, by its external id.
func (s *server) vendorHas(t *testing.T, vendor, collection, id string) map[string]any {
	t.Helper()
	f, err := os.Open(filepath.Join(s.data, "vendors", vendor+".jsonl"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	var have map[string]any
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var l struct {
			C string `json:"c"`
			O struct {
				ExternalID string         `json:"external_id"`
				Properties map[string]any `json:"properties"`
			} `json:"o"`
		}
		if json.Unmarshal(sc.Bytes(), &l) == nil && l.C == collection && l.O.ExternalID == id { // half a line is a write under way
			have = l.O.Properties
		}
	}
	return have
}

// inbox is a webhook receiver of our own that checks signatures by the
// specification, without the library's code.
type inbox struct {
	mu     sync.Mutex
	key    []byte
	events []inboxEvent
	faults []string
}

type inboxEvent struct {
	ID   string
	Type string
	Data struct {
		Tenant struct{ ID, Plan string }
	}
	raw string
}

// ServeHTTP implements http.Handler.
func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.faults = append(b.faults, err.Error())
		return
	}
	mac := hmac.New(sha256.New, b.key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); !slices.Contains(strings.Fields(r.Header.Get("webhook-signature")), want) {
		b.faults = append(b.faults, "signature of "+r.Header.Get("webhook-id"))
		http.Error(w, "signature", http.StatusUnauthorized)
		return
	}
	e := inboxEvent{ID: r.Header.Get("webhook-id"), raw: string(body)}
	if err := json.Unmarshal(body, &e); err != nil {
		b.faults = append(b.faults, err.Error())
	}
	b.events = append(b.events, e)
	w.WriteHeader(http.StatusNoContent)
}

func (b *inbox) find(ok func(inboxEvent) bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.events, ok)
}

type delivery struct {
	ID, Target, Type, State, Code string
	MergedInto                    string `json:"merged_into"`
	TenantVersion                 int64  `json:"tenant_version"`
}

// downgrade is the first journey: from a key's request to what three connectors and
// a webhook were told.
func downgrade(t *testing.T, s *server, free *pool) {
	const admin, agent = "super_admin", "cs_agent"
	require.GreaterOrEqual(t, len(children(t, s.cmd.Process.Pid)), 3, "each connector is a process of its own")
	box := &inbox{}
	receiver := httptest.NewServer(box)
	t.Cleanup(receiver.Close)
	asked := s.hold(t, admin, "/integrations/targets", map[string]any{"name": "helpdesk-events", "kind": "webhook",
		"config": map[string]string{"url": receiver.URL}, "events": []string{"tenant.*"}})
	created := s.vote(t, "gov_approver", asked.Approval, "approve")
	require.Equal(t, "executed", created.State, created.Error)
	var target struct{ ID string }
	require.NoError(t, json.Unmarshal(created.Result, &target))
	secret := as[struct{ Secret string }](t, s.call(t, admin, http.MethodPost, "/integrations/targets/"+target.ID+"/secret", nil).want(t, http.StatusOK)).Secret // what the vote's answer never shows
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	require.NoError(t, err)
	box.mu.Lock()
	box.key = key
	box.mu.Unlock()
	defer func() {
		gone := as[held](t, s.call(t, admin, http.MethodDelete, "/integrations/targets/"+target.ID, nil).want(t, http.StatusAccepted))
		require.Equal(t, "executed", s.vote(t, "gov_approver", gone.Approval, "approve").State)
	}()

	type mrr struct {
		From, To string
		Before   money `json:"mrr_before"`
		After    money `json:"mrr_after"`
	}
	small := free.take(t, func(c tenant) bool { return c.Plan == "starter" && c.Seats > 0 && c.Seats < 10 })
	at := as[done](t, s.call(t, agent, http.MethodPost, "/tenants/"+small.ID+"/plan", map[string]string{"plan": "free", "reason": "They stay with the basics"}).want(t, http.StatusOK))
	require.Equal(t, "executed", at.State)
	var moved mrr
	require.NoError(t, json.Unmarshal(at.Result, &moved))
	require.Equal(t, "starter", moved.From)
	require.Equal(t, "free", moved.To)
	require.Equal(t, "0.00", moved.After.Amount)
	require.Greater(t, moved.Before.minor(t), moved.After.minor(t))

	big := free.take(t, func(c tenant) bool { return c.Plan == "business" && c.Seats >= 40 })
	h := s.hold(t, agent, "/tenants/"+big.ID+"/plan", map[string]string{"plan": "starter", "reason": "Half of their sites closed", "ticket": "SUP-9"})
	require.Equal(t, "business", s.tenant(t, big.ID).Tenant.Plan)
	ap := s.vote(t, "gov_approver", h.Approval, "approve")
	require.Equal(t, "executed", ap.State, ap.Error)
	require.Equal(t, "cleo", ap.Requester.Person)
	require.Equal(t, "noor", ap.Votes[0].Person)

	for _, c := range []struct {
		tenant
		plan string
	}{{small, "free"}, {big, "starter"}} {
		require.Equal(t, c.plan, s.tenant(t, c.ID).Tenant.Plan)
		for _, v := range []struct{ vendor, collection string }{{"crm", "companies"}, {"billing", "subscriptions"}, {"ticketing", "organizations"}} {
			soon(t, v.vendor+" holds the new plan of "+c.ID, func() bool { return s.vendorHas(t, v.vendor, v.collection, c.ID)["plan"] == c.plan })
		}
		soon(t, "a signed webhook of "+c.ID, func() bool {
			return box.find(func(e inboxEvent) bool {
				return e.Type == "tenant.plan_changed" && strings.Contains(e.raw, `"`+c.ID+`"`) && strings.Contains(e.raw, `"`+c.plan+`"`)
			})
		})
		soon(t, "every delivery of "+c.ID+" is done", func() bool {
			ds := get[list[delivery]](t, s, agent, "/integrations/deliveries?limit=100&tenant="+c.ID).Items
			targets := map[string]bool{}
			for _, d := range ds {
				if d.Type == "tenant.plan_changed" && (d.State == "done" && d.Code == "ok" || d.State == "merged") {
					targets[d.Target] = true
				}
			}
			return len(targets) == 5 && !slices.ContainsFunc(ds, func(d delivery) bool { return d.State == "pending" || d.State == "dead" })
		})
		found := get[struct {
			Plan, Status   string
			LatestActivity *time.Time              `json:"latest_activity"`
			Recent         []struct{ Type string } `json:"recent_events"`
		}](t, s, "support", "/support/lookup?tenant="+c.ID)
		require.Equal(t, c.plan, found.Plan)
		require.Equal(t, "active", found.Status)
		require.NotNil(t, found.LatestActivity)
		require.Contains(t, fmt.Sprint(found.Recent), "tenant.plan_changed")
		events := get[list[struct {
			Type  string
			Actor string
			Seq   int64 `json:"tenant_seq"`
		}]](t, s, agent, "/tenants/"+c.ID+"/events?limit=50").Items
		require.True(t, slices.ContainsFunc(events, func(e struct {
			Type  string
			Actor string
			Seq   int64 `json:"tenant_seq"`
		}) bool {
			return e.Type == "tenant.plan_changed"
		}))
		records := s.records(t, "tenant="+c.ID)
		require.True(t, slices.ContainsFunc(records, func(r record) bool { return r.Body.Action == "tenant.plan" && r.Body.Outcome == "done" }), "a record of the change")
	}
	box.mu.Lock()
	defer box.mu.Unlock()
	require.Empty(t, box.faults)
	s.call(t, "support", http.MethodGet, "/tenants/"+big.ID, nil).want(t, http.StatusForbidden)
}

func (s *server) records(t *testing.T, query string) []record {
	t.Helper()
	return get[list[record]](t, s, "gov_auditor", "/ledger/records?limit=200&"+query).Items
}

type fact struct {
	ID, Source, Subscription, Plan, Currency, Day string
	Quantity                                      int64
	Amount                                        money
	Cancelled                                     bool
}

// revenue is the third journey's first half: a change of plan is a fact, facts make
// movements, and a number is walked down to its facts.
func revenue(t *testing.T, s *server, free *pool) {
	const admin, viewer = "super_admin", "finance_viewer"
	type summary struct {
		Through    string `json:"data_through"`
		Generation int64
		MRR        money
	}
	subscription := func(c tenant) []fact {
		return get[list[fact]](t, s, viewer, "/analytics/facts?kind=subscription&limit=5&tenant="+c.ID).Items
	}
	before := get[summary](t, s, viewer, "/analytics/summary")
	var was fact
	c := free.take(t, func(c tenant) bool {
		fs := subscription(c)
		if len(fs) > 0 {
			was = fs[0]
		}
		return c.Plan == "team" && len(fs) > 0 && was.Currency == "EUR" && !was.Cancelled && was.Amount.minor(t) > 20000 && was.Day < before.Through
	})
	// Told by billing for the last day that is over, as every day.
	s.call(t, admin, http.MethodPost, "/analytics/facts", map[string]any{"facts": []map[string]any{{"source": "billing", "key": was.Subscription + "/e2e", "kind": "subscription", "tenant": c.ID,
		"subscription": was.Subscription, "plan": "starter", "quantity": was.Quantity, "amount": "100.00", "currency": "EUR", "at": before.Through + "T10:00:00Z"}}}).want(t, http.StatusOK)
	s.call(t, viewer, http.MethodPost, "/analytics/refreshes", map[string]string{"reason": "x"}).want(t, http.StatusForbidden)
	s.call(t, admin, http.MethodPost, "/analytics/refreshes", map[string]string{"reason": "Yesterday is complete"}).want(t, http.StatusOK)
	after := get[summary](t, s, viewer, "/analytics/summary")
	require.Greater(t, after.Generation, before.Generation)
	require.Equal(t, before.Through, after.Through, "a plan change of today holds no figure back")
	require.Equal(t, was.Amount.minor(t)-10000, before.MRR.minor(t)-after.MRR.minor(t))

	month := before.Through[:7]
	type movement struct {
		Line, Day, Subscription string
		Amount, Before, After   money
	}
	moves := get[list[movement]](t, s, viewer, "/analytics/movements?month="+month+"&tenant="+c.ID).Items
	i := slices.IndexFunc(moves, func(m movement) bool { return m.Line == "contraction" && m.Day == before.Through })
	require.GreaterOrEqual(t, i, 0, "%v", moves)
	require.Equal(t, 10000-was.Amount.minor(t), moves[i].Amount.minor(t))

	type drill struct {
		Number  money
		Next    string
		Tenants []struct {
			Tenant string
			Amount money
		}
		Rows []struct {
			Day    string
			Amount money
			Facts  []string
		}
	}
	var sum, number int64
	for cursor := ""; ; {
		d := get[drill](t, s, viewer, "/analytics/drill?metric=contraction&limit=20&month="+month+"&cursor="+url.QueryEscape(cursor))
		number = d.Number.minor(t)
		for _, p := range d.Tenants {
			sum += p.Amount.minor(t)
		}
		if cursor = d.Next; cursor == "" {
			break
		}
	}
	require.Equal(t, number, sum, "the parts add up to the number")
	line := get[struct {
		Items []struct {
			Period      string
			Contraction money
		}
	}](t, s, viewer, "/analytics/rollforward?grain=month&from="+month+"-01&to="+month+"-01")
	require.Len(t, line.Items, 1)
	require.Equal(t, number, line.Items[0].Contraction.minor(t), "and to the line of the roll-forward")
	d := get[drill](t, s, viewer, "/analytics/drill?metric=contraction&month="+month+"&tenant="+c.ID)
	sum = 0
	var newest fact
	for _, r := range d.Rows {
		sum += r.Amount.minor(t)
		require.NotEmpty(t, r.Facts)
		for _, id := range r.Facts {
			if f := get[list[fact]](t, s, viewer, "/analytics/facts?id="+id).Items; r.Day == before.Through && f[0].Day == before.Through {
				newest = f[0]
			}
		}
	}
	require.Equal(t, d.Number.minor(t), sum)
	require.Equal(t, "100.00", newest.Amount.Amount, "down to the fact that was told")

	// The product's own change of plan is a fact in the commit that makes it.
	other := free.take(t, func(c tenant) bool { return c.Plan == "starter" && len(subscription(c)) > 0 })
	old := subscription(other)[0]
	s.call(t, admin, http.MethodPost, "/tenants/"+other.ID+"/plan", map[string]string{"plan": "team", "reason": "They grow"}).want(t, http.StatusOK)
	now := subscription(other)[0]
	require.Equal(t, "product", now.Source)
	require.Equal(t, "team", now.Plan)
	require.Equal(t, old.Subscription, now.Subscription)
	require.Greater(t, now.Amount.minor(t), old.Amount.minor(t))
}

type playbookRun struct {
	ID, State, Tenant, Mode string
	Steps                   []struct {
		ID, State, Approval string
		Output              map[string]string
	}
}

func (r playbookRun) step(id string) (state, approval string) {
	for _, s := range r.Steps {
		if s.ID == id {
			return s.State, s.Approval
		}
	}
	return "", ""
}

// unpaid is the third journey's second half: a notice, time to answer, a person, a
// restriction and a ticket, and all of it taken back.
func unpaid(t *testing.T, s *server, free *pool) {
	const admin = "super_admin"
	c := free.take(t, func(c tenant) bool { return c.Plan == "team" })
	source := strings.ReplaceAll(`name: unpaid
title: Unpaid licence
description: Tells, waits, asks a person, restricts, and opens a ticket.
trigger:
  daily: "07:00"
signals:
  mrr: {type: number, max_age: 72h}
when: tenant.id == "TENANT" && signals.mrr >= 0.0
safeguards: {max_targets: 1, max_percent: 5, max_unusable: 100, repeat_after: 30d}
steps:
  - {id: tell, kind: notice, params: {title: "The licence of ${tenant.name} runs out"}}
  - {id: cure, kind: wait, params: {for: 1s}}
  - {id: ask, kind: approval, params: {step: restrict}}
  - {id: restrict, kind: restriction.place, params: {reason: unpaid, detail: "Not paid for two months"}}
  - {id: ticket, kind: ticket.open, params: {subject: "${tenant.name} is restricted"}}
`, "TENANT", c.ID)
	s.call(t, admin, http.MethodPut, "/playbooks/unpaid", map[string]string{"source": strings.Replace(source, "kind: wait", "kind: wiat", 1), "reason": "x"}).want(t, http.StatusUnprocessableEntity)
	s.call(t, admin, http.MethodPut, "/playbooks/unpaid", map[string]string{"source": source, "reason": "Dunning"}).want(t, http.StatusOK)
	activate := func() answer {
		return s.call(t, admin, http.MethodPost, "/playbooks/unpaid/versions/1/activate", map[string]string{"reason": "Its shadow run named the right tenant"})
	}
	early := s.vote(t, "gov_approver", as[held](t, activate().want(t, http.StatusAccepted)).Approval, "approve")
	require.Equal(t, "failed", early.State, "it has looked at nobody yet")
	scan := func() {
		batch := get1[struct {
			Matched int64
			State   string
		}](t, s.call(t, admin, http.MethodPost, "/playbooks/unpaid/scan", nil).want(t, http.StatusOK))
		require.EqualValues(t, 1, batch.Matched)
	}
	scan()
	require.Equal(t, "executed", s.vote(t, "gov_approver", as[held](t, activate().want(t, http.StatusAccepted)).Approval, "approve").State)
	scan()
	current := func() playbookRun {
		runs := get[list[playbookRun]](t, s, "gov_auditor", "/playbook-runs?playbook=unpaid&mode=live").Items
		require.Len(t, runs, 1)
		return runs[0]
	}
	var ask string
	soon(t, "the run asks a person", func() bool {
		state, id := current().step("ask")
		ask = id
		return state == "awaiting_approval"
	})
	require.True(t, get[struct{ Allowed bool }](t, s, "cs_agent", "/tenants/"+c.ID+"/access").Allowed, "nothing happens before")
	ap := get[approval](t, s, "gov_approver", "/approvals/"+ask)
	require.Equal(t, "tenant.restrict", ap.Action)
	s.vote(t, "gov_approver_2", ask, "approve")
	soon(t, "the run succeeds", func() bool { return current().State == "succeeded" })
	require.False(t, get[struct{ Allowed bool }](t, s, "cs_agent", "/tenants/"+c.ID+"/access").Allowed)
	soon(t, "the CRM knows of the suspension", func() bool { return s.vendorHas(t, "crm", "companies", c.ID)["suspended"] == true })
	b, err := os.ReadFile(filepath.Join(s.data, "vendors", "ticketing.jsonl"))
	require.NoError(t, err)
	require.Contains(t, string(b), c.Name+" is restricted")
	require.True(t, get[struct{ Suspended bool }](t, s, "support", "/support/lookup?tenant="+c.ID).Suspended)

	run := current()
	s.call(t, "cs_agent", http.MethodPost, "/playbook-runs/"+run.ID+"/rollback", map[string]string{"reason": "Paid"}).want(t, http.StatusForbidden)
	s.call(t, admin, http.MethodPost, "/playbook-runs/"+run.ID+"/rollback", map[string]string{"reason": "Paid"}).want(t, http.StatusOK)
	soon(t, "the run is rolled back", func() bool { return current().State == "rolled_back" })
	require.True(t, get[struct{ Allowed bool }](t, s, "cs_agent", "/tenants/"+c.ID+"/access").Allowed)
	restrict, _ := current().step("restrict")
	ticket, _ := current().step("ticket")
	require.Equal(t, "compensated", restrict)
	require.Equal(t, "done", ticket, "a ticket stays: people may have written in it")
	soon(t, "the CRM knows that it is over", func() bool { return s.vendorHas(t, "crm", "companies", c.ID)["suspended"] == false })
}

// get1 reads the only item of a list.
func get1[T any](t *testing.T, a answer) T {
	t.Helper()
	l := as[list[T]](t, a)
	require.Len(t, l.Items, 1, "%s: %s", a.what, a.Body)
	return l.Items[0]
}

// impersonation works in the product as a customer's user, and no longer.
func impersonation(t *testing.T, s *server, free *pool) {
	const agent = "cs_agent"
	c := free.take(t, func(c tenant) bool { return c.Seats > 3 })
	user := c.ID + "-u00"
	s.call(t, agent, http.MethodPost, "/sessions", map[string]string{"tenant": c.ID, "user": user}).want(t, http.StatusUnprocessableEntity) // no reason
	s.call(t, "gov_auditor", http.MethodPost, "/sessions", map[string]string{"tenant": c.ID, "user": user, "reason": "Curious"}).want(t, http.StatusForbidden)
	at := as[done](t, s.call(t, agent, http.MethodPost, "/sessions", map[string]any{"tenant": c.ID, "user": user, "reason": "Cannot find an invoice", "ticket": "SUP-77", "minutes": 10}).want(t, http.StatusOK))
	var started struct{ Session string }
	require.NoError(t, json.Unmarshal(at.Result, &started))
	path := "/sessions/" + started.Session
	s.call(t, "super_admin", http.MethodPost, path+"/open", nil).want(t, http.StatusNotFound) // not theirs
	opened := s.call(t, agent, http.MethodPost, path+"/open", nil).want(t, http.StatusOK)
	cookies := (&http.Response{Header: opened.Header}).Cookies()
	require.Len(t, cookies, 1)
	require.True(t, cookies[0].HttpOnly)
	app := func(key, method, page string) answer {
		req, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(s.APIURL, "/v1")+"/app/"+page, nil)
		require.NoError(t, err)
		req.AddCookie(cookies[0])
		return s.send(t, key, req)
	}
	page := app(agent, http.MethodGet, "").want(t, http.StatusOK)
	require.Contains(t, string(page.Body), "Cleo Okonjo works as")
	require.Contains(t, string(page.Body), c.Name)
	app(agent, http.MethodGet, "account/password").want(t, http.StatusForbidden)
	app(agent, http.MethodPost, "documents/"+c.ID+"-d00").want(t, http.StatusForbidden) // reading only
	app("", http.MethodGet, "").want(t, http.StatusUnauthorized)
	s.call(t, agent, http.MethodPost, path+"/end", map[string]string{"reason": "Found it"}).want(t, http.StatusNoContent)
	app(agent, http.MethodGet, "documents").want(t, http.StatusUnauthorized)
	app("super_admin", http.MethodGet, "").want(t, http.StatusUnauthorized)

	got := get[struct {
		State, Ended      string
		Requests, Blocked int64
	}](t, s, "gov_auditor", path)
	require.Equal(t, "ended", got.State)
	require.Equal(t, "stopped", got.Ended)
	require.GreaterOrEqual(t, got.Blocked, int64(2))
	of := map[string]record{}
	for _, r := range s.records(t, "tenant="+c.ID) {
		if r.Body.ActionID == started.Session {
			of[r.Body.Action] = r
		}
	}
	for _, action := range []string{"impersonation.start", "impersonation.open", "impersonation.chunk", "impersonation.end"} {
		r, ok := of[action]
		require.True(t, ok, "a record of %s; there are %v", action, of)
		require.Equal(t, "cleo", r.Body.Actor.Person, "%s names who acted", action)
		if action == "impersonation.start" { // nobody is represented yet
			b, err := json.Marshal(r.Body.Data["result"])
			require.NoError(t, err)
			require.Contains(t, string(b), user)
			continue
		}
		require.NotNil(t, r.Body.Subject, "%s names who was represented", action)
		require.Contains(t, r.Body.Subject.ID, user)
	}
	frames := get[list[struct{ N int64 }]](t, s, "gov_auditor", path+"/frames").Items
	require.NotEmpty(t, frames)
	verified := s.call(t, "gov_auditor", http.MethodGet, path+"/verification", nil).want(t, http.StatusOK)
	require.NotContains(t, string(verified.Body), `"ok":false`)
}
