package playbook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/schedule"
)

// Options tunes a Service. Signals is required.
type Options struct {
	Signals Signals
	Kinds   []Kind // beside wait, approval and runbook.open
	// CallLimit is the deadline of a remote step's call; default 20s.
	CallLimit time.Duration
}

const (
	leaseFor      = 2 * time.Minute
	retryLater    = time.Minute
	deferFor      = 10 * time.Minute // until a condition without an answer is looked at again
	deferAtMost   = 48 * time.Hour   // after which the run is given up
	remoteTries   = 5
	undoTries     = 5
	lookupTries   = 10 // in a stopping run, before people decide
	approvalPoll  = 5 * time.Minute
	rollbackReach = 180 * day // runs older than this are not taken back by themselves
)

// Service keeps playbooks and runbooks and drives their runs. Use [New].
type Service struct {
	k     *governance.Kernel
	opts  Options
	kinds map[string]Kind

	put      *governance.Action[PutInput]
	activate *governance.Action[ActivateInput]
	approval *governance.Action[ApprovalInput]

	mu    sync.Mutex
	cache map[string]*compiled // by name/version: a stored version never changes

	hook func(point string) error // tests only: the end of the process at a point
}

// New makes a Service on a kernel and registers its actions, subscription and loops.
func New(k *governance.Kernel, opts *Options) (*Service, error) {
	if k == nil || opts == nil || opts.Signals == nil {
		return nil, errors.New("playbook: a kernel and Options.Signals are required")
	}
	s := &Service{k: k, opts: *opts, kinds: map[string]Kind{}, cache: map[string]*compiled{}, hook: func(string) error { return nil }}
	if s.opts.CallLimit == 0 {
		s.opts.CallLimit = 20 * time.Second
	}
	if s.opts.CallLimit > leaseFor/2 {
		return nil, fmt.Errorf("playbook: CallLimit is %s, at most %s is covered by a lease", s.opts.CallLimit, leaseFor/2)
	}
	s.put, s.activate, s.approval = s.definePut(), s.defineActivate(), s.defineApproval()
	if err := k.Register(s.put, s.activate, s.approval); err != nil {
		return nil, err
	}
	for _, kind := range append(s.builtinKinds(), opts.Kinds...) {
		if err := kind.validate(); err != nil {
			return nil, err
		}
		if _, twice := s.kinds[kind.Name]; twice {
			return nil, fmt.Errorf("playbook: kind %s is given twice", kind.Name)
		}
		s.kinds[kind.Name] = kind
	}
	k.Subscribe("playbook", s.onEvents)
	k.Background("playbook.runs", time.Second, s.Advance)
	k.Background("playbook.events", time.Second, s.Inbox)
	k.Background("playbook.runbooks", 5*time.Second, s.OpenForAlerts)
	return s, nil
}

// Kernel is the kernel this service stands on.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Kinds are the kinds of step there are.
func (s *Service) Kinds() []Kind {
	out := make([]Kind, 0, len(s.kinds))
	for _, name := range s.KindNames() {
		out = append(out, s.kinds[name])
	}
	return out
}

// Jobs looks every minute for playbooks whose daily time has come.
func (s *Service) Jobs() []schedule.Job {
	return []schedule.Job{{Name: "playbook.scan", Spec: schedule.Spec{Cron: "* * * * *"},
		Run: func(ctx context.Context, _ time.Time) error { return s.ScanDue(ctx) }}}
}

// Policies are the policies this capability ships with: an automation never places
// a restriction, passes an approval step or goes live without a person.
func Policies() []governance.Policy {
	person := func(within time.Duration, manual bool) *governance.Require {
		return &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}},
			DecideWithin: governance.Duration{Duration: within}, ExecuteWithin: governance.Duration{Duration: 24 * time.Hour}, Manual: manual}
	}
	return []governance.Policy{
		{ID: "playbook-restriction", Title: "An automation asks a person before it restricts a tenant", Actions: []string{"tenant.restrict"},
			Match: `actor.kind == "playbook"`, Mode: governance.Enforce, Require: person(72*time.Hour, true)},
		{ID: "playbook-approval", Title: "The playbook asks a person here", Actions: []string{ActionApproval}, Mode: governance.Enforce, Require: person(72*time.Hour, false)},
		{ID: "playbook-activate", Title: "A second person lets a playbook act", Actions: []string{ActionActivate}, Mode: governance.Enforce, Require: person(72*time.Hour, false)},
	}
}

// actor is a playbook as an identity. chain is the run that acts.
func actor(name string) governance.Identity {
	return governance.Identity{Actor: governance.Actor{ID: "playbook:" + name, Kind: governance.ActorPlaybook, Name: name, Roles: []string{"playbook"}}}
}

// reason is an error as people may read it: our own kinds with their text, others
// without, for texts of drivers and vendors may hold personal data.
func reason(err error) string {
	var invalid *governance.InvalidError
	var denied *governance.DeniedError
	text := "failed; see the server's log"
	switch {
	case errors.As(err, &invalid):
		text = invalid.Error()
	case errors.As(err, &denied):
		text = denied.Error()
	case errors.Is(err, governance.ErrNotFound):
		text = "not found"
	case errors.Is(err, governance.ErrConflict):
		text = "conflict: it is in another state or version than expected"
	case errors.Is(err, context.DeadlineExceeded):
		text = "timed out"
	}
	return text[:min(len(text), 500)]
}
