package playbook

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
)

// Signal is one value about a tenant and the time up to which it is true. A zero
// AsOf is a value of unknown age, which never acts.
type Signal struct {
	Value any // float64, int64, string, bool or time.Time
	AsOf  time.Time
}

// Signals answers for some tenants at once. A signal that is not there is left out;
// it is never answered with a zero.
type Signals func(ctx context.Context, tenants []governance.TenantID) (map[governance.TenantID]map[string]Signal, error)

// Reading is a signal as a run saw it.
type Reading struct {
	Value any       `json:"value"`
	AsOf  time.Time `json:"as_of"`
	Fault string    `json:"fault,omitempty"` // "missing", "stale: …", "is not a number"
}

var signalTypes = map[string]celrules.Type{
	"number": celrules.Double(), "text": celrules.String(), "bool": celrules.Bool(), "time": celrules.Timestamp(),
}

// clockSlack is how far ahead of ours another clock may be.
const clockSlack = 5 * time.Minute

// read checks one signal against its declaration.
func (d Declaration) read(s Signal, there bool, now time.Time) Reading {
	r := Reading{Value: s.Value, AsOf: s.AsOf}
	switch {
	case !there || s.Value == nil:
		r.Value, r.Fault = nil, "missing"
	case s.AsOf.IsZero():
		r.Fault = "stale: nobody knows how old it is"
	case s.AsOf.After(now.Add(clockSlack)):
		r.Fault = "stale: its time lies ahead"
	case now.Sub(s.AsOf) > d.MaxAge.Duration:
		r.Fault = fmt.Sprintf("stale: %s old, at most %s is allowed", Duration{now.Sub(s.AsOf).Truncate(time.Minute)}, d.MaxAge)
	}
	if r.Fault != "" {
		return r
	}
	switch v := s.Value.(type) {
	case int64:
		r.Value = float64(v)
	case int:
		r.Value = float64(v)
	}
	ok := false
	switch d.Type {
	case "number":
		_, ok = r.Value.(float64)
	case "text":
		_, ok = r.Value.(string)
	case "bool":
		_, ok = r.Value.(bool)
	case "time":
		_, ok = r.Value.(time.Time)
	}
	if !ok {
		r.Fault = "is not of type " + d.Type
	}
	return r
}

// readings are every declared signal of one tenant; faults names those that may not
// be used.
func (c *compiled) readings(have map[string]Signal, now time.Time) (rs map[string]Reading, faults []string) {
	rs = map[string]Reading{}
	for _, name := range slices.Sorted(maps.Keys(c.Signals)) {
		s, there := have[name]
		rs[name] = c.Signals[name].read(s, there, now)
		if f := rs[name].Fault; f != "" {
			faults = append(faults, name+": "+f)
		}
	}
	return rs, faults
}

// builtin are the signals that the tenant projection itself gives.
func builtin(t governance.Tenant, now time.Time) map[string]Signal {
	out := map[string]Signal{
		"tenant_age_days": {float64(int64(now.Sub(t.CreatedAt) / day)), now},
	}
	if !t.RenewalAt.IsZero() {
		out["renewal_in_days"] = Signal{t.RenewalAt.Sub(now).Hours() / 24, now}
	}
	return out
}

// signals asks the port and adds what the projection knows; the port wins.
func (s *Service) signals(ctx context.Context, tenants []governance.Tenant, now time.Time) (map[governance.TenantID]map[string]Signal, error) {
	ids := make([]governance.TenantID, len(tenants))
	out := make(map[governance.TenantID]map[string]Signal, len(tenants))
	for i, t := range tenants {
		ids[i] = t.ID
		out[t.ID] = builtin(t, now)
	}
	if len(ids) == 0 {
		return out, nil
	}
	have, err := s.opts.Signals(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("signals: %w", err)
	}
	for id, m := range have {
		if into := out[id]; into != nil {
			maps.Copy(into, m)
		}
	}
	return out, nil
}

func vars(t governance.Tenant, rs map[string]Reading, event string, now time.Time) map[string]any {
	values := make(map[string]any, len(rs))
	for name, r := range rs {
		values[name] = r.Value
	}
	return map[string]any{
		"tenant": map[string]any{"id": string(t.ID), "name": t.Name, "country": t.Country, "region": t.Region, "owner": string(t.Owner),
			"status": string(t.Status), "plan": t.Plan, "seats": t.Seats},
		"signals": values, "event": map[string]any{"type": event}, "now": now,
	}
}
