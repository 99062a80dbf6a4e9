package reeve

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/analytics/analyticsapi"
	"github.com/reevehq/reeve/analytics/sqlwarehouse"
	"github.com/reevehq/reeve/console"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/explorer"
	"github.com/reevehq/reeve/governance/explorer/explorerapi"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/schedule"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/integrationsapi"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/evidenceapi"
	"github.com/reevehq/reeve/oversight/findings"
	"github.com/reevehq/reeve/oversight/findings/findingsapi"
	"github.com/reevehq/reeve/oversight/oversightapi"
	"github.com/reevehq/reeve/oversight/recorder"
	"github.com/reevehq/reeve/oversight/siem"
	"github.com/reevehq/reeve/oversight/siem/siemapi"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/playbook/actions"
	"github.com/reevehq/reeve/playbook/playbookapi"
	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/retentionapi"
)

// Options says which parts there are. Governance is required; a capability whose
// options are nil is not there: it has no table, no route and no page.
type Options struct {
	Governance   governance.Options
	Retention    *retention.Options
	Oversight    *oversight.Options
	Recordings   recorder.BlobStore // where impersonation is recorded; required with Oversight
	Recorder     *recorder.Options
	BrowserKit   *browserrec.Kit // what the browser records with, beside the server; nil: nothing
	Browser      *browserrec.Options
	Evidence     *evidence.Options // of the packs, which are there with Oversight and kept beside its recordings
	Findings     *findings.Options
	SIEM         *siem.Options // where the ledger and the alerts are copied to
	Analytics    *analytics.Options
	Playbook     *playbook.Options // Signals default to those of analytics and the tenants
	Integrations *integrations.Options

	Impersonation *console.OversightOptions // where the console's pages find the product; nil asks for ids

	// UsageMetric is the usage fact whose sums playbooks know as usage_7d, usage_30d
	// and usage_trend; default "active_users".
	UsageMetric string
}

// Reeve is the parts that Options named; the others are nil.
type Reeve struct {
	Kernel       *governance.Kernel
	Explorer     *explorer.Service
	Retention    *retention.Service
	Oversight    *oversight.Service
	Recorder     *recorder.Recorder
	Browser      *browserrec.Service // with BrowserKit
	Evidence     *evidence.Service   // with Oversight
	Findings     *findings.Service
	SIEM         *siem.Service
	Analytics    *analytics.Service
	Playbook     *playbook.Service
	Actions      *actions.Actions // with Playbook: the guarded actions its steps use
	Integrations *integrations.Service

	jobs  []schedule.Job
	pages *console.OversightOptions
}

// Schemas are the tables of every part there is in opts, in order.
func Schemas(opts *Options) []govdb.Schema {
	out := append(governance.Schemas(), explorer.Schema())
	if opts.Retention != nil {
		out = append(out, retention.Schema())
	}
	if opts.Oversight != nil {
		out = append(out, oversight.Schema(), browserrec.Schema(), evidence.Schema())
	}
	if opts.Findings != nil {
		out = append(out, findings.Schema())
	}
	if opts.SIEM != nil {
		out = append(out, siem.Schema())
	}
	if opts.Analytics != nil {
		out = append(out, analytics.Schema(), sqlwarehouse.Schema())
	}
	if opts.Playbook != nil {
		out = append(out, playbook.Schema())
	}
	if opts.Integrations != nil {
		out = append(out, integrations.Schema())
	}
	return out
}

// Migrate brings the tables of the parts up to date.
func Migrate(ctx context.Context, db *govdb.DB, opts *Options) error {
	return govdb.Migrate(ctx, db, Schemas(opts)...)
}

// New makes the parts on db, whose schema must be current.
func New(db *govdb.DB, opts *Options) (*Reeve, error) {
	if db == nil || opts == nil {
		return nil, errors.New("reeve: db and options are required")
	}
	k, err := governance.New(db, &opts.Governance)
	if err != nil {
		return nil, err
	}
	r := &Reeve{Kernel: k, pages: opts.Impersonation, jobs: k.Jobs()}
	if r.Explorer, err = explorer.New(k); err != nil {
		return nil, err
	}
	if opts.Integrations != nil {
		if r.Integrations, err = integrations.New(k, opts.Integrations); err != nil {
			return nil, err
		}
	}
	if opts.Analytics != nil {
		if r.Analytics, err = analytics.New(k, sqlwarehouse.New(db), opts.Analytics); err != nil {
			return nil, err
		}
		r.jobs = append(r.jobs, r.Analytics.Jobs()...)
	}
	if opts.Retention != nil {
		if r.Retention, err = retention.New(k, opts.Retention); err != nil {
			return nil, err
		}
		r.jobs = append(r.jobs, r.Retention.Jobs()...)
	}
	if opts.Findings != nil {
		if r.Findings, err = findings.New(k, opts.Findings); err != nil {
			return nil, err
		}
		r.jobs = append(r.jobs, r.Findings.Jobs()...)
	}
	if opts.SIEM != nil {
		if r.SIEM, err = siem.New(k, opts.SIEM); err != nil {
			return nil, err
		}
	}
	return r, errors.Join(r.oversight(opts), r.playbook(opts))
}

func (r *Reeve) oversight(opts *Options) (err error) {
	if opts.Oversight == nil {
		return nil
	}
	if opts.Recordings == nil {
		return errors.New("reeve: Options.Recordings is required with Oversight: what is not recorded cannot be shown")
	}
	if r.Oversight, err = oversight.New(r.Kernel, opts.Oversight); err != nil {
		return err
	}
	if r.Recorder, err = recorder.New(r.Oversight, opts.Recordings, opts.Recorder); err != nil {
		return err
	}
	if opts.BrowserKit != nil {
		if r.Browser, err = browserrec.New(context.Background(), r.Oversight, r.Recorder, opts.BrowserKit, opts.Browser); err != nil {
			return err
		}
	}
	if r.Evidence, err = evidence.New(r.Kernel, r.Oversight, r.Recorder, opts.Recordings, opts.Evidence); err != nil {
		return err
	}
	if r.Browser != nil {
		r.Evidence.Accompany(r.Browser)
	}
	return nil
}

func (r *Reeve) playbook(opts *Options) (err error) {
	if opts.Playbook == nil {
		return nil
	}
	o := *opts.Playbook
	if r.Actions, err = actions.New(r.Kernel); err != nil {
		return err
	}
	o.Kinds = append(append(r.Actions.Kinds(), r.kinds()...), o.Kinds...)
	if o.Signals == nil {
		metric := opts.UsageMetric
		if metric == "" {
			metric = "active_users"
		}
		o.Signals = r.signals(metric)
	}
	if r.Playbook, err = playbook.New(r.Kernel, &o); err != nil {
		return err
	}
	r.jobs = append(r.jobs, r.Playbook.Jobs()...)
	return nil
}

// Policies are the ones the parts ship with, for [governance.Kernel.InstallPolicies].
func (r *Reeve) Policies() []governance.Policy {
	out := governance.AlertPolicies("gov_approver")
	if r.Retention != nil {
		out = append(out, retention.Policies()...)
	}
	if r.Oversight != nil {
		out = append(out, oversight.Policies(nil)...)
	}
	if r.SIEM != nil {
		out = append(out, siem.Policies()...)
	}
	if r.Analytics != nil {
		out = append(out, analytics.Policies()...)
	}
	if r.Playbook != nil {
		out = append(out, playbook.Policies()...)
	}
	if r.Integrations != nil {
		out = append(out, integrations.Policies()...)
	}
	return out
}

// Register puts the operations of the kernel and of every part on api.
func (r *Reeve) Register(api huma.API) {
	govapi.Kernel(api, r.Kernel)
	explorerapi.Register(api, r.Explorer)
	if r.Retention != nil {
		retentionapi.Register(api, r.Retention)
	}
	if r.Oversight != nil {
		oversightapi.Register(api, r.Oversight, r.Recorder)
		evidenceapi.Register(api, r.Evidence)
	}
	if r.Findings != nil {
		findingsapi.Register(api, r.Findings)
	}
	if r.SIEM != nil {
		siemapi.Register(api, r.SIEM)
	}
	if r.Analytics != nil {
		analyticsapi.Register(api, r.Analytics)
	}
	if r.Playbook != nil {
		playbookapi.Register(api, r.Playbook)
	}
	if r.Integrations != nil {
		integrationsapi.Register(api, r.Integrations)
	}
}

// Sections are the console pages of every part.
func (r *Reeve) Sections() []console.Section {
	out := []console.Section{console.Explorer(r.Explorer)}
	if r.Oversight != nil {
		pages := console.OversightOptions{}
		if r.pages != nil {
			pages = *r.pages
		}
		pages.Browser = r.Browser
		out = append(out, console.Oversight(r.Oversight, r.Recorder, &pages), console.Evidence(r.Evidence))
	}
	if r.Findings != nil {
		out = append(out, console.Findings(r.Findings))
	}
	if r.SIEM != nil {
		out = append(out, console.SIEM(r.SIEM))
	}
	if r.Retention != nil {
		out = append(out, console.Retention(r.Retention))
	}
	if r.Analytics != nil {
		out = append(out, console.Analytics(r.Analytics))
	}
	if r.Playbook != nil {
		out = append(out, console.Playbook(r.Playbook))
	}
	if r.Integrations != nil {
		out = append(out, console.Integrations(r.Integrations))
	}
	return out
}

// Run does the background work of every part until ctx ends.
func (r *Reeve) Run(ctx context.Context) error {
	runner, err := schedule.New(r.Kernel.DB(), r.Kernel.Logger(), r.jobs...)
	if err != nil {
		return fmt.Errorf("reeve: %w", err)
	}
	if r.Recorder != nil { // chunks that a stopped server left open
		if err := r.Recorder.Recover(ctx); err != nil && ctx.Err() == nil {
			r.Kernel.Logger().ErrorContext(ctx, "recover recordings", "error", err)
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, 2)
	wg.Go(func() { runner.Run(ctx) })
	wg.Go(func() {
		defer stop()
		errs[0] = r.Kernel.Run(ctx)
	})
	if r.Integrations != nil {
		wg.Go(func() {
			defer stop()
			errs[1] = r.Integrations.Run(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
