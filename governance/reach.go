package governance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// together is what holds an act of one name along with a policy, whoever asks and
// whatever for: the requirements of the enforcing policies that name it without
// condition or limit, and who edited them.
func together(p Policy, others []PolicyVersion, action string) (rs []Require, editors []PersonID) {
	if p.Require != nil {
		rs = append(rs, *p.Require)
	}
	for _, o := range others {
		if o.ID != p.ID && o.Mode == Enforce && o.Require != nil && o.Match == "" && len(o.Limits) == 0 && o.matchesName(action) {
			rs = append(rs, *o.Require)
			if o.EditedBy != "" {
				editors = append(editors, o.EditedBy)
			}
		}
	}
	return rs, editors
}

// overlaps tells whether some action may have a name that both policies name.
func (p Policy) overlaps(o Policy) bool {
	for _, a := range p.Actions {
		for _, b := range o.Actions {
			pa, anyA := strings.CutSuffix(a, "*")
			pb, anyB := strings.CutSuffix(b, "*")
			switch {
			case a == b, anyA && strings.HasPrefix(pb, pa), anyB && strings.HasPrefix(pa, pb):
				return true
			}
		}
	}
	return false
}

// decidable refuses a policy whose alternatives, with those of the policies that may
// hold the same act, make more matchings than are tried.
func decidable(p Policy, others []PolicyVersion) error {
	if p.Mode != Enforce || p.Require == nil {
		return nil
	}
	rs := []Require{*p.Require}
	for _, o := range others {
		if o.ID != p.ID && o.Mode == Enforce && o.Require != nil && p.overlaps(o.Policy) {
			rs = append(rs, *o.Require)
		}
	}
	if choices(rs) > maxChoices {
		return Invalid("require.any_of", "the alternatives of all policies that may hold the same action combine in more than %d ways: write fewer", maxChoices)
	}
	return nil
}

// names are the actions that a policy names: those that are defined, and those that it
// spells out.
func (k *Kernel) names(p Policy) []string {
	var out []string
	for _, a := range p.Actions {
		if !strings.HasSuffix(a, "*") {
			out = append(out, a)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.defs {
		if p.matchesName(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// reachable checks that a policy's quorums can be filled by people other than the
// editor, alone and with what certainly holds the same act: one person fills one place
// over all of it.
func (k *Kernel) reachable(ctx context.Context, p Policy, editor PersonID, others []PolicyVersion) error {
	if p.Require == nil {
		return nil
	}
	gap, err := k.gap(ctx, []Require{*p.Require}, editor)
	if err != nil {
		return err
	}
	if len(gap) > 0 && gap[0].Group == GroupTenant && !p.Require.Signed {
		return Invalid("require", "asks the tenant for consent, and nothing here knows a tenant's contacts")
	}
	if len(gap) > 0 {
		uncounted := "the editor does not count"
		if p.Require.Signed {
			uncounted = "neither the editor nor anybody without a security key counts"
		}
		return Invalid("require", "cannot be reached: %d more needed in %s (%s)", gap[0].Approvals, gap[0].Group, uncounted)
	}
	if p.Mode != Enforce {
		return nil
	}
	asked := map[string]bool{}
	for _, name := range k.names(p) {
		rs, editors := together(p, others, name)
		key, err := marshalRequire(rs)
		if err != nil {
			return err
		}
		if len(rs) == 1 || asked[key] {
			continue
		}
		asked[key] = true
		if gap, err = k.gap(ctx, rs, append(editors, editor)...); err != nil {
			return err
		}
		if len(gap) > 0 {
			return Invalid("require", "cannot be reached for %s together with the other policies that hold it: %d more needed in %s (who edited one does not count)", name, gap[0].Approvals, gap[0].Group)
		}
	}
	return nil
}

// gap is what all who could vote leave open.
func (k *Kernel) gap(ctx context.Context, rs []Require, except ...PersonID) ([]Quorum, error) {
	voters, err := k.electorate(ctx, rs, except...)
	if err != nil {
		return nil, err
	}
	return lacks(rs, voters), nil
}

const (
	unreachablePolicy   = "policy.unreachable:"
	unreachableApproval = "approval.unreachable:"
)

// CheckReach raises an alert for each enforcing policy whose quorum the people there
// are cannot fill any more, and for each act that waits for a quorum which nobody is
// left to fill; it closes them when they can. [Kernel.Run] does so every five minutes.
func (k *Kernel) CheckReach(ctx context.Context) error {
	ps, err := k.Policies(ctx)
	if err != nil {
		return err
	}
	bootstrap, err := k.Bootstrap(ctx)
	if err != nil || bootstrap {
		return err
	}
	waits, err := k.Approvals(ctx, ApprovalFilter{States: []State{StatePending}, Limit: 200})
	if err != nil {
		return err
	}
	var open []string
	if err := k.db.Read().NewSelect().Model((*alertRow)(nil)).Column("open_key").WhereOr("open_key LIKE ?", unreachablePolicy+"%").
		WhereOr("open_key LIKE ?", unreachableApproval+"%").Scan(ctx, &open); err != nil {
		return fmt.Errorf("alerts of policies: %w", err)
	}
	errs := []error{k.checkConsents(ctx)}
	// tell opens or closes the alert when what it says has changed.
	tell := func(a Alert, reached bool) {
		if reached != slices.Contains(open, a.Key) {
			return
		}
		errs = append(errs, k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
			if reached {
				return k.ResolveAlertTx(ctx, tx, a.Key)
			}
			_, err := k.AlertTx(ctx, tx, a)
			return err
		}))
	}
	for _, p := range ps {
		if p.Mode != Enforce || p.Require == nil {
			continue
		}
		a := Alert{Key: unreachablePolicy + p.ID, Severity: Critical, Title: "Policy " + p.ID + " can be satisfied by nobody",
			Links: []Link{{Title: "Policy", Kind: "policy", ID: p.ID}}}
		why := k.reachable(ctx, p.Policy, p.EditedBy, ps)
		var invalid *InvalidError
		if why != nil && !errors.As(why, &invalid) {
			errs = append(errs, why)
			continue
		}
		if why != nil {
			a.Body = why.Error()
		}
		tell(a, why == nil)
	}
	waiting := map[string]bool{}
	for _, w := range waits {
		a := Alert{Key: unreachableApproval + w.ID.String(), Severity: Critical, Title: w.Action + " waits for an approval that nobody is left to give", Tenant: w.Tenant,
			Links: []Link{{Title: "Approval", Kind: "approval", ID: w.ID.String()}}}
		waiting[a.Key] = true
		gap, err := k.gap(ctx, w.Decision.Require, w.excluded...)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(gap) > 0 {
			a.Body = fmt.Sprintf("%d more needed in %s.", gap[0].Approvals, gap[0].Group)
		}
		tell(a, len(gap) == 0)
	}
	for _, key := range open { // of what waits no more
		if id, err := uuid.Parse(strings.TrimPrefix(key, unreachableApproval)); err == nil && !waiting[key] {
			a, err := k.Approval(ctx, id)
			if err == nil && a.State != StatePending {
				tell(Alert{Key: key}, true)
			}
		}
	}
	return errors.Join(errs...)
}
