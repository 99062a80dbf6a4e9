package host

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reevehq/reeve/integrations/connector"
)

// Options tunes a Host. The zero value is ready to use.
type Options struct {
	CallTimeout  time.Duration    // longest single call; default 30s
	StartTimeout time.Duration    // from exec to a described plugin; default 15s
	StopTimeout  time.Duration    // what calls under way get when a plugin is stopped; default 5s
	ProbeEvery   time.Duration    // default 10s
	ProbeTimeout time.Duration    // default 2s; three failed probes are a crash
	BackoffMin   time.Duration    // first wait after a crash, doubled by each; default 100ms
	BackoffMax   time.Duration    // default 30s
	MaxCrashes   int              // crashes within CrashWindow that mean quarantine; default 3
	CrashWindow  time.Duration    // default 1h
	PassEnv      []string         // names of variables handed on, "HTTPS_PROXY"; default none
	OnQuarantine func(Status)     // to raise an alert; called once for each quarantine
	Now          func() time.Time // default time.Now
	Logger       *slog.Logger     // default: discard
}

func (o *Options) withDefaults() Options {
	var v Options
	if o != nil {
		v = *o
	}
	for _, d := range []struct {
		at   *time.Duration
		want time.Duration
	}{
		{&v.CallTimeout, 30 * time.Second}, {&v.StartTimeout, 15 * time.Second}, {&v.StopTimeout, 5 * time.Second}, {&v.ProbeEvery, 10 * time.Second},
		{&v.ProbeTimeout, 2 * time.Second}, {&v.BackoffMin, 100 * time.Millisecond}, {&v.BackoffMax, 30 * time.Second}, {&v.CrashWindow, time.Hour},
	} {
		if *d.at <= 0 {
			*d.at = d.want
		}
	}
	if v.MaxCrashes <= 0 {
		v.MaxCrashes = 3
	}
	if v.Now == nil {
		v.Now = time.Now
	}
	if v.Logger == nil {
		v.Logger = slog.New(slog.DiscardHandler)
	}
	return v
}

// Spec is one plugin to run.
type Spec struct {
	Name   string // of this instance: "crm", "billing-eu"
	Path   string // the program
	SHA256 string // of the program, in hex; another one is never run
	Self   bool   // instead of Path and SHA256: this very program, whose main begins with serve.IfPlugin
	Serve  string // which connector, of a program that has several

	// Settings is asked at every start, so that secrets need not be kept. Nil leaves
	// it to the first call of Configure, which is then repeated after a restart.
	Settings func(ctx context.Context) (connector.Config, error)
	MemoryMB int // soft limit of a Go plugin's memory; default 256
}

func (s Spec) validate() error {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`).MatchString(s.Name) {
		return fmt.Errorf("plugin name %q: want lower case letters, digits and dashes", s.Name)
	}
	if s.Self {
		if s.Path != "" || s.SHA256 != "" || s.Serve == "" {
			return fmt.Errorf("plugin %s: Self wants Serve, and neither Path nor SHA256", s.Name)
		}
		return nil
	}
	if sum, err := hex.DecodeString(s.SHA256); err != nil || len(sum) != 32 {
		return fmt.Errorf("plugin %s: SHA256 is required: 64 hex digits", s.Name)
	}
	if s.Path == "" {
		return fmt.Errorf("plugin %s: Path is required", s.Name)
	}
	return nil
}

// State is where a plugin stands.
type State string

// The states of a plugin.
const (
	Starting      State = "starting"
	Ready         State = "ready"
	Misconfigured State = "misconfigured" // it runs, but refused its settings or has none yet; see LastError
	Backoff       State = "backoff"       // it died and is started again at RetryAt
	Quarantined   State = "quarantined"   // it died too often, or is not the program it should be; Reset starts it again
	Stopping      State = "stopping"
	Stopped       State = "stopped"
)

// Status is one plugin for an operator.
type Status struct {
	Name         string
	State        State
	PID          int   // 0 without a process
	RSS          int64 // resident bytes; 0 where unknown
	Restarts     int   // since Add
	StartedAt    time.Time
	RetryAt      time.Time // with Backoff
	SHA256       string
	Descriptor   connector.Descriptor // from the first start on
	Capabilities []connector.Capability
	LastError    string
}

// Host runs plugins.
type Host struct {
	dir  string // copies of programs
	work string // sockets; what plugins see as their own folder
	opts Options
	jobs chan func() // run on one thread that lives as long as the Host: see spawn

	mu      sync.Mutex
	plugins map[string]*supervised
	closed  bool
	self    func() (string, error) // digest of this program
}

// New makes a Host that keeps its copies of programs in dir, which it makes private.
func New(dir string, opts *Options) (*Host, error) {
	if dir == "" {
		return nil, errors.New("host: dir is required")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	work, err := workFolder()
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	h := &Host{dir: dir, work: work, opts: opts.withDefaults(), jobs: make(chan func()), plugins: map[string]*supervised{}, self: sync.OnceValues(selfDigest)}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for job := range h.jobs {
			job()
		}
	}()
	return h, nil
}

// spawn runs job on the one thread that starts processes: the kernel ends a plugin
// when the thread that started it ends, and any other thread might.
func (h *Host) spawn(job func()) {
	done := make(chan struct{})
	h.jobs <- func() {
		defer close(done)
		job()
	}
	<-done
}

// Add begins to run a plugin. It does not wait for it: [Host.Connector] does.
func (h *Host) Add(spec Spec) error {
	if err := spec.validate(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("host: closed")
	}
	if _, ok := h.plugins[spec.Name]; ok {
		return fmt.Errorf("plugin %s: there is one already", spec.Name)
	}
	p := newSupervised(h, spec)
	h.plugins[spec.Name] = p
	go p.run()
	return nil
}

func (h *Host) find(name string) (*supervised, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.plugins[name]
	if !ok {
		return nil, &connector.Error{Code: connector.NotFound, Message: fmt.Sprintf("there is no plugin %q", name)}
	}
	return p, nil
}

// Connector waits for the first start of a plugin and gives its connector, which
// stays good over restarts. It implements connector.Upserter, Reader, Lists and Tickets
// exactly as the plugin does.
func (h *Host) Connector(ctx context.Context, name string) (connector.Connector, error) {
	p, err := h.find(name)
	if err != nil {
		return nil, err
	}
	return p.connector(ctx)
}

// Reset starts a quarantined plugin, or one in back-off, again and forgets its crashes.
func (h *Host) Reset(name string) error {
	p, err := h.find(name)
	if err != nil {
		return err
	}
	p.reset()
	return nil
}

// Remove stops a plugin and forgets it.
func (h *Host) Remove(name string) error {
	p, err := h.find(name)
	if err != nil {
		return err
	}
	p.stop()
	<-p.finished
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.plugins[name] == p {
		delete(h.plugins, name)
	}
	return nil
}

// Status tells of every plugin, by name.
func (h *Host) Status() []Status {
	h.mu.Lock()
	all := make([]*supervised, 0, len(h.plugins))
	for _, p := range h.plugins {
		all = append(all, p)
	}
	h.mu.Unlock()
	out := make([]Status, 0, len(all))
	for _, p := range all {
		out = append(out, p.status())
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Close stops every plugin and waits until all processes are gone. Calls under way
// get StopTimeout to finish; a process that does not end is killed.
func (h *Host) Close() {
	h.mu.Lock()
	first := !h.closed
	h.closed = true
	all := make([]*supervised, 0, len(h.plugins))
	for _, p := range h.plugins {
		all = append(all, p)
		p.stop()
	}
	h.mu.Unlock()
	for _, p := range all {
		<-p.finished
	}
	if first {
		close(h.jobs)
		_ = os.RemoveAll(h.work)
	}
}
