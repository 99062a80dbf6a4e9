package main

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govdb"
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
func (o *office) guard(ctx context.Context, api huma.API, next http.Handler) (http.Handler, error) {
	db, err := govdb.Attach(ctx, bun.NewDB(o.db.DB, sqlitedialect.New()), nil, nil)
	if err != nil {
		return nil, err
	}
	if err := govdb.Migrate(ctx, db, governance.Schemas()...); err != nil {
		return nil, err
	}
	key, _, err := ledger.GenerateKey("harbour.example") // keep it: checkpoints are signed with it
	if err != nil {
		return nil, err
	}
	k, err := governance.New(db, &governance.Options{Authorizer: o, Directory: o, LedgerKey: key})
	if err != nil {
		return nil, err
	}
	act := governance.Define("premium.write-off", governance.Spec[writeOff]{
		Permission: "premium:write-off", Tenant: func(writeOff) governance.TenantID { return "" },
		Resource: func(w writeOff) governance.Ref { return governance.Ref{Kind: "policy", ID: w.Policy} },
		Measures: func(_ context.Context, _ *governance.Tx, w writeOff) ([]governance.Measure, error) {
			return []governance.Measure{{Unit: "EUR.cent", Value: w.Cents}}, nil
		},
	}, func(ctx context.Context, tx *governance.Tx, w writeOff) (governance.Result, error) {
		res, err := tx.ExecContext(ctx, "UPDATE policies SET due = due - ? WHERE number = ? AND due >= ?", w.Cents, w.Policy, w.Cents)
		if n, _ := res.RowsAffected(); err == nil && n == 0 {
			err = governance.ErrNotFound
		}
		return governance.Result{Data: w}, err
	})
	day := governance.Duration{Duration: 24 * time.Hour}
	manager := &governance.Require{AllOf: []governance.Quorum{{Group: "managers", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}
	limit := governance.Limit{Unit: "EUR.cent", Max: 50000, Window: day, By: governance.ByActor}
	if err := k.InstallPolicies(ctx, governance.Policy{ID: "write-off", Title: "Write-offs", Actions: []string{act.Name()}, Mode: governance.Enforce, Limits: []governance.Limit{limit}, Require: manager}); err != nil {
		return nil, err
	}
	govapi.Kernel(huma.NewGroup(api, "/reeve"), k)
	govapi.Guarded(govapi.New(api, k), "premium:write-off", huma.Operation{OperationID: "write-off", Method: http.MethodPost, Path: "/policies/{number}/write-off"},
		func(ctx context.Context, id governance.Identity, in *writeOffInput) (governance.Outcome, error) {
			return act.Do(ctx, k, id, writeOff{in.Number, in.Body.Cents}, &governance.DoOptions{Key: in.Key})
		})
	go func() { _ = k.Run(ctx) }() // seals the ledger, expires approvals, delivers alerts
	return identify(next), k.Register(act)
}
