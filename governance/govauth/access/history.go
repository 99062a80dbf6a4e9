package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb"
)

// Source says how a change came into the history.
type Source string

// The sources of a change.
const (
	Live     Source = "live"     // written in the commit of the change
	Ledger   Source = "ledger"   // filled in from the ledger's record of it
	Baseline Source = "baseline" // as it stood when the history began
	Found    Source = "found"    // made behind the server's back; its true time is not known
)

const endOfTime = govdb.Micros(math.MaxInt64)

// History keeps the changes. Use [NewHistory].
type History struct{ db *govdb.DB }

// NewHistory makes a History on a database with [Schema].
func NewHistory(db *govdb.DB) (*History, error) {
	if db == nil {
		return nil, errors.New("access: a database is required")
	}
	return &History{db}, nil
}

// Keep writes a change in tx's commit; it is a govauth.Options.OnChange.
func (h *History) Keep(ctx context.Context, tx *governance.Tx, c govauth.Change) error {
	return h.addTx(ctx, tx, c, Live)
}

// addTx appends a change of somebody. Two changes of one person never have the same
// instant, and a clock that was set back does not put one before the other.
func (h *History) addTx(ctx context.Context, tx *governance.Tx, c govauth.Change, from Source) error {
	at := govdb.At(h.db.Now())
	var last govdb.Micros
	if err := tx.NewRaw("SELECT COALESCE(MAX(at), 0) FROM access_change WHERE person = ?", c.Person).Scan(ctx, &last); err != nil {
		return fmt.Errorf("access of %s: %w", c.Person, err)
	}
	return insertTx(ctx, tx, newChangeRow(c, max(at, last+1), from))
}

func newChangeRow(c govauth.Change, at govdb.Micros, from Source) *changeRow {
	return &changeRow{Person: string(c.Person), At: at, Roles: encodeRoles(c.Roles), Region: c.Region, Active: c.Active, Version: c.Version, ChangedBy: c.By, Source: string(from)}
}

func insertTx(ctx context.Context, tx *governance.Tx, row *changeRow) error {
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return fmt.Errorf("access of %s: %w", row.Person, err)
	}
	return nil
}

// Install begins the history, once, and afterwards looks whether anybody's access was
// changed behind the server's back. Call it at every start.
func (s *Service) Install(ctx context.Context) error {
	_, began, err := completeFrom(ctx, s.db.Read())
	if err != nil {
		return err
	}
	if began {
		return s.Reconcile(ctx)
	}
	told, first, err := s.replay(ctx)
	if err != nil {
		return err
	}
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		people, err := s.auth.AccessTx(ctx, tx) // holds off other servers as well
		if err != nil {
			return err
		}
		if _, began, err := completeFrom(ctx, tx); err != nil || began {
			return err
		}
		return s.beginTx(ctx, tx, people, told, first)
	})
}

// beginTx writes what the ledger told, and a baseline for whom it told something else
// than what is so.
func (s *Service) beginTx(ctx context.Context, tx *governance.Tx, people []govauth.Change, told []*changeRow, first time.Time) error {
	live := map[string]govdb.Micros{}
	var rows []struct {
		Person string
		At     govdb.Micros
	}
	if err := tx.NewRaw("SELECT person, MIN(at) AS at FROM access_change GROUP BY person").Scan(ctx, &rows); err != nil {
		return fmt.Errorf("history of access: %w", err)
	}
	for _, r := range rows {
		live[r.Person] = r.At
	}
	written := 0
	for _, row := range told {
		if since, ok := live[row.Person]; ok && row.At >= since {
			continue // kept by itself
		}
		if err := insertTx(ctx, tx, row); err != nil {
			return err
		}
		written++
	}
	have, err := latest(ctx, tx, endOfTime)
	if err != nil {
		return err
	}
	now := s.k.Now()
	complete, corrected := now, 0
	if !first.IsZero() {
		complete = first
	}
	for _, c := range differences(people, have) {
		if err := s.hist.addTx(ctx, tx, c, Baseline); err != nil {
			return err
		}
		complete = s.k.Now() // after the row that fills the gap
		corrected++
	}
	if err := putCompleteTx(ctx, tx, govdb.At(complete)); err != nil {
		return err
	}
	_, err = s.k.RecordTx(ctx, tx, governance.System("access"), governance.Record{Action: "access.history_began",
		Data: map[string]any{"from_ledger": written, "baseline": corrected, "complete_from": complete}})
	return err
}

// differences are the people whose access is not what the history says last.
func differences(people []govauth.Change, have []changeRow) []govauth.Change {
	last := map[string]changeRow{}
	for _, r := range have {
		last[r.Person] = r
	}
	var out []govauth.Change
	for _, c := range people {
		r, ok := last[string(c.Person)]
		if !ok || r.Roles != encodeRoles(c.Roles) || r.Active != c.Active || r.Region != c.Region {
			out = append(out, c)
		}
		delete(last, string(c.Person))
	}
	for _, r := range have { // removed from the table: nobody can do that through the server
		if gone, ok := last[r.Person]; ok && gone.Active {
			out = append(out, govauth.Change{Person: governance.PersonID(r.Person), Region: r.Region, Version: r.Version + 1})
		}
	}
	return out
}

// Reconcile compares the history with how things are. A difference is a change that
// went past the server: it is written down as found, raises an alert, and the history
// is complete only from then on.
func (s *Service) Reconcile(ctx context.Context) error {
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		people, err := s.auth.AccessTx(ctx, tx)
		if err != nil {
			return err
		}
		if _, began, err := completeFrom(ctx, tx); err != nil || !began {
			return err
		}
		have, err := latest(ctx, tx, endOfTime)
		if err != nil {
			return err
		}
		found := differences(people, have)
		if len(found) == 0 {
			return nil
		}
		names := make([]governance.PersonID, len(found))
		for i, c := range found {
			names[i] = c.Person
			if err := s.hist.addTx(ctx, tx, c, Found); err != nil {
				return err
			}
		}
		if err := putCompleteTx(ctx, tx, govdb.At(s.k.Now())); err != nil {
			return err
		}
		if _, err := s.k.AlertTx(ctx, tx, governance.Alert{Key: "access.found", Severity: governance.Critical, Title: "Access was changed past the server",
			Body: fmt.Sprintf("The access of %d people is not what the history says. The access list is complete only from now on.", len(found))}); err != nil {
			return err
		}
		_, err = s.k.RecordTx(ctx, tx, governance.System("access"), governance.Record{Action: "access.found", Outcome: governance.OutcomeObserved, Data: map[string]any{"people": names}})
		return err
	})
}

// replay reads the changes of access out of the ledger, oldest first, and the time of
// its first record.
func (s *Service) replay(ctx context.Context) (out []*changeRow, first time.Time, err error) {
	last := map[string]govdb.Micros{}
	state := map[string]govauth.Change{}
	for leaf := int64(0); ; {
		records, err := s.k.Ledger().Leaves(ctx, leaf, 1000)
		if err != nil {
			return nil, first, err
		}
		for _, r := range records {
			leaf = r.N + 1
			if r.Kind != governance.RecordKind {
				continue
			}
			v, err := governance.ReadRecord(r.Body)
			if err != nil {
				return nil, first, err
			}
			if first.IsZero() {
				first = v.At
			}
			c, ok := changeOf(v, state)
			if !ok {
				continue
			}
			at := max(govdb.At(v.At), last[string(c.Person)]+1)
			last[string(c.Person)], state[string(c.Person)] = at, c
			out = append(out, newChangeRow(c, at, Ledger))
		}
		if len(records) < 1000 {
			break
		}
	}
	// No record names a region, and nothing changes one: it is the one they have.
	people := map[string]string{}
	err = s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		all, err := s.auth.AccessTx(ctx, tx)
		for _, c := range all {
			people[string(c.Person)] = c.Region
		}
		return err
	})
	for _, row := range out {
		row.Region = people[row.Person]
	}
	return out, first, err
}

// changeOf reads a change of access out of a record.
func changeOf(v governance.RecordView, state map[string]govauth.Change) (govauth.Change, bool) {
	if v.Outcome != governance.OutcomeDone || v.Resource.Kind != "person" || !slices.Contains([]string{"user.add", "user.roles", "user.activate", "user.deactivate"}, v.Action) {
		return govauth.Change{}, false
	}
	c := govauth.Change{Person: governance.PersonID(v.Resource.ID), By: v.Actor.ID}
	var d struct {
		Roles  []string
		Result struct {
			Roles   []string
			State   string
			Version int64
		}
	}
	if json.Unmarshal(v.Data, &d) != nil {
		return c, false
	}
	if v.Action == "user.add" {
		c.Roles, c.Active, c.Version = d.Roles, true, 1
		return c, true
	}
	c.Roles, c.Active, c.Version = d.Result.Roles, d.Result.State == string(govauth.UserActive), d.Result.Version
	return c, true
}
