package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/ledger"
)

// ReceiptSink keeps receipts somewhere else. Implementations: [File], [Webhook], s3sink.Sink.
type ReceiptSink interface {
	// Name tells sinks apart.
	Name() string
	// PublishReceipts keeps a signed batch; see offline.ParseReceipts. It may be told twice.
	PublishReceipts(ctx context.Context, stream string, first int64, signed []byte) error
}

// ReceiptsOptions tunes Receipts. Sinks is required.
type ReceiptsOptions struct {
	Sinks  []ReceiptSink
	Queue  int           // most receipts that wait to be signed; default 20000
	Every  time.Duration // longest time that one waits; default 200ms
	Logger *slog.Logger  // default: discard
	// OnGap is told that receipts were given up, which shows in their numbers as well: no
	// sink was told of them when sink is empty.
	OnGap func(sink string, receipts int64)
}

// Receipts publishes the receipts of this process as their records are committed: what
// is removed before it has a leaf is missed by whoever kept them. Each process is a
// stream of its own. Use [NewReceipts].
type Receipts struct {
	log    *ledger.Log
	opts   ReceiptsOptions
	stream string
	wake   chan struct{}

	mu    sync.Mutex
	queue []ledger.Receipt
	first int64 // number of the first that waits
	lost  int64 // given up since the last that waits: they keep their numbers
}

const (
	receiptBatch  = 1000
	sinkBatches   = 64 // most batches that wait for a sink
	closingWithin = 3 * time.Second
)

// NewReceipts makes a Receipts that sees what log gives out from now on. Nothing is sent
// before [Receipts.Run].
func NewReceipts(log *ledger.Log, opts *ReceiptsOptions) (*Receipts, error) {
	if log == nil || opts == nil || len(opts.Sinks) == 0 {
		return nil, errors.New("publish: log and ReceiptsOptions.Sinks are required")
	}
	o := *opts
	if o.Queue == 0 {
		o.Queue = 20_000
	}
	if o.Every == 0 {
		o.Every = 200 * time.Millisecond
	}
	if o.Queue < 1 || o.Every < 0 {
		return nil, fmt.Errorf("publish: a queue of %d and a wait of %s: want more than 0", o.Queue, o.Every)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	names := map[string]bool{"": true}
	for _, s := range o.Sinks {
		if names[s.Name()] {
			return nil, fmt.Errorf("publish: sink %q has no name or stands twice", s.Name())
		}
		names[s.Name()] = true
	}
	r := &Receipts{log: log, opts: o, stream: uuid.NewString(), wake: make(chan struct{}, 1), first: 1}
	log.Tap(r.add)
	return r, nil
}

// add takes a receipt, or gives it up when too many wait. It never blocks.
func (r *Receipts) add(x ledger.Receipt) {
	r.mu.Lock()
	if len(r.queue) >= r.opts.Queue || r.lost > 0 { // numbers follow each other within the queue
		r.lost++
	} else {
		r.queue = append(r.queue, x)
	}
	full := len(r.queue) >= receiptBatch
	r.mu.Unlock()
	if full {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// take gives the oldest receipts that wait, and how many behind the last were given up.
func (r *Receipts) take() (first int64, out []ledger.Receipt, lost int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.queue), receiptBatch)
	first, out = r.first, append(out, r.queue[:n]...)
	r.queue = append(r.queue[:0:0], r.queue[n:]...)
	r.first += int64(n)
	if len(r.queue) == 0 {
		lost, r.lost = r.lost, 0
		r.first += lost
	}
	return first, out, lost
}

type batch struct {
	first    int64
	receipts int
	signed   []byte
}

// Run signs and sends until ctx ends, then closes the stream.
func (r *Receipts) Run(ctx context.Context) {
	closing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	sinks := make([]chan batch, len(r.opts.Sinks))
	for i, s := range r.opts.Sinks {
		sinks[i] = make(chan batch, sinkBatches)
		wg.Go(func() { r.feed(closing, s, sinks[i]) })
	}
	t := time.NewTicker(r.opts.Every)
	defer t.Stop()
	for ctx.Err() == nil {
		for r.turn(ctx, sinks, false) {
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-t.C:
		}
	}
	for r.turn(closing, sinks, false) {
	}
	r.turn(closing, sinks, true)
	for _, c := range sinks {
		close(c)
	}
	giveUp := time.AfterFunc(closingWithin, stop)
	defer giveUp.Stop()
	wg.Wait()
}

// turn hands one batch to every sink that has room for it, and tells whether there is
// more.
func (r *Receipts) turn(ctx context.Context, sinks []chan batch, end bool) bool {
	first, rs, lost := r.take()
	if lost > 0 {
		r.gap(ctx, "", lost)
	}
	if len(rs) == 0 && !end {
		return false
	}
	signed, err := r.log.SignReceipts(r.stream, first, end, rs)
	if err != nil {
		r.opts.Logger.ErrorContext(ctx, "sign receipts", "error", err)
		r.gap(ctx, "", int64(len(rs)))
		return len(rs) > 0
	}
	for i, c := range sinks {
		select {
		case c <- batch{first, len(rs), signed}:
		default:
			r.gap(ctx, r.opts.Sinks[i].Name(), int64(len(rs)))
		}
	}
	return len(rs) == receiptBatch
}

func (r *Receipts) gap(ctx context.Context, sink string, n int64) {
	r.opts.Logger.WarnContext(ctx, "receipts were given up", "sink", sink, "receipts", n)
	if r.opts.OnGap != nil {
		r.opts.OnGap(sink, n)
	}
}

// feed tells a sink of one batch after the other, again and again while it fails.
func (r *Receipts) feed(ctx context.Context, s ReceiptSink, in <-chan batch) {
	for b := range in {
		for wait := 250 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
			turn, cancel := context.WithTimeout(ctx, 30*time.Second)
			err := s.PublishReceipts(turn, r.stream, b.first, b.signed)
			cancel()
			if err == nil {
				break
			}
			r.opts.Logger.WarnContext(ctx, "publish receipts", "sink", s.Name(), "error", err)
			select {
			case <-ctx.Done():
				r.gap(ctx, s.Name(), int64(b.receipts))
			case <-time.After(wait):
				continue
			}
			break
		}
	}
}
