package governance

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// RecordView is the body of a ledger record, read back.
type RecordView struct {
	ID        uuid.UUID
	At        time.Time
	Action    string
	Outcome   RecordOutcome
	Tenant    TenantID
	Resource  Ref
	Actor     Actor  // ID, Kind, Person and Roles; the name is a disclosure
	Subject   *Actor // who was being impersonated
	Session   string
	Request   string
	Reason    string
	Ticket    string
	ActionID  string
	Digest    Digest
	Causation string
	Depth     int
	Personal  map[string]string // field to salted digest
	Bootstrap bool
	Data      json.RawMessage
}

// ReadRecord decodes the body of a record of [RecordKind]; another kind is an error.
func ReadRecord(body []byte) (RecordView, error) {
	var b struct {
		recordBody
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return RecordView{}, fmt.Errorf("record: %w", err)
	}
	if b.Kind != RecordKind {
		return RecordView{}, fmt.Errorf("record: kind %q is not %q", b.Kind, RecordKind)
	}
	at, err := time.Parse(time.RFC3339Nano, b.At)
	if err != nil {
		return RecordView{}, fmt.Errorf("record %s: %w", b.ID, err)
	}
	v := RecordView{
		ID: b.ID, At: at, Action: b.Action, Outcome: b.Outcome, Tenant: b.Tenant, Resource: ParseRef(b.Resource), Actor: b.Actor.actor(),
		Session: b.Session, Request: b.Request, Reason: b.Reason, Ticket: b.Ticket, ActionID: b.ActionID, Digest: b.Digest,
		Causation: b.Causation, Depth: b.Depth, Personal: b.Personal, Bootstrap: b.Bootstrap, Data: b.Data,
	}
	if b.Subject != nil {
		s := b.Subject.actor()
		v.Subject = &s
	}
	return v, nil
}

func (a bodyActor) actor() Actor {
	return Actor{ID: a.ID, Kind: a.Kind, Person: a.Person, Roles: a.Roles, Tenant: a.Tenant}
}
