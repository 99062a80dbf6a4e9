package sandboxconnector

import (
	"context"

	"github.com/reevehq/reeve/integrations/connector"
)

type crm struct{ reader }

var (
	_ connector.Upserter = (*crm)(nil)
	_ connector.Reader   = (*crm)(nil)
	_ connector.Lists    = (*crm)(nil)
)

// CRM keeps tenants as companies, and lists of them.
func CRM() connector.Connector {
	b := &base{d: describe("sandbox-crm", "Sandbox vendor CRM", connector.CRM)}
	return &crm{reader{base: b, collection: "companies", fields: []string{"name", "country", "owner", "status", "suspended", "plan", "seats", "renewal_at"},
		account: func(_ context.Context, o object) (connector.Account, error) {
			p := o.Properties
			suspended, _ := p["suspended"].(bool)
			return connector.Account{Name: text(p["name"]), Country: text(p["country"]), Owner: text(p["owner"]), Status: text(p["lifecycle"]), Suspended: suspended,
				Plan: text(p["plan"]), Seats: number(p["seats"]), RenewalAt: moment(p["renewal_date"])}, nil
		}}}
}

func (c *crm) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	return connector.Each(ctx, batch, func(a connector.Account) (connector.Result, error) {
		domains := a.ExternalKeys["domain"]
		if domains == nil {
			domains = []string{}
		}
		outcome, o, err := c.put(ctx, "companies", a.TenantID, a.SourceVersion, map[string]any{"name": a.Name, "country": a.Country, "owner": a.Owner, "lifecycle": a.Status,
			"suspended": a.Suspended, "plan": a.Plan, "seats": a.Seats, "renewal_date": date(a.RenewalAt), "domains": domains})
		if err != nil {
			return connector.Result{}, err
		}
		return connector.Result{Outcome: outcome, RemoteID: o.ID}, nil
	})
}

func (c *crm) AddToList(ctx context.Context, m connector.Membership) (connector.Outcome, error) {
	return c.member(ctx, m, true)
}

func (c *crm) RemoveFromList(ctx context.Context, m connector.Membership) (connector.Outcome, error) {
	return c.member(ctx, m, false)
}

// member keeps a row for each tenant that was ever on a list, so that a late, older
// change finds the newer one.
func (c *crm) member(ctx context.Context, m connector.Membership, on bool) (connector.Outcome, error) {
	outcome, _, err := c.put(ctx, "list_members", memberKey(m.List, m.TenantID), m.SourceVersion, map[string]any{"list": m.List, "company": m.TenantID, "on": on})
	if outcome == connector.Created {
		if outcome = connector.Updated; !on {
			outcome = connector.Unchanged // it was not on the list
		}
	}
	return outcome, err
}

func memberKey(list, tenant string) string { return list + "\x1f" + tenant }

func (c *crm) InList(ctx context.Context, list, tenantID string) (bool, error) {
	o, err := c.find(ctx, "list_members", memberKey(list, tenantID))
	if err != nil || o == nil {
		return false, err
	}
	on, _ := o.Properties["on"].(bool)
	return on, nil
}
