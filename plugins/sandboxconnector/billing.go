package sandboxconnector

import (
	"context"

	"github.com/reevehq/reeve/integrations/connector"
)

type billing struct{ reader }

var (
	_ connector.Upserter = (*billing)(nil)
	_ connector.Reader   = (*billing)(nil)
)

// Billing keeps tenants as customers, each with one subscription that carries plan,
// seats, entitlements and state.
func Billing() connector.Connector {
	c := &billing{reader{base: &base{d: describe("sandbox-billing", "Sandbox vendor billing", connector.Billing)}, collection: "customers",
		fields: []string{"name", "country", "suspended", "plan", "seats", "renewal_at", "entitlements"}}}
	c.account = c.read
	return c
}

func (c *billing) read(ctx context.Context, o object) (connector.Account, error) {
	a := connector.Account{Name: text(o.Properties["name"]), Country: text(o.Properties["country"])}
	sub, err := c.find(ctx, "subscriptions", o.ExternalID)
	if err != nil || sub == nil {
		return a, err
	}
	p := sub.Properties
	a.Plan, a.Seats, a.RenewalAt, a.Suspended = text(p["plan"]), number(p["seats"]), moment(p["renews_at"]), p["status"] == "paused"
	list, _ := p["entitlements"].([]any)
	for _, v := range list {
		e, _ := v.(map[string]any)
		a.Entitlements = append(a.Entitlements, connector.Entitlement{Feature: text(e["feature"]), Quantity: number(e["quantity"]), ExpiresAt: moment(e["expires_at"])})
	}
	return a, nil
}

// Upsert writes two objects. Each is judged by its own version, so a process that died
// between them finishes the job when the record comes again.
func (c *billing) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	return connector.Each(ctx, batch, func(a connector.Account) (connector.Result, error) {
		customer, o, err := c.put(ctx, "customers", a.TenantID, a.SourceVersion, map[string]any{"name": a.Name, "country": a.Country})
		if err != nil {
			return connector.Result{}, err
		}
		rights := make([]any, 0, len(a.Entitlements))
		for _, e := range a.Entitlements {
			rights = append(rights, map[string]any{"feature": e.Feature, "quantity": e.Quantity, "expires_at": date(e.ExpiresAt)})
		}
		sub, _, err := c.put(ctx, "subscriptions", a.TenantID, a.SourceVersion, map[string]any{"customer": o.ID, "plan": a.Plan, "seats": a.Seats,
			"renews_at": date(a.RenewalAt), "status": subscription(a), "entitlements": rights})
		if err != nil {
			return connector.Result{}, err
		}
		if customer == connector.Unchanged && sub != connector.Unchanged {
			customer = connector.Updated
		}
		return connector.Result{Outcome: customer, RemoteID: o.ID}, nil
	})
}

func subscription(a connector.Account) string {
	switch {
	case a.Status == "closed":
		return "canceled"
	case a.Suspended:
		return "paused"
	case a.Status == "trial":
		return "trialing"
	}
	return "active"
}
