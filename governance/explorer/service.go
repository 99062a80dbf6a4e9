package explorer

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/publish"
)

// The permissions.
const (
	PermissionRead  = "ledger:read"
	PermissionErase = "ledger:erase"
)

//go:embed migrations
var files embed.FS

// Schema is the table this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "explorer", FS: files}
	}
	return govdb.Schema{Name: "explorer", FS: sub}
}

// Service shows the ledger. Use [New].
type Service struct {
	k *governance.Kernel

	mu        sync.Mutex
	publisher *publish.Publisher
	exporting chan struct{} // one at a time: an export takes disk and much of the database
}

// New makes a Service; verifications that were asked for run in the kernel's Run.
func New(k *governance.Kernel) (*Service, error) {
	if k == nil {
		return nil, errors.New("explorer: the kernel is required")
	}
	s := &Service{k: k, exporting: make(chan struct{}, 1)}
	k.BackgroundLong("ledger.verify", 2*time.Second, s.open, s.Turn)
	return s, nil
}

// Kernel is the kernel the service stands on.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Watch tells which witnesses and sinks there should be; without it those are shown that
// once were.
func (s *Service) Watch(p *publish.Publisher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publisher = p
}

func (s *Service) may(ctx context.Context, id governance.Identity) error {
	return s.k.Authorize(ctx, id, PermissionRead, governance.Target{})
}

// How a witness or a sink stands.
const (
	Current = "current" // knows the newest checkpoint, or one not older than a minute
	Late    = "late"
	Never   = "never"   // has not taken any yet
	Removed = "removed" // no longer in the settings
)

// lateAfter is longer than a publisher that works needs.
const lateAfter = time.Minute

// Place is a witness or a sink outside.
type Place struct {
	Name    string
	Key     string // a witness's
	Address string // a witness's
	State   string // one of Current, Late, Never, Removed
	Size    int64
	Lag     int64 // records that it does not know of
	At      time.Time
	Behind  time.Duration // since when a larger checkpoint is there
	Times   int64         // checkpoints that a witness signed
}

// State is how the ledger stands.
type State struct {
	Origin      string
	Key         string
	Checkpoint  *ledger.Checkpoint // nil before the first
	Witnesses   []Place
	Sinks       []Place
	Checkpoints []ledger.CosignedSize // the newest, with who signed them
	Keys        []ledger.KeyUse
}

// State reads how the ledger stands, with the newest checkpoints, at most so many.
func (s *Service) State(ctx context.Context, id governance.Identity, checkpoints int) (State, error) {
	log := s.k.Ledger()
	st := State{Origin: log.Origin(), Key: log.VerifierKey()}
	if err := s.may(ctx, id); err != nil {
		return st, err
	}
	size := int64(0)
	switch c, err := log.Checkpoint(ctx); {
	case err == nil:
		st.Checkpoint, size = &c, c.Size
	case !errors.Is(err, ledger.ErrNotFound):
		return st, err
	}
	cosigned, err := log.CosignedBy(ctx)
	if err != nil {
		return st, err
	}
	published, err := log.PublishedTo(ctx)
	if err != nil {
		return st, err
	}
	if st.Checkpoints, err = log.Checkpoints(ctx, 0, int64(checkpoints)); err != nil {
		return st, err
	}
	if st.Keys, err = log.KeyHistory(ctx); err != nil {
		return st, err
	}
	s.mu.Lock()
	p := s.publisher
	s.mu.Unlock()
	var witnesses, sinks []Place
	if p != nil {
		for _, w := range p.Witnesses() {
			witnesses = append(witnesses, Place{Name: witnessName(w.Key), Key: w.Key, Address: w.URL})
		}
		for _, n := range p.SinkNames() {
			sinks = append(sinks, Place{Name: n})
		}
	}
	st.Witnesses = s.places(witnesses, cosigned, size, func(p Place) string { return p.Key }, func(t ledger.Told) Place { return Place{Name: witnessName(t.Name), Key: t.Name} })
	st.Sinks = s.places(sinks, published, size, func(p Place) string { return p.Name }, func(t ledger.Told) Place { return Place{Name: t.Name} })
	return st, nil
}

// witnessName is the name that a witness's key begins with.
func witnessName(key string) string {
	for i, r := range key {
		if r == '+' {
			return key[:i]
		}
	}
	return key
}

// places joins what should be there with what was told.
func (s *Service) places(want []Place, told []ledger.Told, size int64, id func(Place) string, gone func(ledger.Told) Place) []Place {
	out := slices.Clone(want)
	for i := range out {
		out[i].State, out[i].Lag = Never, size
	}
	for _, t := range told {
		i := slices.IndexFunc(out, func(p Place) bool { return id(p) == t.Name })
		state := Current
		if i < 0 {
			out, state = append(out, gone(t)), Removed
			i = len(out) - 1
		}
		p := &out[i]
		p.Size, p.Lag, p.At, p.Times = t.Size, size-t.Size, t.At, t.Times
		if !t.Behind.IsZero() {
			p.Behind = s.k.Now().Sub(t.Behind)
		}
		if state == Current && p.Lag > 0 && p.Behind > lateAfter {
			state = Late
		}
		p.State = state
	}
	slices.SortStableFunc(out, func(a, b Place) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
