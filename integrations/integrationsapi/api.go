// Package integrationsapi puts package integrations on a huma API: targets,
// deliveries, and the help desk's look-up.
//
// Start with [Register]. Errors are those of package govapi. Secrets go in and never
// come out, but for a webhook's signing secret, which the answer that made it shows.
package integrationsapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/integrations"
)

const (
	tag     = "Integrations"
	targets = "/integrations/targets"
)

type out[T any] struct{ Body T }

type targetOutput struct {
	ETag string `header:"ETag" doc:"Version of the target, for If-Match"`
	Body IntegrationsTarget
}

// IntegrationsTargetID is the path of a target.
type IntegrationsTargetID struct {
	ID string `path:"id" format:"uuid" doc:"Id of the target"`
}

func (p IntegrationsTargetID) parse() (governance.ID[integrations.Target], error) {
	u, err := uuid.Parse(p.ID)
	if err != nil {
		return governance.ID[integrations.Target]{}, governance.Invalid("path.id", "is not a UUID")
	}
	return governance.ID[integrations.Target]{UUID: u}, nil
}

// IntegrationsDeliveryID is the path of a delivery.
type IntegrationsDeliveryID struct {
	ID string `path:"id" format:"uuid" doc:"Id of the delivery"`
}

type createInput struct {
	govapi.Idempotent
	Body IntegrationsTargetInput
}

type editInput struct {
	govapi.Idempotent
	IntegrationsTargetID
	IfMatch string `header:"If-Match" doc:"ETag of the target as it was read, or * for whatever is there; required"`
	Body    IntegrationsTargetInput
}

type targetAction struct {
	govapi.Idempotent
	IntegrationsTargetID
}

type integrationsReasonInput struct {
	IntegrationsTargetID
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

type integrationsResyncInput struct {
	IntegrationsTargetID
	Body struct {
		Tenant     string `json:"tenant,omitempty" minLength:"1" maxLength:"128"`
		AllTenants bool   `json:"all_tenants,omitempty"`
	}
}

type integrationsReplayTargetInput struct {
	govapi.Idempotent
	IntegrationsTargetID
	Body struct {
		Tenant           string `json:"tenant,omitempty" minLength:"1" maxLength:"128" doc:"Of one tenant; absent: of all"`
		From             string `json:"from,omitempty" format:"date-time" doc:"Made then or later"`
		To               string `json:"to,omitempty" format:"date-time" doc:"Made before"`
		IncludeDelivered bool   `json:"include_delivered,omitempty" doc:"Also what was delivered, not only dead letters"`
		Reason           string `json:"reason,omitempty" maxLength:"500"`
	}
}

type integrationsReplayDeliveryInput struct {
	govapi.Idempotent
	IntegrationsDeliveryID
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

type listDeliveriesInput struct {
	govapi.Page
	Target string `query:"target" format:"uuid"`
	Tenant string `query:"tenant" maxLength:"128"`
	State  string `query:"state" enum:"pending,parked,done,merged,dead,cancelled"`
}

type lookupInput struct {
	Tenant string `query:"tenant" maxLength:"128" doc:"Id of the tenant"`
	Domain string `query:"domain" maxLength:"253"`
	Email  string `query:"email" maxLength:"254" doc:"Of somebody at the tenant"`
	System string `query:"system" maxLength:"64" doc:"With key: another system"`
	Key    string `query:"key" maxLength:"300" doc:"The tenant's key in system"`
}

// Register adds the operations to a huma API.
func Register(api huma.API, svc *integrations.Service) {
	h := handlers{svc}
	a := govapi.New(api, svc.Kernel())
	op := func(method, path, id, summary, description string) huma.Operation {
		return huma.Operation{OperationID: "integrations-" + id, Method: method, Path: path, Summary: summary, Description: description, Tags: []string{tag}}
	}
	govapi.Register(a, "integration:read", op(http.MethodGet, "/integrations/connectors", "list-connectors", "List installed connectors", ""), h.connectors)
	govapi.Register(a, "integration:read", op(http.MethodGet, targets, "list-targets", "List targets", "All of them, with how far each is behind."), h.list)
	govapi.GuardedResult[IntegrationsCreated](a, "integration:write", op(http.MethodPost, targets, "create-target", "Add a target",
		"The signing secret of a webhook is in this answer and nowhere else. When the creation is held, rotate the secret after it was approved."), h.create)
	govapi.Register(a, "integration:read", op(http.MethodGet, targets+"/{id}", "get-target", "Get a target", ""), h.get)
	edit := op(http.MethodPut, targets+"/{id}", "edit-target", "Edit a target", "A secret that is not named is kept, an empty one removed.")
	edit.Errors = []int{http.StatusPreconditionFailed}
	govapi.GuardedResult[IntegrationsChanged](a, "integration:write", edit, h.edit)
	govapi.GuardedResult[IntegrationsChanged](a, "integration:write", op(http.MethodDelete, targets+"/{id}", "remove-target", "Remove a target",
		"What waits for it is cancelled; its log stays."), h.remove)
	govapi.Register(a, "integration:write", op(http.MethodPost, targets+"/{id}/pause", "pause-target", "Pause a target", "Deliveries collect; none is lost."), h.pause)
	govapi.Register(a, "integration:write", op(http.MethodPost, targets+"/{id}/resume", "resume-target", "Resume a target", ""), h.resume)
	govapi.Register(a, "integration:write", op(http.MethodPost, targets+"/{id}/test", "test-target", "Test a target",
		"A webhook is sent a signed event of type ping; a connector checks its credentials."), h.test)
	govapi.Register(a, "integration:write", op(http.MethodPost, targets+"/{id}/secret", "rotate-secret", "Make a new signing secret",
		"Shown in this answer only. For 24 hours messages are signed with the old one as well."), h.rotate)
	govapi.Register(a, "integration:write", op(http.MethodPost, targets+"/{id}/resync", "resync-target", "Tell a connector the current state again", ""), h.resync)
	govapi.GuardedResult[IntegrationsReplayed](a, "integration:write", op(http.MethodPost, targets+"/{id}/replay", "replay-target", "Send a target's deliveries again",
		"A webhook gets each event as it was, under the same id; a connector is told each tenant's current state."), h.replayTarget)
	govapi.Register(a, "integration:read", op(http.MethodGet, "/integrations/deliveries", "list-deliveries", "List deliveries", "Newest first."), h.deliveries)
	govapi.Register(a, "integration:read", op(http.MethodGet, "/integrations/deliveries/{id}", "get-delivery", "Get a delivery with its attempts", ""), h.delivery)
	govapi.GuardedResult[IntegrationsReplayed](a, "integration:write", op(http.MethodPost, "/integrations/deliveries/{id}/replay", "replay-delivery", "Send one delivery again", ""), h.replayDelivery)
	lookup := op(http.MethodGet, "/support/lookup", "support-lookup", "Look up a tenant for support", "Ask by exactly one of tenant, domain, email, or system with key. Every look-up is recorded.")
	lookup.Tags = []string{"Support"}
	govapi.Register(a, "support:lookup", lookup, h.lookup)
}

type handlers struct{ svc *integrations.Service }

func (h handlers) connectors(context.Context, governance.Identity, *struct{}) (*out[govapi.List[IntegrationsConnector]], error) {
	items := []IntegrationsConnector{}
	for _, d := range h.svc.Connectors() {
		items = append(items, wireConnector(d))
	}
	return &out[govapi.List[IntegrationsConnector]]{govapi.NewList(items, "")}, nil
}

func (h handlers) list(ctx context.Context, _ governance.Identity, _ *struct{}) (*out[govapi.List[IntegrationsTarget]], error) {
	ts, err := h.svc.Targets(ctx)
	if err != nil {
		return nil, err
	}
	lags, err := h.lags(ctx)
	if err != nil {
		return nil, err
	}
	items := []IntegrationsTarget{}
	for _, t := range ts {
		items = append(items, wireTarget(t, lags[t.ID]))
	}
	return &out[govapi.List[IntegrationsTarget]]{govapi.NewList(items, "")}, nil
}

func (h handlers) lags(ctx context.Context) (map[governance.ID[integrations.Target]]integrations.Lag, error) {
	ls, err := h.svc.Lags(ctx)
	m := map[governance.ID[integrations.Target]]integrations.Lag{}
	for _, l := range ls {
		m[l.Target] = l
	}
	return m, err
}

func (h handlers) create(ctx context.Context, id governance.Identity, in *createInput) (governance.Outcome, error) {
	c, o, err := h.svc.CreateTarget(ctx, id, in.Body.input(), &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
	if err != nil {
		return o, err
	}
	o.Data, err = json.Marshal(IntegrationsCreated{ID: c.ID.String(), Secret: c.Secret, PublicKey: c.PublicKey})
	return o, err
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

func (h handlers) get(ctx context.Context, _ governance.Identity, in *IntegrationsTargetID) (*targetOutput, error) {
	id, err := in.parse()
	if err != nil {
		return nil, err
	}
	t, err := h.svc.Target(ctx, id)
	if err != nil {
		return nil, err
	}
	lags, err := h.lags(ctx)
	if err != nil {
		return nil, err
	}
	return &targetOutput{etag(t.Version), wireTarget(t, lags[t.ID])}, nil
}

func (h handlers) edit(ctx context.Context, id governance.Identity, in *editInput) (governance.Outcome, error) {
	target, err := in.parse()
	if err != nil {
		return governance.Outcome{}, err
	}
	version := int64(0)
	if in.IfMatch != "*" {
		version, err = strconv.ParseInt(strings.Trim(in.IfMatch, `"`), 10, 64)
		if err != nil || version <= 0 || in.IfMatch != etag(version) {
			return governance.Outcome{}, governance.Invalid("header.If-Match", "is required: the ETag of the target as it was read, or *")
		}
		t, err := h.svc.Target(ctx, target)
		if err != nil {
			return governance.Outcome{}, err
		}
		if t.Version != version {
			return governance.Outcome{}, huma.Error412PreconditionFailed("the target has changed since it was read")
		}
	}
	return h.svc.EditTarget(ctx, id, target, version, in.Body.input(), &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
}

func (h handlers) remove(ctx context.Context, id governance.Identity, in *targetAction) (governance.Outcome, error) {
	target, err := in.parse()
	if err != nil {
		return governance.Outcome{}, err
	}
	return h.svc.RemoveTarget(ctx, id, target, &governance.DoOptions{Key: in.Key})
}

func (h handlers) pause(ctx context.Context, id governance.Identity, in *integrationsReasonInput) (*struct{}, error) {
	target, err := in.parse()
	if err != nil {
		return nil, err
	}
	return nil, h.svc.Pause(ctx, id, target, in.Body.Reason)
}

func (h handlers) resume(ctx context.Context, id governance.Identity, in *integrationsReasonInput) (*struct{}, error) {
	target, err := in.parse()
	if err != nil {
		return nil, err
	}
	return nil, h.svc.Resume(ctx, id, target, in.Body.Reason)
}

func (h handlers) test(ctx context.Context, id governance.Identity, in *IntegrationsTargetID) (*out[IntegrationsProbe], error) {
	target, err := in.parse()
	if err != nil {
		return nil, err
	}
	p, err := h.svc.Test(ctx, id, target)
	if err != nil {
		return nil, err
	}
	return &out[IntegrationsProbe]{IntegrationsProbe{p.OK, string(p.Code), p.Status, p.Detail, p.Took.Milliseconds(), p.Delivery}}, nil
}

func (h handlers) rotate(ctx context.Context, id governance.Identity, in *IntegrationsTargetID) (*out[IntegrationsSecret], error) {
	target, err := in.parse()
	if err != nil {
		return nil, err
	}
	r, err := h.svc.RotateSecret(ctx, id, target)
	if err != nil {
		return nil, err
	}
	return &out[IntegrationsSecret]{IntegrationsSecret{r.Secret, r.PublicKey, optional(r.Until)}}, nil
}

func (h handlers) resync(ctx context.Context, id governance.Identity, in *integrationsResyncInput) (*out[IntegrationsReplayed], error) {
	target, err := in.parse()
	if err != nil {
		return nil, err
	}
	n, err := h.svc.Resync(ctx, id, target, governance.TenantID(in.Body.Tenant), in.Body.AllTenants)
	if err != nil {
		return nil, err
	}
	return &out[IntegrationsReplayed]{IntegrationsReplayed{n}}, nil
}

func (h handlers) replayTarget(ctx context.Context, id governance.Identity, in *integrationsReplayTargetInput) (governance.Outcome, error) {
	return h.svc.Replay(ctx, id, integrations.ReplayInput{Target: in.ID, Tenant: governance.TenantID(in.Body.Tenant), From: in.Body.From, To: in.Body.To, Delivers: in.Body.IncludeDelivered},
		&governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
}

func (h handlers) replayDelivery(ctx context.Context, id governance.Identity, in *integrationsReplayDeliveryInput) (governance.Outcome, error) {
	return h.svc.Replay(ctx, id, integrations.ReplayInput{Delivery: in.ID}, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
}

func (h handlers) deliveries(ctx context.Context, _ governance.Identity, in *listDeliveriesInput) (*out[govapi.List[IntegrationsDelivery]], error) {
	f := integrations.DeliveryFilter{Tenant: governance.TenantID(in.Tenant), State: integrations.DeliveryState(in.State), Limit: in.Limit}
	if in.Target != "" {
		t, err := IntegrationsTargetID{in.Target}.parse()
		if err != nil {
			return nil, governance.Invalid("query.target", "is not a UUID")
		}
		f.Target = t
	}
	after, err := govapi.ParseIDCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	f.After = governance.ID[integrations.Delivery]{UUID: after}
	ds, err := h.svc.Deliveries(ctx, f)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(ds) == in.Limit {
		next = govapi.Cursor(ds[len(ds)-1].ID.String())
	}
	items := []IntegrationsDelivery{}
	for _, d := range ds {
		items = append(items, wireDelivery(d))
	}
	return &out[govapi.List[IntegrationsDelivery]]{govapi.NewList(items, next)}, nil
}

func (h handlers) delivery(ctx context.Context, _ governance.Identity, in *IntegrationsDeliveryID) (*out[IntegrationsDeliveryDetail], error) {
	u, err := uuid.Parse(in.ID)
	if err != nil {
		return nil, governance.Invalid("path.id", "is not a UUID")
	}
	d, attempts, err := h.svc.Delivery(ctx, governance.ID[integrations.Delivery]{UUID: u})
	if err != nil {
		return nil, err
	}
	body := IntegrationsDeliveryDetail{Delivery: wireDelivery(d), Log: []IntegrationsAttempt{}}
	for _, a := range attempts {
		body.Log = append(body.Log, IntegrationsAttempt{a.ID.String(), a.N, a.Idempotency, a.StartedAt, optional(a.EndedAt), a.Micros, a.Status, string(a.Code), a.Excerpt})
	}
	return &out[IntegrationsDeliveryDetail]{body}, nil
}

func (h handlers) lookup(ctx context.Context, id governance.Identity, in *lookupInput) (*lookupOutput, error) {
	s, err := h.svc.Lookup(ctx, id, integrations.LookupQuery{Tenant: governance.TenantID(in.Tenant), Domain: in.Domain, Email: in.Email, System: in.System, Key: in.Key})
	var invalid *governance.InvalidError
	if errors.As(err, &invalid) && !strings.HasPrefix(invalid.Field, "query") {
		return nil, governance.Invalid("query."+invalid.Field, "%s", invalid.Reason)
	}
	if err != nil {
		return nil, err
	}
	return &lookupOutput{CacheControl: "private, no-store", Body: wireStatus(s)}, nil
}

type lookupOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         IntegrationsStatus
}
