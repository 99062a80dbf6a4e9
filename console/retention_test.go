package console

import (
	"context"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/hostdata"
	"github.com/reevehq/reeve/internal/hostdata/hosttest"
	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/rulepack"
	"github.com/reevehq/reeve/retention/sqlsource"
)

type retentionBench struct {
	*govtest.Env
	svc     *retention.Service
	section Section
	h       http.Handler
}

func newRetentionBench(t *testing.T) *retentionBench {
	t.Helper()
	ctx := context.Background()
	b := &retentionBench{Env: govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{retention.Schema()}})}
	b.People.Put("ann", "root")
	b.People.Put("bob", "root", "gov_approver")
	b.People.Put("aud", "gov_auditor")
	b.People.Put("finn", "finance_viewer")
	b.People.Allow("gov_auditor", "retention:read")
	js, err := rulepack.Jurisdictions()
	require.NoError(t, err)
	rules, err := rulepack.Rules()
	require.NoError(t, err)
	b.svc, err = retention.New(b.Kernel, &retention.Options{Jurisdictions: js, CallFor: time.Minute})
	require.NoError(t, err)
	require.NoError(t, b.Kernel.InstallPolicies(ctx, retention.Policies()...))
	require.NoError(t, b.svc.Install(ctx, rules, hostdata.Policies()))
	host := hosttest.SQLite(t)
	require.NoError(t, hostdata.Generate(ctx, host.DB, false, 1, 400, b.Now()))
	ms, err := hostdata.Mapping()
	require.NoError(t, err)
	for _, m := range ms {
		src, err := sqlsource.New(ctx, host.DB, m, nil)
		require.NoError(t, err)
		require.NoError(t, b.svc.AddSource(ctx, src))
	}
	b.section = Retention(b.svc)
	b.h, err = New(&Options{Kernel: b.Kernel, Sections: []Section{b.section}})
	require.NoError(t, err)
	return b
}

func TestRetentionStories(t *testing.T) {
	t.Parallel()
	b := newRetentionBench(t)
	requireStories(t, b.Kernel, b.section)
}

func TestRetention_Doors(t *testing.T) {
	t.Parallel()
	b := newRetentionBench(t)
	finn, aud := browse(t, b.h, b.As("finn")), browse(t, b.h, b.As("aud"))
	for _, path := range []string{"/retention", "/retention/plans", "/retention/runs", "/retention/holds", "/retention/rules", "/retention/row"} {
		finn.get(path, http.StatusForbidden)
		requireMarkup(t, aud.get(path, 200).body)
	}
	require.NotContains(t, aud.get("/retention/holds", 200).body, "Place the hold")
	aud.post("/retention/holds", http.StatusForbidden, "matter", "m", "reason", "r", "selector.tenant", "t-1")
	aud.post("/retention/plans", http.StatusForbidden, "source", "crm-documents")
	aud.post("/retention/paused", http.StatusForbidden, "paused", "true", "reason", "r")
	ann := browse(t, b.h, b.As("ann"))
	ann.post("/retention/plans", http.StatusNotFound, "source", "nope")
	ann.get("/retention/plans/"+uuid.NewString(), http.StatusNotFound)
	ann.get("/retention/runs/none", http.StatusNotFound)
}

var digestForm = regexp.MustCompile(`name="digest" value="([^"]+)"`)

// TestRetention_Journey goes from what is overdue through plan, approval and run to
// the evidence.
func TestRetention_Journey(t *testing.T) {
	t.Parallel()
	b := newRetentionBench(t)
	ctx := context.Background()
	ann := browse(t, b.h, b.As("ann"))
	require.Contains(t, ann.get("/retention", 200).body, "Not planned yet")
	require.Contains(t, ann.get("/", 200).body, "What is overdue?")

	back := ann.post("/retention/holds", http.StatusUnprocessableEntity, "matter", "Acme v. us", "reason", "letter")
	require.Contains(t, back.body, "nothing never means everything")
	require.Contains(t, back.body, "Acme v. us", "what was typed is kept")
	ann.post("/retention/holds", http.StatusUnprocessableEntity, "matter", "m", "reason", "r", "selector.country", "Atlantis")
	ann.post("/retention/holds", http.StatusSeeOther, "matter", "Acme v. us", "reason", "letter", "selector.tenant", "t-7", "_key", "k1")
	ann.post("/retention/holds", http.StatusSeeOther, "matter", "Acme v. us", "reason", "letter", "selector.tenant", "t-7", "_key", "k1")
	holds, err := b.svc.Holds(ctx, retention.HoldFilter{})
	require.NoError(t, err)
	require.Len(t, holds, 1, "a form that is sent twice acts once")

	at := ann.post("/retention/plans", http.StatusSeeOther, "source", "crm-documents").location
	page := ann.get(at, 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "AO §147(3)")
	digest := html.UnescapeString(digestForm.FindStringSubmatch(page.body)[1])
	ann.post(at+"/purge", http.StatusConflict, "digest", "sha256:other")
	approval := ann.post(at+"/purge", http.StatusSeeOther, "digest", digest, "reason", "overdue", "_key", "k2").location
	require.True(t, strings.HasPrefix(approval, "/approvals/"), approval)
	require.Contains(t, ann.get(at, 200).body, "It waits for an approval.")
	id, err := uuid.Parse(strings.TrimPrefix(strings.Split(approval, "?")[0], "/approvals/"))
	require.NoError(t, err)
	a, err := b.Kernel.Approval(ctx, id)
	require.NoError(t, err)
	_, err = b.Kernel.Decide(ctx, b.As("bob"), id, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
	require.NoError(t, err)

	aud := browse(t, b.h, b.As("aud"))
	run := "/retention/runs/" + id.String()
	page = aud.get(run, 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "Deleted")
	requireMarkup(t, aud.get(run+"/evidence", 200).body)
	download := aud.get(run+"/evidence.json", 200)
	var e retention.Evidence
	require.NoError(t, json.Unmarshal([]byte(download.body), &e))
	require.Equal(t, governance.PersonID("bob"), e.Approvals[0].Person)
	require.Contains(t, download.header.Get("Content-Disposition"), "attachment")
	browse(t, b.h, b.As("finn")).get(run+"/evidence.json", http.StatusForbidden)
	requireMarkup(t, aud.get("/retention", 200).body)
	requireMarkup(t, aud.get("/retention/runs", 200).body)

	// Why is one row kept?
	plan := ann.post("/retention/plans", http.StatusSeeOther, "source", "crm-customers").location
	require.NotEmpty(t, plan)
	for query, want := range map[string]string{
		"?source=crm-customers&key=7": "What speaks on it", "?source=crm-customers&key=none": "There is no such row", "?source=crm-tickets&key=7": "The key does not fit",
		"?source=crm-customers&key=7&as_of=soon": "is not a day",
	} {
		page := aud.get("/retention/row"+query, 200)
		require.Contains(t, page.body, want, query)
		requireMarkup(t, page.body)
	}

	// Release waits for another person; the kill switch shows.
	hold := "/retention/holds/" + holds[0].ID.String()
	require.Contains(t, ann.get(hold, 200).body, "Release the hold")
	ann.post(hold+"/release", http.StatusUnprocessableEntity, "reason", "")
	require.True(t, strings.HasPrefix(ann.post(hold+"/release", http.StatusSeeOther, "reason", "settled").location, "/approvals/"))
	ann.post("/retention/paused", http.StatusSeeOther, "paused", "true", "reason", "look")
	require.Contains(t, ann.get("/retention", 200).body, "Every run is paused")
}
