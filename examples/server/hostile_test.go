package main

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/console"
	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
)

func (w *world) post(t *testing.T, who, path, body string, header ...string) answer {
	t.Helper()
	return w.send(t, who, http.MethodPost, "/v1"+path, body, header...)
}

func credit(amount, currency string) string {
	return fmt.Sprintf(`{"amount":%q,"currency":%q,"reason":"Outage on Monday"}`, amount, currency)
}

// vote approves what an answer with 202 points to.
func (w *world) vote(t *testing.T, who, approval string) answer {
	t.Helper()
	ap := w.send(t, who, http.MethodGet, approval, "")
	return w.send(t, who, http.MethodPost, approval+"/votes", fmt.Sprintf(`{"decision":"approve","digest":%q}`, ap.text(t, "digest")))
}

// person adds somebody with keys, named after the person and a number.
func (w *world) person(t *testing.T, id string, keys int, roles ...string) {
	t.Helper()
	_, err := w.auth.AddUser(t.Context(), govauth.User{ID: governance.PersonID(id), Name: id, Email: id + "@reeve.example", Roles: roles})
	require.NoError(t, err)
	for i := range keys {
		key, err := w.auth.MintKey(t.Context(), govauth.CreateKey{Kind: govauth.KeyPersonal, Person: governance.PersonID(id), Name: "key"})
		require.NoError(t, err)
		w.keys[fmt.Sprint(id, i+1)] = key
	}
}

// What people who may do much try in order to do more.
func TestHostileInsider(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.person(t, "zoe", 2, "cs_agent", "gov_approver")
		on := func(i int) string { return "/tenants/" + w.tenants[i].ID }

		// A limit is one over all currencies, actors and keys.
		require.Equal(t, 200, w.post(t, "cs_agent", on(1)+"/credits", credit("400.00", "EUR")).status)
		require.Equal(t, 200, w.post(t, "super_admin", on(1)+"/credits", credit("400.00", "USD")).status)
		require.Equal(t, 202, w.post(t, "zoe1", on(1)+"/credits", credit("300.00", "GBP")).status)
		require.Equal(t, 202, w.post(t, "cs_agent", on(1)+"/credits", credit("100.00", "EUR")).status, "what waits counts")

		// Nor does a rate of one's own make it wider.
		today := w.demo.today.Format(time.DateOnly)
		require.Equal(t, 200, w.post(t, "super_admin", "/analytics/facts", `{"facts":[{"source":"mine","key":"1","kind":"rate","currency":"USD","rate":"0.000001","at":"`+today+`"},
			{"source":"mine","key":"2","kind":"rate","currency":"GBP","rate":"0.000001","at":"`+today+`"}]}`).status)
		require.Equal(t, 202, w.post(t, "super_admin", on(2)+"/credits", credit("9000.00", "USD")).status)
		require.Equal(t, 202, w.post(t, "super_admin", on(3)+"/credits", credit("9000.00", "GBP")).status)

		// At the same time no more gets through than one after the other.
		var race sync.WaitGroup
		results := make([]int, 16)
		for i := range results {
			race.Go(func() {
				results[i] = w.post(t, []string{"cs_agent", "super_admin", "zoe1", "zoe2"}[i%4], on(4)+"/credits", credit("150.00", "EUR")).status
			})
		}
		race.Wait()
		done := 0
		for _, status := range results {
			if status == 200 {
				done++
			}
		}
		require.Equal(t, 6, done, "6 × 150 is within 1000: %v", results)

		for amount, currency := range map[string]string{"92233720368547758.07": "EUR", "-5.00": "EUR", "1e3": "EUR", "5.001": "EUR", "0": "EUR", "+5": "EUR", "٥": "EUR", "5": "XXX", "5.0": "JPY"} {
			a := w.post(t, "cs_agent", on(5)+"/credits", credit(amount, currency))
			require.Equal(t, 422, a.status, a.raw)
			require.NotContains(t, a.raw, `\"`+amount)
		}

		// A key of an idempotent request is the caller's own.
		first := w.post(t, "cs_agent", on(5)+"/credits", credit("5.00", "EUR"), "Idempotency-Key", "k")
		again := w.post(t, "cs_agent", on(5)+"/credits", credit("5.00", "EUR"), "Idempotency-Key", "k")
		require.Equal(t, first.text(t, "action"), again.text(t, "action"))
		require.NotEqual(t, first.text(t, "action"), w.post(t, "super_admin", on(5)+"/credits", credit("5.00", "EUR"), "Idempotency-Key", "k").text(t, "action"))
		require.Equal(t, 409, w.post(t, "cs_agent", on(5)+"/credits", credit("6.00", "EUR"), "Idempotency-Key", "k").status)
		require.Equal(t, 409, w.post(t, "cs_agent", on(5)+"/plan", `{"plan":"free","reason":"x"}`, "Idempotency-Key", "k").status)

		// Nobody decides on their own request, with any key, and only approvers decide.
		held := w.post(t, "zoe1", on(6)+"/credits", credit("5000.00", "EUR"))
		at := held.header.Get("Location")
		require.Equal(t, 202, held.status)
		for _, who := range []string{"zoe1", "zoe2", "super_admin", "gov_auditor", "cs_agent", "finance_viewer", "support"} {
			require.Equal(t, 403, w.send(t, who, "POST", at+"/votes", fmt.Sprintf(`{"decision":"approve","digest":%q}`, held.text(t, "digest"))).status, who)
		}
		require.Equal(t, 409, w.send(t, "gov_approver", "POST", at+"/votes", `{"decision":"approve","digest":"sha256:00"}`).status, "another digest")
		require.Equal(t, 409, w.send(t, "super_admin", "POST", at+"/execute", "").status, "before it is approved")
		for i := range results {
			race.Go(func() {
				results[i] = w.send(t, []string{"gov_approver", "gov_approver_2"}[i%2], "POST", at+"/votes", fmt.Sprintf(`{"decision":"approve","digest":%q}`, held.text(t, "digest"))).status
			})
		}
		race.Wait()
		require.Equal(t, "executed", w.send(t, "gov_auditor", "GET", at, "").text(t, "state"))
		require.Equal(t, 409, w.send(t, "super_admin", "POST", at+"/execute", "").status, "a second execution")
		require.Equal(t, 1, strings.Count(w.send(t, "gov_auditor", "GET", "/v1"+on(6)+"/credits", "").raw, `"5000.00"`))

		// Power over people needs another person, and cannot end with nobody.
		for path, body := range map[string]string{"/users/dana/roles": `{"roles":["super_admin","gov_approver"]}`, "/users/noor/sign-in-link": `{}`, "/invitations": `{"name":"E","email":"e@x.example","roles":["gov_approver"]}`} {
			require.Equal(t, 202, w.post(t, "super_admin", path, body).status, path)
		}
		a := w.post(t, "super_admin", "/keys", `{"kind":"personal","person":"noor","name":"x"}`)
		require.Equal(t, 200, a.status)
		key, _ := a.json(t)["result"].(map[string]any)["key"].(string)
		require.Equal(t, 403, w.post(t, "super_admin", "/keys/"+key+"/show", "").status, "a key of somebody else")
		require.Equal(t, 422, w.post(t, "super_admin", "/keys", `{"kind":"shared","name":"x","roles":["super_admin"]}`).status)

		// Who approved must still be an approver when it runs.
		policy := w.send(t, "super_admin", "GET", "/v1/policies/credit-24h/versions", "").json(t)["items"].([]any)[0].(map[string]any)["policy"].(map[string]any)
		policy["require"].(map[string]any)["manual"] = true
		waiting := w.post(t, "cs_agent", on(7)+"/credits", credit("2000.00", "EUR"))
		bare := w.send(t, "super_admin", "PUT", "/v1/policies/credit-24h", jsonText(t, map[string]any{"policy": policy}))
		require.Equal(t, 422, bare.status, "what enforces needs a back-test")
		require.Contains(t, bare.raw, "back_test")
		now := time.Now().UTC()
		report := w.post(t, "super_admin", "/policies/credit-24h/back-tests", jsonText(t, map[string]any{"policy": policy, "from": now.AddDate(0, 0, -90), "to": now}))
		require.Equal(t, 200, report.status, report.raw)
		policy["back_test"] = report.text(t, "hash")
		changed := w.send(t, "super_admin", "PUT", "/v1/policies/credit-24h", jsonText(t, map[string]any{"policy": policy}))
		require.Equal(t, 202, changed.status, changed.raw)
		require.Equal(t, "executed", w.vote(t, "gov_approver", changed.header.Get("Location")).text(t, "state"))
		require.Equal(t, "superseded", w.vote(t, "gov_approver_2", waiting.header.Get("Location")).text(t, "state"), "the policy changed while it waited")
		late := w.post(t, "cs_agent", on(8)+"/credits", credit("2000.00", "EUR"))
		require.Equal(t, "approved", w.vote(t, "gov_approver_2", late.header.Get("Location")).text(t, "state"))
		require.Equal(t, 200, w.post(t, "super_admin", "/users/tomas/deactivate", `{}`).status)
		require.Equal(t, 409, w.send(t, "cs_agent", "POST", late.header.Get("Location")+"/execute", "").status)
		require.Equal(t, "superseded", w.send(t, "gov_auditor", "GET", late.header.Get("Location"), "").text(t, "state"))
		require.Equal(t, 401, w.send(t, "gov_approver_2", "GET", "/v1/me", "").status, "keys end with the person")
		require.Equal(t, 200, w.post(t, "super_admin", "/users/zoe/deactivate", `{}`).status)
		require.Equal(t, 409, w.post(t, "super_admin", "/users/noor/deactivate", `{}`).status, "the last approver")
		require.NotContains(t, w.send(t, "gov_auditor", "GET", "/v1"+on(8)+"/credits", "").raw, `"2000.00"`)
	})
}

// A fault in a document is named by its place, and nothing of it is kept.
func TestAPI_Documents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		before := w.state(t)
		good := w.send(t, "super_admin", "GET", "/v1/playbooks/expiring-licence/versions/1", "").text(t, "source")
		for bad, says := range map[string]string{
			strings.Replace(good, "max_targets: ", "max_targets: x", 1):   "line 16 column 16",
			strings.Replace(good, "\nsteps:", "\n steps:", 1):             "line 23 column 2",
			good + "\nstrange: 1\n":                                       "line 54 column 1",
			"name: &a [*a]\n":                                             "anchors and aliases",
			strings.Repeat("[", 30_000):                                   "nested",
			strings.Replace(good, "signals.renewal_in_days", "nope", 1):   "line ",
			strings.Replace(good, "name: expiring-licence", "name: [", 1): "line ",
		} {
			a := w.send(t, "super_admin", "PUT", "/v1/playbooks/expiring-licence", jsonText(t, map[string]string{"source": bad}))
			require.Equal(t, 422, a.status, a.raw)
			require.Contains(t, a.raw, says)
			require.Empty(t, checkProblem(t, shot{want: []int{422}}, a))
		}
		head := "source,key,kind,tenant,quantity,metric,at\ns,good,usage,acme,3,m,2026-01-01\n"
		for bad, says := range map[string]string{
			head + "s,k,usage,acme,many,m,2026-01-01\n":  "row 3, column quantity",
			head + "s,k,nope,acme,3,m,2026-01-01\n":      "row 3, column kind",
			head + "s,k,usage,acme,3,m,01/02/2026\n":     "row 3, column at",
			head + "s,k\n":                               "row 3",
			head + "s,\"k,usage\n":                       "row 3",
			head + "s,k\x00,usage,acme,3,m,2026-01-01\n": "row 3",
			"source,source\na,b\n":                       "row 1, column source",
		} {
			a := w.post(t, "super_admin", "/analytics/facts/csv", bad, "Content-Type", "text/csv")
			require.Equal(t, 422, a.status, a.raw)
			require.Contains(t, a.raw, says)
			require.Empty(t, checkProblem(t, shot{want: []int{422}}, a))
		}
		require.Equal(t, before, w.state(t), "nothing is half imported")
	})
}

// browser signs a person in by a one-time link and gives their browser.
func (w *world) browser(t *testing.T, person governance.PersonID) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	b := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	l, err := w.auth.MintSignInLink(t.Context(), person, time.Hour)
	require.NoError(t, err)
	require.Equal(t, 303, w.browse(t, b, "POST", "/console/signin/"+l.Token, "", "Sec-Fetch-Site", "same-origin", "Cookie", "reeve_session=s_chosen_by_somebody").status)
	require.Equal(t, 410, w.browse(t, b, "POST", "/console/signin/"+l.Token, "", "Sec-Fetch-Site", "same-origin").status, "a link works once")
	return b
}

func (w *world) browse(t *testing.T, b *http.Client, method, path, form string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(form))
	require.NoError(t, err)
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	res, err := b.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return answer{res.StatusCode, res.Header, string(raw)}
}

const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}`

var (
	hrefs   = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	unsafe  = regexp.MustCompile(`(?i)<script>alert|<img src=x|="javascript:| style="`)
	idParts = regexp.MustCompile(`[0-9a-f-]{36}|t-[a-z-]+`)
)

func TestHostileBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	id := governance.TenantID("evil-1")
	require.NoError(t, w.db.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		sys := governance.System("test")
		if _, err := w.reeve.Kernel.UpsertTenantTx(ctx, tx, sys, governance.Tenant{ID: id, Name: "T" + evil, Country: "DE", Owner: "cleo", Status: governance.TenantActive, Plan: "team", Seats: 5,
			ExternalKeys: map[string][]string{"domain": {evil}}, Attributes: map[string]string{"k": evil}}); err != nil {
			return err
		}
		if err := w.product.SubscribeTx(ctx, tx, sys, id, "team", "EUR", 5); err != nil {
			return err
		}
		if err := w.product.AddUsersTx(ctx, tx, product.User{ID: "evil-u", Tenant: id, Email: "e@x.example", Name: "U" + evil, Role: product.RoleAdmin, Active: true, CreatedAt: w.db.Now()}); err != nil {
			return err
		}
		_, err := w.reeve.Kernel.AlertTx(ctx, tx, governance.Alert{Key: "k" + evil, Severity: governance.Warning, Title: "A" + evil, Body: evil, Tenant: id, Links: []governance.Link{{Title: evil, Kind: evil, ID: "javascript:alert(1)"}}})
		return err
	}))
	w.person(t, "zoe", 1, "super_admin", "cs_agent", "gov_approver")
	quoted := jsonText(t, evil)
	for path, body := range map[string]string{
		"/tenants/evil-1/credits": `{"amount":"5000.00","currency":"EUR","reason":` + quoted + `,"ticket":` + quoted + `}`,
		"/sessions":               `{"tenant":"evil-1","user":"evil-u","reason":` + quoted + `}`,
		"/retention/holds":        `{"matter":` + quoted + `,"reason":` + quoted + `,"selector":{"tenant":"evil-1"}}`,
		"/invitations":            `{"name":` + quoted + `,"email":"e@x.example","roles":["cs_agent"]}`,
		"/playbook-pauses/all":    `{"reason":` + quoted + `}`,
		"/runbook-instances":      `{"runbook":"playbook-stopped","tenant":"evil-1","subject":` + quoted + `}`,
		"/integrations/targets":   `{"name":` + quoted + `,"kind":"webhook","config":{"url":"http://127.0.0.1:1/"},"events":["tenant.*"]}`,
		"/analytics/facts":        `{"facts":[{"source":` + quoted + `,"key":` + quoted + `,"kind":"usage","metric":` + quoted + `,"tenant":"evil-1","quantity":3,"at":"2026-01-01"}]}`,
	} {
		a := w.post(t, "zoe1", path, body)
		require.Less(t, a.status, 300, "%s: %s", path, a.raw)
	}
	zoe := w.browser(t, "zoe")

	t.Run("no page lets a name become markup", func(t *testing.T) {
		seen, forms := map[string]bool{}, map[string]int{}
		queue := []string{"/console/", "/console/search?q=" + url.QueryEscape(evil), "/console/tenants/evil-1", "/console/alerts", "/console/revenue/facts?tenant=evil-1"}
		for len(queue) > 0 && len(seen) < 250 {
			path := queue[0]
			queue = queue[1:]
			if seen[path] {
				continue
			}
			seen[path] = true
			a := w.browse(t, zoe, "GET", path, "")
			require.Less(t, a.status, 500, path)
			if strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") { // no page: it is saved, and shown by nobody's browser
				require.Contains(t, a.header.Get("Content-Disposition"), "attachment", path)
				require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"), path)
				continue
			}
			require.Empty(t, unsafe.FindString(a.raw), path)
			require.Contains(t, a.header.Get("Content-Security-Policy"), "default-src 'none'", path)
			for _, m := range hrefs.FindAllStringSubmatch(a.raw, -1) {
				u, err := url.Parse(html.UnescapeString(m[1]))
				require.NoError(t, err, "%s in %s", m[1], path)
				require.Contains(t, []string{"", "http", "https", "data"}, u.Scheme, "%s in %s", m[1], path)
				form := idParts.ReplaceAllString(u.Path, "x")
				if u.Host == "" && strings.HasPrefix(u.Path, "/console/") && !strings.Contains(u.Path, "/static/") && !strings.Contains(u.Path, "/stories") && forms[form] < 3 {
					forms[form]++
					queue = append(queue, u.RequestURI())
				}
			}
		}
		require.Greater(t, len(forms), 40, "the pages were walked")
	})

	t.Run("a form from elsewhere does nothing", func(t *testing.T) {
		before := w.state(t)
		form := url.Values{"reason": {"x"}, "amount": {"5.00"}, "currency": {"EUR"}}.Encode()
		for _, h := range [][]string{{}, {"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil.example", "Host", "evil.example"}} {
			for _, path := range []string{"/console/tenants/" + w.tenants[5].ID + "/credits", "/console/playbooks/pause", "/console/users/cleo/deactivate", "/v1/tenants/" + w.tenants[5].ID + "/credits"} {
				a := w.browse(t, zoe, "POST", path, form, h...)
				require.True(t, a.status == 401 || a.status == 403 || a.status == 303 && strings.HasPrefix(a.header.Get("Location"), "/console/signin"), "%s %v: %d", path, h, a.status)
			}
		}
		require.Equal(t, before, w.state(t))
	})

	t.Run("a finance viewer sees revenue and nothing else", func(t *testing.T) {
		felix := w.browser(t, "felix")
		sections := append(w.reeve.Sections(), product.Section(w.product), console.Users(w.auth))
		n := 0
		paths := []string{"GET /approvals", "GET /approvals/x", "POST /approvals/x/vote", "GET /alerts", "GET /ledger", "GET /ledger/x", "POST /ledger/verify", "GET /tenants", "GET /tenants/x", "GET /policies", "GET /policies/x", "GET /policies/x/edit"}
		for _, s := range sections {
			for _, r := range s.Routes {
				if r.Permission != "" && r.Permission != "analytics:read" {
					paths = append(paths, regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(r.Pattern, "x"))
				}
			}
		}
		for _, p := range paths {
			method, path, _ := strings.Cut(p, " ")
			require.Equal(t, 403, w.browse(t, felix, method, "/console"+path, "", "Sec-Fetch-Site", "same-origin").status, p)
			n++
		}
		require.Greater(t, n, 70)
		require.Equal(t, 200, w.browse(t, felix, "GET", "/console/revenue", "").status)
	})
}
