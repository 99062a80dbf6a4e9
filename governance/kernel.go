package governance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/alertroute"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/lease"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/outbox"
	"github.com/reevehq/reeve/governance/schedule"
)

// Options tunes a Kernel. Authorizer, Directory and LedgerKey are required: without
// them nobody could be trusted, so New refuses.
type Options struct {
	Authorizer Authorizer
	Directory  Directory
	LedgerKey  string       // note signer key that signs checkpoints; see ledger.GenerateKey
	Rules      Rules        // needed for policies with a condition
	Rates      Rates        // needed for limits that convert money
	Votes      VoteVerifier // needed for policies that want votes signed
	Notifiers  []Notifier
	Logger     *slog.Logger // default: discard
	Hooks      Hooks
	CallLimit  time.Duration                // deadline of a remote executor's call; default 30s
	Links      func(kind, id string) string // address of a thing in the console; default none
	// KeepNotices is how long notices of alerts and their tries are kept; default 400 days.
	KeepNotices time.Duration
	// BackTested refuses a policy that is put into force without the hash of a back-test,
	// except in bootstrap mode. InstallPolicies needs none.
	BackTested bool
}

// Hooks watch the kernel; any may be nil. They run after the fact, must be quick,
// and cannot fail anything.
type Hooks struct {
	Decided  func(action string, effect Effect, took time.Duration)
	LateSeal func(count int64) // receipts without a leaf after 5 s: records deleted before sealing, or a dead sealer
}

// Kernel decides, counts, holds, executes and records. Use [New].
type Kernel struct {
	db    *govdb.DB
	opts  Options
	log   *ledger.Log
	relay *outbox.Relay
	owner string // names this process in leases

	policySet atomic.Pointer[policySet]
	places    places
	readers   readers

	mu       sync.Mutex
	defs     map[string]*definition
	loops    []loop
	raisers  []func(ctx context.Context, tx *Tx, a Asked) ([]Raise, error)
	contacts func(ctx context.Context, tenant TenantID) ([]Contact, error)
	running  bool
}

type loop struct {
	name  string
	every time.Duration
	fn    func(context.Context) error
	due   func(context.Context) (bool, error) // nil: always; spares the lease when there is nothing to do
	long  bool                                // a turn may take longer than the lease, which is renewed meanwhile
}

// New makes a Kernel on db, whose schema must be current; see [Schemas] and
// govdb.Migrate.
func New(db *govdb.DB, opts *Options) (*Kernel, error) {
	if db == nil || opts == nil {
		return nil, errors.New("governance: db and options are required")
	}
	o := *opts
	var errs []error
	if o.Authorizer == nil {
		errs = append(errs, errors.New("governance: Options.Authorizer is required"))
	}
	if o.Directory == nil {
		errs = append(errs, errors.New("governance: Options.Directory is required"))
	}
	if o.LedgerKey == "" {
		errs = append(errs, errors.New("governance: Options.LedgerKey is required"))
	}
	if o.KeepNotices < 0 {
		errs = append(errs, fmt.Errorf("governance: Options.KeepNotices is %s, want > 0", o.KeepNotices))
	}
	names := map[string]bool{"": true, "*": true}
	for i, n := range o.Notifiers {
		if names[n.Name()] {
			errs = append(errs, fmt.Errorf("governance: Options.Notifiers[%d]: the name %q is taken or none", i, n.Name()))
		}
		names[n.Name()] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.KeepNotices == 0 {
		o.KeepNotices = keepNotices
	}
	if o.CallLimit == 0 {
		o.CallLimit = 30 * time.Second
	}
	if o.Links == nil {
		o.Links = func(string, string) string { return "" }
	}
	k := &Kernel{db: db, opts: o, defs: map[string]*definition{}, owner: uuid.NewString()}
	log, err := ledger.New(db, o.LedgerKey, &ledger.Options{Logger: o.Logger, OnLate: k.lateSeal, OnHalt: k.halted})
	if err != nil {
		return nil, fmt.Errorf("governance: %w", err)
	}
	k.log = log
	k.relay = outbox.New(db, &outbox.Options{Logger: o.Logger})
	if err := k.Register(putPolicy(k), putAlertRoutes(k), putSilence(k), erase(k), settleByHand(k), resumeLedger(k)); err != nil {
		return nil, err
	}
	k.Background("approvals", time.Second, k.sweepApprovals)
	k.alertLoops()
	k.Background("reviews", time.Minute, k.sweepReviews)
	k.Background("policies", 5*time.Minute, k.CheckReach)
	return k, nil
}

// Schemas are the tables the kernel needs, in order.
func Schemas() []govdb.Schema {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil // the embedded folder is there by construction; Migrate names a schema without files
	}
	return []govdb.Schema{lease.Schema(), schedule.Schema(), ledger.Schema(), outbox.Schema(), {Name: "governance", FS: sub}, alertroute.Schema()}
}

// DB is the database the kernel writes to.
func (k *Kernel) DB() *govdb.DB { return k.db }

// Now is the injected clock, in UTC.
func (k *Kernel) Now() time.Time { return k.db.Now() }

// Logger is the logger of Options.
func (k *Kernel) Logger() *slog.Logger { return k.opts.Logger }

// Ledger is the log that the kernel's records stand in.
func (k *Kernel) Ledger() *ledger.Log { return k.log }

// Outbox is the relay that numbers events and feeds consumers.
func (k *Kernel) Outbox() *outbox.Relay { return k.relay }

// Directory is the host's directory.
func (k *Kernel) Directory() Directory { return k.opts.Directory }

// Link is the address of a thing in the console, or empty.
func (k *Kernel) Link(kind, id string) string { return k.opts.Links(kind, id) }

// Authorize asks the Authorizer; anything but a clear yes is a *DeniedError.
func (k *Kernel) Authorize(ctx context.Context, id Identity, permission string, on Target) error {
	if id.Actor.ID == "" {
		return &DeniedError{permission, "identity", "nobody is signed in"}
	}
	if id.Actor.Kind == ActorSystem {
		return nil // the server acting by itself; no identity from outside has this kind
	}
	err := k.opts.Authorizer.Authorize(ctx, id, permission, on)
	if err == nil {
		return nil
	}
	var denied *DeniedError
	if errors.As(err, &denied) {
		return denied
	}
	k.opts.Logger.ErrorContext(ctx, "authorizer failed, denied", "permission", permission, "actor", id.Actor.ID, "error", err)
	return &DeniedError{permission, "authorizer", "authorization could not be decided"}
}

// Subscribe gives every event to fn, in commit order, once name has not seen it
// yet. What fn writes through tx commits together with the cursor. Call it before
// Run.
func (k *Kernel) Subscribe(name string, fn func(ctx context.Context, tx *Tx, evs []Event) error) {
	k.relay.Subscribe(name, fn)
}

// Background joins fn to Run: it is called every interval, on one server at a time.
// Its error is logged and counted, never fatal.
func (k *Kernel) Background(name string, every time.Duration, fn func(ctx context.Context) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loops = append(k.loops, loop{name: name, every: every, fn: fn})
}

// BackgroundLong is Background for work that may take long: a turn has no deadline, but
// ends when this server loses its lease. due, when not nil, spares a turn that has
// nothing to do.
func (k *Kernel) BackgroundLong(name string, every time.Duration, due func(ctx context.Context) (bool, error), fn func(ctx context.Context) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loops = append(k.loops, loop{name: name, every: every, fn: fn, due: due, long: true})
}

// Run does the background work until ctx ends: seals the ledger, relays events,
// expires and executes approvals, delivers alerts, and what [Kernel.Background]
// added. It returns nil when ctx ended.
func (k *Kernel) Run(ctx context.Context) error {
	k.mu.Lock()
	if k.running {
		k.mu.Unlock()
		return errors.New("governance: Run is running already")
	}
	k.running = true
	loops := append([]loop(nil), k.loops...)
	k.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { k.log.Run(ctx) })
	wg.Go(func() { k.relay.Run(ctx) })
	for _, l := range loops {
		wg.Go(func() { k.runLoop(ctx, l) })
	}
	wg.Wait()
	k.mu.Lock()
	k.running = false
	k.mu.Unlock()
	return nil
}

func (k *Kernel) runLoop(ctx context.Context, l loop) {
	t := time.NewTicker(l.every)
	defer t.Stop()
	for {
		if err := k.leased(ctx, l); err != nil && ctx.Err() == nil {
			k.opts.Logger.ErrorContext(ctx, "background work failed", "loop", l.name, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// leased runs one turn of a loop under its lease; another server holding it is no
// error.
func (k *Kernel) leased(ctx context.Context, l loop) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if l.due != nil {
		if due, err := l.due(ctx); err != nil || !due {
			return err
		}
	}
	ttl := max(4*l.every, 30*time.Second)
	held, ok, err := lease.Acquire(ctx, k.db, "loop:"+l.name, k.owner, ttl)
	if err != nil || !ok {
		return err
	}
	turn, cancel := context.WithTimeout(ctx, ttl-ttl/10) // stop before another server may start
	if l.long {
		cancel()
		turn, cancel = context.WithCancel(ctx)
		kept := make(chan struct{})
		defer func() { <-kept }() // it uses the lease that is given back below
		go func() {
			defer close(kept)
			k.keep(turn, cancel, held, ttl)
		}()
	}
	defer cancel()
	err = l.fn(turn)
	cancel()
	return errors.Join(err, lease.Release(context.WithoutCancel(ctx), k.db, held))
}

// keep renews a lease until ctx ends, and ends it when the lease is lost.
func (k *Kernel) keep(ctx context.Context, lost context.CancelFunc, held lease.Lease, ttl time.Duration) {
	t := time.NewTicker(ttl / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if _, err := lease.Renew(ctx, k.db, held, ttl); err != nil && ctx.Err() == nil {
			k.opts.Logger.ErrorContext(ctx, "background work stops: its lease could not be renewed", "lease", held.Name, "error", err)
			lost()
			return
		}
	}
}

func (k *Kernel) lateSeal(count int64) {
	if k.opts.Hooks.LateSeal != nil {
		k.opts.Hooks.LateSeal(count)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := k.AlertTx(ctx, tx, Alert{
			Key: "ledger.late", Severity: Critical, Title: "Ledger records without a leaf",
			Body: fmt.Sprintf("%d receipts have no leaf after 5 seconds.", count),
		})
		return err
	})
	if err != nil {
		k.opts.Logger.Error("alert of late seal", "error", err)
	}
}
