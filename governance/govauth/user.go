package govauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// UserState is where a person stands.
type UserState string

// The states of a person.
const (
	UserActive      UserState = "active"
	UserDeactivated UserState = "deactivated"
)

// User is a person who may sign in.
type User struct {
	ID            governance.PersonID
	Name          string
	Email         string
	Roles         []string
	Region        string
	State         UserState
	Version       int64
	InvitedBy     governance.PersonID
	CreatedAt     time.Time
	DeactivatedAt time.Time
}

func (r userRow) user() User {
	return User{ID: governance.PersonID(r.ID), Name: r.Name, Email: r.Email, Roles: append([]string{}, r.Roles...), Region: r.Region, State: UserState(r.State),
		Version: r.Version, InvitedBy: governance.PersonID(r.InvitedBy), CreatedAt: r.CreatedAt.Time(), DeactivatedAt: r.DeactivatedAt.Time()}
}

// User is one person.
func (s *Service) User(ctx context.Context, id governance.PersonID) (User, error) {
	row, err := userTx(ctx, s.db.Read(), id)
	return row.user(), err
}

// UserFilter selects people; the zero value lists all of them.
type UserFilter struct {
	State     UserState
	AfterName string // of the last one of the page before, with AfterID
	AfterID   governance.PersonID
	Limit     int // default 50, at most 200
}

// Users lists people by name.
func (s *Service) Users(ctx context.Context, f UserFilter) ([]User, error) {
	var rows []userRow
	q := s.db.Read().NewSelect().Model(&rows).Order("name", "id").Limit(pageLimit(f.Limit))
	if f.State != "" {
		q = q.Where("state = ?", f.State)
	}
	if f.AfterID != "" {
		q = q.Where("(name, id) > (?, ?)", f.AfterName, f.AfterID)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	out := make([]User, len(rows))
	for i, r := range rows {
		out[i] = r.user()
	}
	return out, nil
}

func pageLimit(n int) int64 {
	if n <= 0 {
		return 50
	}
	return int64(min(n, 201))
}

// AddUser stores an active person without an invitation. It is for data that a
// program makes, such as a demo's; it passes no guard, and is recorded.
func (s *Service) AddUser(ctx context.Context, u User) (User, error) {
	if u.ID == "" {
		u.ID = governance.PersonID(uuid.Must(uuid.NewV7()).String())
	}
	u.Email, u.Roles = normalEmail(u.Email), normalRoles(u.Roles)
	if err := errors.Join(validName("name", u.Name, true), validEmail("email", u.Email), validRoles("roles", u.Roles, PersonRoles())); err != nil {
		return u, err
	}
	var row userRow
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := lockPeopleTx(ctx, tx); err != nil {
			return err
		}
		row = userRow{ID: string(u.ID), Name: u.Name, Email: u.Email, Roles: u.Roles, Region: u.Region, State: string(UserActive), Version: 1, CreatedAt: s.now()}
		return s.insertUserTx(ctx, tx, governance.System("govauth"), row)
	})
	return row.user(), err
}

// insertUserTx stores an active person and ends bootstrap mode with the third. The
// caller holds the lock on people.
func (s *Service) insertUserTx(ctx context.Context, tx *governance.Tx, by governance.Identity, row userRow) error {
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return fmt.Errorf("person %s: there is one with this id or e-mail address: %w", row.ID, governance.ErrConflict)
		}
		return fmt.Errorf("person %s: %w", row.ID, err)
	}
	if err := s.changedTx(ctx, tx, row, by.Actor.ID); err != nil {
		return err
	}
	on := personRef(governance.PersonID(row.ID))
	ev, err := governance.NewEvent("user.activated", "", 0, on, map[string]any{"person": row.ID, "roles": row.Roles})
	if err != nil {
		return err
	}
	if err := s.record(ctx, tx, by, "user.add", on, map[string]any{"roles": append([]string{}, row.Roles...), "state": row.State, "version": row.Version}, ev); err != nil {
		return err
	}
	return s.endBootstrapTx(ctx, tx)
}

// bootstrapPeople is how many active people end bootstrap mode.
const bootstrapPeople = 3

func (s *Service) endBootstrapTx(ctx context.Context, tx *governance.Tx) error {
	users, err := activeUsersTx(ctx, tx)
	if err != nil || len(users) < bootstrapPeople {
		return err
	}
	return s.k.EndBootstrapTx(ctx, tx)
}

// ChangeRoles replaces a person's roles.
type ChangeRoles struct {
	Person governance.PersonID `json:"person"`
	Roles  []string            `json:"roles"`
}

// Activate lets a deactivated person back in, with the roles they had. Their keys,
// sessions and links stay dead.
type Activate struct {
	Person governance.PersonID `json:"person"`
}

// Deactivate locks a person out: sessions, keys and links end in the same commit.
type Deactivate struct {
	Person governance.PersonID `json:"person"`
}

func userVersion[I any](person func(I) governance.PersonID) func(context.Context, *governance.Tx, I) (int64, error) {
	return func(ctx context.Context, tx *governance.Tx, in I) (int64, error) {
		row, err := userTx(ctx, tx, person(in))
		return row.Version, err
	}
}

func (s *Service) rolesAction() *governance.Action[ChangeRoles] {
	person := func(in ChangeRoles) governance.PersonID { return in.Person }
	return governance.Define("user.roles", governance.Spec[ChangeRoles]{
		Summary:    "Gives a person other roles.",
		Permission: "user:write", Sensitive: true, Tenant: noTenant[ChangeRoles],
		Resource: func(in ChangeRoles) governance.Ref { return personRef(in.Person) },
		Validate: func(in ChangeRoles) error { return validRoles("roles", in.Roles, PersonRoles()) },
		Version:  userVersion(person),
		Preview: func(ctx context.Context, tx *governance.Tx, in ChangeRoles) (any, error) {
			row, err := userTx(ctx, tx, in.Person)
			return map[string]any{"before": append([]string{}, row.Roles...), "after": in.Roles}, err
		},
	}, func(ctx context.Context, tx *governance.Tx, in ChangeRoles) (governance.Result, error) {
		row, err := s.changeUserTx(ctx, tx, in.Person, UserActive, func(u *userRow) { u.Roles = in.Roles })
		if err != nil {
			return governance.Result{}, err
		}
		return userResult("user.roles_changed", row)
	})
}

func (s *Service) activateAction() *governance.Action[Activate] {
	person := func(in Activate) governance.PersonID { return in.Person }
	return governance.Define("user.activate", governance.Spec[Activate]{
		Summary:    "Lets a person sign in again.",
		Permission: "user:write", Sensitive: true, Tenant: noTenant[Activate],
		Resource: func(in Activate) governance.Ref { return personRef(in.Person) },
		Version:  userVersion(person),
		Preview: func(ctx context.Context, tx *governance.Tx, in Activate) (any, error) {
			row, err := userTx(ctx, tx, in.Person)
			return map[string]any{"roles": append([]string{}, row.Roles...)}, err
		},
	}, func(ctx context.Context, tx *governance.Tx, in Activate) (governance.Result, error) {
		row, err := s.changeUserTx(ctx, tx, in.Person, UserDeactivated, func(u *userRow) { u.State, u.DeactivatedAt = string(UserActive), 0 })
		if err == nil {
			err = s.endBootstrapTx(ctx, tx)
		}
		if err != nil {
			return governance.Result{}, err
		}
		return userResult("user.activated", row)
	})
}

func (s *Service) deactivateAction() *governance.Action[Deactivate] {
	person := func(in Deactivate) governance.PersonID { return in.Person }
	return governance.Define("user.deactivate", governance.Spec[Deactivate]{
		Summary:    "Ends a person's access.",
		Unheld:     "Taking access away must not wait.",
		Permission: "user:write", Sensitive: true, Tenant: noTenant[Deactivate],
		Resource: func(in Deactivate) governance.Ref { return personRef(in.Person) },
		Version:  userVersion(person),
	}, func(ctx context.Context, tx *governance.Tx, in Deactivate) (governance.Result, error) {
		now := s.now()
		row, err := s.changeUserTx(ctx, tx, in.Person, UserActive, func(u *userRow) { u.State, u.DeactivatedAt = string(UserDeactivated), now })
		if err != nil {
			return governance.Result{}, err
		}
		for _, q := range []string{ // what they could still use, and what they asked for on behalf of others
			"UPDATE auth_session SET ended_at = ? WHERE person = ? AND ended_at = 0",
			"UPDATE auth_key SET revoked_at = ? WHERE person = ? AND revoked_at = 0",
			"UPDATE auth_link SET used_at = ? WHERE person = ? AND used_at = 0",
			"UPDATE auth_link SET used_at = ? WHERE created_by = ? AND used_at = 0",
			"UPDATE auth_invitation SET state = 'revoked', closed_at = ? WHERE invited_by = ? AND state = 'open'",
		} {
			if _, err := tx.ExecContext(ctx, q, now, in.Person); err != nil {
				return governance.Result{}, fmt.Errorf("deactivate %s: %w", in.Person, err)
			}
		}
		return userResult("user.deactivated", row)
	})
}

// changeUserTx changes a person who is in a state, and refuses what would leave
// nobody to administer, or nobody to approve.
func (s *Service) changeUserTx(ctx context.Context, tx *governance.Tx, id governance.PersonID, from UserState, change func(u *userRow)) (userRow, error) {
	if err := lockPeopleTx(ctx, tx); err != nil {
		return userRow{}, err
	}
	row, err := userTx(ctx, tx, id)
	if err != nil {
		return row, err
	}
	if row.State != string(from) {
		return row, fmt.Errorf("person %s is %s: %w", id, row.State, governance.ErrConflict)
	}
	approver := row.active() && slices.Contains(row.Roles, RoleApprover)
	change(&row)
	row.Version++
	if _, err := tx.NewUpdate().Model(&row).WherePK().Exec(ctx); err != nil {
		return row, fmt.Errorf("person %s: %w", id, err)
	}
	if err := s.changedTx(ctx, tx, row, ""); err != nil {
		return row, err
	}
	users, err := activeUsersTx(ctx, tx)
	if err != nil {
		return row, err
	}
	if !slices.ContainsFunc(users, func(u userRow) bool { return slices.Contains(u.Roles, RoleSuperAdmin) }) {
		return row, fmt.Errorf("person %s is the last super admin: %w", id, governance.ErrConflict)
	}
	if approver && !slices.ContainsFunc(users, func(u userRow) bool { return slices.Contains(u.Roles, RoleApprover) }) {
		return row, fmt.Errorf("person %s is the last approver, and without one nobody could become the next: %w", id, governance.ErrConflict)
	}
	return row, nil
}

func userResult(event string, row userRow) (governance.Result, error) {
	data := map[string]any{"person": row.ID, "roles": append([]string{}, row.Roles...), "state": row.State, "version": row.Version}
	ev, err := governance.NewEvent(event, "", 0, personRef(governance.PersonID(row.ID)), data)
	return governance.Result{Data: data, Events: []governance.Event{ev}}, err
}

// SetRoles asks for other roles for a person.
func (s *Service) SetRoles(ctx context.Context, id governance.Identity, in ChangeRoles, opts *governance.DoOptions) (governance.Outcome, error) {
	in.Roles = normalRoles(in.Roles)
	return s.acts.roles.Do(ctx, s.k, id, in, opts)
}

// Activate asks to let a deactivated person back in.
func (s *Service) Activate(ctx context.Context, id governance.Identity, in Activate, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.acts.activate.Do(ctx, s.k, id, in, opts)
}

// Deactivate locks a person out.
func (s *Service) Deactivate(ctx context.Context, id governance.Identity, in Deactivate, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.acts.deactivate.Do(ctx, s.k, id, in, opts)
}

// FirstRun is how the first super admin gets in.
type FirstRun struct {
	Person    governance.PersonID
	Token     string
	URL       string
	ExpiresAt time.Time
}

// Setup makes the first super admin on an empty database, opens bootstrap mode and
// returns the first-run link; called again before anybody used one, it returns
// another. Otherwise it does nothing and returns nil. Call it at every start.
func (s *Service) Setup(ctx context.Context, name, email string) (*FirstRun, error) {
	email = normalEmail(email)
	if err := errors.Join(validName("name", name, true), validEmail("email", email)); err != nil {
		return nil, err
	}
	var first *FirstRun
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		first = nil
		if err := lockPeopleTx(ctx, tx); err != nil { // two servers on one empty database
			return err
		}
		var links []linkRow
		if err := tx.NewSelect().Model(&links).Where("kind = ?", LinkFirstRun).Scan(ctx); err != nil {
			return fmt.Errorf("first-run links: %w", err)
		}
		users, err := tx.NewSelect().Model((*userRow)(nil)).Count(ctx)
		if err != nil {
			return fmt.Errorf("count users: %w", err)
		}
		var person governance.PersonID
		switch {
		case users == 0:
			if err := s.k.BeginBootstrapTx(ctx, tx); err != nil {
				return err
			}
			row := userRow{ID: uuid.Must(uuid.NewV7()).String(), Name: name, Email: email, Roles: roleList{RoleSuperAdmin}, State: string(UserActive), Version: 1, CreatedAt: s.now()}
			if err := s.insertUserTx(ctx, tx, governance.System("setup"), row); err != nil {
				return err
			}
			person = governance.PersonID(row.ID)
		case len(links) == 0 || slices.ContainsFunc(links, func(l linkRow) bool { return l.UsedAt != 0 }):
			return nil
		default:
			person = governance.PersonID(links[0].Person)
		}
		token, link, err := s.insertLinkTx(ctx, tx, LinkFirstRun, person, "", s.opts.LinkValid)
		if err != nil {
			return err
		}
		first = &FirstRun{person, token, s.opts.LinkURL(token), link.ExpiresAt.Time()}
		return s.record(ctx, tx, governance.System("setup"), "signin.link", personRef(person), map[string]any{"kind": LinkFirstRun, "link": link.ID})
	})
	return first, err
}

// People says how many active people there are and how many of them may approve, for
// the banner of bootstrap mode: it ends with the third person, and without two
// approvers nobody could then change a role.
func (s *Service) People(ctx context.Context) (active, approvers int, err error) {
	var rows []userRow
	if err := s.db.Read().NewSelect().Model(&rows).Where("state = ?", UserActive).Scan(ctx); err != nil {
		return 0, 0, fmt.Errorf("active users: %w", err)
	}
	for _, r := range rows {
		if slices.Contains(r.Roles, RoleApprover) {
			approvers++
		}
	}
	return len(rows), approvers, nil
}
