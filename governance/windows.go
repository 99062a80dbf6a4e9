package governance

import (
	"context"
	"fmt"
	"strconv"
)

// Window is how full one limit is now, for one actor, tenant or resource.
type Window struct {
	Policy string
	Title  string
	Mode   Mode
	Unit   string
	Used   int64 // posted and pending
	Max    int64
	Span   Duration
}

// Windows reads every limit that sums by a scope as it stands for one of it: a tenant, a
// person, a resource. Limits by ByGlobal are the same for all; of is empty for them.
func (k *Kernel) Windows(ctx context.Context, by Scope, of string) ([]Window, error) {
	if of == "" && by != ByGlobal {
		return nil, Invalid("of", "name whose windows")
	}
	ps, err := k.Policies(ctx)
	if err != nil {
		return nil, err
	}
	out := []Window{}
	for _, p := range ps {
		for i, l := range p.Limits {
			if l.By != by {
				continue
			}
			key := p.ID + "|" + strconv.Itoa(i) + "|" + l.Unit + "|" + string(by) + "|" + of
			w := Window{Policy: p.ID, Title: p.Title, Mode: p.Mode, Unit: l.Unit, Max: l.Max, Span: l.Window}
			err := k.db.Read().NewRaw("SELECT COALESCE(SUM(amount), 0) FROM gov_reservation WHERE key = ? AND reserved_at > ? AND state IN ('posted', 'pending')",
				key, atMicros(k.Now().Add(-l.Window.Duration))).Scan(ctx, &w.Used)
			if err != nil {
				return nil, fmt.Errorf("budget %s: %w", key, err)
			}
			out = append(out, w)
		}
	}
	return out, nil
}
