package access

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb"
)

// Line is one person's access at an instant.
type Line struct {
	Person  governance.PersonID
	Roles   []string
	Region  string
	Active  bool
	Version int64
	Since   time.Time // when it became so
	By      string    // who made it so; empty: not known
	Source  Source
	Keys    []Key // personal keys that worked then
}

// Key is an API key that worked at an instant, with the roles it had then.
type Key struct {
	ID        string
	Kind      string
	Name      string
	Roles     []string
	ExpiresAt time.Time
}

// List is who held which role at an instant.
type List struct {
	At           time.Time
	CompleteFrom time.Time // nothing is missing from here on
	Complete     bool      // At is not before CompleteFrom
	People       []Line    // active ones; those who had gone are in Former
	Former       []Line
	SharedKeys   []Key // of nobody
}

// At is the access list at an instant, exact to the microsecond: a change counts from
// the instant it has in the history on. A time to come is refused.
func (s *Service) At(ctx context.Context, at time.Time) (List, error) {
	if at.After(s.k.Now()) {
		return List{}, governance.Invalid("at", "is still to come")
	}
	from, began, err := completeFrom(ctx, s.db.Read())
	if err != nil {
		return List{}, err
	}
	out := List{At: at.UTC(), People: []Line{}, Former: []Line{}, SharedKeys: []Key{}}
	if began {
		out.CompleteFrom, out.Complete = from.Time(), govdb.At(at) >= from
	}
	rows, err := latest(ctx, s.db.Read(), govdb.At(at))
	if err != nil {
		return List{}, err
	}
	keys, err := s.auth.KeysAt(ctx, at)
	if err != nil {
		return List{}, err
	}
	byPerson := map[governance.PersonID][]govauth.Key{}
	for _, k := range keys {
		if k.Kind == govauth.KeyShared {
			out.SharedKeys = append(out.SharedKeys, Key{k.ID, k.Kind, k.Name, k.Roles, k.ExpiresAt})
			continue
		}
		byPerson[k.Person] = append(byPerson[k.Person], k)
	}
	for _, r := range rows {
		l, err := r.line()
		if err != nil {
			return List{}, err
		}
		if !l.Active {
			out.Former = append(out.Former, l)
			continue
		}
		for _, k := range byPerson[l.Person] {
			roles := l.Roles // a personal key has its person's roles, or fewer
			if len(k.Roles) > 0 {
				roles = slices.DeleteFunc(slices.Clone(roles), func(r string) bool { return !slices.Contains(k.Roles, r) })
			}
			l.Keys = append(l.Keys, Key{k.ID, k.Kind, k.Name, roles, k.ExpiresAt})
		}
		out.People = append(out.People, l)
	}
	return out, nil
}

func (r changeRow) line() (Line, error) {
	roles, err := decodeRoles(r.Roles)
	if err != nil {
		return Line{}, fmt.Errorf("access of %s: %w", r.Person, err)
	}
	return Line{Person: governance.PersonID(r.Person), Roles: roles, Region: r.Region, Active: r.Active, Version: r.Version, Since: r.At.Time(), By: r.ChangedBy, Source: Source(r.Source), Keys: []Key{}}, nil
}

// Changes is everything that ever happened to a person's access, newest first.
func (s *Service) Changes(ctx context.Context, person governance.PersonID) ([]Line, error) {
	var rows []changeRow
	if err := s.db.Read().NewSelect().Model(&rows).Where("person = ?", person).Order("at DESC").Limit(1000).Scan(ctx); err != nil {
		return nil, fmt.Errorf("access of %s: %w", person, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("access of %s: %w", person, governance.ErrNotFound)
	}
	out := make([]Line, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.line(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Export writes the list as CSV, one line for each role of each person and each key.
// That it was taken is recorded first.
func (s *Service) Export(ctx context.Context, id governance.Identity, at time.Time, w io.Writer) error {
	list, err := s.At(ctx, at)
	if err != nil {
		return err
	}
	if err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "access.export", Outcome: governance.OutcomeObserved, Data: map[string]any{"at": list.At, "people": len(list.People)}})
		return err
	}); err != nil {
		return err
	}
	return list.WriteCSV(w)
}

// WriteCSV writes the list as CSV.
func (l List) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"at", "complete", "person", "role", "region", "since", "changed_by", "source", "key"}}
	at, complete := l.At.Format(time.RFC3339Nano), fmt.Sprint(l.Complete)
	for _, p := range l.People {
		for _, r := range p.Roles {
			rows = append(rows, []string{at, complete, string(p.Person), r, p.Region, p.Since.Format(time.RFC3339Nano), p.By, string(p.Source), ""})
		}
		for _, k := range p.Keys {
			for _, r := range k.Roles {
				rows = append(rows, []string{at, complete, string(p.Person), r, p.Region, p.Since.Format(time.RFC3339Nano), p.By, string(p.Source), k.ID})
			}
		}
	}
	for _, k := range l.SharedKeys {
		for _, r := range k.Roles {
			rows = append(rows, []string{at, complete, "", r, "", "", "", "", k.ID})
		}
	}
	for _, r := range rows {
		for i, cell := range r {
			if strings.IndexAny(cell, "=+-@\t\r") == 0 { // a spreadsheet would run it
				r[i] = "'" + cell
			}
		}
	}
	if err := c.WriteAll(rows); err != nil {
		return fmt.Errorf("access list: %w", err)
	}
	return nil
}
