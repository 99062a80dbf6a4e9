package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/ledger"
)

type writeOff struct {
	Policy string `json:"policy"`
	Cents  int64  `json:"cents"`
}

type writeOffInput struct {
	govapi.Idempotent
	Number string `path:"number"`
	Body   struct {
		Cents int64 `json:"cents" minimum:"1"`
	}
}

// guard puts one dangerous act of the office behind Reeve: writing off more than
// EUR 500 of premium a day needs a manager.
func (o *office) guard(ctx context.Context, api huma.API) error {
	key, err := ledger.KeyFile(filepath.Join(o.dir, "ledger.key"), "harbour.example")
	if err != nil {
		return err
	}
	k, err := governance.Open(ctx, bun.NewDB(o.db.DB, sqlitedialect.New()), &governance.Options{Authorizer: o, Directory: o, LedgerKey: key})
	if err != nil {
		return err
	}
	act := governance.Define("premium.write-off", governance.Spec[writeOff]{
		Permission: "premium:write-off",
		Tenant:     func(writeOff) governance.TenantID { return "" },
		Resource:   func(w writeOff) governance.Ref { return governance.Ref{Kind: "policy", ID: w.Policy} },
		Measures: func(_ context.Context, _ *governance.Tx, w writeOff) ([]governance.Measure, error) {
			return []governance.Measure{{Unit: "EUR.cent", Value: w.Cents}}, nil
		},
	}, func(ctx context.Context, tx *governance.Tx, w writeOff) (governance.Result, error) {
		return governance.Result{Data: w}, writeOffTx(ctx, tx, w.Policy, w.Cents)
	})
	day := governance.Duration{Duration: 24 * time.Hour}
	err = errors.Join(k.Register(act), k.InstallPolicies(ctx, governance.Policy{
		ID: "write-off", Title: "Write-offs", Actions: []string{act.Name()}, Mode: governance.Enforce,
		Limits:  []governance.Limit{{Unit: "EUR.cent", Max: 50000, Window: day, By: governance.ByActor}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "managers", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day},
	}))
	govapi.Kernel(huma.NewGroup(api, "/reeve"), k)
	govapi.Guarded(govapi.New(api, k), "premium:write-off", huma.Operation{OperationID: "write-off", Method: http.MethodPost, Path: "/policies/{number}/write-off"},
		func(ctx context.Context, id governance.Identity, in *writeOffInput) (governance.Outcome, error) {
			return act.Do(ctx, k, id, writeOff{in.Number, in.Body.Cents}, &governance.DoOptions{Key: in.Key})
		})
	go func() { _ = k.Run(ctx) }() // seals the ledger, expires approvals, delivers alerts
	return err
}
