package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/reevehq/reeve/integrations/connector"
	pb "github.com/reevehq/reeve/plugins/connectorpb/v1"
	"github.com/reevehq/reeve/plugins/wire"
)

// supervised is one plugin over all its runs.
type supervised struct {
	host     *Host
	spec     Spec
	log      *slog.Logger
	scrub    *scrubber
	ctx      context.Context // ends when the plugin is to stop
	stop     context.CancelFunc
	again    chan struct{} // Reset
	finished chan struct{}

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced with every change of state
	state      State
	now        *run // the run that takes calls
	introduced bool
	descriptor connector.Descriptor
	caps       []connector.Capability
	config     connector.Config // of the last Configure, without spec.Settings
	sum        string
	restarts   int
	startedAt  time.Time
	retryAt    time.Time
	crashes    []time.Time
	lastErr    string
}

// run is one process with its connection.
type run struct {
	proc   *process
	client *plugin.Client
	rpc    pb.ConnectorServiceClient
	health healthpb.HealthClient
	calls  sync.WaitGroup
}

func newSupervised(h *Host, spec Spec) *supervised {
	p := &supervised{host: h, spec: spec, log: h.opts.Logger.With("plugin", spec.Name), scrub: &scrubber{}, state: Starting,
		again: make(chan struct{}, 1), finished: make(chan struct{}), changed: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// change edits p under its lock and wakes who waits for a state.
func (p *supervised) change(edit func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	edit()
	close(p.changed)
	p.changed = make(chan struct{})
}

// run starts the plugin again and again until it is stopped.
func (p *supervised) run() {
	defer close(p.finished)
	for {
		p.change(func() { p.state, p.retryAt = Starting, time.Time{} })
		r, err := p.start()
		if err == nil {
			err = p.watch(r)
			p.end(r)
		}
		if p.ctx.Err() != nil {
			p.change(func() { p.state = Stopped })
			return
		}
		wait, quarantine := p.crashed(err)
		var timer <-chan time.Time
		if quarantine {
			p.alert()
		} else {
			timer = time.After(wait)
		}
		select {
		case <-timer:
		case <-p.again:
			p.change(func() { p.crashes = nil })
		case <-p.ctx.Done():
			p.change(func() { p.state = Stopped })
			return
		}
		p.change(func() { p.restarts++ })
	}
}

func (p *supervised) reset() {
	select {
	case p.again <- struct{}{}:
	default: // one is waiting already
	}
}

// crashed books a crash and says how long to wait, or that it was one too many.
func (p *supervised) crashed(err error) (wait time.Duration, quarantine bool) {
	o := p.host.opts
	p.change(func() {
		now := o.Now()
		p.crashes = slices.DeleteFunc(append(p.crashes, now), func(t time.Time) bool { return now.Sub(t) > o.CrashWindow })
		p.lastErr = p.scrub.clean(err.Error(), 500)
		wait = o.BackoffMax
		if n := len(p.crashes) - 1; n < 30 {
			wait = min(o.BackoffMin<<n, o.BackoffMax)
		}
		quarantine = len(p.crashes) >= o.MaxCrashes || errors.Is(err, errWrongProgram)
		p.state, p.retryAt = Backoff, now.Add(wait)
		if quarantine {
			p.state, p.retryAt = Quarantined, time.Time{}
			select { // a Reset from before does not count
			case <-p.again:
			default:
			}
		}
	})
	p.log.Warn("plugin down", "error", p.scrub.clean(err.Error(), 500), "quarantined", quarantine, "retry_in", wait)
	return wait, quarantine
}

func (p *supervised) alert() {
	if p.host.opts.OnQuarantine == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("quarantine hook panicked")
		}
	}()
	p.host.opts.OnQuarantine(p.status())
}

// start runs the program up to the point where it has described itself and has been
// offered its settings. What go-plugin does here has no deadline, so it is done aside
// and loses its process when it takes too long.
func (p *supervised) start() (*run, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.host.opts.StartTimeout)
	defer cancel()
	path, sum, err := p.host.stage(p.spec)
	p.change(func() { p.sum = cmp.Or(sum, p.sum) })
	if err != nil {
		return nil, err
	}
	output := func() *lines { return &lines{log: p.log, scrub: p.scrub, now: p.host.opts.Now} } // of one stream
	proc := &process{spawn: p.host.spawn, lines: output(), done: make(chan struct{}), cmd: &exec.Cmd{Path: path, Args: []string{p.spec.Name}, Dir: p.host.work}}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake(),
		Plugins:          plugin.PluginSet{wire.Name: &plugin.NetRPCUnsupportedPlugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     p.host.opts.StartTimeout,
		Logger:           hclog.NewNullLogger(),
		Stderr:           io.Discard,
		SyncStdout:       output(),
		SyncStderr:       output(),
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)),
			grpc.WithDisableRetry()},
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.host.work},
		RunnerFunc: func(_ hclog.Logger, like *exec.Cmd, _ string) (runner.Runner, error) {
			proc.cmd.Env = append(p.environment(), like.Env...)
			return proc, nil
		},
	})
	type dialed struct {
		conn *grpc.ClientConn
		err  error
	}
	ch := make(chan dialed, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				ch <- dialed{err: errors.New("go-plugin panicked on the handshake")}
			}
		}()
		c, err := client.Client()
		if err != nil {
			ch <- dialed{err: err}
			return
		}
		ch <- dialed{conn: c.(*plugin.GRPCClient).Conn}
	}()
	var d dialed
	select {
	case d = <-ch:
	case <-ctx.Done():
		d.err = errors.New("no handshake in time")
	}
	r := &run{proc: proc, client: client}
	if d.err == nil {
		r.rpc, r.health = pb.NewConnectorServiceClient(d.conn), healthpb.NewHealthClient(d.conn)
		d.err = p.introduce(ctx, r)
	}
	if d.err != nil {
		p.end(r)
		return nil, fmt.Errorf("start: %w", d.err)
	}
	return r, nil
}

// environment is all that a plugin sees beside what the handshake needs.
func (p *supervised) environment() []string {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "TZ=UTC", "TMPDIR=" + p.host.work, fmt.Sprintf("GOMEMLIMIT=%dMiB", cmp.Or(p.spec.MemoryMB, 256))}
	if p.spec.Serve != "" {
		env = append(env, wire.Marker+"="+p.spec.Serve)
	}
	for _, k := range p.host.opts.PassEnv {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// introduce asks the plugin who it is and configures it. Settings that it refuses are
// no reason to start it again.
func (p *supervised) introduce(ctx context.Context, r *run) error {
	res, err := r.rpc.Describe(ctx, &pb.DescribeRequest{})
	if err != nil {
		return fmt.Errorf("describe: %w", wire.FromStatus(err))
	}
	d, caps := wire.Descriptor(res)
	if d.ID == "" || d.Kind == "" || d.Version == "" {
		return errors.New("describe: id, kind and version are required")
	}
	p.change(func() { p.descriptor, p.caps = d, caps })
	err = p.configure(ctx, r)
	p.change(func() {
		p.now, p.startedAt, p.state, p.introduced = r, p.host.opts.Now(), Ready, true
		if err != nil {
			p.state, p.lastErr = Misconfigured, err.Error()
		}
	})
	p.log.Info("plugin up", "pid", r.proc.pid(), "connector", d.ID, "version", d.Version, "state", p.status().State)
	return nil
}

func (p *supervised) configure(ctx context.Context, r *run) error {
	p.mu.Lock()
	cfg, d := p.config, p.descriptor
	p.mu.Unlock()
	if p.spec.Settings != nil {
		var err error
		if cfg, err = p.spec.Settings(ctx); err != nil {
			return &connector.Error{Code: connector.Unavailable, Message: "settings: " + err.Error()}
		}
	}
	if cfg == nil && slices.ContainsFunc(d.Config, func(f connector.Field) bool { return f.Required }) {
		return &connector.Error{Code: connector.Invalid, Message: "not configured yet"}
	}
	p.scrub.learn(d, cfg)
	if _, err := r.rpc.Configure(ctx, &pb.ConfigureRequest{Config: cfg}); err != nil {
		return p.scrub.error(wire.FromStatus(err))
	}
	return nil
}

// watch probes r until it dies, fails three probes in a row, or is to stop.
func (p *supervised) watch(r *run) error {
	tick := time.NewTicker(p.host.opts.ProbeEvery)
	defer tick.Stop()
	failed := 0
	for {
		select {
		case <-p.ctx.Done():
			return p.ctx.Err()
		case <-r.proc.done:
			return fmt.Errorf("ended by itself: %s", r.proc.cmd.ProcessState)
		case <-p.again: // Reset of one that runs: only its crashes are forgotten
			p.change(func() { p.crashes = nil })
			continue
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(p.ctx, p.host.opts.ProbeTimeout)
		res, err := r.health.Check(ctx, &healthpb.HealthCheckRequest{Service: plugin.GRPCServiceName})
		if err == nil && res.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			failed = 0
			p.reconfigure(ctx, r)
		} else if failed++; failed == 3 {
			cancel()
			return errors.New("does not answer its health probe")
		}
		cancel()
	}
}

// reconfigure tries again when the settings could not be had at the start.
func (p *supervised) reconfigure(ctx context.Context, r *run) {
	if p.spec.Settings == nil || p.status().State != Misconfigured {
		return
	}
	err := p.configure(ctx, r)
	p.change(func() {
		if err != nil {
			p.lastErr = err.Error()
		} else {
			p.state, p.lastErr = Ready, ""
		}
	})
}

// end takes r out of service and leaves no process: calls under way get their time
// when the plugin is being stopped, it is asked to end, then it is killed.
func (p *supervised) end(r *run) {
	p.change(func() {
		if p.now == r {
			p.now = nil
			p.state = Backoff
			if p.ctx.Err() != nil {
				p.state = Stopping
			}
		}
	})
	if p.ctx.Err() != nil && r.rpc != nil {
		within(p.host.opts.StopTimeout, r.calls.Wait)
		r.proc.release()
		within(2*time.Second, func() { <-r.proc.done })
	}
	_ = r.proc.Kill(context.Background())
	if !within(5*time.Second, r.client.Kill) { // with the process dead it only tidies up
		p.log.Error("plugin left something behind", "pid", r.proc.pid())
	}
	r.calls.Wait() // their connection is closed
}

// within reports whether f ended in time; if not, it goes on alone.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

func (p *supervised) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{Name: p.spec.Name, State: p.state, Restarts: p.restarts, RetryAt: p.retryAt, SHA256: p.sum, Descriptor: p.descriptor,
		Capabilities: slices.Clone(p.caps), LastError: p.lastErr}
	if p.now != nil {
		s.PID, s.StartedAt = p.now.proc.pid(), p.startedAt
		if s.PID > 0 {
			s.RSS = residentBytes(s.PID)
		}
	}
	return s
}

// acquire gives the run that takes calls; release it afterwards.
func (p *supervised) acquire() (*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil || p.ctx.Err() != nil {
		e := &connector.Error{Code: connector.Unavailable, Message: "plugin " + p.spec.Name + " is " + string(p.state)}
		if !p.retryAt.IsZero() {
			e.RetryAfter = max(p.retryAt.Sub(p.host.opts.Now()), 0)
		}
		return nil, e
	}
	p.now.calls.Add(1)
	return p.now, nil
}

func (p *supervised) connector(ctx context.Context) (connector.Connector, error) {
	for {
		p.mu.Lock()
		changed, state, introduced, caps, lastErr := p.changed, p.state, p.introduced, p.caps, p.lastErr
		p.mu.Unlock()
		switch {
		case state == Ready || state == Misconfigured, introduced && state != Quarantined && state != Stopping && state != Stopped:
			return offer(&remote{p: p}, caps), nil
		case state == Quarantined || state == Stopping || state == Stopped:
			return nil, &connector.Error{Code: connector.Unavailable, Message: strings.TrimSuffix(fmt.Sprintf("plugin %s is %s: %s", p.spec.Name, state, lastErr), ": ")}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, &connector.Error{Code: connector.Unavailable, Message: "plugin " + p.spec.Name + " is " + string(state)}
		}
	}
}
