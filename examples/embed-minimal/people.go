package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/reevehq/reeve/governance"
)

// Resolve and Members answer from the office's own table of staff: managers are the
// group "managers".
func (o *office) Resolve(ctx context.Context, p governance.PersonID) (governance.Person, error) {
	manager, err := o.staff(ctx, string(p))
	if errors.Is(err, sql.ErrNoRows) {
		return governance.Person{}, fmt.Errorf("%s: %w", p, governance.ErrNotFound)
	}
	person := governance.Person{ID: p, Name: string(p), Active: true, Roles: []string{"staff"}}
	if manager {
		person.Groups = []governance.GroupID{"managers"}
	}
	return person, err
}

// Members implements governance.Directory.
func (o *office) Members(ctx context.Context, g governance.GroupID) ([]governance.Person, error) {
	var names []string
	if g != "managers" {
		return nil, nil
	}
	if err := o.db.SelectContext(ctx, &names, "SELECT name FROM staff WHERE manager"); err != nil {
		return nil, err
	}
	var out []governance.Person
	for _, n := range names {
		out = append(out, governance.Person{ID: governance.PersonID(n), Active: true, Groups: []governance.GroupID{g}})
	}
	return out, nil
}

// Authorize implements governance.Authorizer: whoever is on the staff may ask.
func (o *office) Authorize(ctx context.Context, id governance.Identity, permission string, _ governance.Target) error {
	if _, err := o.staff(ctx, string(id.Actor.Person)); err != nil {
		return &governance.DeniedError{Action: permission, Rule: "staff", Reason: "you are not on the staff"}
	}
	return nil
}

// identify tells Reeve who the office's own sign-in found.
func identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := r.Context().Value(sessionKey{}).(Session); ok {
			r = r.WithContext(governance.WithIdentity(r.Context(), governance.Identity{
				Actor: governance.Actor{ID: s.Staff, Kind: governance.ActorUser, Person: governance.PersonID(s.Staff), Roles: []string{"staff"}}}))
		}
		next.ServeHTTP(w, r)
	})
}
