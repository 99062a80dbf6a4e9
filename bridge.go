package reeve

import (
	"context"
	"errors"
	"slices"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/playbook"
)

// signals answers for playbooks from what analytics and the tenants know. What
// nobody told anything about stays absent: a missing value never acts.
func (r *Reeve) signals(metric string) playbook.Signals {
	return func(ctx context.Context, tenants []governance.TenantID) (map[governance.TenantID]map[string]playbook.Signal, error) {
		out := map[governance.TenantID]map[string]playbook.Signal{}
		if r.Analytics == nil {
			return out, nil
		}
		var all []analytics.Signals
		if len(tenants) <= 3 { // a look at one tenant before a step
			for _, t := range tenants {
				s, err := r.Analytics.Signals(ctx, t)
				switch {
				case errors.Is(err, governance.ErrNotFound):
				case err != nil:
					return nil, err
				default:
					all = append(all, s)
				}
			}
		} else {
			var err error
			if all, err = r.Analytics.AllSignals(ctx); err != nil {
				return nil, err
			}
		}
		for _, s := range all {
			if !slices.Contains(tenants, s.Tenant) {
				continue
			}
			out[s.Tenant] = translate(s, metric)
		}
		return out, nil
	}
}

// translate gives analytics' signals the names that playbooks are written with.
func translate(s analytics.Signals, metric string) map[string]playbook.Signal {
	out := map[string]playbook.Signal{}
	put := func(name, from string, scale float64) {
		if v, ok := s.Values[from]; ok {
			out[name] = playbook.Signal{Value: float64(v.Value) * scale, AsOf: v.AsOf}
		}
	}
	put("usage_7d", metric+"_7d", 1)
	put("usage_30d", metric+"_30d", 1)
	put("usage_trend", metric+"_trend_pct", 0.01)
	put("usage_idle_days", metric+"_idle_days", 1)
	put("mrr", "mrr", 0.01) // in whole units of the reporting currency
	put("renewal_in_days", "renewal_days", 1)
	put("payment_overdue_days", "overdue_days", 1)
	put("payment_overdue", "overdue", 0.01)
	return out
}

// kinds are the steps that reach other systems through integrations.
func (r *Reeve) kinds() []playbook.Kind {
	if r.Integrations == nil {
		return nil
	}
	list := map[string]playbook.Param{
		"list":   {Type: "text", Required: true, Doc: "name of the list"},
		"target": {Type: "text", Doc: "name of the CRM; empty is the only one there is"},
	}
	return []playbook.Kind{
		{Name: "crm.list_add", Title: "Put on a CRM list", Params: list, Outputs: []string{"added"}, Consequential: true,
			Do: r.addToList, Lookup: r.onList, Undo: r.takeOffList},
		{Name: "ticket.open", Title: "Open a ticket", Outputs: []string{"ticket", "url"},
			Params: map[string]playbook.Param{
				"subject":  {Type: "text", Required: true, Doc: "subject of the ticket"},
				"body":     {Type: "text", Doc: "first comment"},
				"priority": {Type: "text", Doc: "low, normal, high or urgent"},
				"target":   {Type: "text", Doc: "name of the help desk; empty is the only one there is"},
			}, Do: r.openTicket, Lookup: r.findTicket},
	}
}

func listOf(c playbook.Call) integrations.ListRequest {
	return integrations.ListRequest{Target: c.Params.Text("target"), Tenant: c.Tenant, List: c.Params.Text("list")}
}

func (r *Reeve) addToList(ctx context.Context, c playbook.Call) (playbook.Output, error) {
	changed, err := r.Integrations.AddToList(ctx, c.Idem, listOf(c))
	if err != nil {
		return nil, err
	}
	return playbook.Output{"added": yesNo(changed)}, nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (r *Reeve) onList(ctx context.Context, c playbook.Call) (playbook.Output, bool, error) {
	in, err := r.Integrations.InList(ctx, listOf(c))
	return playbook.Output{"added": "yes"}, in, err
}

// takeOffList leaves a tenant on the list that was there before the playbook came.
func (r *Reeve) takeOffList(ctx context.Context, c playbook.Call, out playbook.Output) error {
	if out["added"] == "no" {
		return nil
	}
	_, err := r.Integrations.RemoveFromList(ctx, c.Idem+":undo", listOf(c))
	return err
}

func (r *Reeve) openTicket(ctx context.Context, c playbook.Call) (playbook.Output, error) {
	t, err := r.Integrations.OpenTicket(ctx, c.Idem, integrations.TicketRequest{Target: c.Params.Text("target"), Tenant: c.Tenant,
		Subject: c.Params.Text("subject"), Body: c.Params.Text("body"), Priority: c.Params.Text("priority")})
	if err != nil {
		return nil, err
	}
	return playbook.Output{"ticket": t.ID, "url": t.URL}, nil
}

func (r *Reeve) findTicket(ctx context.Context, c playbook.Call) (playbook.Output, bool, error) {
	t, found, err := r.Integrations.FindTicket(ctx, c.Idem)
	return playbook.Output{"ticket": t.ID, "url": t.URL}, found, err
}
