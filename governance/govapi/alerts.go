package govapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alertroute"
)

// GovAlertID is the path of an alert.
type GovAlertID struct {
	ID string `path:"id" format:"uuid" doc:"Id of the alert"`
}

type govListAlerts struct {
	State  string `query:"state" enum:"firing,acked,resolved" doc:"Absent: what is open"`
	Tenant string `query:"tenant" maxLength:"128"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type govListAlertGroups struct {
	Tenant string `query:"tenant" maxLength:"128"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"200" doc:"Most alerts, not groups"`
}

type govCloseAlert struct {
	GovAlertID
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500"`
	}
}

type govListAlertDeliveries struct {
	Alert string `query:"alert" format:"uuid" doc:"Of one alert"`
	State string `query:"state" enum:"waiting,sent,dead,moot"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type govListSilences struct {
	Ended bool `query:"ended" doc:"Those that ended as well"`
}

type govSilenceAlerts struct {
	Idempotent
	Body struct {
		Match  GovAlertMatch `json:"match" doc:"A key or a tenant at least; without severities it takes info and warning"`
		Reason string        `json:"reason" minLength:"1" maxLength:"500"`
		Until  time.Time     `json:"until"`
	}
}

type govPutAlertRoutes struct {
	Idempotent
	Body struct {
		Routing GovAlertRouting `json:"routing"`
		Reason  string          `json:"reason,omitempty" maxLength:"2000"`
	}
}

func alerts(a *API) {
	k := a.k
	tags := []string{"Alerts"}
	Register(a, "alert:read", huma.Operation{OperationID: "gov-list-alerts", Method: http.MethodGet, Path: "/alerts", Summary: "List alerts, the most recent first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govListAlerts) (*body[List[GovAlert]], error) {
			as, err := k.Alerts(ctx, governance.AlertFilter{State: governance.AlertState(in.State), Tenant: governance.TenantID(in.Tenant), Limit: in.Limit})
			return listOf(as, wireAlert, err)
		})
	Register(a, "alert:read", huma.Operation{OperationID: "gov-get-alert", Method: http.MethodGet, Path: "/alerts/{id}", Summary: "Read an alert", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *GovAlertID) (*body[GovAlert], error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			al, err := k.Alert(ctx, id)
			return &body[GovAlert]{wireAlert(al)}, err
		})
	Register(a, "alert:ack", huma.Operation{OperationID: "gov-ack-alert", Method: http.MethodPost, Path: "/alerts/{id}/ack", Summary: "Say that somebody has it in hand", Tags: tags, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, caller governance.Identity, in *struct {
			Idempotent
			ID string `path:"id" format:"uuid"`
		}) (*struct{}, error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			return nil, k.AckAlert(ctx, caller, id)
		})
	Register(a, "alert:ack", huma.Operation{OperationID: "gov-close-alert", Method: http.MethodPost, Path: "/alerts/{id}/close", Summary: "Resolve an alert by hand", Tags: tags, DefaultStatus: http.StatusNoContent,
		Description: "For one whose cause does not say when it is gone. A cause that is still there raises it again."},
		func(ctx context.Context, caller governance.Identity, in *govCloseAlert) (*struct{}, error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			return nil, k.CloseAlert(ctx, caller, id, in.Body.Reason)
		})
	Register(a, "alert:read", huma.Operation{OperationID: "gov-list-alert-groups", Method: http.MethodGet, Path: "/alert-groups", Summary: "List open alerts by group", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govListAlertGroups) (*body[List[GovAlertGroup]], error) {
			gs, err := k.AlertGroups(ctx, governance.AlertFilter{Tenant: governance.TenantID(in.Tenant), Limit: in.Limit})
			return listOf(gs, wireGroup, err)
		})
	Register(a, "alert:ack", huma.Operation{OperationID: "gov-ack-alert-group", Method: http.MethodPost, Path: "/alert-groups/{id}/ack", Summary: "Acknowledge all that fires in a group", Tags: tags, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, caller governance.Identity, in *struct {
			ID string `path:"id" maxLength:"64"`
		}) (*struct{}, error) {
			_, err := k.AckAlertGroup(ctx, caller, in.ID)
			return nil, err
		})
	alertDeliveries(a)
	alertSilences(a)
	alertRoutes(a)
}

func alertDeliveries(a *API) {
	k := a.k
	tags := []string{"Alerts"}
	Register(a, "alert:read", huma.Operation{OperationID: "gov-list-alert-deliveries", Method: http.MethodGet, Path: "/alert-deliveries", Summary: "List messages to notifiers with every try, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govListAlertDeliveries) (*body[List[GovAlertDelivery]], error) {
			f := governance.DeliveryFilter{State: governance.NoticeState(in.State), Limit: in.Limit}
			if in.Alert != "" {
				id, err := parseUUID("query.alert", in.Alert)
				if err != nil {
					return nil, err
				}
				f.Alert = id
			}
			ds, err := k.AlertDeliveries(ctx, f)
			return listOf(ds, wireAlertDelivery, err)
		})
	Register(a, "alert:ack", huma.Operation{OperationID: "gov-resend-alert", Method: http.MethodPost, Path: "/alert-deliveries/{id}/resend", Summary: "Take a dead message up again", Tags: tags, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, caller governance.Identity, in *struct {
			ID string `path:"id" format:"uuid"`
		}) (*struct{}, error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			return nil, k.ResendNotice(ctx, caller, id)
		})
}

func alertSilences(a *API) {
	k := a.k
	tags := []string{"Alerts"}
	Register(a, "alert:read", huma.Operation{OperationID: "gov-list-alert-silences", Method: http.MethodGet, Path: "/alert-silences", Summary: "List silences, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govListSilences) (*body[List[GovAlertSilence]], error) {
			ss, err := k.Silences(ctx, in.Ended)
			return listOf(ss, wireSilence, err)
		})
	GuardedResult[GovAlertSilenced](a, "alert:silence", huma.Operation{OperationID: "gov-silence-alerts", Method: http.MethodPost, Path: "/alert-silences", Summary: "Keep alerts from the notifiers for a while", Tags: tags,
		Description: "They stay in the list, and are told when it ends and they are still open. That alerts do not arrive, and that somebody broke the glass, is never silenced."},
		func(ctx context.Context, caller governance.Identity, in *govSilenceAlerts) (governance.Outcome, error) {
			s := governance.Silence{Match: alertroute.Match(in.Body.Match), Reason: in.Body.Reason, Until: in.Body.Until}
			return k.SilenceAlerts(ctx, caller, s, &governance.DoOptions{Key: in.Key})
		})
	Register(a, "alert:silence", huma.Operation{OperationID: "gov-end-alert-silence", Method: http.MethodPost, Path: "/alert-silences/{id}/end", Summary: "End a silence now", Tags: tags, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, caller governance.Identity, in *struct {
			ID string `path:"id" format:"uuid"`
		}) (*struct{}, error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			return nil, k.EndSilence(ctx, caller, id)
		})
}

func alertRoutes(a *API) {
	k := a.k
	tags := []string{"Alerts"}
	wire := func(v governance.AlertRoutes) GovAlertRoutingVersion { return wireRoutes(v, k.Notifiers()) }
	Register(a, "alert:read", huma.Operation{OperationID: "gov-get-alert-routes", Method: http.MethodGet, Path: "/alert-routes", Summary: "Read the alert routes in force", Tags: tags},
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*body[GovAlertRoutingVersion], error) {
			v, err := k.AlertRoutes(ctx)
			return &body[GovAlertRoutingVersion]{wire(v)}, err
		})
	Register(a, "alert:read", huma.Operation{OperationID: "gov-alert-route-history", Method: http.MethodGet, Path: "/alert-routes/versions", Summary: "List the versions of the alert routes", Tags: tags},
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*body[List[GovAlertRoutingVersion]], error) {
			vs, err := k.AlertRouteHistory(ctx)
			return listOf(vs, wire, err)
		})
	GuardedResult[GovAlertRoutingPut](a, "alert:route", huma.Operation{OperationID: "gov-put-alert-routes", Method: http.MethodPut, Path: "/alert-routes", Summary: "Store the next version of the alert routes", Tags: tags,
		Description: "The version in force stays so until the edit itself has passed the guard."},
		func(ctx context.Context, caller governance.Identity, in *govPutAlertRoutes) (governance.Outcome, error) {
			d, err := in.Body.Routing.document()
			if err != nil {
				return governance.Outcome{}, err
			}
			return k.PutAlertRoutes(ctx, caller, d, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
}

func listOf[T, W any](ts []T, wire func(T) W, err error) (*body[List[W]], error) {
	if err != nil {
		return nil, err
	}
	items := make([]W, len(ts))
	for i, t := range ts {
		items[i] = wire(t)
	}
	return &body[List[W]]{NewList(items, "")}, nil
}
