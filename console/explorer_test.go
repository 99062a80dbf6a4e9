package console

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/explorer"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

func newExplorer(t *testing.T) (*govtest.Env, *explorer.Service, Section, http.Handler) {
	t.Helper()
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{explorer.Schema()}})
	e.People.Put("kim", "root")
	e.People.Put("vic", "auditor")
	e.People.Put("sam", "nobody")
	e.People.Allow("auditor", "ledger:read")
	svc, err := explorer.New(e.Kernel)
	require.NoError(t, err)
	sec := Explorer(svc)
	h, err := New(&Options{Kernel: e.Kernel, Sections: []Section{sec}})
	require.NoError(t, err)
	return e, svc, sec, h
}

func TestExplorer_Stories(t *testing.T) {
	t.Parallel()
	e, _, sec, _ := newExplorer(t)
	requireStories(t, e.Kernel, sec)
}

// TestExplorer_Verify: the result is that of the job, and a link that is opened starts
// nothing.
func TestExplorer_Verify(t *testing.T) {
	t.Parallel()
	e, svc, _, h := newExplorer(t)
	for _, path := range []string{"/integrity", "/integrity/export", "/integrity/subjects", "/integrity/checks/" + uuid.NewString(), "/integrity/erase?subject=x"} {
		browse(t, h, e.As("sam")).get(path, http.StatusForbidden)
	}
	vic := browse(t, h, e.As("vic"))
	require.Contains(t, vic.get("/ledger", http.StatusOK).body, "/integrity/export")
	e.Drain(t)
	first := vic.get("/integrity", http.StatusOK).body
	require.Contains(t, first, "It was not verified from here yet")
	require.Regexp(t, `href="[^"]*/ledger" aria-current="page"`, first, "its place in the menu is the ledger's")
	vs, err := svc.Verifications(t.Context(), e.As("vic"), uuid.Nil, 5)
	require.NoError(t, err)
	require.Empty(t, vs)
	to := vic.post("/integrity/checks", http.StatusSeeOther).location
	require.Equal(t, to, vic.post("/integrity/checks", http.StatusSeeOther).location, "one at a time")
	require.Contains(t, vic.get(to, http.StatusOK).body, "It waits for a server")
	require.NoError(t, svc.Turn(t.Context()))
	require.Contains(t, vic.get(to, http.StatusOK).body, "Everything stored is as it was signed")
	vic.get("/integrity/checks/"+uuid.NewString(), http.StatusNotFound)
}

func TestExplorer_ExportAndErase(t *testing.T) {
	t.Parallel()
	e, svc, _, h := newExplorer(t)
	vic, kim := browse(t, h, e.As("vic")), browse(t, h, e.As("kim"))
	vic.get("/ledger", http.StatusOK) // reading is a record with a name
	e.Drain(t)
	got := vic.post("/integrity/export", http.StatusOK, "kind", "since", "from", "0")
	rep, err := offline.CheckGrowth(strings.NewReader(got.body), e.Kernel.Ledger().VerifierKey(), nil, cosign.Policy{})
	require.NoError(t, err)
	require.Positive(t, rep.Head.Size)
	require.Contains(t, e.Actions(t), "ledger.export observed")
	vic.post("/integrity/export", http.StatusUnprocessableEntity, "kind", "everything")
	vic.post("/integrity/export", http.StatusUnprocessableEntity, "kind", "since", "from", "-1")
	vic.post("/integrity/export", http.StatusUnprocessableEntity, "kind", "since", "from", "x")
	again := vic.post("/integrity/export", http.StatusUnprocessableEntity, "kind", "since", "from", "999").body
	require.Contains(t, again, "is more than the ledger has sealed")
	require.Contains(t, again, `value="999"`)
	require.Contains(t, again, `name="witnesses" value="0"`, "the other forms keep what they had")
	require.Contains(t, vic.post("/integrity/export", http.StatusUnprocessableEntity, "kind", "tenant", "tenant", "acme", "tenant_from", "999").body, "is the size of no checkpoint")
	require.Contains(t, vic.post("/integrity/export", http.StatusUnprocessableEntity, "kind", "whole", "witnesses", "9").body, "is more than signed any checkpoint")
	browse(t, h, e.As("sam")).post("/integrity/export", http.StatusForbidden, "kind", "whole")

	page := vic.get("/integrity/subjects", http.StatusOK).body
	require.Contains(t, page, "person:vic")
	require.NotContains(t, page, "Erase…")
	vic.post("/integrity/erase", http.StatusForbidden, "subject", "person:vic", "basis", "DSR-1")
	require.Contains(t, kim.get("/integrity/subjects", http.StatusOK).body, "Erase…")
	require.Contains(t, kim.get("/integrity/erase?subject=person%3Avic", http.StatusOK).body, "It cannot be undone")
	back := kim.post("/integrity/erase", http.StatusUnprocessableEntity, "subject", "person:vic", "basis", "")
	require.Contains(t, back.body, "is required")
	kim.post("/integrity/erase", http.StatusSeeOther, "subject", "person:vic", "basis", "DSR-1")
	require.Contains(t, kim.get("/integrity/subjects", http.StatusOK).body, "DSR-1")
	of, err := svc.Subject(t.Context(), e.As("kim"), governance.PersonSubject("vic"))
	require.NoError(t, err)
	require.Zero(t, of.Values)
	kim.get("/integrity/erase", http.StatusNotFound)
}
