package govauth

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// The kinds of key. A personal key is one person's and has their roles, or fewer; a
// shared one stands for no person, looks tenants up for a helpdesk and never votes.
const (
	KeyPersonal = "personal"
	KeyShared   = "shared"
	keyCode     = "code" // a sign-in code, no API key
)

// Key is an API key, without its secret.
type Key struct {
	ID        string
	Kind      string
	Person    governance.PersonID // empty for a shared key
	Name      string
	Roles     []string // of a personal key: only these of the person's; empty: all of them
	CreatedBy governance.PersonID
	CreatedAt time.Time
	ExpiresAt time.Time
	IssuedAt  time.Time // zero: the secret was not shown yet, the key does not work
	RevokedAt time.Time
	UsedAt    time.Time // about: written at most once a minute
}

func (r keyRow) key() Key {
	return Key{ID: r.ID, Kind: r.Kind, Person: governance.PersonID(r.Person), Name: r.Name, Roles: append([]string{}, r.Roles...), CreatedBy: governance.PersonID(r.CreatedBy),
		CreatedAt: r.CreatedAt.Time(), ExpiresAt: r.ExpiresAt.Time(), IssuedAt: r.IssuedAt.Time(), RevokedAt: r.RevokedAt.Time(), UsedAt: r.UsedAt.Time()}
}

// CreateKey is the input of the action key.create. ID may be left empty.
type CreateKey struct {
	ID        string              `json:"id"`
	Kind      string              `json:"kind"`
	Person    governance.PersonID `json:"person,omitempty"`
	Name      string              `json:"name"`
	Roles     []string            `json:"roles"`
	ExpiresAt time.Time           `json:"expires_at"`
}

func (in CreateKey) validate() error {
	errs := []error{validName("name", in.Name, true)}
	switch in.Kind {
	case KeyPersonal:
		if in.Person == "" {
			errs = append(errs, governance.Invalid("person", "a personal key is somebody's"))
		}
		if len(in.Roles) > 0 {
			errs = append(errs, validRoles("roles", in.Roles, PersonRoles()))
		}
	case KeyShared:
		if in.Person != "" {
			errs = append(errs, governance.Invalid("person", "a shared key is nobody's"))
		}
		errs = append(errs, validRoles("roles", in.Roles, []string{RoleSupportKey}))
	default:
		errs = append(errs, governance.Invalid("kind", "%q is neither personal nor shared", in.Kind))
	}
	return errors.Join(errs...)
}

func keyRef(id string) governance.Ref { return governance.Ref{Kind: "key", ID: id} }

func (s *Service) keyAction() *governance.Action[CreateKey] {
	return governance.Define("key.create", governance.Spec[CreateKey]{
		Summary:    "Makes an API key.",
		Unheld:     "A personal key has no more rights than its person, a shared one the look-up of a help desk alone.",
		Permission: "key:write", Sensitive: true, Tenant: noTenant[CreateKey],
		Resource: func(in CreateKey) governance.Ref { return keyRef(in.ID) },
		Validate: CreateKey.validate,
	}, func(ctx context.Context, tx *governance.Tx, in CreateKey) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		row, err := s.insertKeyTx(ctx, tx, in, e.Identity.Actor.Person, "")
		if err != nil {
			return governance.Result{}, err
		}
		data := map[string]any{"key": row.ID, "kind": row.Kind, "person": row.Person, "roles": append([]string{}, row.Roles...), "expires_at": row.ExpiresAt.Time()}
		ev, err := governance.NewEvent("key.created", "", 0, keyRef(row.ID), data)
		return governance.Result{Data: data, Events: []governance.Event{ev}}, err
	})
}

// insertKeyTx stores a key; without a hash it does not work yet.
func (s *Service) insertKeyTx(ctx context.Context, tx *governance.Tx, in CreateKey, by governance.PersonID, hash string) (keyRow, error) {
	now := s.k.Now()
	if !in.ExpiresAt.After(now) || in.ExpiresAt.After(now.Add(s.opts.KeyMax+time.Minute)) {
		return keyRow{}, governance.Invalid("expires_at", "must be within the next %d days", int(s.opts.KeyMax.Hours()/24))
	}
	if in.Kind == KeyPersonal {
		user, err := userTx(ctx, tx, in.Person)
		if errors.Is(err, governance.ErrNotFound) || err == nil && !user.active() {
			return keyRow{}, governance.Invalid("person", "there is no such active person")
		}
		if err != nil {
			return keyRow{}, err
		}
	}
	row := keyRow{ID: in.ID, Kind: in.Kind, Person: string(in.Person), Name: in.Name, Roles: in.Roles, Hash: hash, CreatedBy: string(by),
		CreatedAt: govdb.At(now), ExpiresAt: govdb.At(in.ExpiresAt)}
	if hash != "" {
		row.IssuedAt = row.CreatedAt
	}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return row, fmt.Errorf("key %s: %w", in.ID, err)
	}
	return row, nil
}

func shortID(u uuid.UUID) string { return hex.EncodeToString(u[8:]) }

// CreateKey asks for a key. Its secret is shown by [Service.ShowKey] once the action
// was executed. Without ExpiresAt it lives 90 days.
func (s *Service) CreateKey(ctx context.Context, id governance.Identity, in CreateKey, opts *governance.DoOptions) (governance.Outcome, error) {
	if in.ID == "" {
		in.ID = shortID(idFor(id, opts, "key"))
	}
	in.Roles = normalRoles(in.Roles)
	if in.ExpiresAt.IsZero() { // a whole day, so that a repeated request has the same input
		in.ExpiresAt = s.k.Now().Truncate(24 * time.Hour).Add(min(91*24*time.Hour, s.opts.KeyMax))
	}
	in.ExpiresAt = in.ExpiresAt.UTC().Truncate(time.Second)
	return s.acts.key.Do(ctx, s.k, id, in, opts)
}

// ShowKey makes the key's secret and shows it this once, after which the key works:
// a personal key to its person alone, a shared one to whoever made it.
func (s *Service) ShowKey(ctx context.Context, id governance.Identity, key string) (string, error) {
	row, err := keyTx(ctx, s.db.Read(), key)
	if err != nil {
		return "", err
	}
	refused := s.mayShow(ctx, id, row)
	secret, hash := newSecret(keyPrefix, key)
	err = s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if refused != nil {
			return s.refuseTx(ctx, tx, id, "key.show", keyRef(key), refused)
		}
		now := s.now()
		res, err := tx.ExecContext(ctx, "UPDATE auth_key SET hash = ?, issued_at = ? WHERE id = ? AND hash = '' AND revoked_at = 0 AND expires_at > ?", hash, now, key, now)
		if err := affectOne(res, err, "key "+key+" was shown already, or has ended", governance.ErrConflict); err != nil {
			return err
		}
		return s.record(ctx, tx, id, "key.show", keyRef(key), nil)
	})
	if err = errors.Join(err, refused); err != nil {
		return "", err
	}
	return secret, nil
}

func (s *Service) mayShow(ctx context.Context, id governance.Identity, row keyRow) error {
	if row.Kind == KeyPersonal {
		if !own(id, governance.PersonID(row.Person)) { // whoever sees it can act, and vote, as that person
			return denied("key.show", "person", "only the person whose key it is sees its secret")
		}
		if id.Actor.Kind == governance.ActorUser {
			return nil
		}
		return s.k.Authorize(ctx, id, "key:write", governance.Target{}) // a key with fewer roles must not make itself more
	}
	if !own(id, governance.PersonID(row.CreatedBy)) {
		return denied("key.show", "creator", "only whoever made the key sees its secret")
	}
	return s.k.Authorize(ctx, id, "key:write", governance.Target{})
}

// RevokeKey ends a key at once: one's own, or with key:write anybody's.
func (s *Service) RevokeKey(ctx context.Context, id governance.Identity, key, reason string) error {
	row, err := keyTx(ctx, s.db.Read(), key)
	if err != nil {
		return err
	}
	if row.Kind == keyCode {
		return fmt.Errorf("key %s: %w", key, governance.ErrNotFound)
	}
	if !own(id, governance.PersonID(row.Person)) {
		if err := s.k.Authorize(ctx, id, "key:write", governance.Target{}); err != nil {
			return err
		}
	}
	ev, err := governance.NewEvent("key.revoked", "", 0, keyRef(key), map[string]any{"key": key, "person": row.Person})
	if err != nil {
		return err
	}
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE auth_key SET revoked_at = ? WHERE id = ? AND revoked_at = 0", s.now(), key)
		if err := affectOne(res, err, "key "+key+" is revoked", governance.ErrConflict); err != nil {
			return err
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "key.revoke", Resource: keyRef(key), Reason: reason}, ev)
		return err
	})
}

// MintKey makes a key that works at once from inside the program, for a demo. It
// passes no guard, and is recorded.
func (s *Service) MintKey(ctx context.Context, in CreateKey) (string, error) {
	if in.ID == "" {
		in.ID = newID()
	}
	in.Roles = normalRoles(in.Roles)
	if in.ExpiresAt.IsZero() {
		in.ExpiresAt = s.k.Now().Add(s.opts.KeyMax)
	}
	if err := in.validate(); err != nil {
		return "", err
	}
	text, hash := newSecret(keyPrefix, in.ID)
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row, err := s.insertKeyTx(ctx, tx, in, "", hash)
		if err != nil {
			return err
		}
		return s.record(ctx, tx, governance.System("govauth"), "key.create", keyRef(row.ID), map[string]any{"kind": row.Kind, "person": row.Person, "roles": append([]string{}, row.Roles...)})
	})
	if err != nil {
		return "", err
	}
	return text, nil
}

func keyTx(ctx context.Context, db bun.IDB, id string) (keyRow, error) {
	var row keyRow
	err := db.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return row, fmt.Errorf("key %s: %w", id, err)
	}
	return row, nil
}

// KeyFilter selects keys. Person or Everybody is required.
type KeyFilter struct {
	Person    governance.PersonID
	Everybody bool
	Before    string // the last one of the page before
	Limit     int    // default 50, at most 200
}

// Keys lists keys, newest first.
func (s *Service) Keys(ctx context.Context, f KeyFilter) ([]Key, error) {
	if f.Person == "" && !f.Everybody { // forgetting the person must not mean everybody
		return nil, errors.New("govauth: KeyFilter needs Person or Everybody")
	}
	var rows []keyRow
	q := s.db.Read().NewSelect().Model(&rows).Where("kind <> ?", keyCode).Order("created_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if !f.Everybody {
		q = q.Where("person = ?", f.Person)
	}
	if f.Before != "" {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM auth_key WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	out := make([]Key, len(rows))
	for i, r := range rows {
		out[i] = r.key()
	}
	return out, nil
}

// narrowed is the roles that a personal key has: the person's own now, and only those
// the key names.
func narrowed(person, key []string) []string {
	if len(key) == 0 {
		return slices.Clone(person)
	}
	return slices.DeleteFunc(slices.Clone(person), func(r string) bool { return !slices.Contains(key, r) })
}
