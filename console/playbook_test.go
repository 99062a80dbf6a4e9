package console

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/playbook/actions"
)

type playbookBench struct {
	*govtest.Env
	svc     *playbook.Service
	section Section
	h       http.Handler
	usage   map[governance.TenantID]float64
}

func newPlaybookBench(t *testing.T) *playbookBench {
	t.Helper()
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	b := &playbookBench{usage: map[governance.TenantID]float64{}, Env: govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{playbook.Schema()}, Kernel: func(o *governance.Options) { o.Rules = rules }})}
	b.People.Put("kim", "root")
	b.People.Put("ana", "gov_approver")
	b.People.Put("cara", "cs_agent")
	b.People.Put("vic", "viewer")
	b.People.Allow("gov_approver", "approval:read", "approval:vote", "playbook:read", "runbook:read", "tenant:read")
	b.People.Allow("cs_agent", "playbook:read", "runbook:read", "runbook:work", "tenant:read")
	b.People.Allow("playbook", "tenant:restrict", "tenant:plan")
	require.NoError(t, b.Kernel.InstallPolicies(t.Context(), playbook.Policies()...))
	acts, err := actions.New(b.Kernel)
	require.NoError(t, err)
	b.svc, err = playbook.New(b.Kernel, &playbook.Options{Kinds: acts.Kinds(), Signals: func(_ context.Context, ids []governance.TenantID) (map[governance.TenantID]map[string]playbook.Signal, error) {
		out := map[governance.TenantID]map[string]playbook.Signal{}
		for _, id := range ids {
			if v, ok := b.usage[id]; ok {
				out[id] = map[string]playbook.Signal{"usage": {Value: v, AsOf: b.Now()}}
			}
		}
		return out, nil
	}})
	require.NoError(t, err)
	for i := range 6 {
		id := governance.TenantID(fmt.Sprintf("t%d", i))
		b.usage[id] = 100
		require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := b.Kernel.UpsertTenantTx(ctx, tx, governance.System("host"), governance.Tenant{ID: id, Name: "Tenant <" + string(id) + ">", Country: "DE", Status: governance.TenantActive})
			return err
		}))
	}
	b.section = Playbook(b.svc)
	b.h, err = New(&Options{Kernel: b.Kernel, Sections: []Section{b.section}})
	require.NoError(t, err)
	return b
}

func TestPlaybookStories(t *testing.T) {
	t.Parallel()
	b := newPlaybookBench(t)
	requireStories(t, b.Kernel, b.section)
}

const consolePlaybook = `
name: idle
title: Idle tenants
trigger: {daily: "06:00"}
signals:
  usage: {type: number, max_age: 36h}
when: signals.usage < 50.0
safeguards: {max_targets: 5, max_percent: 50, max_unusable: 50, repeat_after: 30d}
steps:
  - {id: tell, kind: notice, params: {title: "${tenant.name} is idle"}}
  - {id: suspend, kind: restriction.place, params: {reason: idle}}
`

// TestPlaybooks_Journey writes a playbook, tries it, lets it act, approves what it
// asks for, and takes it back.
func TestPlaybooks_Journey(t *testing.T) {
	t.Parallel()
	b := newPlaybookBench(t)
	kim, ana, cara, vic := browse(t, b.h, b.As("kim")), browse(t, b.h, b.As("ana")), browse(t, b.h, b.As("cara")), browse(t, b.h, b.As("vic"))
	for _, path := range []string{"/playbooks", "/playbooks/runs", "/playbooks/exemptions", "/runbooks"} {
		vic.get(path, http.StatusForbidden)
		requireMarkup(t, cara.get(path, http.StatusOK).body)
	}
	cara.get("/playbooks/new", http.StatusForbidden)
	cara.post("/playbooks/new", http.StatusForbidden, "source", consolePlaybook, "reason", "x")
	bad := kim.post("/playbooks/new", http.StatusUnprocessableEntity, "source", strings.Replace(consolePlaybook, "max_percent", "max_procent", 1), "reason", "first")
	require.Contains(t, bad.body, "line 8 column")
	require.Contains(t, bad.body, "max_procent", "what was sent is still there")
	requireMarkup(t, bad.body)
	at := kim.post("/playbooks/new", http.StatusSeeOther, "source", consolePlaybook, "reason", "first", "_key", "k1").location
	require.Equal(t, "/playbooks/idle", at)
	requireMarkup(t, kim.get("/playbooks/new?from=idle", http.StatusOK).body)

	b.usage["t1"] = 3
	plan := cara.get(at+"?simulate=1", http.StatusOK).body
	requireMarkup(t, plan)
	require.Contains(t, plan, "What version 1 would do now")
	require.Contains(t, plan, "Tenant &lt;t1&gt; is idle")
	kim.post(at+"/scan", http.StatusSeeOther)
	require.Contains(t, kim.get(at, http.StatusOK).body, "In shadow")
	require.Equal(t, http.StatusUnprocessableEntity, kim.post(at+"/control", http.StatusUnprocessableEntity, "do", "pause", "reason", "").code)
	held := kim.post(at+"/control", http.StatusSeeOther, "do", "activate", "version", "1", "reason", "tried", "_key", "k2").location
	require.Contains(t, held, "/approvals/")
	b.approve(t, "ana")
	require.Contains(t, kim.get(at, http.StatusOK).body, "version 1")
	kim.post(at+"/scan", http.StatusSeeOther)
	require.NoError(t, b.svc.Advance(t.Context()))

	rs, err := b.svc.Runs(t.Context(), playbook.RunFilter{Mode: playbook.Live})
	require.NoError(t, err)
	require.Len(t, rs, 1)
	run := "/playbooks/runs/" + rs[0].ID.String()
	page := ana.get(run, http.StatusOK).body
	requireMarkup(t, page)
	require.Contains(t, page, "/console/approvals/"+rs[0].Steps[1].Approval)
	require.Contains(t, page, "Waits for approval")
	require.NotContains(t, page, "Roll back", "who may not, sees no button")
	require.Contains(t, ana.get("/", http.StatusOK).body, "What do automations wait for?")
	b.approve(t, "ana")
	b.Advance(10 * time.Minute)
	require.NoError(t, b.svc.Advance(t.Context()))
	s, err := b.Kernel.TenantState(t.Context(), "t1")
	require.NoError(t, err)
	require.True(t, s.Suspended)
	require.Contains(t, kim.get(run, http.StatusOK).body, "approved by ana")
	require.Contains(t, kim.get("/tenants/t1/automation", http.StatusOK).body, "idle")
	requireMarkup(t, kim.get("/tenants/t1/automation", http.StatusOK).body)
	require.Contains(t, kim.get("/playbooks/batches/"+rs[0].Batch.String(), http.StatusOK).body, "Acts on it")

	cara.post(run+"/stop", http.StatusForbidden, "do", "rollback", "reason", "x")
	require.Contains(t, kim.post(run+"/stop", http.StatusUnprocessableEntity, "do", "rollback", "reason", "").body, "is required")
	kim.post(run+"/stop", http.StatusSeeOther, "do", "rollback", "reason", "wrong customer")
	require.NoError(t, b.svc.Advance(t.Context()))
	page = kim.get(run, http.StatusOK).body
	require.Contains(t, page, "Rolled back")
	require.Contains(t, page, "Taken back")
	s, err = b.Kernel.TenantState(t.Context(), "t1")
	require.NoError(t, err)
	require.False(t, s.Suspended)
	kim.post(run+"/stop", http.StatusConflict, "do", "rollback", "reason", "again")
	require.Contains(t, kim.get("/playbooks/exemptions", http.StatusOK).body, "wrong customer")

	kim.post("/playbooks/pause", http.StatusSeeOther, "do", "pause", "reason", "drill")
	require.Contains(t, kim.get("/playbooks", http.StatusOK).body, "Every playbook is paused")
	kim.post(at+"/scan", http.StatusConflict)
	kim.post("/playbooks/pause", http.StatusSeeOther, "do", "resume", "reason", "over")
	kim.get("/playbooks/nothing", http.StatusNotFound)
	kim.get("/playbooks/runs/x", http.StatusNotFound)
	require.Contains(t, kim.get("/playbooks/runs?state=failed", http.StatusOK).body, "No run matches")
}

func (b *playbookBench) approve(t *testing.T, by governance.PersonID) {
	t.Helper()
	as, err := b.Kernel.Approvals(t.Context(), governance.ApprovalFilter{States: []governance.State{governance.StatePending}})
	require.NoError(t, err)
	require.Len(t, as, 1)
	_, err = b.Kernel.Decide(t.Context(), b.As(by), as[0].ID, governance.Vote{Decision: governance.Approve, Digest: as[0].Digest})
	require.NoError(t, err)
}

func TestPlaybookExemptions(t *testing.T) {
	t.Parallel()
	b := newPlaybookBench(t)
	kim := browse(t, b.h, b.As("kim"))
	until := b.Now().AddDate(0, 1, 0).Format(time.DateOnly)
	require.Contains(t, kim.post("/playbooks/exemptions", http.StatusUnprocessableEntity, "tenant", "t1", "playbook", "", "until", until, "reason", "contract").body, "choose one")
	require.Contains(t, kim.post("/playbooks/exemptions", http.StatusUnprocessableEntity, "tenant", "t1", "playbook", "*", "until", "soon", "reason", "contract").body, "is not a date")
	require.Contains(t, kim.post("/playbooks/exemptions", http.StatusUnprocessableEntity, "tenant", "nobody", "playbook", "*", "until", until, "reason", "contract").body, "no such tenant")
	kim.post("/playbooks/exemptions", http.StatusSeeOther, "tenant", "t1", "playbook", "*", "until", until, "reason", "contract")
	page := kim.get("/playbooks/exemptions", http.StatusOK).body
	requireMarkup(t, page)
	require.Contains(t, page, "every playbook")
	xs, err := b.svc.Exemptions(t.Context(), false)
	require.NoError(t, err)
	kim.post("/playbooks/exemptions/"+xs[0].ID.String()+"/end", http.StatusSeeOther)
	require.Contains(t, kim.get("/playbooks/exemptions", http.StatusOK).body, "No tenant is exempt")
}

func TestRunbooks_Journey(t *testing.T) {
	t.Parallel()
	b := newPlaybookBench(t)
	_, err := b.svc.InstallShipped(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := b.Kernel.AlertTx(ctx, tx, governance.Alert{Key: "playbook.unknown:1/2", Severity: governance.Critical, Title: "Nobody knows", Tenant: "t1"})
		return err
	}))
	require.NoError(t, b.svc.OpenForAlerts(t.Context()))
	is, err := b.svc.Instances(t.Context(), playbook.InstanceFilter{})
	require.NoError(t, err)
	at := "/runbooks/" + is[0].ID.String()
	cara, ana := browse(t, b.h, b.As("cara")), browse(t, b.h, b.As("ana"))
	require.Contains(t, cara.get("/runbooks", http.StatusOK).body, at)
	page := cara.get(at, http.StatusOK).body
	requireMarkup(t, page)
	require.NotContains(t, ana.get(at, http.StatusOK).body, "Check it off", "who only reads")
	ana.post(at+"/check/read", http.StatusForbidden, "do", "done")
	cara.post(at+"/check/read", http.StatusSeeOther, "do", "done")
	bad := cara.post(at+"/check/look", http.StatusUnprocessableEntity, "do", "done", "note.look", "kept")
	require.Contains(t, bad.body, "is required: Link or reference")
	require.Contains(t, bad.body, `value="kept"`)
	requireMarkup(t, bad.body)
	cara.post(at+"/check/look", http.StatusSeeOther, "do", "done", "evidence.look", "search of 14:02")
	require.Contains(t, cara.post(at+"/close", http.StatusUnprocessableEntity, "outcome", "resolved").body, "steps are open")
	cara.post(at+"/check/settle", http.StatusSeeOther, "do", "skip", "note.settle", "settled by itself")
	cara.post(at+"/ticket", http.StatusSeeOther, "ticket", "SUP-9")
	cara.post(at+"/close", http.StatusSeeOther, "outcome", "resolved")
	page = cara.get(at, http.StatusOK).body
	require.Contains(t, page, "search of 14:02")
	require.Contains(t, page, "SUP-9")
	require.NotContains(t, page, "Check it off")
	cara.post(at+"/ticket", http.StatusConflict, "ticket", "SUP-10")
	opened := cara.post("/runbooks/open", http.StatusSeeOther, "runbook", "playbook-stopped").location
	requireMarkup(t, cara.get(opened, http.StatusOK).body)
	requireMarkup(t, cara.get("/runbooks", http.StatusOK).body)
}
