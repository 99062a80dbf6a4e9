package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/playbook"
)

// The names of the actions.
const (
	ActionRestrict    = "tenant.restrict"
	ActionLift        = "tenant.restriction.lift"
	ActionEntitlement = "tenant.entitlement.set"
)

// Restrict places a restriction. Run and Step name the playbook's step that asks.
type Restrict struct {
	Tenant  governance.TenantID `json:"tenant"`
	Reason  string              `json:"reason"` // the key: lifting it lifts no other
	Feature string              `json:"feature,omitempty"`
	Detail  string              `json:"detail,omitempty"`
	Run     string              `json:"run,omitempty"`
	Step    string              `json:"step,omitempty"`
}

// Lift lifts one restriction. With IfVersion it must still be that one.
type Lift struct {
	Tenant    governance.TenantID `json:"tenant"`
	Reason    string              `json:"reason"`
	IfVersion int64               `json:"if_version,string,omitempty"`
}

// Entitlement gives or takes one entitlement. IfVersion is the version it must have
// now: 0 any, -1 none at all.
type Entitlement struct {
	Tenant    governance.TenantID `json:"tenant"`
	Feature   string              `json:"feature"`
	Remove    bool                `json:"remove,omitempty"`
	Quantity  int64               `json:"quantity,omitempty"`
	ExpiresAt string              `json:"expires_at,omitempty"` // RFC 3339
	Source    string              `json:"source,omitempty"`
	IfVersion int64               `json:"if_version,string,omitempty"`
	Run       string              `json:"run,omitempty"` // of the playbook's step that asks
	Step      string              `json:"step,omitempty"`
}

// Actions are the guarded actions. Use [New].
type Actions struct {
	Restrict    *governance.Action[Restrict]
	Lift        *governance.Action[Lift]
	Entitlement *governance.Action[Entitlement]

	k *governance.Kernel
}

// New defines the actions and registers them.
func New(k *governance.Kernel) (*Actions, error) {
	if k == nil {
		return nil, errors.New("actions: a kernel is required")
	}
	a := &Actions{k: k}
	a.Restrict = governance.Define(ActionRestrict, governance.Spec[Restrict]{
		Summary:    "Suspends a tenant, or takes one feature from it.",
		Unheld:     "A person may have to stop abuse at once; an automation asks a person first.",
		Permission: "tenant:restrict", Sensitive: true,
		Tenant:   func(in Restrict) governance.TenantID { return in.Tenant },
		Resource: func(in Restrict) governance.Ref { return tenantRef(in.Tenant) },
		Validate: func(in Restrict) error {
			if in.Tenant == "" || in.Reason == "" || len(in.Reason) > 128 || len(in.Detail) > 1000 {
				return governance.Invalid("reason", "tenant and reason are required, detail has at most 1000 bytes")
			}
			return nil
		},
		Version: func(ctx context.Context, tx *governance.Tx, in Restrict) (int64, error) {
			s, err := k.TenantStateTx(ctx, tx, in.Tenant)
			if err != nil {
				return 0, err
			}
			r, _ := restriction(s, in.Reason)
			return r.Version, nil
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in Restrict) (any, error) {
			s, err := k.TenantStateTx(ctx, tx, in.Tenant)
			if err != nil {
				return nil, err
			}
			return map[string]any{"name": s.Tenant.Name, "plan": s.Tenant.Plan, "seats": s.Tenant.Seats, "owner": s.Tenant.Owner, "renewal_at": s.Tenant.RenewalAt,
				"suspended_now": s.Suspended, "suspends": in.Feature == "", "restrictions_now": s.Restrictions}, nil
		},
	}, a.restrict)
	a.Lift = governance.Define(ActionLift, governance.Spec[Lift]{
		Summary:    "Lifts one restriction of a tenant.",
		Unheld:     "It gives back what a restriction took.",
		Permission: "tenant:restrict", Sensitive: true,
		Tenant:   func(in Lift) governance.TenantID { return in.Tenant },
		Resource: func(in Lift) governance.Ref { return tenantRef(in.Tenant) },
		Validate: func(in Lift) error {
			if in.Tenant == "" || in.Reason == "" || in.IfVersion < 0 {
				return governance.Invalid("reason", "tenant and reason are required")
			}
			return nil
		},
	}, func(ctx context.Context, tx *governance.Tx, in Lift) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		return governance.Result{Data: map[string]string{"reason": in.Reason}}, k.LiftTx(ctx, tx, e.Identity, in.Tenant, in.Reason, in.IfVersion)
	})
	a.Entitlement = governance.Define(ActionEntitlement, governance.Spec[Entitlement]{
		Summary:    "Sets an entitlement for a playbook.",
		Unheld:     "Playbooks ask for it, which a second person put into force; people use tenant.entitlement.grant.",
		Permission: "tenant:plan", Sensitive: true,
		Tenant:   func(in Entitlement) governance.TenantID { return in.Tenant },
		Resource: func(in Entitlement) governance.Ref { return tenantRef(in.Tenant) },
		Validate: func(in Entitlement) error {
			_, err := in.expires()
			if err != nil || in.Tenant == "" || in.Feature == "" || len(in.Feature) > 128 || in.Quantity < 0 || !in.Remove && in.Source == "" {
				return governance.Invalid("entitlement", "tenant, feature and source are required; quantity is not negative; expires_at is a time")
			}
			return nil
		},
	}, a.entitlement)
	return a, k.Register(a.Restrict, a.Lift, a.Entitlement)
}

func tenantRef(t governance.TenantID) governance.Ref {
	return governance.Ref{Kind: "tenant", ID: string(t)}
}

func restriction(s governance.TenantState, reason string) (governance.Restriction, bool) {
	i := slices.IndexFunc(s.Restrictions, func(r governance.Restriction) bool { return r.Reason == reason })
	if i < 0 {
		return governance.Restriction{}, false
	}
	return s.Restrictions[i], true
}

func entitlement(s governance.TenantState, feature string) (governance.Entitlement, bool) {
	i := slices.IndexFunc(s.Entitlements, func(e governance.Entitlement) bool { return e.Feature == feature })
	if i < 0 {
		return governance.Entitlement{}, false
	}
	return s.Entitlements[i], true
}

func (a *Actions) restrict(ctx context.Context, tx *governance.Tx, in Restrict) (governance.Result, error) {
	e, _ := governance.ExecutionFrom(ctx)
	if e.Identity.Actor.Kind == governance.ActorPlaybook {
		if !e.Approved {
			return governance.Result{}, &governance.DeniedError{Action: ActionRestrict, Rule: "automation", Reason: "an automation may not restrict a tenant without a person's approval"}
		}
		if err := checkClaimTx(ctx, tx, in.Run, in.Step); err != nil {
			return governance.Result{}, err
		}
	}
	r, placed, err := a.k.RestrictTx(ctx, tx, e.Identity, in.Tenant, governance.Restriction{Reason: in.Reason, Feature: in.Feature, Detail: in.Detail})
	if err != nil {
		return governance.Result{}, err
	}
	return governance.Result{Data: map[string]string{"reason": r.Reason, "version": strconv.FormatInt(r.Version, 10), "placed": strconv.FormatBool(placed)}}, nil
}

// checkClaimTx lets what a playbook asked for run only while its step is being
// executed, right after a look at the condition; a vote alone executes nothing.
func checkClaimTx(ctx context.Context, tx *governance.Tx, run, step string) error {
	id, err := uuid.Parse(run)
	if err != nil {
		return governance.Invalid("run", "is required of an automation")
	}
	return playbook.CheckClaimTx(ctx, tx, id, step)
}

func (in Entitlement) expires() (time.Time, error) {
	if in.ExpiresAt == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, in.ExpiresAt)
}

// entitlement reads under the tenant's lock, so that the pre-image it returns is
// what it really replaced.
func (a *Actions) entitlement(ctx context.Context, tx *governance.Tx, in Entitlement) (governance.Result, error) {
	e, _ := governance.ExecutionFrom(ctx)
	if e.Identity.Actor.Kind == governance.ActorPlaybook && e.Approved && in.Run != "" {
		if err := checkClaimTx(ctx, tx, in.Run, in.Step); err != nil {
			return governance.Result{}, err
		}
	}
	s, err := a.k.LockTenantTx(ctx, tx, in.Tenant)
	if err != nil {
		return governance.Result{}, err
	}
	before, had := entitlement(s, in.Feature)
	if in.IfVersion == -1 && had || in.IfVersion > 0 && before.Version != in.IfVersion {
		return governance.Result{}, fmt.Errorf("entitlement %s of %s changed: %w", in.Feature, in.Tenant, governance.ErrConflict)
	}
	out := map[string]string{"feature": in.Feature, "had": strconv.FormatBool(had)}
	if had {
		out["before_quantity"], out["before_source"] = strconv.FormatInt(before.Quantity, 10), before.Source
		if !before.ExpiresAt.IsZero() {
			out["before_expires_at"] = before.ExpiresAt.Format(time.RFC3339Nano)
		}
	}
	if in.Remove {
		if !had {
			return governance.Result{}, fmt.Errorf("entitlement %s of %s: %w", in.Feature, in.Tenant, governance.ErrNotFound)
		}
		return governance.Result{Data: out}, a.k.RevokeTx(ctx, tx, e.Identity, in.Tenant, in.Feature, before.Version)
	}
	expires, err := in.expires()
	if err != nil {
		return governance.Result{}, governance.Invalid("expires_at", "is not a time")
	}
	if err := a.k.GrantTx(ctx, tx, e.Identity, in.Tenant, governance.Entitlement{Feature: in.Feature, Quantity: in.Quantity, ExpiresAt: expires, Source: in.Source}); err != nil {
		return governance.Result{}, err
	}
	after, err := a.k.TenantStateTx(ctx, tx, in.Tenant)
	if err != nil {
		return governance.Result{}, err
	}
	now, _ := entitlement(after, in.Feature)
	out["version"] = strconv.FormatInt(now.Version, 10)
	return governance.Result{Data: out}, nil
}

// Kinds are the kinds of step for playbook.Options.Kinds.
func (a *Actions) Kinds() []playbook.Kind {
	text := func(required bool, doc string) playbook.Param {
		return playbook.Param{Type: "text", Required: required, Doc: doc}
	}
	return []playbook.Kind{
		{Name: "notice", Title: "Give notice", DoTx: a.notice, Outputs: []string{"alert"}, Params: map[string]playbook.Param{
			"title": text(true, "What happened"), "body": text(false, "The details"), "severity": text(false, "info, warning or critical; default info")}},
		{Name: "restriction.place", Title: "Restrict the tenant", Consequential: true, Guarded: true, DoTx: a.place, UndoTx: a.unplace, Outputs: []string{"reason", "version"}, Params: map[string]playbook.Param{
			"reason": text(true, "Key of the restriction; the playbook's name is put before it"), "feature": text(false, "Only this feature; without it the tenant is suspended"), "detail": text(false, "Shown to people")}},
		{Name: "restriction.lift", Title: "Lift a restriction of this playbook", Guarded: true, DoTx: a.lift, Params: map[string]playbook.Param{
			"reason": text(true, "Key as given to restriction.place")}},
		{Name: "entitlement.grant", Title: "Grant an entitlement", Consequential: true, Guarded: true, DoTx: a.grant, UndoTx: a.ungrant, Outputs: []string{"feature", "version"}, Params: map[string]playbook.Param{
			"feature": text(true, "What the tenant may use"), "quantity": {Type: "number", Doc: "How much; 0 or none is unlimited"}, "for": {Type: "duration", Doc: "How long; none is for good"}}},
		{Name: "entitlement.revoke", Title: "Revoke an entitlement", Consequential: true, Guarded: true, DoTx: a.revoke, UndoTx: a.unrevoke, Outputs: []string{"feature"}, Params: map[string]playbook.Param{
			"feature": text(true, "What the tenant may no longer use")}},
	}
}

// notice tells people by an alert, and whatever is connected by an event.
func (a *Actions) notice(ctx context.Context, tx *governance.Tx, c playbook.Call) (playbook.Output, error) {
	sev := governance.Severity(c.Params.Text("severity"))
	if sev == "" {
		sev = governance.Info
	}
	if !slices.Contains([]governance.Severity{governance.Info, governance.Warning, governance.Critical}, sev) {
		return nil, governance.Invalid("severity", "%q is not one of info, warning, critical", sev)
	}
	title, body := c.Params.Text("title"), c.Params.Text("body")
	alert, err := a.k.AlertTx(ctx, tx, governance.Alert{Key: "playbook.notice:" + c.Playbook + ":" + string(c.Tenant), Severity: sev, Title: title, Body: body, Tenant: c.Tenant,
		Links: []governance.Link{{Title: "Playbook run", Kind: "playbook_run", ID: c.Run.String()}, {Title: "Tenant", Kind: "tenant", ID: string(c.Tenant)}}})
	if err != nil {
		return nil, err
	}
	ev, err := governance.NewEvent("playbook.notice", c.Tenant, 0, tenantRef(c.Tenant), map[string]any{"playbook": c.Playbook, "run": c.Run, "severity": sev, "title": title, "body": body})
	if err != nil {
		return nil, err
	}
	_, err = a.k.RecordTx(ctx, tx, c.Identity, governance.Record{Action: "tenant.notice", Tenant: c.Tenant, Resource: tenantRef(c.Tenant), Reason: c.Reason,
		Data: map[string]any{"severity": sev, "title": title, "body": body, "alert": alert}}, ev)
	return playbook.Output{"alert": alert.String()}, err
}

// reasonKey keeps playbooks apart: none can lift what another, or a person, placed.
func reasonKey(c playbook.Call) string {
	return "playbook:" + c.Playbook + ":" + c.Params.Text("reason")
}

func (a *Actions) place(ctx context.Context, tx *governance.Tx, c playbook.Call) (playbook.Output, error) {
	in := Restrict{Tenant: c.Tenant, Reason: reasonKey(c), Feature: c.Params.Text("feature"), Detail: c.Params.Text("detail"), Run: c.Run.String(), Step: c.Step}
	return output(a.Restrict.InTx(ctx, a.k, tx, c.Identity, in, c.Do()))
}

func output(out governance.Outcome, err error) (playbook.Output, error) {
	if err != nil {
		return nil, err
	}
	o := playbook.Output{}
	return o, out.Into(&o)
}

func (a *Actions) unplace(ctx context.Context, tx *governance.Tx, c playbook.Call, out playbook.Output) error {
	if out["placed"] != "true" {
		return fmt.Errorf("the restriction was there before: %w", governance.ErrNotFound)
	}
	version, err := strconv.ParseInt(out["version"], 10, 64)
	if err != nil {
		return fmt.Errorf("version of the restriction: %w", err)
	}
	s, err := a.k.LockTenantTx(ctx, tx, c.Tenant)
	if err != nil {
		return err
	}
	if _, there := restriction(s, out["reason"]); !there { // a person lifted it
		return fmt.Errorf("restriction %s: %w", out["reason"], governance.ErrNotFound)
	}
	_, err = a.Lift.InTx(ctx, a.k, tx, c.Identity, Lift{c.Tenant, out["reason"], version}, c.Do())
	return err
}

func (a *Actions) lift(ctx context.Context, tx *governance.Tx, c playbook.Call) (playbook.Output, error) {
	s, err := a.k.LockTenantTx(ctx, tx, c.Tenant)
	if err != nil {
		return nil, err
	}
	if _, there := restriction(s, reasonKey(c)); !there {
		return playbook.Output{"lifted": "false"}, nil
	}
	return output(a.Lift.InTx(ctx, a.k, tx, c.Identity, Lift{Tenant: c.Tenant, Reason: reasonKey(c)}, c.Do()))
}

func (a *Actions) grant(ctx context.Context, tx *governance.Tx, c playbook.Call) (playbook.Output, error) {
	in := Entitlement{Tenant: c.Tenant, Feature: c.Params.Text("feature"), Quantity: c.Params.Int("quantity"), Source: "playbook:" + c.Playbook, Run: c.Run.String(), Step: c.Step}
	if text := c.Params.Text("for"); text != "" {
		var d playbook.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		in.ExpiresAt = a.k.Now().Add(d.Duration).Format(time.RFC3339Nano)
	}
	return output(a.Entitlement.InTx(ctx, a.k, tx, c.Identity, in, c.Do()))
}

func (a *Actions) ungrant(ctx context.Context, tx *governance.Tx, c playbook.Call, out playbook.Output) error {
	version, err := strconv.ParseInt(out["version"], 10, 64)
	if err != nil {
		return fmt.Errorf("version of the entitlement: %w", err)
	}
	s, err := a.k.LockTenantTx(ctx, tx, c.Tenant)
	if err != nil {
		return err
	}
	if _, there := entitlement(s, out["feature"]); !there {
		return fmt.Errorf("entitlement %s: %w", out["feature"], governance.ErrNotFound)
	}
	back := before(c.Tenant, out)
	if out["had"] != "true" {
		back = Entitlement{Tenant: c.Tenant, Feature: out["feature"], Remove: true}
	}
	back.IfVersion = version
	_, err = a.Entitlement.InTx(ctx, a.k, tx, c.Identity, back, c.Do())
	return err
}

// before is the entitlement that an action replaced.
func before(t governance.TenantID, out playbook.Output) Entitlement {
	quantity, _ := strconv.ParseInt(out["before_quantity"], 10, 64) // written by us a moment before
	return Entitlement{Tenant: t, Feature: out["feature"], Quantity: quantity, ExpiresAt: out["before_expires_at"], Source: out["before_source"]}
}

func (a *Actions) revoke(ctx context.Context, tx *governance.Tx, c playbook.Call) (playbook.Output, error) {
	feature := c.Params.Text("feature")
	s, err := a.k.LockTenantTx(ctx, tx, c.Tenant)
	if err != nil {
		return nil, err
	}
	if _, there := entitlement(s, feature); !there {
		return playbook.Output{"feature": feature, "had": "false"}, nil
	}
	return output(a.Entitlement.InTx(ctx, a.k, tx, c.Identity, Entitlement{Tenant: c.Tenant, Feature: feature, Remove: true, Run: c.Run.String(), Step: c.Step}, c.Do()))
}

func (a *Actions) unrevoke(ctx context.Context, tx *governance.Tx, c playbook.Call, out playbook.Output) error {
	if out["had"] != "true" {
		return fmt.Errorf("nothing was revoked: %w", governance.ErrNotFound)
	}
	back := before(c.Tenant, out)
	back.IfVersion = -1 // somebody granted it again meanwhile: theirs stays
	_, err := a.Entitlement.InTx(ctx, a.k, tx, c.Identity, back, c.Do())
	return err
}

// ReasonPrefix is how the restrictions of a playbook begin.
func ReasonPrefix(name string) string { return "playbook:" + strings.TrimSpace(name) + ":" }
