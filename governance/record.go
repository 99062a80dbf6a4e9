package governance

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/outbox"
)

// Event is a fact for the systems outside, appended in the caller's transaction.
// Its Data is the full current state of the thing it is about.
type Event = outbox.Event

// Receipt proves that a record was committed; see [ledger.Receipt].
type Receipt = ledger.Receipt

// RecordOutcome says how an act ended.
type RecordOutcome string

// The outcomes of a record.
const (
	OutcomeDone     RecordOutcome = "done"
	OutcomeHeld     RecordOutcome = "held"
	OutcomeDenied   RecordOutcome = "denied"
	OutcomeFailed   RecordOutcome = "failed"
	OutcomeUnknown  RecordOutcome = "unknown"
	OutcomeObserved RecordOutcome = "observed"
)

// Record is what the ledger says about one act. Who acted comes from the Identity
// beside it. Data must have a canonical form; see [Canonical].
type Record struct {
	Action   string
	Outcome  RecordOutcome // default done
	Tenant   TenantID
	Resource Ref
	Reason   string
	Ticket   string
	ActionID uuid.UUID // the guarded action or approval, when there is one
	Digest   Digest    // of the guarded action
	Data     any
	// Personal values are written as salted digests; the text stays beside the
	// record, where it can be erased without breaking a proof: see [Kernel.Erase].
	Personal map[string]string
	// PersonalOf is whom Personal is about, as an opaque id; default the record alone.
	PersonalOf string
	// Bootstrap marks what one person did before three existed.
	Bootstrap bool
}

type recordBody struct {
	Kind      string            `json:"kind"`
	ID        uuid.UUID         `json:"id"`
	At        string            `json:"at"`
	Action    string            `json:"action"`
	Outcome   RecordOutcome     `json:"outcome"`
	Tenant    TenantID          `json:"tenant,omitempty"`
	Resource  string            `json:"resource,omitempty"`
	Actor     bodyActor         `json:"actor"`
	Subject   *bodyActor        `json:"subject,omitempty"`
	Session   string            `json:"session,omitempty"`
	Request   string            `json:"request,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Ticket    string            `json:"ticket,omitempty"`
	ActionID  string            `json:"action_id,omitempty"`
	Digest    Digest            `json:"digest,omitempty"`
	Causation string            `json:"causation,omitempty"`
	Depth     int               `json:"depth,omitempty"`
	Personal  map[string]string `json:"personal,omitempty"`
	Bootstrap bool              `json:"bootstrap,omitempty"`
	Data      any               `json:"data,omitempty"`
}

type bodyActor struct {
	ID     string    `json:"id"`
	Kind   ActorKind `json:"kind"`
	Person PersonID  `json:"person,omitempty"`
	Roles  []string  `json:"roles,omitempty"`
	Tenant TenantID  `json:"tenant,omitempty"`
}

func newBodyActor(a Actor) bodyActor { return bodyActor{a.ID, a.Kind, a.Person, a.Roles, a.Tenant} }

// RecordKind is the kind under which the kernel's records stand in the ledger.
const RecordKind = "reeve/record/v1"

// RecordTx writes one ledger record, and the events that go with it, in tx's
// commit. While an impersonation is open both identities are in the record.
func (k *Kernel) RecordTx(ctx context.Context, tx *Tx, id Identity, r Record, evs ...Event) (Receipt, error) {
	now := k.Now()
	if r.Action == "" {
		return Receipt{}, Invalid("record.action", "is required")
	}
	if r.Outcome == "" {
		r.Outcome = OutcomeDone
	}
	body := recordBody{
		Kind: RecordKind, ID: uuid.Must(uuid.NewV7()), At: now.Format(time.RFC3339Nano), Action: r.Action, Outcome: r.Outcome,
		Tenant: r.Tenant, Resource: r.Resource.String(), Actor: newBodyActor(id.Actor), Session: id.SessionID,
		Request: id.Origin.RequestID, Reason: r.Reason, Ticket: r.Ticket, Digest: r.Digest, Depth: id.Depth,
		Bootstrap: r.Bootstrap, Data: r.Data,
	}
	if id.Subject != nil {
		s := newBodyActor(*id.Subject)
		body.Subject = &s
	}
	if r.ActionID != uuid.Nil {
		body.ActionID = r.ActionID.String()
	}
	if id.Causation != uuid.Nil {
		body.Causation = id.Causation.String()
	}
	entry := ledger.Entry{ID: body.ID, Tenant: string(r.Tenant), Kind: RecordKind, At: now}
	for _, d := range personalOf(id, r) {
		if body.Personal == nil {
			body.Personal = map[string]string{}
		}
		body.Personal[d.Field] = d.Digest()
		entry.Disclosures = append(entry.Disclosures, d)
	}
	canonical, err := Canonical(body)
	if err != nil {
		return Receipt{}, fmt.Errorf("record %s: %w", r.Action, err)
	}
	entry.Body = canonical
	receipts, err := k.log.Append(ctx, tx, entry)
	if err != nil {
		return Receipt{}, fmt.Errorf("record %s: %w", r.Action, err)
	}
	if err := k.emitTx(ctx, tx, id, evs); err != nil {
		return Receipt{}, err
	}
	receipt := receipts[0]
	tx.AfterCommit(func() {
		k.log.Expect(receipt)
		k.log.Wake()
	})
	return receipt, nil
}

// personalOf is what of a record is about people: the actor's name and address are the
// actor's, whatever else the record says.
func personalOf(id Identity, r Record) []ledger.Disclosure {
	out := make([]ledger.Disclosure, 0, len(r.Personal)+2)
	actor := PersonSubject(id.Actor.Person)
	if id.Actor.Person == "" {
		actor = "actor:" + id.Actor.ID
	}
	own := func(field, value string) {
		if value != "" {
			out = append(out, ledger.NewDisclosure(field, value, actor))
		}
	}
	if id.Actor.Person != "" {
		own("actor_name", id.Actor.Name)
	}
	own("ip", id.Origin.IP)
	for f, v := range r.Personal {
		if !slices.ContainsFunc(out, func(d ledger.Disclosure) bool { return d.Field == f }) {
			out = append(out, ledger.NewDisclosure(f, v, r.PersonalOf))
		}
	}
	return out
}

// PersonSubject is whom the personal values of a person's own acts are about.
func PersonSubject(p PersonID) string { return "person:" + string(p) }

// NewEvent makes an event about a tenant's thing. version is the tenant's own
// version, by which consumers order; 0 when the event is about no tenant.
func NewEvent(typ string, tenant TenantID, version int64, resource Ref, data any) (Event, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return Event{}, fmt.Errorf("event %s: %w", typ, err)
	}
	return Event{ID: uuid.Must(uuid.NewV7()), Type: typ, Tenant: string(tenant), TenantVersion: version, Resource: resource.String(), Data: raw}, nil
}

func (k *Kernel) emitTx(ctx context.Context, tx *Tx, id Identity, evs []Event) error {
	if len(evs) == 0 {
		return nil
	}
	now := k.Now()
	out := make([]Event, len(evs))
	for i, e := range evs {
		if e.ID == uuid.Nil {
			e.ID = uuid.Must(uuid.NewV7())
		}
		if e.At.IsZero() {
			e.At = now
		}
		if e.Actor == "" {
			e.Actor = id.Actor.ID
		}
		if e.Causation == uuid.Nil {
			e.Causation = id.Causation
		}
		if e.Depth == 0 {
			e.Depth = id.Depth
		}
		out[i] = e
	}
	if err := outbox.Append(ctx, tx, out...); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	tx.AfterCommit(k.relay.Wake)
	return nil
}
