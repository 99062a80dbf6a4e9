package siem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

// The permissions of this package and its guarded actions.
const (
	PermissionRead  = "ledger:read"
	PermissionWrite = "siem:write"
	ActionPause     = "siem.sink.pause"
	ActionResume    = "siem.sink.resume"
)

// Options tunes a Service. The zero value has no sink and does nothing.
type Options struct {
	Sinks    []Sink
	Version  string        // of the program, for the events
	Batch    int64         // most events at once, at most 1000; default 200
	Poll     time.Duration // how often to look for new leaves; default 1s
	Deadline time.Duration // for one batch; default 15s, at most 20s
	Behind   time.Duration // a sink whose oldest leaf waits for longer raises an alert; default 15m
	Logger   *slog.Logger  // default: discard
}

// maxDeadline is below the time that the kernel gives one turn of background work.
const maxDeadline = 20 * time.Second

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Batch == 0 {
		c.Batch = 200
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.Deadline == 0 {
		c.Deadline = 15 * time.Second
	}
	if c.Behind == 0 {
		c.Behind = 15 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return c
}

// Service ships the log to its sinks. Use [New].
type Service struct {
	k       *governance.Kernel
	opts    Options
	mapper  Mapper
	workers []*worker
	pause   *governance.Action[sinkInput]
	resume  *governance.Action[sinkInput]
}

// New makes a Service on k and joins its background work: one loop for each sink, so that
// none can hold up another, and one that watches them.
func New(k *governance.Kernel, opts *Options) (*Service, error) {
	if k == nil {
		return nil, errors.New("siem: a kernel is required")
	}
	o := opts.withDefaults()
	switch {
	case o.Batch < 1 || o.Batch > 1000:
		return nil, fmt.Errorf("siem: Batch is %d, want 1 to 1000", o.Batch)
	case o.Deadline < time.Second || o.Deadline > maxDeadline:
		return nil, fmt.Errorf("siem: Deadline is %s, want 1s to %s", o.Deadline, maxDeadline)
	case o.Behind < time.Minute:
		return nil, fmt.Errorf("siem: Behind is %s, want at least 1m", o.Behind)
	}
	s := &Service{k: k, opts: o, mapper: Mapper{Version: o.Version, Origin: k.Ledger().Origin()}}
	known := map[string]bool{}
	for i, sink := range o.Sinks {
		if sink == nil {
			return nil, fmt.Errorf("siem: Sinks[%d] is nil", i)
		}
		if err := checkName(sink.Name()); err != nil {
			return nil, err
		}
		if known[sink.Name()] {
			return nil, fmt.Errorf("siem: two sinks are named %s", sink.Name())
		}
		known[sink.Name()] = true
		s.workers = append(s.workers, &worker{s: s, sink: sink})
	}
	s.pause, s.resume = s.pauseAction(), s.resumeAction()
	if err := k.Register(s.pause, s.resume); err != nil {
		return nil, err
	}
	for _, w := range s.workers {
		k.Background("siem.sink."+w.sink.Name(), o.Poll, w.turn)
	}
	k.Background("siem.watch", 15*time.Second, s.Watch)
	return s, nil
}

// Kernel is the kernel this service was made on.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Policies are what a deployment starts with: whoever stops the copying of the log needs
// a second person and a reason. Starting it again needs neither.
func Policies() []governance.Policy {
	return []governance.Policy{{ID: "siem-pause", Title: "The log stops being copied only with a second person", Actions: []string{ActionPause}, Mode: governance.Enforce, NeedWhy: true,
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 72 * time.Hour}, ExecuteWithin: governance.Duration{Duration: 24 * time.Hour}}}}
}

// Turn ships to every sink once what is due, one after the other, for tests and tools that
// do not run the loops.
func (s *Service) Turn(ctx context.Context) error {
	var errs []error
	for _, w := range s.workers {
		errs = append(errs, w.turn(ctx))
	}
	return errors.Join(errs...)
}

// State is what a sink does.
type State string

// The states of a sink. A removed one is no longer in the settings.
const (
	Active  State = "active"
	Paused  State = "paused"
	Removed State = "removed"
)

// Status is how a sink stands.
type Status struct {
	Name      string
	Kind      string
	Target    string
	State     State
	Next      int64         // the leaf it gets next
	Lag       int64         // sealed leaves that it has not taken
	Oldest    time.Duration // age of the first of them
	Failures  int64         // in a row
	Error     string        // of the last of them
	NextTry   time.Time     // zero: at once
	SentAt    time.Time     // when it last took something; zero: never
	PausedBy  string
	PausedWhy string
	PausedAt  time.Time
}

// Statuses says how every sink stands that is or was in the settings, by name.
func (s *Service) Statuses(ctx context.Context) ([]Status, error) {
	var rows []sinkRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("sinks: %w", err)
	}
	sealed, err := s.k.Ledger().Sealed(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Status, 0, len(rows))
	for _, r := range rows {
		st := Status{Name: r.Name, Kind: r.Kind, Target: r.Target, State: State(r.State), Next: r.Next, Lag: max(0, sealed-r.Next), Failures: r.Failures, Error: r.Error,
			NextTry: r.NextAt.Time(), SentAt: r.SentAt.Time(), PausedBy: r.PausedBy, PausedWhy: r.PausedWhy, PausedAt: r.PausedAt.Time()}
		if st.Lag > 0 {
			first, err := s.k.Ledger().Leaves(ctx, r.Next, 1)
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				return nil, err
			}
			if len(first) > 0 {
				st.Oldest = max(0, s.k.Now().Sub(first[0].At))
			}
		}
		out = append(out, st)
	}
	return out, nil
}

func behindAlert(name string) string { return "siem.behind:" + name }
func pausedAlert(name string) string { return "siem.paused:" + name }

// Watch writes down which sinks were taken out of the settings, and raises an alert while
// one is behind. It looks at the log and the cursors only, so a sink that hangs cannot
// hide. The kernel calls it; tests may.
func (s *Service) Watch(ctx context.Context) error {
	sts, err := s.Statuses(ctx)
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, w := range s.workers {
		here[w.sink.Name()] = true
	}
	var errs []error
	for _, st := range sts {
		if !here[st.Name] && st.State != Removed {
			errs = append(errs, s.remove(ctx, st))
			continue
		}
		late := st.State == Active && st.Oldest > s.opts.Behind
		errs = append(errs, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			if !late {
				return s.k.ResolveAlertTx(ctx, tx, behindAlert(st.Name))
			}
			_, err := s.k.AlertTx(ctx, tx, governance.Alert{Key: behindAlert(st.Name), Severity: governance.Critical, Title: "The copy of the log to " + st.Name + " is behind",
				Body:  fmt.Sprintf("%d records wait, the first of them for %s. Last failure: %s", st.Lag, st.Oldest.Truncate(time.Minute), orNone(st.Error)),
				Links: []governance.Link{{Title: "Log export", Kind: "siem", ID: st.Name}}})
			return err
		}))
	}
	return errors.Join(errs...)
}

func orNone(s string) string {
	if s == "" {
		return "none, it does not answer"
	}
	return s
}

// remove notes that a sink is not in the settings any more: that the copying of a log ends
// is itself an entry of the log.
func (s *Service) remove(ctx context.Context, st Status) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE siem_sink SET state = ? WHERE name = ? AND state <> ?", Removed, st.Name, Removed)
		if err != nil {
			return fmt.Errorf("sink %s: %w", st.Name, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return nil
		}
		if err := errors.Join(s.k.ResolveAlertTx(ctx, tx, behindAlert(st.Name)), s.k.ResolveAlertTx(ctx, tx, pausedAlert(st.Name))); err != nil {
			return err
		}
		_, err = s.k.RecordTx(ctx, tx, governance.System("siem"), governance.Record{Action: "siem.sink.stop", Resource: sinkRef(st.Name),
			Data: map[string]any{"kind": st.Kind, "target": st.Target, "next_leaf": fmt.Sprint(st.Next), "why": "it is not in the settings"}})
		return err
	})
}

func sinkRef(name string) governance.Ref { return governance.Ref{Kind: "siem_sink", ID: name} }
