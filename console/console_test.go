package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

type creditInput struct {
	Tenant governance.TenantID `json:"tenant"`
	Amount governance.Money    `json:"amount"`
}

// bench is a console on a kernel with one guarded action and one tenant.
type bench struct {
	*govtest.Env
	h      http.Handler
	credit *governance.Action[creditInput]
}

func setup(t *testing.T, sections ...Section) *bench {
	t.Helper()
	return setupWith(t, nil, sections...)
}

func setupWith(t *testing.T, kernel func(o *governance.Options), sections ...Section) *bench {
	t.Helper()
	b := &bench{Env: govtest.New(t, &govtest.Options{Kernel: kernel})}
	b.People.Put("root", "root")
	b.People.Put("dana", "gov_approver")
	b.People.Put("omar", "gov_approver")
	b.People.Put("sam", "cs_agent")
	b.People.Put("finn", "finance_viewer")
	b.People.Allow("gov_approver", "approval:read", "approval:vote", "policy:read", "alert:read", "alert:ack", "tenant:read", "ledger:read")
	b.People.Allow("cs_agent", "tenant:read", "tenant:credit", "approval:read", "alert:read", "alert:ack")
	b.credit = governance.Define("tenant.credit", governance.Spec[creditInput]{Permission: "tenant:credit",
		Tenant:   func(in creditInput) governance.TenantID { return in.Tenant },
		Resource: func(in creditInput) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
		Measures: func(_ context.Context, _ *governance.Tx, in creditInput) ([]governance.Measure, error) {
			return []governance.Measure{governance.MoneyMeasure(in.Amount)}, nil
		},
	}, func(_ context.Context, _ *governance.Tx, in creditInput) (governance.Result, error) {
		return governance.Result{Data: in}, nil
	})
	require.NoError(t, b.Kernel.Register(b.credit))
	day := governance.Duration{Duration: 24 * time.Hour}
	require.NoError(t, b.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "credit-daily", Title: "Credits over a day", Actions: []string{"tenant.credit"}, Mode: governance.Enforce,
		Limits:  []governance.Limit{{Unit: "EUR.cent", Max: 100000, Window: day, By: governance.ByTenant}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
	require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := b.Kernel.UpsertTenantTx(ctx, tx, governance.System("billing"), governance.Tenant{ID: "acme", Name: "Acme <GmbH>", Country: "DE", Status: governance.TenantActive, Plan: "scale", Owner: "sam"})
		return err
	}))
	var err error
	b.h, err = New(&Options{Kernel: b.Kernel, Sections: sections})
	require.NoError(t, err)
	return b
}

// hold asks for a credit that is held, and gives the approval.
func (b *bench) hold(t *testing.T) governance.Approval {
	t.Helper()
	_, err := b.credit.Do(t.Context(), b.Kernel, b.As("sam"), creditInput{"acme", governance.Money{Minor: 120000, Currency: "EUR"}}, nil)
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	a, err := b.Kernel.Approval(t.Context(), held.Approval)
	require.NoError(t, err)
	return a
}

func (b *bench) as(t *testing.T, person governance.PersonID) *browser {
	if person == "" {
		return browse(t, b.h, governance.Identity{})
	}
	return browse(t, b.h, b.As(person))
}

func TestKernelStories(t *testing.T) {
	t.Parallel()
	env := govtest.New(t, nil)
	env.People.Put("sam", "root")
	h, err := New(&Options{Kernel: env.Kernel, Stories: true})
	require.NoError(t, err)
	b := browse(t, h, env.As("sam"))
	requireMarkup(t, b.get("/_stories", http.StatusOK).body)
	c := &console{opts: Options{Kernel: env.Kernel, Stories: true}, kernel: env.Kernel}
	for _, s := range c.kernelSections() {
		for i, st := range s.Stories {
			t.Run(st.Name, func(t *testing.T) {
				want := st.View.Status
				if want == 0 {
					want = http.StatusOK
				}
				requireMarkup(t, b.get(fmt.Sprintf("/_stories/%s/%d", s.Name, i), want).body)
			})
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	env := govtest.New(t, nil)
	page := func(*Ctx) (View, error) { return View{}, nil }
	for name, tc := range map[string]struct {
		opts Options
		want string
	}{
		"no kernel":              {Options{}, "Kernel is required"},
		"relative base":          {Options{Kernel: env.Kernel, Base: "console"}, "want a path"},
		"two sections, one name": {Options{Kernel: env.Kernel, Sections: []Section{{Name: "a"}, {Name: "a"}}}, "taken"},
		"a route for nobody":     {Options{Kernel: env.Kernel, Sections: []Section{{Name: "a", Routes: []Route{{Pattern: "GET /a", Page: page}}}}}, "Permission, Anyone and Public"},
		"a page by POST":         {Options{Kernel: env.Kernel, Sections: []Section{{Name: "a", Routes: []Route{{Pattern: "POST /a", Anyone: true, Page: page}}}}}, "a Page is a GET"},
		"a route twice":          {Options{Kernel: env.Kernel, Sections: []Section{{Name: "a", Routes: []Route{{Pattern: "GET /ledger", Anyone: true, Page: page}}}}}, "twice"},
		"an unknown group":       {Options{Kernel: env.Kernel, Sections: []Section{{Name: "a", Nav: []NavItem{{Group: "Misc", Title: "A", Path: "/a"}}}}}, "known group"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(&tc.opts)
			require.ErrorContains(t, err, tc.want)
		})
	}
	for _, base := range []string{"/", "/console", "/x/y/"} {
		t.Run("mounted at "+base, func(t *testing.T) {
			t.Parallel()
			h, err := New(&Options{Kernel: env.Kernel, Base: base})
			require.NoError(t, err)
			env.People.Put("root", "root")
			root := strings.TrimRight(base, "/")
			for path, want := range map[string]int{"/": 200, "/tenants": 200, "/nothing": 404, "/static/none.css": 404} {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, root+path, nil).WithContext(governance.WithIdentity(t.Context(), env.As("root"))))
				require.Equal(t, want, w.Code, "%s", path)
				if want == 200 {
					require.Contains(t, w.Body.String(), `href="`+root+`/ledger"`)
				}
			}
			// A host mounts a subtree, and its mux adds the slash: that must not turn in circles.
			host := http.NewServeMux()
			host.Handle(root+"/", h)
			w := httptest.NewRecorder()
			host.ServeHTTP(w, httptest.NewRequest(http.MethodGet, root+"/", nil).WithContext(governance.WithIdentity(t.Context(), env.As("root"))))
			require.Equal(t, http.StatusOK, w.Code)
		})
	}
}

func TestConsole_doors(t *testing.T) {
	t.Parallel()
	t.Run("nobody signed in is sent to sign-in and comes back", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		got := b.as(t, "").get("/tenants?q=a", http.StatusSeeOther)
		require.Equal(t, "/signin?next=%2Fconsole%2Ftenants%3Fq%3Da", got.location)
		require.Equal(t, "/signin?next=%2Fconsole%2Fno-such-page", b.as(t, "").get("/no-such-page", http.StatusSeeOther).location, "strangers do not learn what exists")
		require.Equal(t, "/signin", b.as(t, "").post("/ledger/verify", http.StatusSeeOther).location)
	})
	t.Run("every page answers 403 without its permission, and shows no entry for it", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		finn := b.as(t, "finn")
		for _, path := range []string{"/approvals", "/approvals/x", "/alerts", "/alerts/x", "/alerts/silences", "/alerts/silences/new", "/alerts/deliveries", "/alerts/routes", "/alerts/routes/edit", "/ledger", "/ledger/x", "/tenants", "/tenants/acme", "/policies", "/policies/credit-daily"} {
			body := finn.get(path, http.StatusForbidden).body
			require.NotContains(t, body, "Acme")
			require.Contains(t, body, "You may not do this")
		}
		home := finn.get("/", http.StatusOK).body
		for _, path := range []string{"/tenants", "/ledger", "/approvals", "/policies"} {
			require.NotContains(t, home, `href="/console`+path+`"`)
		}
	})
	t.Run("a post from another site is refused", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		r := httptest.NewRequest(http.MethodPost, "/console/theme", strings.NewReader("theme=dark"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		got := b.as(t, "sam").do(r, http.StatusForbidden)
		require.Empty(t, got.header.Get("Set-Cookie"))
		require.Contains(t, got.body, "another site")
	})
	t.Run("every answer carries the strict policy", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		for path, want := range map[string]int{"/": 200, "/nothing": 404, "/policies": 403} {
			h := b.as(t, "finn").get(path, want).header
			csp := h.Get("Content-Security-Policy")
			require.Contains(t, csp, "default-src 'none'")
			require.NotContains(t, csp, "unsafe")
			require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
			require.Equal(t, "no-store", h.Get("Cache-Control"))
		}
	})
	t.Run("a large form is refused", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.as(t, "sam").post("/theme", http.StatusUnprocessableEntity, "theme", strings.Repeat("x", maxForm+1))
		b.as(t, "sam").post("/theme", http.StatusUnprocessableEntity, "theme", "a\x00b")
	})
}

func TestConsole_failures(t *testing.T) {
	t.Parallel()
	fault := func(err error) func(*Ctx) (View, error) { return func(*Ctx) (View, error) { return View{}, err } }
	secret := "pq: password authentication failed for user reeve"
	s := Section{Name: "bad", Routes: []Route{
		{Pattern: "GET /bad/missing", Anyone: true, Page: fault(fmt.Errorf("thing 7: %w", governance.ErrNotFound))},
		{Pattern: "GET /bad/conflict", Anyone: true, Page: fault(fmt.Errorf("version: %w", governance.ErrConflict))},
		{Pattern: "GET /bad/denied", Anyone: true, Page: fault(&governance.DeniedError{Action: "a", Rule: "r", Reason: "it is Sunday"})},
		{Pattern: "GET /bad/invalid", Anyone: true, Page: fault(governance.Invalid("plan", "is unknown"))},
		{Pattern: "GET /bad/broken", Anyone: true, Page: fault(fmt.Errorf("open: %s", secret))},
		{Pattern: "GET /bad/panic", Anyone: true, Page: func(*Ctx) (View, error) { panic(secret) }},
		{Pattern: "GET /bad/template", Anyone: true, Page: func(*Ctx) (View, error) { return View{Template: "no such template"}, nil }},
	}, Home: []HomeCard{{Load: func(*Ctx) (Card, error) { return Card{Title: "Broken corner"}, fmt.Errorf("%s", secret) }}}}
	b := setup(t, s)
	for path, want := range map[string]int{"missing": 404, "conflict": 409, "denied": 403, "invalid": 422, "broken": 500, "panic": 500, "template": 500} {
		body := b.as(t, "sam").get("/bad/"+path, want).body
		requireMarkup(t, body)
		require.NotContains(t, body, "password", "%s: internals are not shown", path)
	}
	require.Contains(t, b.as(t, "sam").get("/bad/denied", 403).body, "it is Sunday")
	for _, path := range []string{"/tenants/%00", "/tenants?cursor=%00", "/ledger?q=%ff", "/search?q=%00", "/tenants/%ff"} {
		requireMarkup(t, b.as(t, "sam").get(path, http.StatusNotFound).body)
	}
	home := b.as(t, "sam").get("/", 200).body
	require.Contains(t, home, "could not be read just now", "a broken card takes nothing else with it")
	require.Contains(t, home, "Which accounts need me?")
	require.NotContains(t, home, "password")
}

func TestConsole_forms(t *testing.T) {
	t.Parallel()
	var got []string
	form := func(c *Ctx) (View, error) {
		return View{Title: "Form", Template: "policies_edit", Data: policyEditPage{ID: "x", Document: c.Field(Field{Name: "document", Label: "Document"}), Reason: c.Field(Field{Name: "reason", Label: "Reason"})}}, nil
	}
	s := Section{Name: "forms", Routes: []Route{
		{Pattern: "GET /forms", Anyone: true, Page: form},
		{Pattern: "POST /forms", Anyone: true, Back: form, Post: func(c *Ctx) (Done, error) {
			got = append(got, c.Form("document"))
			switch c.Form("document") {
			case "bad":
				return Done{}, governance.Invalid("document", "is not a document")
			case "hold":
				return Done{}, &governance.ApprovalRequiredError{Action: "a"}
			}
			return Done{To: "/forms", Flash: "Saved <it>."}, nil
		}},
	}}
	b := setup(t, s)
	sam := b.as(t, "sam")
	t.Run("done redirects and says so once", func(t *testing.T) {
		require.Equal(t, "/forms", sam.post("/forms", http.StatusSeeOther, "document", "good").location)
		require.Contains(t, sam.get("/forms", http.StatusOK).body, "Saved &lt;it&gt;.")
		require.NotContains(t, sam.get("/forms", http.StatusOK).body, "Saved")
	})
	t.Run("a forged flash is not shown", func(t *testing.T) {
		sam.cookies[flashCookie] = "b2sKU2VuZCBtb25leQ.AAAA"
		require.NotContains(t, sam.get("/forms", http.StatusOK).body, "Send money")
	})
	t.Run("faults come back beside the field, with what was sent", func(t *testing.T) {
		body := sam.post("/forms", http.StatusUnprocessableEntity, "document", "bad", "reason", `<b>why"`).body
		requireMarkup(t, body)
		require.Contains(t, body, `<title>Error: `)
		require.Contains(t, body, `href="#f-document"`)
		require.Contains(t, body, `id="f-document-error"`)
		require.Contains(t, body, `&lt;b&gt;why`)
	})
	t.Run("bytes that are no text are refused", func(t *testing.T) {
		sam.post("/forms", http.StatusUnprocessableEntity, "document", "a\xff")
		sam.post("/forms", http.StatusUnprocessableEntity, "document", "a\x00")
	})
	t.Run("held leads to the approval", func(t *testing.T) {
		require.Equal(t, "/approvals/00000000-0000-0000-0000-000000000000", sam.post("/forms", http.StatusSeeOther, "document", "hold").location)
	})
	require.Equal(t, []string{"good", "bad", "hold"}, got, "a GET ran nothing")
}

func TestOwnPath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"/tenants?q=a": "/tenants?q=a", "": "/", "//evil.example": "/", "/\\evil.example": "/", "https://evil.example": "/", "/a\r\nX: y": "/"} {
		require.Equal(t, want, ownPath(in), "%q", in)
	}
}

func TestTheme(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sam := b.as(t, "sam")
	require.NotContains(t, sam.get("/", 200).body, "data-theme")
	require.Equal(t, "/tenants?q=a", sam.post("/theme", http.StatusSeeOther, "theme", "dark", "back", "/tenants?q=a").location)
	require.Contains(t, sam.get("/", 200).body, `data-theme="dark"`)
	sam.post("/theme", http.StatusSeeOther, "theme", "auto", "back", "//evil.example")
	require.NotContains(t, sam.get("/", 200).body, "data-theme")
}

func TestApprovals(t *testing.T) {
	t.Parallel()
	t.Run("who asked cannot vote and is told why; another can, and it is executed", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.People.Put("sam", "cs_agent", "gov_approver")
		a := b.hold(t)
		path := "/approvals/" + a.ID.String()
		own := b.as(t, "sam").get(path, 200).body
		requireMarkup(t, own)
		require.Contains(t, own, "You cannot vote: you asked for this.")
		require.Contains(t, own, "€1,200.00")
		require.NotContains(t, own, path+"/vote")
		require.Contains(t, own, path+"/cancel")

		dana := b.as(t, "dana")
		require.Contains(t, dana.get("/approvals", 200).body, path, "it waits for her")
		require.Contains(t, dana.get("/", 200).body, "What waits for my decision?")
		require.Contains(t, dana.get(path, 200).body, path+"/vote")
		require.Equal(t, path, dana.post(path+"/vote", http.StatusSeeOther, "decision", "approve", "digest", string(a.Digest), "comment", "fine").location)
		after := dana.get(path, 200).body
		require.Contains(t, after, "Approved and executed.")
		requireMarkup(t, after)
		now, err := b.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, now.State)
		dana.post(path+"/vote", http.StatusConflict, "decision", "approve", "digest", string(a.Digest))
	})
	t.Run("a vote on another digest changes nothing", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		a := b.hold(t)
		path := "/approvals/" + a.ID.String()
		b.as(t, "dana").post(path+"/vote", http.StatusConflict, "decision", "approve", "digest", "sha256:00")
		b.as(t, "dana").post(path+"/vote", http.StatusUnprocessableEntity, "decision", "maybe", "digest", string(a.Digest))
		b.as(t, "finn").post(path+"/vote", http.StatusForbidden, "decision", "approve", "digest", string(a.Digest))
		now, err := b.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, now.State)
		require.Empty(t, now.Votes)
	})
	t.Run("withdrawing needs a reason, and somebody who may", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		a := b.hold(t)
		b.People.Put("kim", "cs_agent")
		path := "/approvals/" + a.ID.String()
		b.as(t, "sam").post(path+"/cancel", http.StatusUnprocessableEntity, "reason", " ")
		b.as(t, "kim").post(path+"/cancel", http.StatusForbidden, "reason", "I do not like it")
		b.as(t, "kim").post(path+"/execute", http.StatusForbidden)
		b.as(t, "sam").post(path+"/cancel", http.StatusSeeOther, "reason", "asked twice")
		require.Contains(t, b.as(t, "sam").get(path, 200).body, "asked twice")
	})
	t.Run("lists page by keyset", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		for range 51 {
			b.hold(t)
		}
		sam := b.as(t, "sam")
		first := sam.get("/approvals?show=open", 200).body
		require.Equal(t, 50, strings.Count(first, `class="sub"><time`))
		next := between(t, first, `href="/console/approvals?cursor=`, `"`)
		require.Equal(t, 1, strings.Count(sam.get("/approvals?cursor="+strings.ReplaceAll(next, "&amp;", "&"), 200).body, `class="sub"><time`))
	})
}

// between is the text of page between two marks.
func between(t *testing.T, page, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, from)
	require.True(t, ok, "%q is not on the page", from)
	got, _, ok := strings.Cut(rest, to)
	require.True(t, ok)
	return got
}

func TestTenants(t *testing.T) {
	t.Parallel()
	s := Section{Name: "extra",
		Tenant: []TenantTab{{Slug: "money", Title: "Money", Permission: "analytics:read", Load: func(_ *Ctx, t governance.TenantState) (string, any, error) { return "c_json", t.Tenant.Plan, nil }}},
		Actions: []TenantAction{{Permission: "tenant:credit", Button: func(_ *Ctx, t governance.TenantState) (Button, bool) {
			return Button{Text: "Credit", Href: "/tenants/" + string(t.Tenant.ID)}, true
		}}},
		Timeline: []TimelineSource{{Permission: "tenant:read", Load: func(context.Context, governance.TenantID, int) ([]TimelineItem, error) {
			return []TimelineItem{{At: time.Now(), Title: "A ticket was opened"}}, nil
		}}},
	}
	b := setup(t, s)
	b.hold(t)
	b.Drain(t)
	root := b.as(t, "root")
	page := root.get("/tenants/acme", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "Acme &lt;GmbH&gt;")
	require.Contains(t, page, "A ticket was opened")
	require.Equal(t, 1, strings.Count(page, ">Tenant created<"), "a record and its event are told once")
	require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		for _, f := range []string{"sso", "exports", "exports"} {
			if err := b.Kernel.GrantTx(ctx, tx, b.As("sam"), "acme", governance.Entitlement{Feature: f, Source: "plan"}); err != nil {
				return err
			}
		}
		changed, err := b.Kernel.Tenant(ctx, "acme")
		if err != nil {
			return err
		}
		changed.Plan = "free"
		_, err = b.Kernel.UpsertTenantTx(ctx, tx, b.As("sam"), changed)
		return err
	}))
	changed := root.get("/tenants/acme", 200).body
	require.Contains(t, changed, "Plan scale → free")
	require.Contains(t, changed, ">SSO<")
	require.Contains(t, changed, `<span class="count">2 times</span>`, "what repeats is counted")
	require.Contains(t, page, "/tenants/acme/money")
	require.Contains(t, page, ">Credit</a>")
	root.get("/tenants/acme/money", 200)
	root.get("/tenants/acme/none", 404)
	root.get("/tenants/nobody", 404)
	dana := b.as(t, "dana")
	require.NotContains(t, dana.get("/tenants/acme", 200).body, "money")
	dana.get("/tenants/acme/money", 403)
	require.Contains(t, root.get("/tenants?q=zzz", 200).body, "No tenant matches")
	require.Contains(t, root.get("/search?q=acm", 200).body, `data-hit="/console/tenants/acme"`)
	require.NotContains(t, b.as(t, "finn").get("/search?q=acm", 200).body, "data-hit")
}

func TestLedger(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.hold(t)
	root := b.as(t, "root")
	rs, err := b.Kernel.Ledger().Records(t.Context(), ledger.Filter{AllTenants: true})
	require.NoError(t, err)
	path := "/ledger/" + rs[0].ID.String()
	require.Contains(t, root.get(path, 200).body, "waits to be sealed")
	root.get(path+"/proof.json", 404)
	b.Drain(t)
	page := root.get(path, 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "Verified")
	var proof struct {
		Key string `json:"verification_key"`
		ledger.Proof
	}
	require.NoError(t, json.Unmarshal([]byte(root.get(path+"/proof.json", 200).body), &proof))
	require.NoError(t, ledger.VerifyProof(proof.Key, proof.Proof), "what is downloaded can be checked by anybody")
	require.Contains(t, root.get("/ledger?q="+a.ID.String(), 200).body, path)
	require.Contains(t, root.get("/ledger?q=zebra", 200).body, "No record matches")
	require.Contains(t, root.post("/ledger/verify", 200).body, "Everything stored is as it was signed")
	_, err = b.DB.Handle().ExecContext(t.Context(), "DROP TRIGGER gov_record_update") // as somebody with the file in hand would
	require.NoError(t, err)
	_, err = b.DB.Handle().ExecContext(t.Context(), "UPDATE gov_record SET body = REPLACE(body, 'tenant.credit', 'tenant.gift') WHERE id = ?", rs[0].ID)
	require.NoError(t, err)
	require.Contains(t, root.post("/ledger/verify", 200).body, "The ledger does not hold")
	require.Contains(t, root.get(path, 200).body, "Does not hold")
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root := b.as(t, "root")
	require.Contains(t, root.get("/policies", 200).body, "Holds what would exceed €1,000.00 within 24\u00a0h per tenant.")
	b.as(t, "dana").get("/policies/credit-daily/edit", 403)
	p := policyBody(t, b)
	for _, bad := range []string{"", "{", `{"id":"credit-daily","surprise":1}`, strings.Replace(p, "credit-daily", "other", 1), strings.Replace(p, `"max":100000`, `"max":-1`, 1), p + "{}"} {
		body := root.post("/policies/credit-daily/edit", 422, "document", bad, "reason", "why").body
		requireMarkup(t, body)
	}
	root.post("/policies/credit-daily/edit", 303, "document", strings.Replace(p, `"max":100000`, `"max":50000`, 1), "reason", "less")
	page := root.get("/policies/credit-daily", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "Version 2")
	require.Contains(t, page, "<ins>50000</ins>")
}

// TestPolicies_BackTested: where a policy needs a back-test, proposing an edit leads to
// one, and its page proposes the edit with the report.
func TestPolicies_BackTested(t *testing.T) {
	t.Parallel()
	b := setupWith(t, func(o *governance.Options) { o.BackTested = true })
	root := b.as(t, "root")
	edit := strings.Replace(policyBody(t, b), `"max":100000`, `"max":50000`, 1)
	to := root.post("/policies/credit-daily/edit", 303, "document", edit, "reason", "less", "do", "put").header.Get("Location")
	_, hash, ok := strings.Cut(to, "/back-tests/")
	require.True(t, ok, to)
	vs, err := b.Kernel.PolicyHistory(t.Context(), "credit-daily")
	require.NoError(t, err)
	require.Len(t, vs, 1, "nothing came into force")
	page := root.get("/policies/credit-daily/back-tests/"+hash, 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "Propose it with this report")
	require.Contains(t, page, "/policies/credit-daily/edit?back_test="+hash)
	require.Contains(t, root.get("/policies/credit-daily/edit?back_test="+hash, 200).body, "50000", "the draft is there again")
	root.get("/policies/credit-daily/edit?back_test="+strings.Repeat("0", 64), 404)
	require.Contains(t, root.post("/policies/credit-daily/edit", 303, "document", edit, "do", "test").header.Get("Location"), "/back-tests/", "a back-test needs no reason")
	root.post("/policies/credit-daily/edit", 422, "document", edit, "do", "put")
	with := strings.TrimSuffix(edit, "}") + `,"back_test":"sha256:` + hash + `"}`
	root.post("/policies/credit-daily/edit", 303, "document", with, "reason", "less", "do", "put")
	vs, err = b.Kernel.PolicyHistory(t.Context(), "credit-daily")
	require.NoError(t, err)
	require.Len(t, vs, 2)
	b.People.Put("pia", "policy_reader")
	b.People.Allow("policy_reader", "policy:read")
	b.as(t, "pia").get("/policies/credit-daily/back-tests/"+hash, 403)
}

func policyBody(t *testing.T, b *bench) string {
	t.Helper()
	vs, err := b.Kernel.PolicyHistory(t.Context(), "credit-daily")
	require.NoError(t, err)
	raw, err := json.Marshal(vs[0].Policy)
	require.NoError(t, err)
	return string(raw)
}

func TestActing(t *testing.T) {
	t.Parallel()
	s := Section{Name: "sessions", Routes: []Route{{Pattern: "POST /sessions/{id}/end", Anyone: true, Post: func(*Ctx) (Done, error) { return Done{}, nil }}}}
	b := setup(t, s)
	id := b.As("sam")
	id.Subject, id.SessionID = &governance.Actor{ID: "user:olga", Name: "Olga Admin"}, "s-1"
	page := browse(t, b.h, id).get("/tenants", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "You are acting as <strong>Olga Admin</strong>")
	require.Contains(t, page, `action="/console/sessions/s-1/end"`)
}

func TestBootstrapBanner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NotContains(t, b.as(t, "sam").get("/", 200).body, "Bootstrap mode")
	require.NoError(t, b.DB.Do(t.Context(), b.Kernel.BeginBootstrapTx))
	require.Contains(t, b.as(t, "sam").get("/", 200).body, "Bootstrap mode")
}

func TestAssets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sam := b.as(t, "sam")
	sheet := "/static/" + between(t, sam.get("/", 200).body, `href="/console/static/console.`, `"`)
	got := sam.get("/static/console."+strings.TrimPrefix(sheet, "/static/"), 200)
	require.Contains(t, got.header.Get("Cache-Control"), "immutable")
	require.Equal(t, "text/css; charset=utf-8", got.header.Get("Content-Type"))
	sam.get("/static/console.css", 404)

	script, total := 0, 0
	require.NoError(t, fs.WalkDir(staticFiles, "static", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := staticFiles.ReadFile(p)
		total += len(raw)
		if strings.HasSuffix(p, ".js") {
			if !strings.HasSuffix(p, "passkey.js") { // the forms that need it ask for it
				script += len(raw)
			}
			for _, not := range []string{"eval(", "Function(", "document.write", "http://", "https://", "localStorage", "sessionStorage"} {
				require.NotContains(t, string(raw), not, "%s", p)
			}
		}
		if strings.HasSuffix(p, ".css") {
			require.NotContains(t, string(raw), "@import")
			require.NotContains(t, string(raw), "url(")
		}
		return err
	}))
	require.LessOrEqual(t, script, 12<<10, "the modules of every page together")
	require.LessOrEqual(t, total, 60<<10, "all assets")
}
