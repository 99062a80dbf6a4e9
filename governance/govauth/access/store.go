package access

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "access", FS: files}
	}
	return govdb.Schema{Name: "access", FS: sub}
}

type changeRow struct {
	bun.BaseModel `bun:"table:access_change"`

	Person    string       `bun:"person,pk"`
	At        govdb.Micros `bun:"at,pk"`
	Roles     string       `bun:"roles"`
	Region    string       `bun:"region"`
	Active    bool         `bun:"active"`
	Version   int64        `bun:"version"`
	ChangedBy string       `bun:"changed_by"`
	Source    string       `bun:"source"`
}

type campaignRow struct {
	bun.BaseModel `bun:"table:access_campaign"`

	ID        uuid.UUID    `bun:"id,pk"`
	Title     string       `bun:"title"`
	State     string       `bun:"state"`
	StartedBy string       `bun:"started_by"`
	DueAt     govdb.Micros `bun:"due_at"`
	CreatedAt govdb.Micros `bun:"created_at"`
	ClosedAt  govdb.Micros `bun:"closed_at"`
}

type reviewRow struct {
	bun.BaseModel `bun:"table:access_review"`

	Campaign  uuid.UUID    `bun:"campaign,pk"`
	Person    string       `bun:"person,pk"`
	Reviewer  string       `bun:"reviewer"`
	Roles     string       `bun:"roles"`
	Version   int64        `bun:"version"`
	Decision  string       `bun:"decision"`
	Keep      string       `bun:"keep"`
	Comment   string       `bun:"comment"`
	DecidedBy string       `bun:"decided_by"`
	DecidedAt govdb.Micros `bun:"decided_at"`
}

func encodeRoles(roles []string) string {
	roles = append([]string{}, roles...)
	slices.Sort(roles)
	b, _ := json.Marshal(slices.Compact(roles)) // a list of texts always encodes
	return string(b)
}

func decodeRoles(s string) ([]string, error) {
	roles := []string{}
	if err := json.Unmarshal([]byte(s), &roles); err != nil {
		return nil, fmt.Errorf("roles %q: %w", s, err)
	}
	return roles, nil
}

const stateComplete = "complete_from"

// completeFrom is since when the history has no gap; ok is false before Install.
func completeFrom(ctx context.Context, db bun.IDB) (at govdb.Micros, ok bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT value FROM access_state WHERE name = ?", stateComplete).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("history of access: %w", err)
	}
	return at, true, nil
}

func putCompleteTx(ctx context.Context, tx *govdb.Tx, at govdb.Micros) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO access_state (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value", stateComplete, int64(at))
	if err != nil {
		return fmt.Errorf("history of access: %w", err)
	}
	return nil
}

// latest is each person's last change at or before an instant.
func latest(ctx context.Context, db bun.IDB, at govdb.Micros) ([]changeRow, error) {
	var rows []changeRow
	err := db.NewRaw(`SELECT c.* FROM access_change c JOIN (SELECT person, MAX(at) AS at FROM access_change WHERE at <= ? GROUP BY person) l
		ON l.person = c.person AND l.at = c.at ORDER BY c.person`, at).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("access at %s: %w", at.Time(), err)
	}
	return rows, nil
}
