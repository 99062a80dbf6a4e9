// Package lease lets one of several servers hold a name for a while.
//
// Start with [Acquire]. A [Lease] carries a fencing token that rises with every
// change of holder; check it with [CheckTx] in the same transaction as the effect
// it protects, so that a holder that slept past its time can do no harm.
//
// Errors: [ErrLost]. Tables: gov_lease. Time is the database's own clock, so that
// servers need not agree on theirs. Safe for concurrent use.
package lease

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/reevehq/reeve/governance/govdb"
)

// ErrLost says that the lease ran out or went to somebody else.
var ErrLost = errors.New("lease: lost")

//go:embed migrations
var files embed.FS

// Schema is the table this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "lease", FS: files} // names no migrations: Migrate says so
	}
	return govdb.Schema{Name: "lease", FS: sub}
}

// Lease is a name held until a time.
type Lease struct {
	Name, Owner string
	Fence       int64
	Until       time.Time // by the database's clock
}

// now is the database's clock in microseconds.
func now(tx *govdb.Tx) string {
	if tx.DB().Postgres() {
		return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
	}
	return "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
}

// Acquire takes the lease when nobody holds it, and renews it when owner does. ok
// is false while somebody else holds it.
func Acquire(ctx context.Context, db *govdb.DB, name, owner string, ttl time.Duration) (l Lease, ok bool, err error) {
	err = db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		l, ok, err = AcquireTx(ctx, tx, name, owner, ttl)
		return err
	})
	return l, ok, err
}

// AcquireTx is Acquire inside the caller's transaction.
func AcquireTx(ctx context.Context, tx *govdb.Tx, name, owner string, ttl time.Duration) (Lease, bool, error) {
	l := Lease{Name: name, Owner: owner}
	clock := now(tx)
	var until int64
	// The fence rises when the holder changes or when an expired lease is taken again:
	// the old holder's work must not count, even if it is ours from before.
	err := tx.NewRaw(`INSERT INTO gov_lease (name, owner, fence, until) VALUES (?, ?, 1, `+clock+` + ?)
		ON CONFLICT (name) DO UPDATE SET
			fence = gov_lease.fence + CASE WHEN gov_lease.owner = EXCLUDED.owner AND gov_lease.until > `+clock+` THEN 0 ELSE 1 END,
			owner = EXCLUDED.owner, until = EXCLUDED.until
		WHERE gov_lease.owner = EXCLUDED.owner OR gov_lease.until <= `+clock+`
		RETURNING fence, until`, name, owner, ttl.Microseconds()).Scan(ctx, &l.Fence, &until)
	if errors.Is(err, sql.ErrNoRows) {
		return l, false, nil
	}
	if err != nil {
		return l, false, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	l.Until = govdb.Micros(until).Time()
	return l, true, nil
}

// Renew holds the lease for another ttl; ErrLost when it is not ours any more.
func Renew(ctx context.Context, db *govdb.DB, l Lease, ttl time.Duration) (Lease, error) {
	err := db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		if err := CheckTx(ctx, tx, l); err != nil {
			return err
		}
		var until int64
		err := tx.NewRaw("UPDATE gov_lease SET until = "+now(tx)+" + ? WHERE name = ? RETURNING until", ttl.Microseconds(), l.Name).Scan(ctx, &until)
		l.Until = govdb.Micros(until).Time()
		return err
	})
	if err != nil {
		return l, fmt.Errorf("renew lease %s: %w", l.Name, err)
	}
	return l, nil
}

// Release gives the lease back. Releasing a lost one does nothing.
func Release(ctx context.Context, db *govdb.DB, l Lease) error {
	return db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE gov_lease SET until = 0 WHERE name = ? AND owner = ? AND fence = ?", l.Name, l.Owner, l.Fence)
		if err != nil {
			return fmt.Errorf("release lease %s: %w", l.Name, err)
		}
		return nil
	})
}

// CheckTx is nil while l is held, and keeps it from changing hands before tx
// commits; else ErrLost.
func CheckTx(ctx context.Context, tx *govdb.Tx, l Lease) error {
	res, err := tx.ExecContext(ctx, "UPDATE gov_lease SET fence = fence WHERE name = ? AND owner = ? AND fence = ? AND until > "+now(tx), l.Name, l.Owner, l.Fence)
	if err != nil {
		return fmt.Errorf("check lease %s: %w", l.Name, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return fmt.Errorf("%s: %w", l.Name, ErrLost)
	}
	return nil
}
