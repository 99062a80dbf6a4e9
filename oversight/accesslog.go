package oversight

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

// Access is one impersonation as the customer may read it: who of the staff worked
// as whom, why, and for how long.
type Access struct {
	Session  uuid.UUID `json:"session"`
	Staff    string    `json:"staff"` // by Options.StaffName
	User     string    `json:"user"`  // the product's id of the user
	Name     string    `json:"name,omitempty"`
	Scope    Scope     `json:"scope"`
	Reason   string    `json:"reason"`
	Ticket   string    `json:"ticket,omitempty"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until,omitzero"` // zero while it goes on
	Live     bool      `json:"live"`
	Ended    EndReason `json:"ended,omitempty"`
	Requests int64     `json:"requests"`
	Blocked  int64     `json:"blocked"`
	Watched  bool      `json:"watched"` // somebody had to watch
	Reviewed Verdict   `json:"reviewed,omitempty"`
}

// AccessAct is one thing that was done in a session.
type AccessAct struct {
	At      time.Time `json:"at"`
	Action  string    `json:"action"`
	On      string    `json:"on,omitempty"`
	Outcome string    `json:"outcome"`
	Record  uuid.UUID `json:"record"` // in the ledger
}

// AccessLog lists the impersonations in a tenant that were begun, newest first. It
// is made for the tenant's own people: show it to nobody of another tenant. before
// is the last session of the page before.
func (s *Service) AccessLog(ctx context.Context, tenant governance.TenantID, before uuid.UUID, limit int) ([]Access, error) {
	if tenant == "" {
		return nil, governance.Invalid("tenant", "is required")
	}
	all, err := s.Sessions(ctx, Filter{Tenant: tenant, Begun: true, Before: before, Limit: limit})
	if err != nil {
		return nil, err
	}
	out := make([]Access, len(all))
	for i, x := range all {
		out[i] = s.access(x)
	}
	return out, nil
}

func (s *Service) access(x Session) Access {
	return Access{x.ID, s.opts.StaffName(x.Actor), x.User, x.Subject.Name, x.Scope, x.Reason, x.Ticket, x.OpenedAt, x.EndedAt, x.State != StateEnded, x.Ended,
		x.Requests, x.Blocked, x.Observer, x.Review.Verdict}
}

// AccessOf is one entry of a tenant's access log with what was done, oldest first.
// A session of another tenant is not found.
func (s *Service) AccessOf(ctx context.Context, tenant governance.TenantID, session uuid.UUID) (Access, []AccessAct, error) {
	have, err := s.Session(ctx, session)
	if err != nil {
		return Access{}, nil, err
	}
	if tenant == "" || have.Tenant != tenant || have.OpenedAt.IsZero() {
		return Access{}, nil, governance.ErrNotFound
	}
	acts := []AccessAct{}
	f := ledger.Filter{Tenant: string(tenant), Search: session.String(), Limit: 200}
	for {
		page, err := s.k.Ledger().Records(ctx, f)
		if err != nil {
			return Access{}, nil, err
		}
		for _, r := range page {
			v, err := governance.ReadRecord(r.Body)
			if err != nil {
				return Access{}, nil, err
			}
			if !slices.Contains(inward, v.Action) {
				acts = append(acts, AccessAct{v.At, v.Action, v.Resource.String(), string(v.Outcome), r.ID})
			}
		}
		if len(page) < int(f.Limit) {
			slices.Reverse(acts)
			return s.access(have), acts, nil
		}
		f.Before = page[len(page)-1].ID
	}
}

// inward are the records of how a session was looked after, which are about the
// staff and not about the customer.
var inward = []string{"impersonation.chunk", "impersonation.observe", "impersonation.unobserve", "recording.watch", "evidence.take", "impersonation.review_overdue"}
