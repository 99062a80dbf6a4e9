package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/plugins/host"
	"github.com/reevehq/reeve/plugins/sandboxconnector"
	"github.com/reevehq/reeve/plugins/serve"
)

// servePlugin lets this program be its own demo plugin: the host runs it again, and
// then it is a connector in a process of its own.
func servePlugin(args []string) (int, bool) {
	if len(args) > 0 && args[0] != "" && !strings.HasPrefix(args[0], "-") {
		return 0, false // a command: no plugin is started with one
	}
	return exitOK, serve.IfPlugin(sandboxconnector.All())
}

// plugins are the connector programs that the settings name, and their processes:
// one for each target.
type plugins struct {
	host     *host.Host
	programs []host.Spec

	mu      sync.Mutex
	known   map[string]program // by the descriptor's id
	started map[string]bool    // targets that have a process
}

type program struct {
	spec       host.Spec
	descriptor connector.Descriptor
}

// parsePlugins reads "name=path#sha256, …".
func parsePlugins(v string) ([]host.Spec, error) {
	var out []host.Spec
	for _, item := range strings.Split(v, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, rest, ok := strings.Cut(item, "=")
		path, sum, ok2 := strings.Cut(rest, "#")
		if !ok || !ok2 || name == "" || path == "" || len(sum) != 64 {
			return nil, fmt.Errorf("%q is not name=path#sha256", item)
		}
		out = append(out, host.Spec{Name: name, Path: path, SHA256: sum})
	}
	return out, nil
}

func newPlugins(a *app, demo bool) (*plugins, error) {
	specs, err := parsePlugins(a.cfg.text("plugins"))
	if err != nil {
		return nil, err
	}
	if demo {
		for name := range sandboxconnector.All() {
			specs = append(specs, host.Spec{Name: "sandbox-" + name, Self: true, Serve: name})
		}
	}
	slices.SortFunc(specs, func(x, y host.Spec) int { return strings.Compare(x.Name, y.Name) })
	dir, err := filepath.Abs(filepath.Join(a.cfg.text("data"), "plugins"))
	if err != nil {
		return nil, err
	}
	p := &plugins{programs: specs, known: map[string]program{}, started: map[string]bool{}}
	p.host, err = host.New(dir, &host.Options{Logger: a.log, OnQuarantine: func(s host.Status) { a.quarantined(s) }})
	return p, err
}

// quarantined raises an alert of a plugin that keeps crashing.
func (a *app) quarantined(s host.Status) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := a.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		_, err := a.reeve.Kernel.AlertTx(ctx, tx, governance.Alert{Key: "plugin.quarantined:" + s.Name, Severity: governance.Critical,
			Title: "Connector " + s.Descriptor.ID + " keeps crashing", Body: "Its process was restarted and crashed again; it is not started any more until somebody resets it.",
			Links: []governance.Link{{Title: "Deliveries", Kind: "delivery", ID: ""}}})
		return err
	})
	if err != nil {
		a.log.Error("alert of a quarantined plugin", "plugin", s.Name, "error", err)
	}
}

// describe starts each program once and learns what it is.
func (p *plugins) describe(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, spec := range p.programs {
		if p.has(spec.Name) {
			continue
		}
		probe := spec
		probe.Name = "describe-" + spec.Name
		if err := p.host.Add(probe); err != nil {
			errs = append(errs, fmt.Errorf("plugin %s: %w", spec.Name, err))
			continue
		}
		c, err := p.host.Connector(ctx, probe.Name)
		if err == nil {
			d := c.Describe()
			p.known[d.ID] = program{spec, d}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("plugin %s: %w", spec.Name, err))
		}
		errs = append(errs, p.host.Remove(probe.Name))
	}
	return errors.Join(errs...)
}

func (p *plugins) has(name string) bool {
	for _, k := range p.known {
		if k.spec.Name == name {
			return true
		}
	}
	return false
}

// descriptors lists what may be configured; a program that cannot say what it is is
// left out.
func (p *plugins) descriptors() []connector.Descriptor {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.describe(ctx); err != nil {
		slog.New(slog.DiscardHandler).Debug("describe plugins", "error", err) // its process' own log says why
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []connector.Descriptor
	for _, k := range p.known {
		out = append(out, k.descriptor)
	}
	slices.SortFunc(out, func(x, y connector.Descriptor) int { return strings.Compare(x.ID, y.ID) })
	return out
}

// connect gives the running connector of a target, in a process of its own.
func (p *plugins) connect(ctx context.Context, in integrations.Instance) (connector.Connector, error) {
	if !p.knows(in.Connector) {
		if err := p.describe(ctx); err != nil && !p.knows(in.Connector) {
			return nil, err
		}
	}
	if err := p.start(in); err != nil {
		return nil, err
	}
	return p.host.Connector(ctx, in.ID)
}

// start gives a target its process, once.
func (p *plugins) start(in integrations.Instance) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started[in.ID] {
		return nil
	}
	prog, ok := p.known[in.Connector]
	if !ok {
		return &connector.Error{Code: connector.Unsupported, Message: "no plugin provides " + in.Connector}
	}
	spec := prog.spec
	spec.Name = in.ID
	if err := p.host.Add(spec); err != nil {
		return err
	}
	p.started[in.ID] = true
	return nil
}

func (p *plugins) knows(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.known[id]
	return ok
}

// listPlugins prints the programs and what they say of themselves.
func listPlugins(ctx context.Context, cfg configuration, stdout io.Writer) error {
	a := &app{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	p, err := newPlugins(a, false)
	if err != nil {
		return err
	}
	defer p.host.Close()
	failed := p.describe(ctx)
	w := tabwriter.NewWriter(stdout, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NAME\tCONNECTOR\tKIND\tVERSION\tPROGRAM")
	for _, spec := range p.programs {
		line := "-\t-\t-"
		for _, k := range p.known {
			if k.spec.Name == spec.Name {
				line = fmt.Sprintf("%s\t%s\t%s", k.descriptor.ID, k.descriptor.Kind, k.descriptor.Version)
			}
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", spec.Name, line, spec.Path)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(p.programs) == 0 {
		_, _ = fmt.Fprintln(stdout, "No connector programs are configured (setting plugins).")
	}
	if failed != nil {
		_, _ = fmt.Fprintln(stdout, failed)
		return errProblems
	}
	return nil
}
