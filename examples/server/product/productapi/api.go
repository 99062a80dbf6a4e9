// Package productapi puts the product's guarded tenant operations on a huma API:
// plan changes, credits and exports, 200 when done, 202 with the approval's address
// when held, 403 when denied.
package productapi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
)

type out[T any] struct{ Body T }

// ProductTenantID is the path of a tenant.
type ProductTenantID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the tenant"`
}

type productChangePlan struct {
	ProductTenantID
	govapi.Idempotent
	Body struct {
		Plan   string `json:"plan" minLength:"1" maxLength:"64" example:"starter"`
		Reason string `json:"reason" minLength:"1" maxLength:"2000"`
		Ticket string `json:"ticket,omitempty" maxLength:"200"`
	}
}

// ProductPlanChanged is what a plan change did.
type ProductPlanChanged struct {
	From   string       `json:"from"`
	To     string       `json:"to"`
	Before ProductMoney `json:"mrr_before"`
	After  ProductMoney `json:"mrr_after"`
	Gained []string     `json:"features_gained"`
	Lost   []string     `json:"features_lost"`
}

// ProductMoney is an amount with its currency.
type ProductMoney struct {
	Amount   string `json:"amount" example:"5.00"`
	Currency string `json:"currency" example:"EUR"`
}

func wireMoney(m governance.Money) ProductMoney { return ProductMoney{m.Amount(), m.Currency} }

type productGiveCredit struct {
	ProductTenantID
	govapi.Idempotent
	Body struct {
		Amount   string `json:"amount" minLength:"1" maxLength:"32" example:"5.00" doc:"Decimal, at most as many decimals as the currency has"`
		Currency string `json:"currency" pattern:"^[A-Z]{3}$" example:"EUR"`
		Reason   string `json:"reason" minLength:"1" maxLength:"2000"`
		Ticket   string `json:"ticket,omitempty" maxLength:"200"`
	}
}

// ProductCredited is a credit that was given.
type ProductCredited struct {
	Credit string       `json:"credit"`
	Money  ProductMoney `json:"money"`
}

type productExport struct {
	ProductTenantID
	govapi.Idempotent
	Body struct {
		Dataset string `json:"dataset" enum:"users,documents,all"`
		Reason  string `json:"reason" minLength:"1" maxLength:"2000"`
		Ticket  string `json:"ticket,omitempty" maxLength:"200"`
	}
}

// ProductExported is an export whose file was written.
type ProductExported struct {
	Export    string    `json:"export"`
	Dataset   string    `json:"dataset"`
	Rows      int64     `json:"rows"`
	Bytes     int64     `json:"bytes"`
	SHA256    string    `json:"sha256"`
	ExpiresAt time.Time `json:"expires_at"`
}

type productListCredits struct {
	ProductTenantID
	govapi.Page
}

// ProductCredit is a credit in a tenant's list.
type ProductCredit struct {
	ID     string       `json:"id"`
	Money  ProductMoney `json:"money"`
	Reason string       `json:"reason"`
	Actor  string       `json:"actor"`
	At     time.Time    `json:"at"`
}

type productListExports struct {
	ProductTenantID
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// ProductExportFile is a finished export. Its link is there for who asked for it.
type ProductExportFile struct {
	ID        string    `json:"id"`
	Dataset   string    `json:"dataset"`
	Person    string    `json:"person" doc:"Who asked for it"`
	Reason    string    `json:"reason"`
	Rows      int64     `json:"rows"`
	Bytes     int64     `json:"bytes"`
	SHA256    string    `json:"sha256"`
	MadeAt    time.Time `json:"made_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Download  string    `json:"download,omitempty" doc:"Path below the API, good for a short time and for the caller alone"`
}

type productDownload struct {
	ID        string `path:"id" format:"uuid"`
	Expires   int64  `query:"expires" required:"true"`
	Signature string `query:"signature" required:"true" maxLength:"100"`
}

type productFile struct {
	ContentType  string `header:"Content-Type"`
	Disposition  string `header:"Content-Disposition"`
	NoSniff      string `header:"X-Content-Type-Options"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

// ProductPlan is what a tenant can subscribe to.
type ProductPlan struct {
	ID       string           `json:"id"`
	Name     string           `json:"name"`
	Features map[string]int64 `json:"features" doc:"Feature to quantity, 0 is unlimited"`
	Prices   []ProductMoney   `json:"prices" doc:"For one seat and month"`
}

// Register adds the operations.
func Register(api huma.API, svc *product.Service) {
	a := govapi.New(api, svc.Kernel())
	tags := []string{"Tenants"}
	govapi.GuardedResult[ProductPlanChanged](a, "tenant:plan", huma.Operation{OperationID: "product-change-plan", Method: http.MethodPost, Path: "/tenants/{id}/plan",
		Summary: "Move a tenant to another plan", Tags: tags, Description: "Held when it gives up more monthly revenue than one actor may."},
		func(ctx context.Context, id governance.Identity, in *productChangePlan) (governance.Outcome, error) {
			return svc.ChangePlan(ctx, id, governance.TenantID(in.ID), in.Body.Plan, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason, Ticket: in.Body.Ticket})
		})
	govapi.GuardedResult[ProductCredited](a, "tenant:credit", huma.Operation{OperationID: "product-give-credit", Method: http.MethodPost, Path: "/tenants/{id}/credits",
		Summary: "Give a tenant a credit", Tags: tags, Description: "Held when the tenant's credits over 24 hours would exceed the limit."},
		func(ctx context.Context, id governance.Identity, in *productGiveCredit) (governance.Outcome, error) {
			m, err := governance.ParseMoney(in.Body.Amount, in.Body.Currency)
			if err != nil {
				return governance.Outcome{}, err
			}
			return svc.Credit(ctx, id, governance.TenantID(in.ID), m, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason, Ticket: in.Body.Ticket})
		})
	govapi.GuardedResult[ProductExported](a, "tenant:export", huma.Operation{OperationID: "product-export", Method: http.MethodPost, Path: "/tenants/{id}/exports",
		Summary: "Export a tenant's rows into a file", Tags: tags, Description: "Its rows are counted first; held when one actor takes more than allowed over 24 hours."},
		func(ctx context.Context, id governance.Identity, in *productExport) (governance.Outcome, error) {
			return svc.Export(ctx, id, governance.TenantID(in.ID), in.Body.Dataset, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason, Ticket: in.Body.Ticket})
		})
	money(a, svc, tags)
	reads(a, svc, tags)
}

func reads(a *govapi.API, svc *product.Service, tags []string) {
	govapi.Register(a, "tenant:read", huma.Operation{OperationID: "product-list-plans", Method: http.MethodGet, Path: "/plans", Summary: "List the plans, the cheapest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*out[govapi.List[ProductPlan]], error) {
			plans, err := svc.Plans(ctx)
			if err != nil {
				return nil, err
			}
			items := make([]ProductPlan, len(plans))
			for i, p := range plans {
				items[i] = ProductPlan{p.ID, p.Name, p.Features, []ProductMoney{}}
				for _, c := range slices.Sorted(maps.Keys(p.Prices)) {
					items[i].Prices = append(items[i].Prices, wireMoney(p.Prices[c]))
				}
			}
			return &out[govapi.List[ProductPlan]]{Body: govapi.NewList(items, "")}, nil
		})
	govapi.Register(a, "tenant:read", huma.Operation{OperationID: "product-list-credits", Method: http.MethodGet, Path: "/tenants/{id}/credits", Summary: "List a tenant's credits, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *productListCredits) (*out[govapi.List[ProductCredit]], error) {
			before, err := govapi.ParseIDCursor(in.Cursor)
			if err != nil {
				return nil, err
			}
			got, err := svc.Credits(ctx, governance.TenantID(in.ID), before, in.Limit)
			if err != nil {
				return nil, err
			}
			items, next := make([]ProductCredit, len(got)), ""
			for i, c := range got {
				items[i] = ProductCredit{c.ID.String(), wireMoney(c.Money), c.Reason, c.Actor, c.At}
			}
			if len(got) == in.Limit {
				next = govapi.Cursor(got[len(got)-1].ID.String())
			}
			return &out[govapi.List[ProductCredit]]{Body: govapi.NewList(items, next)}, nil
		})
	govapi.Register(a, "tenant:export", huma.Operation{OperationID: "product-list-exports", Method: http.MethodGet, Path: "/tenants/{id}/exports", Summary: "List a tenant's finished exports, newest first", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *productListExports) (*out[govapi.List[ProductExportFile]], error) {
			got, err := svc.Exports(ctx, governance.TenantID(in.ID), in.Limit)
			if err != nil {
				return nil, err
			}
			items := make([]ProductExportFile, len(got))
			for i, f := range got {
				items[i] = ProductExportFile{f.ID.String(), f.Dataset, string(f.Person), f.Reason, f.Rows, f.Bytes, f.SHA256, f.MadeAt, f.ExpiresAt, svc.Link(id, f)}
			}
			return &out[govapi.List[ProductExportFile]]{Body: govapi.NewList(items, "")}, nil
		})
	govapi.Register(a, "tenant:export", huma.Operation{OperationID: "product-download-export", Method: http.MethodGet, Path: "/exports/{id}/download", Summary: "Download an export by its signed link", Tags: tags,
		Description: "Only by who asked for it, until the link expires. Each download, and each refusal, is in the ledger.",
		Responses:   map[string]*huma.Response{"200": {Description: "The file", Content: map[string]*huma.MediaType{"application/zip": {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}}},
		func(ctx context.Context, id governance.Identity, in *productDownload) (*productFile, error) {
			export, err := uuid.Parse(in.ID)
			if err != nil {
				return nil, governance.Invalid("path.id", "is not a UUID")
			}
			f, data, err := svc.Download(ctx, id, export, in.Expires, in.Signature)
			if err != nil {
				return nil, err
			}
			return &productFile{"application/zip", fmt.Sprintf("attachment; filename=%q", f.FileName()), "nosniff", "no-store", data}, nil
		})
}
