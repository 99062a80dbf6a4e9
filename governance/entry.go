package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// Entry is a guarded action as a report counts it.
type Entry struct {
	ID         uuid.UUID
	Action     string
	Tenant     TenantID
	Resource   string
	Requester  Actor
	Measures   []Measure
	Effect     Effect
	Policies   []PolicyHit
	State      State
	Held       bool
	Bootstrap  bool
	Reason     string
	Ticket     string
	CreatedAt  time.Time
	ExecutedAt time.Time
	Votes      []EntryVote
}

// EntryVote is who decided on an [Entry], and when.
type EntryVote struct {
	Person   PersonID
	Decision VoteDecision
	At       time.Time
}

// Enforced tells whether a policy in force had a say in the decision.
func (e Entry) Enforced() bool {
	return slices.ContainsFunc(e.Policies, func(p PolicyHit) bool { return p.Mode == Enforce && p.Version > 0 })
}

// Over tells whether the action passed a limit.
func (e Entry) Over() bool {
	return slices.ContainsFunc(e.Policies, func(p PolicyHit) bool {
		return slices.ContainsFunc(p.Limits, func(l LimitHit) bool { return l.Exceeds })
	})
}

// EntryFilter selects the actions of a period [From, To).
type EntryFilter struct {
	From, To time.Time // both required
	Executed bool      // those executed in the period; else those asked for in it
	Held     bool      // only what needed approval
	Names    []string  // empty: every action
}

const entryPage = 500

// Entries gives fn every guarded action of a period, oldest first. Its error ends it.
func (k *Kernel) Entries(ctx context.Context, f EntryFilter, fn func(Entry) error) error {
	if f.From.IsZero() || !f.To.After(f.From) {
		return Invalid("from", "a period has a beginning before its end")
	}
	column := "created_at"
	if f.Executed {
		column = "executed_at"
	}
	at, last := atMicros(f.From), uuid.Nil
	for {
		var rows []actionRow
		q := k.db.Read().NewSelect().Model(&rows).Where("? < ?", bun.Ident(column), atMicros(f.To)).
			Where("(? > ? OR ? = ? AND id > ?)", bun.Ident(column), at, bun.Ident(column), at, last).
			OrderExpr("?, id", bun.Ident(column)).Limit(entryPage)
		if f.Executed {
			q = q.Where("state = ?", StateExecuted)
		}
		if f.Held {
			q = q.Where("held")
		}
		if len(f.Names) > 0 {
			q = q.Where("name IN (?)", bun.List(f.Names))
		}
		if err := q.Scan(ctx); err != nil {
			return fmt.Errorf("actions of a period: %w", err)
		}
		votes, err := k.entryVotes(ctx, rows)
		if err != nil {
			return err
		}
		for _, r := range rows {
			e, err := r.entry()
			if err != nil {
				return err
			}
			e.Votes = votes[r.ID]
			if err := fn(e); err != nil {
				return err
			}
			at, last = r.CreatedAt, r.ID
			if f.Executed {
				at = r.ExecutedAt
			}
		}
		if len(rows) < entryPage {
			return nil
		}
	}
}

func (k *Kernel) entryVotes(ctx context.Context, rows []actionRow) (map[uuid.UUID][]EntryVote, error) {
	var held []uuid.UUID
	for _, r := range rows {
		if r.Held {
			held = append(held, r.ID)
		}
	}
	out := map[uuid.UUID][]EntryVote{}
	if len(held) == 0 {
		return out, nil
	}
	var votes []voteRow
	if err := k.db.Read().NewSelect().Model(&votes).Where("approval IN (?)", bun.List(held)).Order("created_at", "person").Scan(ctx); err != nil {
		return nil, fmt.Errorf("votes of a period: %w", err)
	}
	for _, v := range votes {
		out[v.Approval] = append(out[v.Approval], EntryVote{PersonID(v.Person), VoteDecision(v.Decision), v.CreatedAt.Time()})
	}
	return out, nil
}

func (r actionRow) entry() (Entry, error) {
	e := Entry{ID: r.ID, Action: r.Name, Tenant: TenantID(r.Tenant), Resource: r.Resource, State: State(r.State), Held: r.Held, Bootstrap: r.Bootstrap,
		Reason: r.Reason, Ticket: r.Ticket, CreatedAt: r.CreatedAt.Time(), ExecutedAt: r.ExecutedAt.Time()}
	var who Identity
	var d Decision
	err := errors.Join(json.Unmarshal([]byte(r.Measures), &e.Measures), json.Unmarshal([]byte(r.Decision), &d), json.Unmarshal([]byte(r.Requester), &who))
	if err != nil {
		return e, fmt.Errorf("action %s: %w", r.ID, err)
	}
	e.Requester, e.Effect, e.Policies = who.Actor, d.Effect, d.Policies
	return e, nil
}

// SensitiveActions lists the registered actions that are marked sensitive, sorted.
func (k *Kernel) SensitiveActions() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := []string{}
	for name, d := range k.defs {
		if d.sensitive {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
