package integrations

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/integrations/connector"
)

// The calls of this file are the effects of actions that were decided elsewhere: a
// playbook's step, a button. They ask for no permission. An error marked by
// governance.NotDone certainly had no effect; any other may have had one, and the
// call may be made again with the same idempotency id.

// TicketRequest is a ticket to open.
type TicketRequest struct {
	Target   string // name of a ticketing target; empty: the only one there is
	Tenant   governance.TenantID
	Subject  string
	Body     string
	Priority string // low, normal, high, urgent; empty: normal
}

// Ticket is a ticket at a help desk.
type Ticket struct {
	Target governance.ID[Target] `json:"target"`
	ID     string                `json:"id"`
	URL    string                `json:"url"`
	State  string                `json:"state"`
}

const (
	opOpenTicket = "open_ticket"
	opAddToList  = "add_to_list"
	opDropList   = "remove_from_list"
)

// OpenTicket opens one ticket for an idempotency id, however often it is called.
func (s *Service) OpenTicket(ctx context.Context, idem string, in TicketRequest) (Ticket, error) {
	if in.Subject == "" || in.Tenant == "" {
		return Ticket{}, governance.NotDone(governance.Invalid("ticket", "tenant and subject are required"))
	}
	if in.Priority == "" {
		in.Priority = "normal"
	}
	raw, err := s.once(ctx, idem, opOpenTicket, request{Ticketing, in.Target, in.Tenant, clip(in.Subject, 200)},
		func(ctx context.Context, t Target, c connector.Connector, meta connector.Meta) (any, error) {
			tickets, ok := c.(connector.Tickets)
			if !ok {
				return nil, &connector.Error{Code: connector.Unsupported, Message: t.Name + " opens no tickets"}
			}
			got, _, err := tickets.OpenTicket(ctx, connector.TicketDraft{Meta: meta, DedupKey: idem, Subject: in.Subject, Body: in.Body, Priority: in.Priority})
			return Ticket{t.ID, got.ID, got.URL, got.State}, err
		})
	if err != nil {
		return Ticket{}, err
	}
	var out Ticket
	err = json.Unmarshal(raw, &out)
	return out, err
}

// FindTicket tells whether the ticket of an idempotency id is there, and where. It asks
// the help desk, so it settles a call whose outcome nobody knows.
func (s *Service) FindTicket(ctx context.Context, idem string) (Ticket, bool, error) {
	row, found, err := s.callOf(ctx, idem, opOpenTicket)
	if err != nil || !found {
		return Ticket{}, false, err // never asked for: the row is written before the call
	}
	t, err := s.Target(ctx, governance.ID[Target]{UUID: row.Target})
	if err != nil {
		return Ticket{}, false, err
	}
	call, cancel := context.WithTimeout(ctx, s.opts.CallLimit)
	defer cancel()
	c, err := s.open(call, t)
	if err != nil {
		return Ticket{}, false, err
	}
	tickets, ok := c.(connector.Tickets)
	if !ok {
		return Ticket{}, false, fmt.Errorf("%s finds no tickets", t.Name)
	}
	got, err := tickets.FindTicket(call, idem)
	if connector.CodeOf(err) == connector.NotFound {
		return Ticket{}, false, nil
	}
	if err != nil {
		return Ticket{}, false, fmt.Errorf("find ticket: %w", err)
	}
	return Ticket{t.ID, got.ID, got.URL, got.State}, true, nil
}

// ListRequest puts a tenant on a list of a CRM, or takes it off.
type ListRequest struct {
	Target string // name of a CRM target; empty: the only one there is
	Tenant governance.TenantID
	List   string
}

// AddToList puts the tenant on the list. changed is false when it was there.
func (s *Service) AddToList(ctx context.Context, idem string, in ListRequest) (changed bool, err error) {
	return s.list(ctx, idem, opAddToList, in, connector.Lists.AddToList)
}

// RemoveFromList takes the tenant off the list. changed is false when it was not there.
func (s *Service) RemoveFromList(ctx context.Context, idem string, in ListRequest) (changed bool, err error) {
	return s.list(ctx, idem, opDropList, in, connector.Lists.RemoveFromList)
}

func (s *Service) list(ctx context.Context, idem, op string, in ListRequest, do func(connector.Lists, context.Context, connector.Membership) (connector.Outcome, error)) (bool, error) {
	if in.List == "" || in.Tenant == "" {
		return false, governance.NotDone(governance.Invalid("list", "tenant and list are required"))
	}
	raw, err := s.once(ctx, idem, op, request{CRM, in.Target, in.Tenant, clip(in.List, 200)},
		func(ctx context.Context, t Target, c connector.Connector, meta connector.Meta) (any, error) {
			lists, ok := c.(connector.Lists)
			if !ok {
				return nil, &connector.Error{Code: connector.Unsupported, Message: t.Name + " keeps no lists"}
			}
			out, err := do(lists, ctx, connector.Membership{Meta: meta, List: in.List})
			if err == nil && !out.Done() {
				err = &connector.Error{Code: connector.Other, Message: "the connector answered outcome " + string(out)}
			}
			return map[string]bool{"changed": out == connector.Created || out == connector.Updated}, err
		})
	if err != nil {
		return false, err
	}
	var out struct{ Changed bool }
	err = json.Unmarshal(raw, &out)
	return out.Changed, err
}

// InList asks the CRM whether the tenant is on the list now.
func (s *Service) InList(ctx context.Context, in ListRequest) (bool, error) {
	t, err := s.only(ctx, CRM, in.Target)
	if err != nil {
		return false, err
	}
	call, cancel := context.WithTimeout(ctx, s.opts.CallLimit)
	defer cancel()
	c, err := s.open(call, t)
	if err != nil {
		return false, err
	}
	lists, ok := c.(connector.Lists)
	if !ok {
		return false, fmt.Errorf("%s keeps no lists", t.Name)
	}
	return lists.InList(call, in.List, string(in.Tenant))
}

// request is what a call is about, as far as it is written down.
type request struct {
	kind    Kind
	target  string
	tenant  governance.TenantID
	subject string
}

// only is the target of a name and kind, or the only active one of the kind.
func (s *Service) only(ctx context.Context, kind Kind, name string) (Target, error) {
	all, err := s.Targets(ctx)
	if err != nil {
		return Target{}, err
	}
	fits := slices.DeleteFunc(all, func(t Target) bool {
		return t.Kind != kind || name != "" && t.Name != name || t.State != TargetActive
	})
	if len(fits) != 1 {
		return Target{}, fmt.Errorf("%d active targets of kind %s fit, want one: %w", len(fits), kind, governance.ErrNotFound)
	}
	return fits[0], nil
}

func (s *Service) open(ctx context.Context, t Target) (connector.Connector, error) {
	secrets, err := s.secrets(t)
	if err != nil {
		return nil, err
	}
	return s.connect(ctx, t, secrets)
}

func (s *Service) callOf(ctx context.Context, idem, op string) (callRow, bool, error) {
	var row callRow
	err := s.k.DB().Handle().NewSelect().Model(&row).Where("idem = ? AND op = ?", idem, op).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return row, false, nil
	}
	if err != nil {
		return row, false, fmt.Errorf("call %s: %w", idem, err)
	}
	return row, true, nil
}

// once makes a call at most once with effect: it is written down before, completed
// after, and answered from its receipt when it was made already. The other side knows
// the id too, so a call without a receipt may be repeated.
func (s *Service) once(ctx context.Context, idem, op string, r request, call func(context.Context, Target, connector.Connector, connector.Meta) (any, error)) (json.RawMessage, error) {
	if idem == "" || len(idem) > 200 {
		return nil, governance.NotDone(governance.Invalid("idempotency id", "is required, at most 200 bytes"))
	}
	have, found, err := s.callOf(ctx, idem, op)
	if err != nil {
		return nil, governance.NotDone(err)
	}
	if found && have.State == "done" {
		return json.RawMessage(have.Result), nil
	}
	var t Target
	if found { // where it may have arrived already, whatever targets there are now
		t, err = s.Target(ctx, governance.ID[Target]{UUID: have.Target})
	} else {
		t, err = s.only(ctx, r.kind, r.target)
	}
	if err != nil {
		return nil, notDoneBefore(found, err)
	}
	tenant, err := s.k.Tenant(ctx, r.tenant)
	if err != nil {
		return nil, notDoneBefore(found, err)
	}
	if err := s.beginCall(ctx, idem, op, t, r); err != nil {
		return nil, notDoneBefore(found, err)
	}
	limited, cancel := context.WithTimeout(ctx, s.opts.CallLimit)
	defer cancel()
	result, err := s.guard(limited, t, func(c connector.Connector) (any, error) {
		return call(limited, t, c, connector.Meta{TenantID: string(r.tenant), SourceVersion: tenant.Version, IdempotencyID: idem})
	})
	raw, endErr := s.endCall(context.WithoutCancel(ctx), idem, op, t, r, result, err)
	if err != nil {
		e := connector.AsError(err)
		failed := fmt.Errorf("%s at %s: %w", op, t.Name, e)
		if e.Code == connector.Other || e.Code == connector.Conflict || have.State == "unknown" {
			return nil, failed
		}
		return nil, governance.NotDone(failed)
	}
	return raw, endErr
}

// notDoneBefore marks an error before the call; not when an earlier call is unsettled.
func notDoneBefore(earlier bool, err error) error {
	if earlier {
		return err
	}
	return governance.NotDone(err)
}

// guard makes a call into foreign code; a panic of it is an unknown outcome.
func (s *Service) guard(ctx context.Context, t Target, fn func(connector.Connector) (any, error)) (res any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &connector.Error{Code: connector.Other, Message: "the connector panicked"}
		}
	}()
	c, err := s.open(ctx, t)
	if err != nil {
		if connector.CodeOf(err) == connector.Other { // it was not called yet
			s.opts.Logger.WarnContext(ctx, "integrations: connect", "target", t.ID, "error", err)
			err = &connector.Error{Code: connector.Unavailable, Message: "the connector is not ready"}
		}
		return nil, err
	}
	return fn(c)
}

func (s *Service) beginCall(ctx context.Context, idem, op string, t Target, r request) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row := &callRow{Idem: idem, Op: op, Target: t.ID.UUID, Tenant: string(r.tenant), Subject: r.subject, State: "unknown", Attempts: 1, Code: string(CodeLost),
			Result: "null", CreatedAt: govdb.At(s.k.Now())}
		_, err := tx.NewInsert().Model(row).On("CONFLICT (idem, op) DO UPDATE").Set("attempts = call_row.attempts + 1").Exec(ctx)
		if err != nil {
			return fmt.Errorf("call %s: %w", idem, err)
		}
		return nil
	})
}

func (s *Service) endCall(ctx context.Context, idem, op string, t Target, r request, result any, failure error) (json.RawMessage, error) {
	raw, err := json.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", idem, err)
	}
	id := s.system()
	if e, ok := governance.ExecutionFrom(ctx); ok {
		id = e.Identity
	} else if caller, ok := governance.IdentityFrom(ctx); ok {
		id = caller
	}
	state, code, detail, outcome := "done", CodeOK, "", governance.OutcomeDone
	if failure != nil {
		e := connector.AsError(failure)
		state, code, detail, outcome = "failed", refused(e).Code, scrub(e.Error(), nil, 300), governance.OutcomeFailed
		if e.Code == connector.Other || e.Code == connector.Conflict {
			state, outcome = "unknown", governance.OutcomeUnknown
		}
		raw = json.RawMessage("null")
	}
	return raw, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE integration_call SET state = CASE WHEN state = 'done' OR ? = 'failed' AND attempts > 1 AND state = 'unknown' THEN state ELSE ? END, code = ?, detail = ?, result = CASE WHEN state = 'done' THEN result ELSE ? END, ended_at = ? WHERE idem = ? AND op = ?",
			state, state, code, detail, string(raw), govdb.At(s.k.Now()), idem, op)
		if err != nil {
			return fmt.Errorf("call %s: %w", idem, err)
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "integration." + op, Outcome: outcome, Tenant: r.tenant, Resource: governance.RefTo("target", t.ID),
			Data: map[string]any{"name": t.Name, "code": code, "idempotency_id": idem}})
		return err
	})
}

// Call is one call for a playbook or a button, as it stands.
type Call struct {
	Operation string
	Target    governance.ID[Target]
	Subject   string
	State     string // done, failed, unknown
	Code      Code
	Result    json.RawMessage
	At        time.Time
}

// Calls lists the latest calls about a tenant, newest first.
func (s *Service) Calls(ctx context.Context, tenant governance.TenantID, limit int) ([]Call, error) {
	var rows []callRow
	err := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ?", tenant).Order("created_at DESC", "idem").Limit(int64(min(max(limit, 1), 200))).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("calls about %s: %w", tenant, err)
	}
	out := make([]Call, len(rows))
	for i, r := range rows {
		out[i] = Call{r.Op, governance.ID[Target]{UUID: r.Target}, r.Subject, r.State, Code(r.Code), json.RawMessage(r.Result), r.CreatedAt.Time()}
	}
	return out, nil
}

// Resync tells a connector the current state of a tenant, or of every tenant, whether
// or not it was told before. It says how many tenants.
func (s *Service) Resync(ctx context.Context, id governance.Identity, target governance.ID[Target], tenant governance.TenantID, allTenants bool) (int, error) {
	if err := s.k.Authorize(ctx, id, "integration:write", governance.Target{Tenant: tenant, Resource: governance.RefTo("target", target)}); err != nil {
		return 0, err
	}
	if (tenant == "") != allTenants { // forgetting the tenant must not mean every tenant
		return 0, governance.Invalid("tenant", "name a tenant, or ask for all")
	}
	t, err := s.Target(ctx, target)
	if err != nil {
		return 0, err
	}
	if t.Kind == Webhook {
		return 0, governance.Invalid("target", "a webhook is told events, not states")
	}
	var tenants []governance.Tenant
	if tenant != "" {
		one, err := s.k.Tenant(ctx, tenant)
		if err != nil {
			return 0, err
		}
		tenants = append(tenants, one)
	}
	n := 0
	for after := governance.TenantID(""); ; {
		if allTenants {
			if tenants, err = s.k.Tenants(ctx, governance.TenantFilter{After: after, Limit: 200}); err != nil {
				return n, err
			}
		}
		if len(tenants) == 0 {
			return n, nil
		}
		if err := s.resyncPage(ctx, id, t, tenants); err != nil {
			return n, err
		}
		n += len(tenants)
		if !allTenants {
			return n, nil
		}
		after = tenants[len(tenants)-1].ID
	}
}

func (s *Service) resyncPage(ctx context.Context, id governance.Identity, t Target, tenants []governance.Tenant) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		now := govdb.At(s.k.Now())
		rows := make([]deliveryRow, len(tenants))
		for i, tenant := range tenants {
			rows[i] = deliveryRow{ID: uuid.Must(uuid.NewV7()), Target: t.ID.UUID, Tenant: string(tenant.ID), Event: uuid.Must(uuid.NewV7()), Type: "tenant.synced",
				Version: tenant.Version, State: string(Pending), NextAt: now, WaitingSince: now, CreatedAt: now}
		}
		keys := laneKeys(rows)
		if err := s.enqueueTx(ctx, tx, rows, now); err != nil {
			return err
		}
		for _, k := range keys { // a round of its own, so that it is told even if it was told before
			if _, err := tx.ExecContext(ctx, "UPDATE integration_lane SET rounds = rounds + 1 WHERE target = ? AND tenant = ?", k.target, k.tenant); err != nil {
				return fmt.Errorf("resync: %w", err)
			}
		}
		_, err := tx.ExecContext(ctx, `UPDATE integration_delivery SET round = (SELECT rounds FROM integration_lane l WHERE l.target = integration_delivery.target AND l.tenant = integration_delivery.tenant)
			WHERE target = ? AND type = 'tenant.synced' AND created_at = ? AND state = 'pending'`, t.ID.UUID, now)
		if err != nil {
			return fmt.Errorf("resync: %w", err)
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "integration.resync", Resource: governance.RefTo("target", t.ID),
			Data: map[string]any{"name": t.Name, "first": tenants[0].ID, "last": tenants[len(tenants)-1].ID, "tenants": len(tenants)}})
		return err
	})
}
