package oversight

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Act is one guarded action as the feed shows it: who, what, why, how much, and
// what the policies said.
type Act struct {
	ID        uuid.UUID            `json:"id"`
	Action    string               `json:"action"`
	Tenant    governance.TenantID  `json:"tenant,omitempty"`
	Resource  string               `json:"resource"`
	Actor     governance.Actor     `json:"actor"`
	Subject   *governance.Actor    `json:"subject,omitempty"`
	SessionID string               `json:"session_id,omitempty"`
	Reason    string               `json:"reason,omitempty"`
	Ticket    string               `json:"ticket,omitempty"`
	Measures  []governance.Measure `json:"measures"`
	Effect    governance.Effect    `json:"effect"`
	Over      bool                 `json:"over"` // it passed a limit
	Meters    []Meter              `json:"meters"`
	State     governance.State     `json:"state"`
	At        time.Time            `json:"at"`
}

// Meter is one limit at the time of the decision.
type Meter struct {
	Policy  string              `json:"policy"`
	Unit    string              `json:"unit"`
	Before  int64               `json:"before,string"` // posted and pending in the window
	Amount  int64               `json:"amount,string"`
	Max     int64               `json:"max,string"`
	Window  governance.Duration `json:"window"`
	Rate    *governance.Rate    `json:"rate,omitempty"`
	Exceeds bool                `json:"exceeds"`
}

// Acts lists guarded actions, newest first.
func (s *Service) Acts(ctx context.Context, f governance.ActionFilter) ([]Act, error) {
	all, err := s.k.Actions(ctx, f)
	if err != nil {
		return nil, err
	}
	out := make([]Act, 0, len(all))
	for _, a := range all {
		act := Act{ID: a.ID, Action: a.Action, Tenant: a.Tenant, Resource: a.Resource, Actor: a.Requester, Subject: a.Subject, SessionID: a.SessionID,
			Reason: a.Reason, Ticket: a.Ticket, Measures: a.Measures, Effect: a.Decision.Effect, State: a.State, At: a.CreatedAt, Meters: []Meter{}}
		for _, hit := range a.Decision.Policies {
			for _, l := range hit.Limits {
				act.Meters = append(act.Meters, Meter{hit.Policy, l.Unit, l.Sum, l.Amount, l.Max, l.Window, l.Rate, l.Exceeds})
				act.Over = act.Over || l.Exceeds
			}
		}
		out = append(out, act)
	}
	return out, nil
}
