package govauth

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var migrationFiles embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return govdb.Schema{Name: "auth", FS: migrationFiles}
	}
	return govdb.Schema{Name: "auth", FS: sub}
}

type userRow struct {
	bun.BaseModel `bun:"table:auth_user"`

	ID            string       `bun:"id,pk"`
	Name          string       `bun:"name"`
	Email         string       `bun:"email"`
	Roles         roleList     `bun:"roles"`
	Region        string       `bun:"region"`
	State         string       `bun:"state"`
	Version       int64        `bun:"version"`
	InvitedBy     string       `bun:"invited_by"`
	CreatedAt     govdb.Micros `bun:"created_at"`
	DeactivatedAt govdb.Micros `bun:"deactivated_at"`
}

type invitationRow struct {
	bun.BaseModel `bun:"table:auth_invitation"`

	ID        string       `bun:"id,pk"`
	Name      string       `bun:"name"`
	Email     string       `bun:"email"`
	Roles     roleList     `bun:"roles"`
	Region    string       `bun:"region"`
	State     string       `bun:"state"`
	InvitedBy string       `bun:"invited_by"`
	CreatedAt govdb.Micros `bun:"created_at"`
	ExpiresAt govdb.Micros `bun:"expires_at"`
	ClosedAt  govdb.Micros `bun:"closed_at"`
}

type linkRow struct {
	bun.BaseModel `bun:"table:auth_link"`

	ID        string       `bun:"id,pk"`
	Kind      string       `bun:"kind"`
	Person    string       `bun:"person"`
	Hash      string       `bun:"hash"`
	CreatedBy string       `bun:"created_by"`
	CreatedAt govdb.Micros `bun:"created_at"`
	ExpiresAt govdb.Micros `bun:"expires_at"`
	UsedAt    govdb.Micros `bun:"used_at"`
}

type keyRow struct {
	bun.BaseModel `bun:"table:auth_key"`

	ID        string       `bun:"id,pk"`
	Kind      string       `bun:"kind"`
	Person    string       `bun:"person"`
	Name      string       `bun:"name"`
	Roles     roleList     `bun:"roles"`
	Hash      string       `bun:"hash"`
	CreatedBy string       `bun:"created_by"`
	CreatedAt govdb.Micros `bun:"created_at"`
	ExpiresAt govdb.Micros `bun:"expires_at"`
	IssuedAt  govdb.Micros `bun:"issued_at"`
	RevokedAt govdb.Micros `bun:"revoked_at"`
	UsedAt    govdb.Micros `bun:"used_at"`
}

type sessionRow struct {
	bun.BaseModel `bun:"table:auth_session"`

	ID        string       `bun:"id,pk"`
	Hash      string       `bun:"hash"`
	Person    string       `bun:"person"`
	Method    string       `bun:"method"`
	IP        string       `bun:"ip"`
	UserAgent string       `bun:"user_agent"`
	CreatedAt govdb.Micros `bun:"created_at"`
	SeenAt    govdb.Micros `bun:"seen_at"`
	ExpiresAt govdb.Micros `bun:"expires_at"`
	EndedAt   govdb.Micros `bun:"ended_at"`
}

// roleList is stored as a JSON array.
type roleList []string

// Value implements driver.Valuer.
func (r roleList) Value() (driver.Value, error) {
	b, err := json.Marshal(append([]string{}, r...))
	return string(b), err
}

// Scan implements sql.Scanner.
func (r *roleList) Scan(v any) error {
	*r = nil
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(v), r)
	case []byte:
		return json.Unmarshal(v, r)
	}
	return fmt.Errorf("roles are stored as %T", v)
}

// Store is the people this package knows, as the kernel's Directory. A person's
// roles are their groups. Safe for concurrent use.
type Store struct{ db *govdb.DB }

var _ governance.Directory = (*Store)(nil)

// NewStore makes a Store on a database with [Schema].
func NewStore(db *govdb.DB) (*Store, error) {
	if db == nil {
		return nil, errors.New("govauth: a database is required")
	}
	return &Store{db}, nil
}

// Resolve implements governance.Directory.
func (s *Store) Resolve(ctx context.Context, id governance.PersonID) (governance.Person, error) {
	row, err := userTx(ctx, s.db.Read(), id)
	if err != nil {
		return governance.Person{}, err
	}
	return row.person(), nil
}

// Members implements governance.Directory.
func (s *Store) Members(ctx context.Context, g governance.GroupID) ([]governance.Person, error) {
	var rows []userRow
	if err := s.db.Read().NewSelect().Model(&rows).Where("state = ?", UserActive).Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("members of %s: %w", g, err)
	}
	var out []governance.Person
	for _, r := range rows {
		if slices.Contains(r.Roles, string(g)) {
			out = append(out, r.person())
		}
	}
	return out, nil
}

func userTx(ctx context.Context, db bun.IDB, id governance.PersonID) (userRow, error) {
	var row userRow
	err := db.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return row, fmt.Errorf("person %s: %w", id, err)
	}
	return row, nil
}

func (r userRow) active() bool { return r.State == string(UserActive) }

func (r userRow) person() governance.Person {
	return governance.Person{ID: governance.PersonID(r.ID), Name: r.Name, Active: r.active(), Roles: slices.Clone(r.Roles), Groups: groups(r.Roles), Region: r.Region, Version: r.Version}
}

func groups(roles []string) []governance.GroupID {
	out := make([]governance.GroupID, len(roles))
	for i, r := range roles {
		out[i] = governance.GroupID(r)
	}
	return out
}

// lockPeopleTx makes those who change how many people there are wait for each
// other, so that exactly one of them sees the third person, or the last super admin.
func lockPeopleTx(ctx context.Context, tx *governance.Tx) error {
	if _, err := tx.ExecContext(ctx, "UPDATE auth_state SET value = value + 1 WHERE name = 'people'"); err != nil {
		return fmt.Errorf("lock people: %w", err)
	}
	return nil
}

func activeUsersTx(ctx context.Context, tx *governance.Tx) ([]userRow, error) {
	var rows []userRow
	if err := tx.NewSelect().Model(&rows).Where("state = ?", UserActive).Scan(ctx); err != nil {
		return nil, fmt.Errorf("active users: %w", err)
	}
	return rows, nil
}
