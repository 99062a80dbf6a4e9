package governance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/google/uuid"
)

const (
	reservationPosted  = "posted"
	reservationPending = "pending"
	reservationVoided  = "voided"
)

// takeBudgets locks the budget of every limit that applies and reads its window.
// Budgets are taken by UPDATE, never by SELECT … FOR UPDATE, which in a REPEATABLE
// READ transaction reads a sum from before the lock; and in key order, because two
// actions on the same two budgets would otherwise wait for each other.
func (k *Kernel) takeBudgets(ctx context.Context, tx *Tx, c *call, matched []compiled) ([][]LimitHit, error) {
	hits := make([][]LimitHit, len(matched))
	byKey := map[string][]*LimitHit{}
	for i, p := range matched {
		hits[i] = make([]LimitHit, len(p.Limits))
		for j, l := range p.Limits {
			amount, rate, err := k.amount(ctx, c, l)
			if err != nil {
				return nil, fmt.Errorf("policy %s: limit %d: %w", p.ID, j, err)
			}
			key, err := c.budgetKey(p.ID, j, l)
			if err != nil {
				return nil, err
			}
			hits[i][j] = LimitHit{Key: key, Unit: l.Unit, Amount: amount, Max: l.Max, Window: l.Window, Rate: rate, Count: l.Count}
			byKey[key] = append(byKey[key], &hits[i][j])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		_, err := tx.ExecContext(ctx, "INSERT INTO gov_budget (key, turns) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET turns = gov_budget.turns + 1", key)
		if err != nil {
			return nil, fmt.Errorf("budget %s: %w", key, err)
		}
		for _, h := range byKey[key] {
			since := atMicros(c.now.Add(-h.Window.Duration))
			err := tx.NewRaw("SELECT COALESCE(SUM(amount), 0) FROM gov_reservation WHERE key = ? AND reserved_at > ?"+h.Count.states(), key, since).Scan(ctx, &h.Sum)
			if err != nil {
				return nil, fmt.Errorf("budget %s: %w", key, err)
			}
			h.Exceeds = h.Amount > 0 && h.Sum > h.Max-h.Amount // what adds nothing makes nothing exceed
			c.decision.Reserved = append(c.decision.Reserved, reserve{key, h.Amount, h.Count == CountAttempts})
		}
	}
	return hits, nil
}

// states is the part of a query that selects what the limit counts.
func (c Count) states() string {
	switch c {
	case CountAttempts:
		return ""
	case CountPosted:
		return " AND state = 'posted'"
	}
	return " AND state IN ('posted', 'pending')"
}

// amount is what the action adds to a limit.
func (k *Kernel) amount(ctx context.Context, c *call, l Limit) (int64, *Rate, error) {
	if l.Unit == UnitCount {
		return 1, nil, nil
	}
	for _, m := range c.measures {
		if m.Unit == l.Unit {
			return m.Value, nil, nil
		}
	}
	to, money := unitCurrency(l.Unit)
	if !l.Convert || !money {
		return 0, nil, Invalid("measures", "%s has no measure in %s", c.def.name, l.Unit)
	}
	for _, m := range c.measures {
		from, ok := unitCurrency(m.Unit)
		if !ok {
			continue
		}
		if k.opts.Rates == nil {
			return 0, nil, fmt.Errorf("no rates to convert %s into %s", from, to)
		}
		rate, err := k.opts.Rates.Rate(ctx, from, to, c.now)
		if errors.Is(err, ErrNotFound) {
			return 0, nil, fmt.Errorf("%w: %w", Invalid("currency", "no rate of %s into %s is known that the limit could be counted with", from, to), err)
		}
		if err != nil {
			return 0, nil, fmt.Errorf("rate %s→%s: %w", from, to, err)
		}
		got, err := rate.ConvertUp(Money{m.Value, from})
		if err != nil {
			return 0, nil, err
		}
		return got.Minor, &rate, nil
	}
	return 0, nil, Invalid("measures", "%s has no measure in money", c.def.name)
}

func (c *call) budgetKey(policy string, i int, l Limit) (string, error) {
	of := ""
	switch l.By {
	case ByGlobal:
	case ByTenant:
		of = string(c.tenant)
	case ByActor: // over all accounts and keys of one human being
		if of = string(c.identity.Actor.Person); of == "" {
			of = c.identity.Actor.ID
		}
	case ByResource:
		of = c.resource.String()
	}
	if of == "" && l.By != ByGlobal {
		return "", Invalid("limits", "policy %s limits by %s, and %s has none", policy, l.By, c.def.name)
	}
	return policy + "|" + strconv.Itoa(i) + "|" + l.Unit + "|" + string(l.By) + "|" + of, nil
}

// reserve writes what the action takes from its budgets; voided, it counts where
// attempts do and nowhere else.
func (c *call) reserve(ctx context.Context, tx *Tx, state string) error {
	var rows []reservationRow
	for _, r := range c.decision.Reserved {
		if state == reservationVoided && !r.attempts {
			continue
		}
		rows = append(rows, reservationRow{ID: uuid.Must(uuid.NewV7()), Key: r.key, Action: c.id, Amount: r.amount, State: state, ReservedAt: atMicros(c.now)})
	}
	if len(rows) == 0 {
		return nil
	}
	if state == reservationVoided { // what failed took its new budgets with it
		for _, r := range rows {
			if _, err := tx.ExecContext(ctx, "INSERT INTO gov_budget (key, turns) VALUES (?, 1) ON CONFLICT (key) DO NOTHING", r.Key); err != nil {
				return fmt.Errorf("budget %s: %w", r.Key, err)
			}
		}
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return fmt.Errorf("reserve: %w", err)
	}
	return nil
}

// settleTx ends the pending reservations of an action.
func settleTx(ctx context.Context, tx *Tx, action uuid.UUID, state string) error {
	_, err := tx.ExecContext(ctx, "UPDATE gov_reservation SET state = ? WHERE action = ? AND state = 'pending'", state, action)
	if err != nil {
		return fmt.Errorf("reservations of %s: %w", action, err)
	}
	return nil
}
