package integrations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/outgoing"
	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/integrations/webhook"
)

// Instance is one configured account at a vendor, as a host of connectors sees it.
type Instance struct {
	ID        string // the target's id: instances of one connector are told apart by it
	Connector string // Descriptor.ID
	Version   int64  // rises when Config changes
	Config    connector.Config
}

// Options tunes a Service. Sealer is required: secrets never stand in the database
// as they are.
type Options struct {
	Sealer Sealer
	// Connect gives the connector of an instance, configured. It is asked before every
	// call, so it keeps what it has while Version stays. Nil: webhooks only.
	Connect func(ctx context.Context, in Instance) (connector.Connector, error)
	// Descriptors lists the connectors that Connect knows, for forms and validation.
	Descriptors func() []connector.Descriptor
	Client      *http.Client    // calls webhooks; default outgoing.New, which reaches public addresses only
	PlainHTTP   bool            // allows webhook addresses without TLS, for a demo on one machine
	CallLimit   time.Duration   // deadline of one call; default 20s
	Workers     int             // calls in flight on this server; default 32
	PerTarget   int             // of them at one target; default 8, so that a slow one leaves room
	Poll        time.Duration   // longest wait without a wake; default 1s
	Schedule    []time.Duration // waits before each attempt, ±20 %; default 0, 5s, 5m … 24h over 75 hours
	Logger      *slog.Logger    // default: the kernel's
}

func defaultSchedule() []time.Duration {
	return []time.Duration{0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
}

const (
	leaseSlack   = 30 * time.Second // over the call's own deadline, before another server may try
	parkAfter    = 3                // attempts, before a delivery in Park lets the ones behind it go first
	chainMost    = 50               // deliveries of one lane in a row, before other lanes get their turn
	throttleMost = 200              // attempts of one delivery, however often the target asks to wait
	stopGrace    = 5 * time.Second  // for calls in flight when Run is told to stop
)

// Service delivers events to targets and answers look-ups. Use [New].
type Service struct {
	k      *governance.Kernel
	opts   Options
	sender webhook.Sender
	wakeup chan struct{}
	misses misses

	create *governance.Action[CreateInput]
	edit   *governance.Action[EditInput]
	remove *governance.Action[RemoveInput]
	replay *governance.Action[ReplayInput]
}

// New makes a Service, registers its actions and subscribes it to the kernel's events
// under the name "integrations". The schema must be there; see [Schema].
func New(k *governance.Kernel, opts *Options) (*Service, error) {
	if k == nil || opts == nil || opts.Sealer == nil {
		return nil, errors.New("integrations: a kernel and Options.Sealer are required")
	}
	o := *opts
	if o.Client == nil {
		o.Client = outgoing.New(nil)
	}
	if o.Descriptors == nil {
		o.Descriptors = func() []connector.Descriptor { return nil }
	}
	if o.CallLimit <= 0 {
		o.CallLimit = 20 * time.Second
	}
	if o.Workers <= 0 {
		o.Workers = 32
	}
	if o.PerTarget <= 0 {
		o.PerTarget = 8
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if len(o.Schedule) == 0 {
		o.Schedule = defaultSchedule()
	}
	if o.Logger == nil {
		o.Logger = k.Logger()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s := &Service{k: k, opts: o, wakeup: make(chan struct{}, 1),
		sender: webhook.Sender{Client: o.Client, Now: k.Now, UserAgent: "Reeve-Webhooks/1"}}
	s.create, s.edit, s.remove, s.replay = s.createAction(), s.editAction(), s.removeAction(), s.replayAction()
	if err := k.Register(s.create, s.edit, s.remove, s.replay); err != nil {
		return nil, fmt.Errorf("integrations: %w", err)
	}
	k.Subscribe("integrations", s.fanOut)
	return s, nil
}

// Kernel is the kernel this service writes through.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Connectors lists the connectors that a target may name.
func (s *Service) Connectors() []connector.Descriptor { return s.opts.Descriptors() }

// Policies are the ones this capability ships with: sending more than a thousand
// deliveries again needs a second person.
func Policies() []governance.Policy {
	return []governance.Policy{{
		ID: "integration-replay", Title: "Sending many deliveries again", Actions: []string{"integration.replay"}, Mode: governance.Enforce,
		Limits: []governance.Limit{{Unit: "deliveries", Max: 1000, Window: governance.Duration{Duration: 24 * time.Hour}, By: governance.ByGlobal}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 72 * time.Hour}, ExecuteWithin: governance.Duration{Duration: 24 * time.Hour}},
	}, {
		ID: "integration-target", Title: "Where data is sent changes only with a second person", Actions: []string{"integration.target.*"}, Mode: governance.Enforce,
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 72 * time.Hour}, ExecuteWithin: governance.Duration{Duration: 24 * time.Hour}},
	}}
}

func (s *Service) wake() {
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
}

func (s *Service) system() governance.Identity { return governance.System("integrations") }
