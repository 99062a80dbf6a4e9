// Package schedule remembers when something is next due, over restarts.
//
// Start with [New] and [Runner.Run]. A run is claimed under a lease, on one server
// at a time, and its next time is written before it starts: a crash loses at most
// the run that was going, and never repeats one.
//
// Errors: [ErrBadSpec]. Tables: gov_schedule. Safe for concurrent use.
package schedule

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/adhocore/gronx"
	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/lease"
)

// ErrBadSpec says that a schedule cannot be understood.
var ErrBadSpec = errors.New("schedule: bad spec")

//go:embed migrations
var files embed.FS

// Schema is the table this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "schedule", FS: files}
	}
	return govdb.Schema{Name: "schedule", FS: sub}
}

// CatchUp says what to do about times that passed while nothing ran.
type CatchUp string

// The ways to catch up. The zero value is Once.
const (
	Once CatchUp = ""     // run once for all of them
	Skip CatchUp = "skip" // wait for the next time
)

// Spec says when something is due: Every, or Cron in a zone.
type Spec struct {
	Every   time.Duration
	Cron    string         // five fields
	Zone    *time.Location // of Cron; default UTC
	CatchUp CatchUp
}

// Next is the first time after t. A cron time that a clock change skips is the
// next one that exists.
func (s Spec) Next(t time.Time) (time.Time, error) {
	switch {
	case s.Every > 0 && s.Cron == "":
		return t.Add(s.Every), nil
	case s.Cron != "" && s.Every == 0:
		zone := s.Zone
		if zone == nil {
			zone = time.UTC
		}
		next, err := gronx.NextTickAfter(s.Cron, t.In(zone), false)
		if err != nil {
			return time.Time{}, fmt.Errorf("%w: %q: %w", ErrBadSpec, s.Cron, err)
		}
		return next.UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%w: want either Every or Cron", ErrBadSpec)
}

// Job is something to run.
type Job struct {
	Name string
	Spec Spec
	Run  func(ctx context.Context, due time.Time) error
	Max  time.Duration // longest run; default 15m
}

// Runner runs jobs. Use [New].
type Runner struct {
	db    *govdb.DB
	log   *slog.Logger
	owner string
	jobs  []Job
}

// New makes a Runner; a job whose spec is wrong is refused.
func New(db *govdb.DB, log *slog.Logger, jobs ...Job) (*Runner, error) {
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	for i, j := range jobs {
		if j.Name == "" || j.Run == nil {
			return nil, fmt.Errorf("%w: job %d has no name or no Run", ErrBadSpec, i)
		}
		if _, err := j.Spec.Next(db.Now()); err != nil {
			return nil, fmt.Errorf("job %s: %w", j.Name, err)
		}
		if j.Max == 0 {
			jobs[i].Max = 15 * time.Minute
		}
	}
	return &Runner{db: db, log: log, owner: uuid.NewString(), jobs: jobs}, nil
}

type scheduleRow struct {
	bun.BaseModel `bun:"table:gov_schedule"`

	Name   string       `bun:"name,pk"`
	NextAt govdb.Micros `bun:"next_at"`
	LastAt govdb.Micros `bun:"last_at"`
	Error  string       `bun:"error"`
}

// Tick runs every job that is due now, one after the other.
func (r *Runner) Tick(ctx context.Context) error {
	var errs []error
	for _, j := range r.jobs {
		if err := r.tick(ctx, j); err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", j.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Runner) tick(ctx context.Context, j Job) error {
	var have scheduleRow
	err := r.db.Read().NewSelect().Model(&have).Where("name = ?", j.Name).Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil && have.NextAt.Time().After(r.db.Now()) {
		return nil
	}
	held, ok, err := lease.Acquire(ctx, r.db, "schedule:"+j.Name, r.owner, j.Max)
	if err != nil || !ok {
		return err
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx), r.db, held) }()
	due, run, err := r.claim(ctx, j, held)
	if err != nil || !run {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, j.Max-j.Max/10)
	defer cancel()
	failure := j.Run(limited, due)
	text := ""
	if failure != nil {
		text = "failed; see the server's log"
	}
	return errors.Join(failure, r.db.Do(context.WithoutCancel(ctx), func(ctx context.Context, tx *govdb.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE gov_schedule SET last_at = ?, error = ? WHERE name = ?", govdb.At(r.db.Now()), text, j.Name)
		return err
	}))
}

// claim writes the next time and says whether this one is to run.
func (r *Runner) claim(ctx context.Context, j Job, held lease.Lease) (due time.Time, run bool, err error) {
	err = r.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		run = false
		if err := lease.CheckTx(ctx, tx, held); err != nil {
			return err
		}
		now := r.db.Now()
		var row scheduleRow
		err := tx.NewSelect().Model(&row).Where("name = ?", j.Name).Scan(ctx)
		first := errors.Is(err, sql.ErrNoRows)
		if err != nil && !first {
			return err
		}
		due = row.NextAt.Time()
		if !first && due.After(now) {
			return nil
		}
		next, err := j.Spec.Next(now)
		if err != nil {
			return err
		}
		run = !first
		if run && j.Spec.CatchUp == Skip {
			after, err := j.Spec.Next(due)
			if err != nil {
				return err
			}
			run = after.After(now) // more than one time has passed: this one is too late
		}
		row = scheduleRow{Name: j.Name, NextAt: govdb.At(next), LastAt: row.LastAt}
		_, err = tx.NewInsert().Model(&row).On("CONFLICT (name) DO UPDATE").Set("next_at = EXCLUDED.next_at").Exec(ctx)
		return err
	})
	return due, run, err
}

// Run ticks every second until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		if err := r.Tick(ctx); err != nil && ctx.Err() == nil {
			r.log.ErrorContext(ctx, "schedule", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Status is where a schedule stands.
type Status struct {
	Name   string    `json:"name"`
	NextAt time.Time `json:"next_at"`
	LastAt time.Time `json:"last_at,omitzero"`
	Error  string    `json:"error,omitempty"`
}

// List tells where every schedule stands.
func List(ctx context.Context, db *govdb.DB) ([]Status, error) {
	var rows []scheduleRow
	if err := db.Read().NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	out := make([]Status, len(rows))
	for i, r := range rows {
		out[i] = Status{r.Name, r.NextAt.Time(), r.LastAt.Time(), r.Error}
	}
	return out, nil
}
