package console

import (
	"bytes"
	"context"
	"html"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/analytics/sqlwarehouse"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/demodata/billing"
)

type revenueBench struct {
	*govtest.Env
	svc     *analytics.Service
	section Section
	h       http.Handler
}

func newRevenueBench(t *testing.T) *revenueBench {
	t.Helper()
	b := &revenueBench{Env: govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{analytics.Schema(), sqlwarehouse.Schema()}})}
	b.People.Put("kim", "root")
	b.People.Put("finn", "finance_viewer")
	b.People.Put("carl", "cs_agent")
	b.People.Allow("finance_viewer", analyticsRead)
	b.People.Allow("cs_agent", "tenant:read")
	var err error
	b.svc, err = analytics.New(b.Kernel, sqlwarehouse.New(b.DB), nil)
	require.NoError(t, err)
	b.section = Analytics(b.svc)
	b.h, err = New(&Options{Kernel: b.Kernel, Sections: []Section{b.section}})
	require.NoError(t, err)
	return b
}

func TestRevenueStories(t *testing.T) {
	t.Parallel()
	b := newRevenueBench(t)
	requireStories(t, b.Kernel, b.section)
}

// upload sends a file as a browser does.
func (b *browser) upload(path, text string, want int) answer {
	b.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	f, err := w.CreateFormFile("file", "facts.csv")
	require.NoError(b.t, err)
	_, err = f.Write([]byte(text))
	require.NoError(b.t, err)
	require.NoError(b.t, w.Close())
	r := httptest.NewRequest(http.MethodPost, "/console"+path, &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	return b.do(r, want)
}

func TestRevenue_FirstUse(t *testing.T) {
	t.Parallel()
	b := newRevenueBench(t)
	kim, finn, carl := browse(t, b.h, b.As("kim")), browse(t, b.h, b.As("finn")), browse(t, b.h, b.As("carl"))
	for _, tab := range revenueTabs {
		carl.get(tab.Href, http.StatusForbidden)
		requireMarkup(t, finn.get(tab.Href, http.StatusOK).body)
	}
	require.NotContains(t, finn.get("/revenue", http.StatusOK).body, "/revenue/import")
	finn.get("/revenue/import", http.StatusForbidden)
	finn.post("/revenue/refreshes", http.StatusForbidden)
	finn.upload("/revenue/import", "x", http.StatusForbidden)
	kim.get("/revenue/import", http.StatusOK)

	const head = "source,key,kind,tenant,subscription,amount,currency,at\n"
	bad := kim.upload("/revenue/import", head+"billing,1,subscription,acme,s1,12.505,EUR,2025-03-01\n", http.StatusUnprocessableEntity)
	requireMarkup(t, bad.body)
	require.Contains(t, strings.ToLower(bad.body), "row 2, column amount")
	kim.post("/revenue/import", http.StatusUnprocessableEntity)
	done := kim.upload("/revenue/import", head+"billing,1,subscription,acme,s1,12.50,EUR,2025-03-01\n", http.StatusSeeOther)
	require.Equal(t, "/revenue/facts", done.location)
	require.Contains(t, kim.get("/revenue/facts", http.StatusOK).body, "€12.50")
	kim.post("/revenue/refreshes", http.StatusSeeOther)
	require.Contains(t, kim.get("/revenue", http.StatusOK).body, "€150.00", "ARR")
	require.Contains(t, kim.get("/revenue/refreshes", http.StatusOK).body, "/revenue/refreshes/1")
	requireMarkup(t, kim.get("/revenue/refreshes/1", http.StatusOK).body)
	kim.get("/revenue/refreshes/99", http.StatusNotFound)
}

var hrefs = regexp.MustCompile(`href="/console(/revenue[^"]*)"`)

// TestRevenue_Journey opens every page of the demo's business and follows every link
// that a finance viewer is shown, two clicks deep, down to the facts.
func TestRevenue_Journey(t *testing.T) {
	t.Parallel()
	b := newRevenueBench(t)
	d := billing.Generate(1, b.Now())
	require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		for _, v := range d.Tenants {
			if _, err := b.Kernel.UpsertTenantTx(ctx, tx, b.As("kim"), governance.Tenant{ID: governance.TenantID(v.ID), Name: v.Name, Country: v.Country, Status: v.Status, Plan: v.Plan}); err != nil {
				return err
			}
		}
		return nil
	}))
	for part := range slices.Chunk(d.Facts, 10_000) {
		_, err := b.svc.Ingest(t.Context(), b.As("kim"), part, nil)
		require.NoError(t, err)
	}
	r, err := b.svc.Refresh(t.Context(), b.As("kim"), "test")
	require.NoError(t, err)
	require.Equal(t, analytics.RefreshPublished, r.State)

	finn := browse(t, b.h, b.As("finn"))
	seen := map[string]bool{}
	facts := 0
	follow := func(page string, most int) []string {
		var out []string
		for _, m := range hrefs.FindAllStringSubmatch(page, -1) {
			path := html.UnescapeString(m[1])
			if seen[path] || len(out) == most {
				continue
			}
			seen[path] = true
			out = append(out, path)
		}
		return out
	}
	home := finn.get("/", http.StatusOK)
	require.Contains(t, home.body, "Data through 14 Jan 2026")
	for _, tab := range revenueTabs {
		page := finn.get(tab.Href, http.StatusOK)
		requireMarkup(t, page.body)
		require.NotContains(t, page.body, "NaN")
		for _, cell := range follow(page.body, 40) {
			second := finn.get(cell, http.StatusOK)
			if !strings.HasPrefix(cell, "/revenue/drill") {
				continue
			}
			requireMarkup(t, second.body)
			require.Contains(t, second.body, "adds up", cell)
			require.NotContains(t, second.body, "does not add up", cell)
			for _, deep := range follow(second.body, 2) {
				third := finn.get(deep, http.StatusOK)
				if strings.Contains(deep, "tenant=") {
					requireMarkup(t, third.body)
					require.NotContains(t, third.body, "does not add up", deep)
					if strings.Contains(third.body, "The facts behind it") {
						require.Contains(t, third.body, "sub-0", deep)
						facts++
					}
				}
			}
		}
	}
	require.Greater(t, facts, 50, "the drill-down ends at the facts")

	kim := browse(t, b.h, b.As("kim"))
	for i, v := range d.Tenants {
		if i%40 == 0 {
			requireMarkup(t, kim.get("/tenants/"+v.ID+"/revenue", http.StatusOK).body)
			if v.Status != governance.TenantTrial {
				require.Contains(t, kim.get("/tenants/"+v.ID, http.StatusOK).body, "MRR: new of €")
			}
		}
	}
	for _, path := range []string{"/revenue/drill", "/revenue/drill?metric=luck&month=2025-01", "/revenue/drill?metric=new&month=1900-01", "/revenue/drill?metric=new&month=2025-06&day=x",
		"/revenue/drill?metric=cohort&month=2025-06&age=-1", "/revenue/drill?metric=new&month=2025-06&cursor=x", "/revenue/facts?month=x", "/revenue/facts?cursor=x", "/revenue/rollforward?month=1900-01",
		"/revenue/refreshes/x"} {
		finn.get(path, http.StatusNotFound)
	}
	began := time.Now()
	finn.get("/revenue", http.StatusOK)
	t.Logf("overview in %s", time.Since(began).Round(time.Millisecond))
}
