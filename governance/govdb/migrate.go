package govdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/uptrace/bun"
)

// Schema is the tables of one capability: FS holds sqlite/0001_name.up.sql and
// postgres/0001_name.up.sql, numbered without gaps from 1.
type Schema struct {
	Name string
	FS   fs.FS
}

// ErrSchemaVersion is returned by [CheckVersion] when migrations are missing, or
// when the database is newer than the program.
var ErrSchemaVersion = errors.New("govdb: the database schema does not fit this program")

type migration struct {
	Version int
	Name    string
	SQL     string
	SHA256  string
}

type migrationRow struct {
	bun.BaseModel `bun:"table:gov_migration"`

	Schema    string `bun:"schema,pk"`
	Version   int    `bun:"version,pk"`
	Name      string `bun:"name"`
	SHA256    string `bun:"sha256"`
	AppliedAt Micros `bun:"applied_at"`
}

const createMigrationTable = `CREATE TABLE IF NOT EXISTS gov_migration (
	schema TEXT NOT NULL,
	version INTEGER NOT NULL,
	name TEXT NOT NULL,
	sha256 TEXT NOT NULL,
	applied_at BIGINT NOT NULL,
	PRIMARY KEY (schema, version)
)`

func (s Schema) load(postgres bool) ([]migration, error) {
	dir := "sqlite"
	if postgres {
		dir = "postgres"
	}
	files, err := fs.Glob(s.FS, dir+"/*.up.sql")
	if err != nil {
		return nil, fmt.Errorf("migrations of %s: %w", s.Name, err)
	}
	sort.Strings(files)
	out := make([]migration, 0, len(files))
	for i, f := range files {
		text, err := fs.ReadFile(s.FS, f)
		if err != nil {
			return nil, fmt.Errorf("migrations of %s: %w", s.Name, err)
		}
		number, name, ok := strings.Cut(strings.TrimSuffix(path.Base(f), ".up.sql"), "_")
		v, err := strconv.Atoi(number)
		if !ok || err != nil || v != i+1 {
			return nil, fmt.Errorf("migrations of %s: %s: want number %04d", s.Name, f, i+1)
		}
		sum := sha256.Sum256(text)
		out = append(out, migration{v, name, string(text), hex.EncodeToString(sum[:])})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("migrations of %s: none in %s/", s.Name, dir)
	}
	return out, nil
}

// Migrate brings the schemas up to date, in the order given, each migration in a
// transaction of its own. Several servers may call it at once: one does the work.
func Migrate(ctx context.Context, d *DB, schemas ...Schema) error {
	if _, err := d.write.ExecContext(ctx, createMigrationTable); err != nil && !IsUnique(err) {
		// Two servers creating it at once: PostgreSQL may report the catalogue's own
		// unique index; the table is there then.
		if _, again := d.write.ExecContext(ctx, createMigrationTable); again != nil {
			return fmt.Errorf("create gov_migration: %w", err)
		}
	}
	for _, s := range schemas {
		all, err := s.load(d.postgres)
		if err != nil {
			return err
		}
		for _, m := range all {
			if err := d.Do(ctx, func(ctx context.Context, tx *Tx) error { return apply(ctx, d, tx, s, m) }); err != nil {
				return fmt.Errorf("migrate %s to %04d_%s: %w", s.Name, m.Version, m.Name, err)
			}
		}
	}
	return nil
}

func apply(ctx context.Context, d *DB, tx *Tx, s Schema, m migration) error {
	if d.postgres { // one migrating server at a time; released by the commit
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(7305808869229538)"); err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
	}
	var have []migrationRow
	if err := tx.NewSelect().Model(&have).Where("schema = ? AND version = ?", s.Name, m.Version).Scan(ctx); err != nil {
		return fmt.Errorf("read gov_migration: %w", err)
	}
	if len(have) == 1 {
		if have[0].SHA256 != m.SHA256 {
			return fmt.Errorf("%w: %s %04d was applied with other text", ErrSchemaVersion, s.Name, m.Version)
		}
		return nil
	}
	for i, statement := range Statements(m.SQL) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("statement %d: %w", i+1, err)
		}
	}
	row := &migrationRow{Schema: s.Name, Version: m.Version, Name: m.Name, SHA256: m.SHA256, AppliedAt: At(d.Now())}
	_, err := tx.NewInsert().Model(row).Exec(ctx)
	return err
}

// Statements splits SQL text at semicolons that end a line. A statement that holds
// such a semicolon itself (a trigger or function body) is fenced by lines
// "-- begin" and "-- end".
func Statements(text string) []string {
	var out []string
	var b strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "-- begin":
			fenced = true
			continue
		case trimmed == "-- end":
			fenced = false
			out = append(out, strings.TrimSpace(b.String()))
			b.Reset()
			continue
		case strings.HasPrefix(trimmed, "--"):
			continue
		}
		b.WriteString(line)
		if !fenced && strings.HasSuffix(trimmed, ";") {
			out = append(out, strings.TrimSuffix(strings.TrimSpace(b.String()), ";"))
			b.Reset()
		}
	}
	if rest := strings.TrimSpace(b.String()); rest != "" {
		out = append(out, rest)
	}
	return out
}

// CheckVersion says whether every schema is at the version this program was built
// for; a database that is behind or ahead is [ErrSchemaVersion].
func CheckVersion(ctx context.Context, d *DB, schemas ...Schema) error {
	for _, s := range schemas {
		all, err := s.load(d.postgres)
		if err != nil {
			return err
		}
		var have []int
		err = d.write.NewSelect().Model((*migrationRow)(nil)).Column("version").Where("schema = ?", s.Name).Order("version").Scan(ctx, &have)
		if err != nil {
			return fmt.Errorf("%w: %s: no migrations recorded: %w", ErrSchemaVersion, s.Name, err)
		}
		if len(have) != len(all) {
			return fmt.Errorf("%w: %s is at %d, want %d", ErrSchemaVersion, s.Name, len(have), len(all))
		}
	}
	return nil
}

// WriteSQL prints the migrations of the schemas for one engine, for a host that
// applies them with its own tool.
func WriteSQL(w io.Writer, postgres bool, schemas ...Schema) error {
	for _, s := range schemas {
		all, err := s.load(postgres)
		if err != nil {
			return err
		}
		for _, m := range all {
			if _, err := fmt.Fprintf(w, "-- %s %04d %s\n%s\n", s.Name, m.Version, m.Name, strings.TrimSpace(m.SQL)); err != nil {
				return err
			}
		}
	}
	return nil
}
