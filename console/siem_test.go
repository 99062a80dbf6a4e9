package console

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight/siem"
)

func newSIEM(t *testing.T) (*govtest.Env, Section, http.Handler) {
	t.Helper()
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{siem.Schema()}})
	e.People.Put("kim", "root")
	e.People.Put("ada", "gov_approver")
	e.People.Put("vic", "auditor")
	e.People.Put("sam", "nobody")
	e.People.Allow("auditor", "ledger:read")
	e.People.Allow("gov_approver", "approval:vote", "approval:read")
	f, err := siem.NewFile("file", filepath.Join(t.TempDir(), "out.jsonl"))
	require.NoError(t, err)
	svc, err := siem.New(e.Kernel, &siem.Options{Sinks: []siem.Sink{f}})
	require.NoError(t, err)
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), siem.Policies()...))
	require.NoError(t, svc.Turn(t.Context()))
	sec := SIEM(svc)
	h, err := New(&Options{Kernel: e.Kernel, Sections: []Section{sec}})
	require.NoError(t, err)
	return e, sec, h
}

func TestSIEM_Stories(t *testing.T) {
	t.Parallel()
	e, sec, _ := newSIEM(t)
	requireStories(t, e.Kernel, sec)
}

func TestSIEM_PauseAndResume(t *testing.T) {
	t.Parallel()
	e, _, h := newSIEM(t)
	browse(t, h, e.As("sam")).get("/siem", http.StatusForbidden)
	vic := browse(t, h, e.As("vic"))
	page := vic.get("/siem", http.StatusOK).body
	require.Contains(t, page, "out.jsonl")
	require.NotContains(t, page, "<form method=\"post\" action=\"/console/siem/file")
	vic.post("/siem/file/pause", http.StatusForbidden, "reason-file", "because")
	kim := browse(t, h, e.As("kim"))
	kim.get("/siem", http.StatusOK)
	back := kim.post("/siem/file/pause", http.StatusUnprocessableEntity, "reason-file", "")
	require.Contains(t, back.body, "is required")
	held := kim.post("/siem/file/pause", http.StatusSeeOther, "reason-file", "The collector moves")
	require.True(t, strings.HasPrefix(held.location, "/approvals/"), held.location)
	aps, err := e.Kernel.Approvals(t.Context(), governance.ApprovalFilter{Limit: 5})
	require.NoError(t, err)
	require.Len(t, aps, 1)
	_, err = e.Kernel.Decide(t.Context(), e.As("ada"), aps[0].ID, governance.Vote{Decision: governance.Approve, Digest: aps[0].Digest})
	require.NoError(t, err)
	require.Contains(t, kim.get("/siem", http.StatusOK).body, "The collector moves")
	require.Equal(t, "/siem", kim.post("/siem/file/resume", http.StatusSeeOther, "reason-file", "Moved").location)
	require.Contains(t, e.Actions(t), "siem.sink.resume done")
	kim.post("/siem/file/resume", http.StatusConflict, "reason-file", "Moved")
	kim.post("/siem/nobody/pause", http.StatusNotFound, "reason-nobody", "x")
}

// TestLedger_ReadingIsLogged: every page that shows records says who looked, once.
func TestLedger_ReadingIsLogged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Drain(t)
	dana := b.as(t, "dana")
	reads := func() (n int) {
		for _, a := range b.Actions(t) {
			if a == "ledger.read observed" {
				n++
			}
		}
		return n
	}
	for range 3 {
		dana.get("/ledger", http.StatusOK)
	}
	require.Equal(t, 1, reads())
	rs, err := b.Kernel.Ledger().Leaves(context.Background(), 0, 1)
	require.NoError(t, err)
	for range 2 {
		dana.get("/ledger/"+rs[0].ID.String(), http.StatusOK)
		dana.get("/ledger/"+rs[0].ID.String()+"/proof.json", http.StatusOK)
		dana.get("/tenants/acme", http.StatusOK)
		dana.post("/ledger/verify", http.StatusOK)
	}
	require.Equal(t, 5, reads())
	b.as(t, "sam").get("/ledger", http.StatusForbidden)
	b.as(t, "omar").get("/ledger", http.StatusOK)
	require.Equal(t, 6, reads())
}
