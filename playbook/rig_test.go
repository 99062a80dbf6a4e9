package playbook_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/playbook/actions"
)

var options = &govtest.Options{
	Schemas: []govdb.Schema{playbook.Schema()},
	Kernel: func(o *governance.Options) {
		rules, err := celrules.New(nil)
		if err != nil {
			panic(err)
		}
		o.Rules = rules
	},
}

// vendor is a system elsewhere that does not know idempotency ids: every call that
// reaches it has an effect, so a call too many shows.
type vendor struct {
	mu      sync.Mutex
	effects map[string]int // by id
	gone    map[string]bool
	undos   map[string]int
	foreign map[string]bool // somebody changed what we made
	fault   func(what string) (effect bool, err error)
}

var errVendor = errors.New("connection reset")

func newVendor() *vendor {
	return &vendor{effects: map[string]int{}, gone: map[string]bool{}, undos: map[string]int{}, foreign: map[string]bool{}}
}

func (v *vendor) faulty(what string) (bool, error) {
	if v.fault == nil {
		return true, nil
	}
	return v.fault(what)
}

func (v *vendor) kind(name string) playbook.Kind {
	return playbook.Kind{
		Name: name, Title: name, Consequential: true, Outputs: []string{"ref"},
		Params: map[string]playbook.Param{"list": {Type: "text"}, "subject": {Type: "text"}, "body": {Type: "text"}, "count": {Type: "number"}},
		Do: func(_ context.Context, c playbook.Call) (playbook.Output, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			effect, err := v.faulty("do " + c.Step)
			if effect {
				v.effects[c.Idem]++
			}
			if err != nil {
				return nil, err
			}
			return playbook.Output{"ref": "V-" + c.Idem[:8]}, nil
		},
		Lookup: func(_ context.Context, c playbook.Call) (playbook.Output, bool, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if _, err := v.faulty("lookup " + c.Step); err != nil {
				return nil, false, err
			}
			return playbook.Output{"ref": "V-" + c.Idem[:8]}, v.effects[c.Idem] > 0, nil
		},
		Undo: func(_ context.Context, c playbook.Call, out playbook.Output) error {
			v.mu.Lock()
			defer v.mu.Unlock()
			if out["ref"] != "V-"+c.Idem[:8] {
				return fmt.Errorf("ref %q is not that of the effect", out["ref"])
			}
			if v.foreign[c.Idem] {
				return fmt.Errorf("%s: %w", c.Idem, governance.ErrConflict)
			}
			if v.gone[c.Idem] {
				return fmt.Errorf("%s: %w", c.Idem, governance.ErrNotFound)
			}
			effect, err := v.faulty("undo " + c.Step)
			if effect {
				v.gone[c.Idem] = true
				v.undos[c.Idem]++
			}
			return err
		},
	}
}

// rig is a service with tenants, signals and a vendor.
type rig struct {
	*govtest.Env
	svc    *playbook.Service
	acts   *actions.Actions
	vendor *vendor

	mu      sync.Mutex
	signals map[governance.TenantID]map[string]playbook.Signal
	broken  error
	reads   int
}

func newRig(t testing.TB, e *govtest.Env, tenants int) *rig {
	t.Helper()
	r := &rig{Env: e, vendor: newVendor(), signals: map[governance.TenantID]map[string]playbook.Signal{}}
	for _, p := range []governance.PersonID{"ana", "ben"} {
		e.People.Put(p, "gov_approver")
	}
	e.People.Put("root", "root")
	e.People.Put("cara", "cs")
	e.People.Allow("gov_approver", "approval:read", "approval:vote", "playbook:read")
	e.People.Allow("cs", "runbook:work", "runbook:read", "playbook:read")
	e.People.Allow("playbook", "tenant:restrict", "tenant:plan", "playbook:run")
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), playbook.Policies()...))
	for i := range tenants {
		r.tenant(t, fmt.Sprintf("t%02d", i), nil)
	}
	acts, err := actions.New(e.Kernel)
	require.NoError(t, err)
	r.acts = acts
	r.svc = r.service(t, e.Kernel)
	return r
}

// service is another process on the same database when it is made on another
// kernel.
func (r *rig) service(t testing.TB, k *governance.Kernel) *playbook.Service {
	t.Helper()
	kinds := append(r.acts.Kinds(), r.vendor.kind("crm.list_add"), r.vendor.kind("ticket.open"))
	svc, err := playbook.New(k, &playbook.Options{Signals: r.read, Kinds: kinds})
	require.NoError(t, err)
	return svc
}

func (r *rig) read(_ context.Context, ids []governance.TenantID) (map[governance.TenantID]map[string]playbook.Signal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	if r.broken != nil {
		return nil, r.broken
	}
	out := map[governance.TenantID]map[string]playbook.Signal{}
	for _, id := range ids {
		out[id] = maps.Clone(r.signals[id])
	}
	return out, nil
}

func (r *rig) tenant(t testing.TB, id string, change func(*governance.Tenant)) {
	t.Helper()
	require.NoError(t, r.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		ten := governance.Tenant{ID: governance.TenantID(id), Name: "Tenant " + id, Country: "DE", Status: governance.TenantActive, Plan: "pro", Seats: 10,
			RenewalAt: r.Now().Truncate(time.Hour).Add(365 * 24 * time.Hour)}
		if have, err := r.Kernel.TenantStateTx(ctx, tx, ten.ID); err == nil {
			ten = have.Tenant
		}
		if change != nil {
			change(&ten)
		}
		_, err := r.Kernel.UpsertTenantTx(ctx, tx, governance.System("host"), ten)
		return err
	}))
}

// set gives a tenant a signal that is true now.
func (r *rig) set(tenant, name string, v any) { r.setAt(tenant, name, v, r.Now()) }

func (r *rig) setAt(tenant, name string, v any, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := governance.TenantID(tenant)
	if r.signals[id] == nil {
		r.signals[id] = map[string]playbook.Signal{}
	}
	r.signals[id][name] = playbook.Signal{Value: v, AsOf: at}
}

// refresh makes every signal true now.
func (r *rig) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.signals {
		for n, s := range m {
			m[n] = playbook.Signal{Value: s.Value, AsOf: r.Now()}
		}
	}
}

// all gives every tenant a value for a signal.
func (r *rig) all(tenants int, name string, v any) {
	for i := range tenants {
		r.set(fmt.Sprintf("t%02d", i), name, v)
	}
}

func (r *rig) put(t testing.TB, source string) {
	t.Helper()
	_, err := r.svc.Put(t.Context(), r.As("root"), source, nil)
	require.NoError(t, err)
}

// live puts a document, lets it look in shadow, and has it activated by two people.
func (r *rig) live(t testing.TB, source string) string {
	t.Helper()
	d, err := r.svc.Parse(source)
	require.NoError(t, err)
	r.put(t, source)
	bs, err := r.svc.Scan(t.Context(), d.Name, "test")
	require.NoError(t, err)
	shadow := bs[len(bs)-1]
	require.Equal(t, playbook.Shadow, shadow.Mode)
	_, err = r.svc.Activate(t.Context(), r.As("root"), playbook.ActivateInput{Name: d.Name, Version: shadow.Version}, nil)
	r.approve(t, held(t, err), "ana")
	p, err := r.svc.Playbook(t.Context(), d.Name)
	require.NoError(t, err)
	require.Equal(t, shadow.Version, p.LiveVersion)
	return d.Name
}

func held(t testing.TB, err error) uuid.UUID {
	t.Helper()
	h, ok := errors.AsType[*governance.ApprovalRequiredError](err)
	require.True(t, ok, "want a hold, got %v", err)
	return h.Approval
}

func (r *rig) approve(t testing.TB, id uuid.UUID, by governance.PersonID) governance.Approval {
	t.Helper()
	a, err := r.Kernel.Approval(t.Context(), id)
	require.NoError(t, err)
	a, err = r.Kernel.Decide(t.Context(), r.As(by), id, governance.Vote{Decision: governance.Approve, Digest: a.Digest, Comment: "seen"})
	require.NoError(t, err)
	return a
}

func (r *rig) scan(t testing.TB, name string) playbook.Batch {
	t.Helper()
	bs, err := r.svc.Scan(t.Context(), name, "test")
	require.NoError(t, err)
	return bs[0]
}

// turn moves events and drives the runs until nothing is due.
func (r *rig) turn(t testing.TB) {
	t.Helper()
	r.Drain(t)
	require.NoError(t, r.svc.Inbox(t.Context()))
	require.NoError(t, r.svc.Advance(t.Context()))
	r.Drain(t)
	require.NoError(t, r.svc.Inbox(t.Context()))
	require.NoError(t, r.svc.Advance(t.Context()))
}

func (r *rig) runs(t testing.TB, mode playbook.Mode) []playbook.Run {
	t.Helper()
	rs, err := r.svc.Runs(t.Context(), playbook.RunFilter{Mode: mode, Limit: 200})
	require.NoError(t, err)
	return rs
}

// only is the single live run, with its timeline.
func (r *rig) only(t testing.TB) playbook.Run {
	t.Helper()
	rs := r.runs(t, playbook.Live)
	require.Len(t, rs, 1)
	run, err := r.svc.Run(t.Context(), rs[0].ID)
	require.NoError(t, err)
	return run
}

func states(run playbook.Run) []playbook.StepState {
	out := make([]playbook.StepState, len(run.Steps))
	for i, s := range run.Steps {
		out[i] = s.State
	}
	return out
}

func (r *rig) state(t testing.TB, tenant string) governance.TenantState {
	t.Helper()
	s, err := r.Kernel.TenantState(t.Context(), governance.TenantID(tenant))
	require.NoError(t, err)
	return s
}

func (r *rig) alerts(t testing.TB) map[string]governance.Alert {
	t.Helper()
	as, err := r.Kernel.Alerts(t.Context(), governance.AlertFilter{Limit: 200})
	require.NoError(t, err)
	out := map[string]governance.Alert{}
	for _, a := range as {
		out[a.Key] = a
	}
	return out
}

// nurture is a small playbook: a remote step and a notice.
const nurture = `
name: nurture
title: Nurture
trigger: {daily: "06:00", events: [tenant.updated]}
signals:
  usage_30d: {type: number, max_age: 36h}
when: signals.usage_30d < 50.0
safeguards: {max_targets: 5, max_percent: 50, max_unusable: 50, repeat_after: 30d}
steps:
  - {id: list, kind: crm.list_add, params: {list: nurture}}
  - {id: tell, kind: notice, params: {title: "${tenant.name} at ${signals.usage_30d}", body: "see ${steps.list.ref}"}}
`
