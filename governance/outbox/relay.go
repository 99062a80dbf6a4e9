package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/lease"
)

// Options tunes a Relay. The zero value is ready to use.
type Options struct {
	Logger *slog.Logger  // default: discard
	Poll   time.Duration // longest wait without a Wake; default 500ms
	Batch  int64         // most events numbered or consumed at once; default 500
	// OnFailure is told of a consumer that failed; failures counts in a row.
	OnFailure func(consumer string, failures int, err error)
}

// Handler takes events in order. It writes through tx only; an error gives it the
// same events again later.
type Handler func(ctx context.Context, tx *govdb.Tx, evs []Event) error

// Relay numbers events and feeds consumers. Use [New].
type Relay struct {
	db    *govdb.DB
	opts  Options
	owner string

	mu        sync.Mutex
	consumers []*consumer
	wakes     []chan struct{}
}

type consumer struct {
	name string
	fn   Handler
}

// New makes a Relay on db.
func New(db *govdb.DB, opts *Options) *Relay {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Poll == 0 {
		o.Poll = 500 * time.Millisecond
	}
	if o.Batch == 0 {
		o.Batch = 500
	}
	return &Relay{db: db, opts: o, owner: uuid.NewString()}
}

// Subscribe adds a durable consumer. A new name starts with the first event there
// is. Call it before Run.
func (r *Relay) Subscribe(name string, fn Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.consumers = append(r.consumers, &consumer{name, fn})
}

// Wake makes the loops of Run look at once. It never blocks.
func (r *Relay) Wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wakes {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (r *Relay) wake() <-chan struct{} {
	w := make(chan struct{}, 1)
	r.mu.Lock()
	r.wakes = append(r.wakes, w)
	r.mu.Unlock()
	return w
}

// Run numbers and feeds until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	r.mu.Lock()
	consumers := append([]*consumer(nil), r.consumers...)
	r.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		r.loop(ctx, "numbering", func(ctx context.Context) (int, error) {
			n, err := r.Number(ctx)
			if n > 0 {
				r.Wake()
			}
			return n, err
		})
	})
	for _, c := range consumers {
		wg.Go(func() {
			r.loop(ctx, c.name, func(ctx context.Context) (int, error) { return r.feed(ctx, c) })
		})
	}
	wg.Wait()
}

// Turn numbers events and feeds every consumer once, for tests and tools that do
// not run the loops. It says how many events moved.
func (r *Relay) Turn(ctx context.Context) (int, error) {
	moved, err := r.Number(ctx)
	if err != nil {
		return moved, err
	}
	r.mu.Lock()
	consumers := append([]*consumer(nil), r.consumers...)
	r.mu.Unlock()
	for _, c := range consumers {
		n, err := r.feed(ctx, c)
		moved += n
		if err != nil {
			return moved, fmt.Errorf("consumer %s: %w", c.name, err)
		}
	}
	return moved, nil
}

// loop turns step while it does something, and otherwise on a wake or every Poll;
// after an error it waits longer each time, up to a minute.
func (r *Relay) loop(ctx context.Context, name string, step func(context.Context) (int, error)) {
	wake := r.wake()
	failures := 0
	for ctx.Err() == nil {
		n, err := step(ctx)
		wait := r.opts.Poll
		switch {
		case err != nil && ctx.Err() == nil && !errors.Is(err, govdb.ErrRetry):
			failures++
			wait = min(r.opts.Poll<<min(failures, 7), time.Minute)
			r.opts.Logger.ErrorContext(ctx, "outbox", "consumer", name, "failures", failures, "error", err)
			if r.opts.OnFailure != nil {
				r.opts.OnFailure(name, failures, err)
			}
		case err == nil:
			failures = 0
			if n > 0 {
				continue
			}
		}
		t := time.NewTimer(wait)
		if failures > 0 { // a wake must not shorten the back-off
			select {
			case <-ctx.Done():
			case <-t.C:
			}
		} else {
			select {
			case <-ctx.Done():
			case <-wake:
			case <-t.C:
			}
		}
		t.Stop()
	}
}

// Number gives the next places to events that have none, in the order of their ids,
// and says how many. Another server doing so at the moment makes it 0.
func (r *Relay) Number(ctx context.Context) (int, error) {
	unnumbered, err := r.db.Read().NewSelect().Model((*eventRow)(nil)).Where("n IS NULL").Exists(ctx)
	if err != nil || !unnumbered {
		return 0, err
	}
	var n int
	err = r.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		n = 0
		// The lease row is locked until the commit, so two servers cannot number at once.
		held, ok, err := lease.AcquireTx(ctx, tx, "outbox.number", r.owner, 10*time.Second)
		if err != nil || !ok {
			return err
		}
		n, err = r.numberTx(ctx, tx)
		if err != nil {
			return err
		}
		return lease.CheckTx(ctx, tx, held)
	})
	return n, err
}

func (r *Relay) numberTx(ctx context.Context, tx *govdb.Tx) (int, error) {
	var rows []*eventRow
	if err := tx.NewSelect().Model(&rows).Column("id", "tenant").Where("n IS NULL").Order("id").Limit(r.opts.Batch).Scan(ctx); err != nil {
		return 0, fmt.Errorf("events without a number: %w", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	if err := number(ctx, tx, rows); err != nil {
		return 0, err
	}
	if err := place(ctx, tx, rows); err != nil {
		return 0, fmt.Errorf("number %d events: %w", len(rows), err)
	}
	return len(rows), nil
}

// feed gives a consumer its next events and moves its cursor, in one commit.
func (r *Relay) feed(ctx context.Context, c *consumer) (int, error) {
	waiting, err := r.waiting(ctx, c)
	if err != nil || !waiting {
		return 0, err
	}
	var n int
	err = r.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		n = 0
		// Locks the cursor: on PostgreSQL a second server waits here and then finds it moved.
		var cursor int64
		err := tx.NewRaw("INSERT INTO gov_consumer (name, n, failures, error, moved_at) VALUES (?, 0, 0, '', ?) ON CONFLICT (name) DO UPDATE SET moved_at = EXCLUDED.moved_at RETURNING n",
			c.name, govdb.At(r.db.Now())).Scan(ctx, &cursor)
		if err != nil {
			return fmt.Errorf("cursor: %w", err)
		}
		var rows []eventRow
		if err := tx.NewSelect().Model(&rows).Where("n > ?", cursor).Order("n").Limit(r.opts.Batch).Scan(ctx); err != nil {
			return fmt.Errorf("events after %d: %w", cursor, err)
		}
		if len(rows) == 0 {
			return nil
		}
		evs := make([]Event, len(rows))
		for i, row := range rows {
			evs[i] = row.event()
		}
		if err := c.fn(ctx, tx, evs); err != nil {
			return fmt.Errorf("events %d to %d: %w", evs[0].N, evs[len(evs)-1].N, err)
		}
		n = len(evs)
		_, err = tx.ExecContext(ctx, "UPDATE gov_consumer SET n = ?, failures = 0, error = '' WHERE name = ?", evs[n-1].N, c.name)
		return err
	})
	return n, err
}

func (r *Relay) waiting(ctx context.Context, c *consumer) (bool, error) {
	var behind bool
	err := r.db.Read().NewRaw(`SELECT EXISTS (SELECT 1 FROM gov_event WHERE n > COALESCE((SELECT n FROM gov_consumer WHERE name = ?), 0))`, c.name).Scan(ctx, &behind)
	if err != nil {
		return false, fmt.Errorf("consumer %s: %w", c.name, err)
	}
	return behind, nil
}

// Lag is how far a consumer is behind.
type Lag struct {
	Consumer string        `json:"consumer"`
	Events   int64         `json:"events"`
	Oldest   time.Duration `json:"oldest"` // age of the first event it has not seen
}

// Lags tells how far each consumer of this relay is behind.
func (r *Relay) Lags(ctx context.Context) ([]Lag, error) {
	r.mu.Lock()
	consumers := append([]*consumer(nil), r.consumers...)
	r.mu.Unlock()
	out := make([]Lag, 0, len(consumers))
	for _, c := range consumers {
		l := Lag{Consumer: c.name}
		var at int64
		err := r.db.Read().NewRaw(`SELECT COUNT(*), COALESCE(MIN(at), 0) FROM gov_event WHERE n IS NULL OR n > COALESCE((SELECT n FROM gov_consumer WHERE name = ?), 0)`, c.name).
			Scan(ctx, &l.Events, &at)
		if err != nil {
			return nil, fmt.Errorf("lag of %s: %w", c.name, err)
		}
		if at > 0 {
			l.Oldest = max(0, r.db.Now().Sub(govdb.Micros(at).Time()))
		}
		out = append(out, l)
	}
	return out, nil
}
