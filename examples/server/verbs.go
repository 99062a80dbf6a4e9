package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/reevehq/reeve/governance/govdb"
)

// hintFor says what to do about an error that its text does not explain.
func hintFor(err error) string {
	switch {
	case errors.Is(err, govdb.ErrSchemaVersion):
		return "run server migrate with the same settings, or set auto_migrate=true"
	case strings.Contains(err.Error(), "address already in use"):
		return "another program listens there; choose one with --listen 127.0.0.1:PORT"
	}
	return ""
}

func migrateUp(ctx context.Context, cfg configuration, stdout io.Writer) error {
	db, err := openDatabase(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if err := govdb.Migrate(ctx, db, schemas()...); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, "The tables are up to date.")
	return err
}

func migrateSQL(cfg configuration, postgres bool, stdout io.Writer) error {
	return govdb.WriteSQL(stdout, postgres || cfg.text("database") != "", schemas()...)
}

// existing opens a database that is there, with the ledger's key: looking must not
// make either.
func existing(ctx context.Context, cfg configuration) (*govdb.DB, string, error) {
	if cfg.text("database") == "" {
		if _, err := os.Stat(filepath.Join(cfg.text("data"), "reeve.db")); err != nil {
			return nil, "", fmt.Errorf("ledger: %w", err)
		}
	}
	db, err := openDatabase(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, "", err
	}
	err = govdb.CheckVersion(ctx, db, schemas()...)
	key := ""
	if err == nil {
		key, err = ledgerKey(ctx, db, secrets{db, cfg.keysDir()}, func() (string, error) { return "", errors.New("there is no signing key here") })
	}
	if err != nil {
		return nil, "", errors.Join(err, db.Close())
	}
	return db, key, nil
}

// runServer runs the server. On a new database it prints the link by which the first
// super admin signs in.
func runServer(ctx context.Context, cfg configuration, stdout, stderr io.Writer) error {
	log := newLogger(cfg, stderr)
	a, err := open(ctx, cfg, log, openOptions{})
	if err != nil {
		return err
	}
	defer func() {
		if err := a.close(); err != nil {
			log.Error("close", "error", err)
		}
	}()
	l, err := a.listen(ctx)
	if err != nil {
		return err
	}
	first, err := a.auth.Setup(ctx, "First administrator", "admin@localhost")
	if err != nil {
		_ = l.Close()
		return err
	}
	_, _ = fmt.Fprintf(stdout, "Reeve listens on %s\n", a.cfg.text("public_url"))
	if first != nil {
		_, _ = fmt.Fprintf(stdout, "First sign-in, once, until %s, from this machine:\n%s\n", first.ExpiresAt.Format("15:04 MST"), first.URL)
	}
	if a.cfg.keysDir() == "" {
		log.Info("signing keys are kept in the database; set keys to a folder that all servers share to keep them apart")
	}
	if err := a.run(ctx, l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
