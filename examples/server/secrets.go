package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var migrationFiles embed.FS

// serverSchema is the reference server's own table.
func serverSchema() govdb.Schema {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return govdb.Schema{Name: "server", FS: migrationFiles}
	}
	return govdb.Schema{Name: "server", FS: sub}
}

// secrets are the keys that all servers on one database share. They are files of the
// folder keys, or, when there is none, rows of the database itself: then whoever
// reads the database can sign as the server, which the documentation says.
type secrets struct {
	db  *govdb.DB
	dir string
}

// get reads a secret, or makes it when nobody has yet. Two servers that start at
// once get the same one.
func (s secrets) get(ctx context.Context, name string, fresh func() (string, error)) (string, error) {
	if s.dir != "" {
		return s.file(name, fresh)
	}
	var v string
	err := s.db.Read().NewRaw("SELECT value FROM server_secret WHERE name = ?", name).Scan(ctx, &v)
	if err == nil {
		return v, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	if v, err = fresh(); err != nil {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	err = s.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO server_secret (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, v); err != nil {
			return err
		}
		return tx.NewRaw("SELECT value FROM server_secret WHERE name = ?", name).Scan(ctx, &v)
	})
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	return v, nil
}

func (s secrets) file(name string, fresh func() (string, error)) (string, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", fmt.Errorf("folder of keys: %w", err)
	}
	path := filepath.Join(s.dir, name)
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("key %s: %w", name, err)
	}
	v, err := fresh()
	if err != nil {
		return "", fmt.Errorf("key %s: %w", name, err)
	}
	// Whole or not at all: a half-written key would lock its owner out.
	tmp, err := os.CreateTemp(s.dir, name+".*")
	if err != nil {
		return "", fmt.Errorf("key %s: %w", name, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, werr := tmp.WriteString(v + "\n")
	if err := errors.Join(werr, tmp.Sync(), tmp.Close()); err != nil {
		return "", fmt.Errorf("key %s: %w", name, err)
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) { // another server was faster
			return s.file(name, fresh)
		}
		return "", fmt.Errorf("key %s: %w", name, err)
	}
	return v, nil
}

// bytes is a secret of n random bytes.
func (s secrets) bytes(ctx context.Context, name string, n int) ([]byte, error) {
	text, err := s.get(ctx, name, func() (string, error) {
		b := make([]byte, n)
		_, err := rand.Read(b)
		return hex.EncodeToString(b), err
	})
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != n {
		return nil, fmt.Errorf("secret %s is damaged: want %d bytes in hex", name, n)
	}
	return b, nil
}

// flag says whether something was done to this database, and remembers it.
func flagTx(ctx context.Context, tx *govdb.Tx, name string) (bool, error) {
	var v string
	err := tx.NewRaw("SELECT value FROM server_secret WHERE name = ?", "flag."+name).Scan(ctx, &v)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func setFlagTx(ctx context.Context, tx *govdb.Tx, name string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO server_secret (name, value) VALUES (?, 'done') ON CONFLICT (name) DO NOTHING", "flag."+name)
	return err
}

// peek reads a secret, empty when there is none.
func (s secrets) peek(ctx context.Context, name string) (string, error) {
	if s.dir != "" {
		b, err := os.ReadFile(filepath.Join(s.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("key %s: %w", name, err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	var v string
	err := s.db.Read().NewRaw("SELECT value FROM server_secret WHERE name = ?", name).Scan(ctx, &v)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	return v, nil
}

// put writes a secret over what there was.
func (s secrets) put(ctx context.Context, name, value string) error {
	if s.dir == "" {
		err := s.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO server_secret (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value", name, value)
			return err
		})
		if err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
		return nil
	}
	tmp, err := os.CreateTemp(s.dir, name+".*")
	if err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, werr := tmp.WriteString(value + "\n")
	if err := errors.Join(werr, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	if err := os.Rename(tmp.Name(), filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	return nil
}

// promote puts the secret from in the place of to.
func (s secrets) promote(ctx context.Context, from, to string) error {
	if s.dir != "" {
		if err := os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)); err != nil {
			return fmt.Errorf("key %s: %w", to, err)
		}
		return nil
	}
	err := s.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE server_secret SET value = (SELECT value FROM server_secret WHERE name = ?) WHERE name = ?", from, to); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM server_secret WHERE name = ?", from)
		return err
	})
	if err != nil {
		return fmt.Errorf("secret %s: %w", to, err)
	}
	return nil
}
