package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// ErrDiffers says that a sink has something else under the name of what it was to keep:
// nothing of it is written over.
var ErrDiffers = errors.New("publish: something else is there under this name")

// Sink keeps checkpoints somewhere else. Implementations: [File], [Webhook], s3sink.Sink.
type Sink interface {
	// Name tells sinks apart; the log remembers by it how far each was told.
	Name() string
	Publish(ctx context.Context, c ledger.Checkpoint) error
}

// Rememberer is implemented by sinks that can say what they were told last.
type Rememberer interface {
	// Last is the last checkpoint, nil when there is none.
	Last(ctx context.Context) ([]byte, error)
}

// Witness cosigns checkpoints at its address, below which add-checkpoint is.
type Witness struct {
	URL string
	Key string // its verification key, of cosignature/v1
}

// Options tunes a Publisher.
type Options struct {
	Client    *http.Client // calls the witnesses; required with any: see governance/outgoing
	Witnesses []Witness
	Sinks     []Sink
}

// Publisher asks witnesses and tells sinks. Use [New].
type Publisher struct {
	log  *ledger.Log
	opts Options
}

// New makes a Publisher of a log.
func New(log *ledger.Log, opts *Options) (*Publisher, error) {
	if log == nil || opts == nil {
		return nil, errors.New("publish: log and options are required")
	}
	if len(opts.Witnesses) > 0 && opts.Client == nil {
		return nil, errors.New("publish: Options.Client is required with witnesses")
	}
	names := map[string]bool{}
	for i, w := range opts.Witnesses {
		if u, err := url.Parse(w.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("publish: witness %d: %q is not an http or https address", i+1, w.URL)
		}
		if _, err := offline.NewCosignatureVerifier(w.Key); err != nil {
			return nil, fmt.Errorf("publish: witness %d: %w", i+1, err)
		}
		if names[w.Key] {
			return nil, fmt.Errorf("publish: witness %d stands twice", i+1)
		}
		names[w.Key] = true
	}
	for _, s := range opts.Sinks {
		if s.Name() == "" || names[s.Name()] {
			return nil, fmt.Errorf("publish: sink %q has no name or stands twice", s.Name())
		}
		names[s.Name()] = true
	}
	return &Publisher{log, *opts}, nil
}

// Witnesses are those of the options.
func (p *Publisher) Witnesses() []Witness { return slices.Clone(p.opts.Witnesses) }

// SinkNames are the names of the sinks of the options.
func (p *Publisher) SinkNames() []string {
	out := make([]string, len(p.opts.Sinks))
	for i, s := range p.opts.Sinks {
		out[i] = s.Name()
	}
	return out
}

// Restore lets the log know the heads that sinks remember, before anything is signed: a
// database that was restored from a backup has fewer, and must not sign others of
// the same sizes.
func (p *Publisher) Restore(ctx context.Context) error {
	var errs []error
	for _, s := range p.opts.Sinks {
		r, ok := s.(Rememberer)
		if !ok {
			continue
		}
		if err := p.compare(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("publish: %s: %w", s.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// stopped is an error when the log signs nothing: then nobody is told of it either.
func (p *Publisher) stopped(ctx context.Context) error {
	h, err := p.log.Halted(ctx)
	if err == nil && h != nil {
		err = fmt.Errorf("publish: %w", h.Err())
	}
	return err
}

// Turn has the newest checkpoint cosigned by every witness that has not, then tells it
// to every sink that does not know it. One that fails keeps no other from its turn;
// what failed is in the error. A witness or a sink that knows another past stops the log
// from signing: see [ledger.Log.Halt].
func (p *Publisher) Turn(ctx context.Context) error {
	if err := p.stopped(ctx); err != nil {
		return err
	}
	c, err := p.log.Checkpoint(ctx)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range p.opts.Witnesses {
		err := p.witness(ctx, w, c)
		if errors.Is(err, ledger.ErrForked) {
			err = errors.Join(err, p.log.Halt(ctx, fmt.Sprintf("witness %s: %v", w.URL, err), nil))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("publish: witness %s: %w", w.URL, err))
		}
	}
	if err := p.stopped(ctx); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if c, err = p.log.Witnessed(ctx, 0); err != nil {
		return err
	}
	for _, s := range p.opts.Sinks {
		if err := p.tell(ctx, s, c); err != nil {
			errs = append(errs, fmt.Errorf("publish: %s: %w", s.Name(), err))
		}
	}
	return errors.Join(errs...)
}

func (p *Publisher) tell(ctx context.Context, s Sink, c ledger.Checkpoint) error {
	told, err := p.log.Published(ctx, s.Name())
	if err != nil || told >= c.Size {
		return err
	}
	if r, ok := s.(Rememberer); ok { // it may have been told by somebody else
		if err := p.compare(ctx, r); err != nil {
			return err
		}
		if err := p.stopped(ctx); err != nil {
			return err
		}
	}
	if err := s.Publish(ctx, c); err != nil {
		return err
	}
	return p.log.SetPublished(ctx, s.Name(), c.Size)
}

func (p *Publisher) compare(ctx context.Context, r Rememberer) error {
	last, err := r.Last(ctx)
	if err == nil && last != nil {
		err = p.log.Saw(ctx, last)
	}
	return err
}
