// Command connector is a whole connector plugin: it keeps every tenant as a company of
// a CRM. The CRM here is the sandbox vendor; yours differs in the paths.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/plugins/serve"
)

type company struct {
	ID         string            `json:"id,omitempty"`
	ExternalID string            `json:"external_id,omitempty"`
	Revision   int64             `json:"revision,omitempty"`
	Properties connector.Account `json:"properties"`
}

type crm struct{ api connector.API }

func (c *crm) Describe() connector.Descriptor {
	return connector.Descriptor{ID: "acme-crm", Name: "Acme CRM", Version: "1.0.0", Kind: connector.CRM, Config: []connector.Field{{Key: "url", Required: true}, {Key: "token", Required: true, Secret: true}}}
}

func (c *crm) Configure(_ context.Context, cfg connector.Config) error {
	c.api = connector.API{URL: cfg["url"], Header: http.Header{"Authorization": {"Bearer " + cfg["token"]}}}
	return nil
}

func (c *crm) Check(ctx context.Context) error { return c.api.Do(ctx, "GET", "/companies", nil, nil) }

func (c *crm) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	return connector.Each(ctx, batch, func(a connector.Account) (connector.Result, error) {
		var found struct{ Data []company }
		err := c.api.Do(ctx, "GET", "/companies?external_id="+url.QueryEscape(a.TenantID), nil, &found)
		if err != nil {
			return connector.Result{}, err
		}
		if len(found.Data) == 0 {
			return connector.Result{Outcome: connector.Created}, c.api.Do(ctx, "POST", "/companies", company{ExternalID: a.TenantID, Properties: a}, nil)
		}
		held := found.Data[0]
		outcome := connector.Judge(&held.Properties, a) // never overwrite what is newer
		if outcome == connector.Updated {
			err = c.api.Do(ctx, "PATCH", "/companies/"+held.ID, company{Properties: a}, nil, "If-Match", fmt.Sprint(held.Revision))
		}
		return connector.Result{Outcome: outcome, RemoteID: held.ID}, err
	})
}

func main() { serve.Connector(new(crm)) }
