package productapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
)

type productRefund struct {
	ProductTenantID
	govapi.Idempotent
	Body struct {
		Invoice  string `json:"invoice" minLength:"1" maxLength:"128" example:"ACME-2026-11"`
		Amount   string `json:"amount" minLength:"1" maxLength:"32" example:"5.00" doc:"Decimal, at most as many decimals as the currency has"`
		Currency string `json:"currency" pattern:"^[A-Z]{3}$" example:"EUR"`
		Reason   string `json:"reason" minLength:"1" maxLength:"2000"`
		Ticket   string `json:"ticket,omitempty" maxLength:"200"`
	}
}

// ProductRefunded is a refund that was made.
type ProductRefunded struct {
	Refund  string       `json:"refund"`
	Invoice string       `json:"invoice"`
	Money   ProductMoney `json:"money"`
}

type productListRefunds struct {
	ProductTenantID
	govapi.Page
}

// ProductRefundEntry is a refund in a tenant's list.
type ProductRefundEntry struct {
	ID      string       `json:"id"`
	Invoice string       `json:"invoice"`
	Money   ProductMoney `json:"money"`
	Reason  string       `json:"reason"`
	Actor   string       `json:"actor"`
	At      time.Time    `json:"at"`
}

type productGrant struct {
	ProductTenantID
	govapi.Idempotent
	Body struct {
		Feature  string    `json:"feature" minLength:"1" maxLength:"128"`
		Quantity int64     `json:"quantity,omitempty" minimum:"0" maximum:"1000000000" doc:"0 is unlimited"`
		Until    time.Time `json:"until" doc:"When it ends by itself, at most 366 days away"`
		Reason   string    `json:"reason" minLength:"1" maxLength:"2000"`
		Ticket   string    `json:"ticket,omitempty" maxLength:"200"`
	}
}

// ProductEntitlement is a feature that a tenant has.
type ProductEntitlement struct {
	Feature  string `json:"feature"`
	Quantity string `json:"quantity"`
	Source   string `json:"source"`
	Until    string `json:"until,omitempty"`
}

// ProductGranted is a grant that was made.
type ProductGranted struct {
	Before *ProductEntitlement `json:"before"`
	After  ProductEntitlement  `json:"after"`
}

type productRevoke struct {
	ProductTenantID
	Feature string `path:"feature" maxLength:"128" doc:"The feature"`
	govapi.Idempotent
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"2000"`
		Ticket string `json:"ticket,omitempty" maxLength:"200"`
	}
}

func money(a *govapi.API, svc *product.Service, tags []string) {
	govapi.GuardedResult[ProductRefunded](a, "tenant:credit", huma.Operation{OperationID: "product-refund", Method: http.MethodPost, Path: "/tenants/{id}/refunds",
		Summary: "Give a part of a payment back", Tags: tags, Description: "Never more than was paid less what was refunded before. Held when the tenant's credits and refunds over 24 hours would exceed the limit."},
		func(ctx context.Context, id governance.Identity, in *productRefund) (governance.Outcome, error) {
			m, err := governance.ParseMoney(in.Body.Amount, in.Body.Currency)
			if err != nil {
				return governance.Outcome{}, err
			}
			return svc.Refund(ctx, id, governance.TenantID(in.ID), in.Body.Invoice, m, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason, Ticket: in.Body.Ticket})
		})
	govapi.GuardedResult[ProductGranted](a, "tenant:plan", huma.Operation{OperationID: "product-grant", Method: http.MethodPost, Path: "/tenants/{id}/grants",
		Summary: "Give a tenant a feature by hand, until a day", Tags: tags, Description: "Held when a tenant is given more days over 30 days than the limit."},
		func(ctx context.Context, id governance.Identity, in *productGrant) (governance.Outcome, error) {
			return svc.Grant(ctx, id, governance.TenantID(in.ID), in.Body.Feature, in.Body.Quantity, in.Body.Until, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason, Ticket: in.Body.Ticket})
		})
	govapi.GuardedResult[ProductEntitlement](a, "tenant:plan", huma.Operation{OperationID: "product-revoke", Method: http.MethodPost, Path: "/tenants/{id}/grants/{feature}/revoke",
		Summary: "Take back a feature that was given by hand", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *productRevoke) (governance.Outcome, error) {
			return svc.Revoke(ctx, id, governance.TenantID(in.ID), in.Feature, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason, Ticket: in.Body.Ticket})
		})
	govapi.Register(a, "tenant:read", huma.Operation{OperationID: "product-list-refunds", Method: http.MethodGet, Path: "/tenants/{id}/refunds", Summary: "List a tenant's refunds, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *productListRefunds) (*out[govapi.List[ProductRefundEntry]], error) {
			before, err := govapi.ParseIDCursor(in.Cursor)
			if err != nil {
				return nil, err
			}
			got, err := svc.Refunds(ctx, governance.TenantID(in.ID), before, in.Limit)
			if err != nil {
				return nil, err
			}
			items, next := make([]ProductRefundEntry, len(got)), ""
			for i, r := range got {
				items[i] = ProductRefundEntry{r.ID.String(), r.Invoice, wireMoney(r.Money), r.Reason, r.Actor, r.At}
			}
			if len(got) == in.Limit {
				next = govapi.Cursor(got[len(got)-1].ID.String())
			}
			return &out[govapi.List[ProductRefundEntry]]{Body: govapi.NewList(items, next)}, nil
		})
}
