package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/reevehq/reeve/governance/alertroute"
)

// ActionPutAlertRoutes is the name of the action that edits the alert routes. A policy
// should hold it, else whoever may edit routes may send a warning about themselves to
// nobody who reads it; see [AlertPolicies].
const ActionPutAlertRoutes = "alert.routes.put"

// AlertRoutes is a stored document of alert routes. Version 0 is what is there without
// one: every notifier is told everything.
type AlertRoutes struct {
	alertroute.Document
	Version  int       `json:"version"`
	Hash     Digest    `json:"hash"`
	Active   bool      `json:"active"`
	EditedBy PersonID  `json:"edited_by,omitempty"`
	At       time.Time `json:"at,omitzero"`
}

// AlertPolicies are the policies about alerts that a product starts with: the routes
// change only with a second person of group.
func AlertPolicies(group GroupID) []Policy {
	return []Policy{{ID: "alert-routes-change", Title: "Alert routes change only with a second person", Actions: []string{ActionPutAlertRoutes}, Mode: Enforce,
		NeedWhy: true, Require: &Require{AllOf: []Quorum{{Group: group, Approvals: 1}},
			DecideWithin: Duration{72 * time.Hour}, ExecuteWithin: Duration{24 * time.Hour}}}}
}

func (k *Kernel) notifierNames() []string {
	out := make([]string, len(k.opts.Notifiers))
	for i, n := range k.opts.Notifiers {
		out[i] = n.Name()
	}
	return out
}

// Notifiers lists the names of the notifiers there are.
func (k *Kernel) Notifiers() []string { return k.notifierNames() }

func invalidFaults(fs []alertroute.Fault) error {
	var errs []error
	for _, f := range fs {
		errs = append(errs, Invalid(f.Field, "%s", f.Reason))
	}
	return errors.Join(errs...)
}

func putAlertRoutes(k *Kernel) *Action[alertroute.Document] {
	return Define(ActionPutAlertRoutes, Spec[alertroute.Document]{
		Summary:    "Changes to whom alerts go.",
		Permission: "alert:route",
		Sensitive:  true,
		Tenant:     func(alertroute.Document) TenantID { return "" },
		Resource:   func(alertroute.Document) Ref { return Ref{"alert_routes", "routes"} },
		Validate:   func(d alertroute.Document) error { return invalidFaults(d.Faults(k.notifierNames())) },
		Version: func(ctx context.Context, tx *Tx, _ alertroute.Document) (int64, error) {
			var v int64
			err := tx.NewRaw("SELECT COALESCE(MAX(version), 0) FROM gov_alert_route").Scan(ctx, &v)
			return v, err
		},
		Preview: func(ctx context.Context, tx *Tx, d alertroute.Document) (any, error) {
			old, err := activeRoutesTx(ctx, tx)
			return map[string]any{"before": old.Document, "after": d}, err
		},
	}, k.putAlertRoutesTx)
}

func (k *Kernel) putAlertRoutesTx(ctx context.Context, tx *Tx, d alertroute.Document) (Result, error) {
	if err := invalidFaults(d.Faults(k.notifierNames())); err != nil { // notifiers may have gone meanwhile
		return Result{}, err
	}
	e, _ := ExecutionFrom(ctx)
	body, err := Canonical(d)
	if err != nil {
		return Result{}, err
	}
	v := AlertRoutes{Document: d, Hash: digestBytes("reeve/alertroutes/v1", body), Active: true, EditedBy: e.Identity.Actor.Person, At: k.Now()}
	if err := tx.NewRaw("SELECT COALESCE(MAX(version), 0) + 1 FROM gov_alert_route").Scan(ctx, &v.Version); err != nil {
		return Result{}, fmt.Errorf("alert routes: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE gov_alert_route SET active = ? WHERE active", false); err != nil {
		return Result{}, fmt.Errorf("alert routes: %w", err)
	}
	row := &alertRouteRow{Version: v.Version, Body: string(body), Hash: string(v.Hash), Active: true, EditedBy: string(v.EditedBy), CreatedAt: atMicros(v.At)}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return Result{}, fmt.Errorf("alert routes: %w", err)
	}
	// What is open is routed anew: whoever is responsible now must learn of it.
	var open []alertRow
	if err := tx.NewSelect().Model(&open).Column("id").Where("state <> ?", AlertResolved).Scan(ctx); err != nil {
		return Result{}, fmt.Errorf("alert routes: %w", err)
	}
	for _, a := range open {
		if err := k.alertChangedTx(ctx, tx, a.ID); err != nil {
			return Result{}, err
		}
	}
	ev, err := NewEvent("alert.routes_changed", "", 0, Ref{"alert_routes", "routes"}, v)
	return Result{Data: map[string]any{"version": v.Version, "hash": v.Hash}, Events: []Event{ev}}, err
}

// PutAlertRoutes stores the next version of the alert routes, through the guard: the
// old version stays in force until the action is executed.
func (k *Kernel) PutAlertRoutes(ctx context.Context, id Identity, d alertroute.Document, opts *DoOptions) (Outcome, error) {
	def, err := k.defined(ActionPutAlertRoutes)
	if err != nil {
		return Outcome{}, fmt.Errorf("put alert routes: %w", err)
	}
	return k.do(ctx, def, id, d, opts)
}

// AlertRoutes gives the routes in force.
func (k *Kernel) AlertRoutes(ctx context.Context) (AlertRoutes, error) {
	var rows []alertRouteRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("active").Scan(ctx); err != nil {
		return AlertRoutes{}, fmt.Errorf("alert routes: %w", err)
	}
	return firstRoutes(rows)
}

func activeRoutesTx(ctx context.Context, tx *Tx) (AlertRoutes, error) {
	var rows []alertRouteRow
	if err := tx.NewSelect().Model(&rows).Where("active").Scan(ctx); err != nil {
		return AlertRoutes{}, fmt.Errorf("alert routes: %w", err)
	}
	return firstRoutes(rows)
}

func firstRoutes(rows []alertRouteRow) (AlertRoutes, error) {
	if len(rows) == 0 {
		return AlertRoutes{Active: true}, nil
	}
	return rows[0].routes()
}

// AlertRouteHistory lists every stored version of the alert routes, newest first.
func (k *Kernel) AlertRouteHistory(ctx context.Context) ([]AlertRoutes, error) {
	var rows []alertRouteRow
	if err := k.db.Read().NewSelect().Model(&rows).Order("version DESC").Limit(200).Scan(ctx); err != nil {
		return nil, fmt.Errorf("alert routes: %w", err)
	}
	out := make([]AlertRoutes, 0, len(rows))
	for _, r := range rows {
		v, err := r.routes()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (r alertRouteRow) routes() (AlertRoutes, error) {
	v := AlertRoutes{Version: r.Version, Hash: Digest(r.Hash), Active: r.Active, EditedBy: PersonID(r.EditedBy), At: r.CreatedAt.Time()}
	if err := json.Unmarshal([]byte(r.Body), &v.Document); err != nil {
		return v, fmt.Errorf("alert routes version %d: %w", r.Version, err)
	}
	return v, nil
}
