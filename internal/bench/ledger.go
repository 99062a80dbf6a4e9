package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/tiles"
)

const (
	ledgerLeaves = 40_000
	ledgerBatch  = 1000
)

// ledgerBody is a record of some 600 bytes, of one of a hundred tenants.
func ledgerBody(i int) (tenant, body string) {
	tenant = fmt.Sprintf("t%03d", i%100)
	return tenant, fmt.Sprintf(`{"action":"bench","data":{"i":%d,"pad":"%s"},"tenant":"%s"}`, i, strings.Repeat("x", 540), tenant)
}

// ledger measures sealing and verifying.
func (b *bench) ledger() error {
	ctx := context.Background()
	if err := b.sealing(ctx, "SQLite", filepath.Join(b.dir, "ledger.db"), ""); err != nil {
		return err
	}
	if pg := os.Getenv("REEVE_TEST_POSTGRES"); pg != "" {
		schema := "bench_" + strings.ReplaceAll(uuid.NewString(), "-", "")
		err := b.sealing(ctx, "PostgreSQL", pg, schema)
		db, oerr := opendb.Open(ctx, pg, &opendb.Options{MaxConns: 1})
		if oerr == nil {
			_, oerr = db.Handle().ExecContext(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
			oerr = errors.Join(oerr, db.Close())
		}
		if err := errors.Join(err, oerr); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) sealing(ctx context.Context, engine, dsn, schema string) error {
	db, err := opendb.Open(ctx, dsn, &opendb.Options{Schema: schema, MaxConns: 4})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if err := govdb.Migrate(ctx, db, governance.Schemas()...); err != nil {
		return err
	}
	if _, err := db.Handle().ExecContext(ctx, "CREATE TABLE bench_leaf (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, body TEXT NOT NULL)"); err != nil {
		return err
	}
	skey, vkey, err := ledger.GenerateKey("bench")
	if err != nil {
		return err
	}
	log, err := ledger.New(db, skey, nil)
	if err != nil {
		return err
	}
	var floor, seal []float64
	for at := 0; at < ledgerLeaves; at += ledgerLeaves / 5 {
		took, err := timed(func() error { return bareLeaves(ctx, db, at, ledgerLeaves/5) })
		if err != nil {
			return err
		}
		floor = append(floor, ledgerLeaves/5/took.Seconds())
		appended, err := timed(func() error { return appendLeaves(ctx, db, log, at, ledgerLeaves/5) })
		if err != nil {
			return err
		}
		sealed, err := timed(func() error { return sealAll(ctx, log) })
		if err != nil {
			return err
		}
		if !db.Postgres() { // there records become leaves in their commit
			sealed += appended
		}
		seal = append(seal, ledgerLeaves/5/sealed.Seconds())
	}
	what := "sealing"
	if !db.Postgres() {
		what = "appending, sealing and signing"
	}
	fmt.Printf("%s, %s: %.0f leaves/s in batches of %d, %.2f of inserting the same bytes into a bare table (want ≥ 40000/s)\n",
		engine, what, median(seal), ledgerBatch, median(seal)/median(floor))
	return b.verifying(ctx, engine, log, vkey)
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

type leafRow struct {
	bun.BaseModel `bun:"table:bench_leaf"`

	ID     string `bun:"id,pk"`
	Tenant string `bun:"tenant"`
	Body   string `bun:"body"`
}

func bareLeaves(ctx context.Context, db *govdb.DB, from, n int) error {
	for at := from; at < from+n; at += ledgerBatch {
		err := db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
			rows := make([]*leafRow, ledgerBatch)
			for i := range rows {
				tenant, body := ledgerBody(at + i)
				rows[i] = &leafRow{ID: uuid.Must(uuid.NewV7()).String(), Tenant: tenant, Body: body}
			}
			return govdb.InsertAll(ctx, tx, rows)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func appendLeaves(ctx context.Context, db *govdb.DB, log *ledger.Log, from, n int) error {
	for at := from; at < from+n; at += ledgerBatch {
		err := db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
			for i := range ledgerBatch {
				tenant, body := ledgerBody(at + i)
				if _, err := log.Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Tenant: tenant, Kind: "bench", At: db.Now(), Body: []byte(body)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func sealAll(ctx context.Context, log *ledger.Log) error {
	for {
		n, err := log.Seal(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
}

// verifying checks an export on one core, beside hashing the same entries once.
func (b *bench) verifying(ctx context.Context, engine string, log *ledger.Log, vkey string) error {
	dir := filepath.Join(b.dir, "log-"+engine)
	out, err := tiles.Export(ctx, log, dir, 0)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, offline.ManifestFile)); err != nil { // it would hash everything once more
		return err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var full, floor []float64
	for range b.rounds {
		took, err := timed(func() error { return rehash(dir) })
		if err != nil {
			return err
		}
		floor = append(floor, float64(out.Size)/took.Seconds())
		took, err = timed(func() error {
			rep, err := offline.Check(ctx, offline.Dir(dir), vkey, nil)
			if err == nil && (len(rep.Problems) > 0 || rep.Tenants != 100) {
				err = fmt.Errorf("%+v", rep)
			}
			return err
		})
		if err != nil {
			return err
		}
		full = append(full, float64(out.Size)/took.Seconds())
	}
	inside, err := timed(func() error {
		rep, err := log.Verify(ctx)
		if err == nil && len(rep.Problems) > 0 {
			err = fmt.Errorf("%v", rep.Problems)
		}
		return err
	})
	if err != nil {
		return err
	}
	rs, err := log.Records(ctx, ledger.Filter{AllTenants: true, Limit: 200})
	if err != nil {
		return err
	}
	longest := 0
	for _, r := range rs {
		p, err := log.Prove(ctx, r.ID)
		if err != nil {
			return err
		}
		longest = max(longest, len(p.Path)*sha256.Size)
	}
	fmt.Printf("%s, verifying an export: %.0f leaves/s on one core, %.2f of hashing each entry once (want ≥ 400000/s); inside the database %.0f/s; a path of %d bytes for %d leaves (want ≤ 1024)\n",
		engine, median(full), median(full)/median(floor), float64(out.Size)/inside.Seconds(), longest, out.Size)
	return nil
}

// rehash reads the entries of an export and hashes each.
func rehash(dir string) error {
	return filepath.WalkDir(filepath.Join(dir, "tile", "entries"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for at := 0; at+2 <= len(data); {
			n := int(binary.BigEndian.Uint16(data[at:]))
			_ = sha256.Sum256(data[at+2 : at+2+n])
			at += 2 + n
		}
		return err
	})
}
