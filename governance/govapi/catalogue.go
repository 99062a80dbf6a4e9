package govapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/governance"
)

// GovCatalogueEntry is a registered action.
type GovCatalogueEntry struct {
	Name       string               `json:"name"`
	Summary    string               `json:"summary" doc:"What it does"`
	Permission string               `json:"permission" doc:"Who may ask for it; approval comes on top"`
	Sensitive  bool                 `json:"sensitive" doc:"Refused while impersonating somebody"`
	Remote     bool                 `json:"remote" doc:"Its effect is not in this server's database"`
	Schema     json.RawMessage      `json:"schema" doc:"JSON schema of its input"`
	Units      []string             `json:"units" doc:"Of its measures, beside count; *.cent is every currency"`
	Policies   []GovCataloguePolicy `json:"policies" doc:"In force and naming it"`
	Unheld     string               `json:"unheld,omitempty" doc:"Why no shipped policy holds it"`
	LastUsed   *time.Time           `json:"last_used,omitempty" doc:"When it was last asked for"`
}

// GovCataloguePolicy is a policy that names an action.
type GovCataloguePolicy struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Mode  string `json:"mode" enum:"shadow,enforce"`
	Holds bool   `json:"holds" doc:"It may hold or refuse the action"`
	Match string `json:"match,omitempty" doc:"Its condition: it holds only what meets it"`
}

func catalogue(a *API) {
	Register(a, "policy:read", huma.Operation{OperationID: "gov-list-catalogue", Method: http.MethodGet, Path: "/catalogue", Summary: "List every guarded action with its schema, its policies and its last use", Tags: []string{"Policies"}},
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*body[List[GovCatalogueEntry]], error) {
			all, err := a.k.Catalogue(ctx)
			if err != nil {
				return nil, err
			}
			items := make([]GovCatalogueEntry, len(all))
			for i, e := range all {
				items[i] = GovCatalogueEntry{Name: e.Name, Summary: e.Summary, Permission: e.Permission, Sensitive: e.Sensitive, Remote: e.Remote, Schema: e.Schema, Units: e.Units, Policies: []GovCataloguePolicy{}, Unheld: e.Unheld}
				if !e.LastUsed.IsZero() {
					items[i].LastUsed = &e.LastUsed
				}
				for _, p := range e.Policies {
					items[i].Policies = append(items[i].Policies, GovCataloguePolicy{p.ID, p.Title, string(p.Mode), p.Holds, p.Match})
				}
			}
			return &body[List[GovCatalogueEntry]]{NewList(items, "")}, nil
		})
}
