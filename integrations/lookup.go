package integrations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/outbox"
)

// LookupQuery is a help desk's question. Exactly one way of asking is used.
type LookupQuery struct {
	Tenant governance.TenantID
	Domain string
	Email  string // of somebody at the tenant: as registered, else by its domain
	System string // with Key: a key in another system
	Key    string
}

// Status is the answer: what support needs to know about a tenant, and nothing more.
type Status struct {
	Tenant      governance.TenantID
	Name        string
	Status      governance.TenantStatus
	Suspended   bool
	Reasons     []Reason // why it is restricted
	Plan        string
	Seats       int64
	RenewalAt   time.Time
	ActiveAt    time.Time // latest activity of its users
	OwnerName   string    // of the customer-success manager
	OpenAlerts  int
	Recent      []Happening // the last lifecycle events, newest first
	ConsoleLink string
}

// Reason is one restriction, without its free text.
type Reason struct {
	Reason  string
	Feature string // empty: everything
	Since   time.Time
}

// Happening is that something happened, and when.
type Happening struct {
	Type string
	At   time.Time
}

const (
	recentMost   = 5
	missesMost   = 30
	missesWindow = 10 * time.Minute
)

// Lookup answers one question, and records that it was asked: a help desk's key could
// otherwise be used to find out who the customers are. The e-mail address stands in
// the record as a salted digest. What the caller may not see is ErrNotFound, as what
// is not there; after many misses the caller is denied for a while.
func (s *Service) Lookup(ctx context.Context, id governance.Identity, q LookupQuery) (Status, error) {
	if err := s.k.Authorize(ctx, id, "support:lookup", governance.Target{}); err != nil {
		return Status{}, err
	}
	by, err := q.by()
	if err != nil {
		return Status{}, err
	}
	now := s.k.Now()
	if s.misses.tooMany(id.Actor.ID, now) {
		return Status{}, &governance.DeniedError{Action: "support.lookup", Rule: "too-many-misses", Reason: "too many look-ups found nothing; try again later"}
	}
	t, err := s.find(ctx, q)
	if err == nil && s.k.Authorize(ctx, id, "support:lookup", governance.Target{Tenant: t.ID, Region: t.Region, Country: t.Country, Resource: governance.Ref{Kind: "tenant", ID: string(t.ID)}}) != nil {
		err = governance.ErrNotFound
	}
	if err != nil && !errors.Is(err, governance.ErrNotFound) {
		return Status{}, err
	}
	found := err == nil
	if recordErr := s.recordLookup(ctx, id, q, by, t.ID, found); recordErr != nil {
		return Status{}, recordErr // no answer without a record
	}
	if !found {
		s.misses.add(id.Actor.ID, now)
		return Status{}, fmt.Errorf("no tenant matches: %w", governance.ErrNotFound)
	}
	return s.status(ctx, t)
}

func (q LookupQuery) by() (string, error) {
	ways := []string{}
	for _, w := range []struct {
		name string
		set  bool
	}{{"tenant", q.Tenant != ""}, {"domain", q.Domain != ""}, {"email", q.Email != ""}, {"key", q.System != "" || q.Key != ""}} {
		if w.set {
			ways = append(ways, w.name)
		}
	}
	switch {
	case len(ways) != 1:
		return "", governance.Invalid("query", "ask by exactly one of tenant, domain, email, or system with key")
	case (q.System == "") != (q.Key == ""):
		return "", governance.Invalid("key", "system and key go together")
	case len(q.Tenant)+len(q.Domain)+len(q.Email)+len(q.System)+len(q.Key) > 400:
		return "", governance.Invalid("query", "is too long")
	case q.Email != "" && (strings.Count(q.Email, "@") != 1 || strings.HasPrefix(q.Email, "@") || strings.HasSuffix(q.Email, "@")):
		return "", governance.Invalid("email", "is not an e-mail address")
	}
	return ways[0], nil
}

func normal(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func (s *Service) find(ctx context.Context, q LookupQuery) (governance.Tenant, error) {
	switch {
	case q.Tenant != "":
		return s.k.Tenant(ctx, q.Tenant)
	case q.Domain != "":
		return s.k.TenantByKey(ctx, "domain", normal(q.Domain))
	case q.Email != "":
		t, err := s.k.TenantByKey(ctx, "email", normal(q.Email))
		if !errors.Is(err, governance.ErrNotFound) {
			return t, err
		}
		_, domain, _ := strings.Cut(normal(q.Email), "@")
		return s.k.TenantByKey(ctx, "domain", domain)
	}
	return s.k.TenantByKey(ctx, q.System, q.Key)
}

func (s *Service) recordLookup(ctx context.Context, id governance.Identity, q LookupQuery, by string, tenant governance.TenantID, found bool) error {
	r := governance.Record{Action: "support.lookup", Outcome: governance.OutcomeObserved, Data: map[string]any{"by": by, "found": found}, Personal: map[string]string{}}
	switch {
	case q.Email != "":
		r.Personal["email"] = normal(q.Email)
	case q.Key != "":
		r.Personal["key"] = q.Key // another system's key may name a person
	case q.Domain != "":
		r.Data = map[string]any{"by": by, "found": found, "domain": normal(q.Domain)}
	}
	if found {
		r.Tenant, r.Resource = tenant, governance.Ref{Kind: "tenant", ID: string(tenant)}
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.k.RecordTx(ctx, tx, id, r)
		return err
	})
}

func (s *Service) status(ctx context.Context, t governance.Tenant) (Status, error) {
	state, err := s.k.TenantState(ctx, t.ID)
	if err != nil {
		return Status{}, err
	}
	t = state.Tenant
	out := Status{Tenant: t.ID, Name: t.Name, Status: t.Status, Suspended: state.Suspended, Reasons: []Reason{}, Plan: t.Plan, Seats: t.Seats,
		RenewalAt: t.RenewalAt, ActiveAt: t.ActiveAt, Recent: []Happening{}, ConsoleLink: s.k.Link("tenant", string(t.ID))}
	for _, r := range state.Restrictions {
		out.Reasons = append(out.Reasons, Reason{r.Reason, r.Feature, r.PlacedAt})
	}
	if t.Owner != "" {
		p, err := s.k.Directory().Resolve(ctx, t.Owner)
		if err != nil && !errors.Is(err, governance.ErrNotFound) {
			return Status{}, fmt.Errorf("owner of %s: %w", t.ID, err)
		}
		out.OwnerName = p.Name
	}
	alerts, err := s.k.Alerts(ctx, governance.AlertFilter{Tenant: t.ID, Limit: 200})
	if err != nil {
		return Status{}, err
	}
	out.OpenAlerts = len(alerts)
	evs, err := outbox.Events(ctx, s.k.DB(), outbox.Filter{Tenant: string(t.ID), Limit: 50})
	if err != nil {
		return Status{}, err
	}
	for _, e := range evs {
		if len(out.Recent) < recentMost && (strings.HasPrefix(e.Type, "tenant.") || strings.HasPrefix(e.Type, "entitlement.")) {
			out.Recent = append(out.Recent, Happening{e.Type, e.At})
		}
	}
	return out, nil
}

// misses counts look-ups that found nothing, by actor, on this server.
type misses struct {
	mu   sync.Mutex
	seen map[string]missed
}

type missed struct {
	since time.Time
	n     int
}

func (m *misses) tooMany(actor string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.seen[actor]
	return ok && now.Sub(w.since) < missesWindow && w.n >= missesMost
}

func (m *misses) add(actor string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil || len(m.seen) > 10000 {
		m.seen = map[string]missed{}
	}
	w := m.seen[actor]
	if now.Sub(w.since) >= missesWindow {
		w = missed{since: now}
	}
	w.n++
	m.seen[actor] = w
}
