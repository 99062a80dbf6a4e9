// Package playbookapi puts package playbook on a huma API: playbooks, their runs,
// exemptions, and runbooks.
//
// Start with [Register]. Errors are those of package govapi. A new version and its
// activation are guarded: 200 when done, 202 when people have to decide first.
package playbookapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/playbook"
)

type out[T any] struct{ Body T }

// PlaybookName is the path of a playbook or runbook.
type PlaybookName struct {
	Name string `path:"name" maxLength:"64" doc:"Its name"`
}

// PlaybookVersionPath is the path of a version.
type PlaybookVersionPath struct {
	PlaybookName
	Version int `path:"version" minimum:"1"`
}

// PlaybookID is the path of a thing with an id.
type PlaybookID struct {
	ID string `path:"id" format:"uuid"`
}

func (p PlaybookID) parse() (uuid.UUID, error) { return parse("path.id", p.ID) }

func parse(field, s string) (uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil {
		return id, governance.Invalid(field, "is not a UUID")
	}
	return id, nil
}

// PlaybookReason is why somebody does it.
type PlaybookReason struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

type playbookSource struct {
	Source string `json:"source" minLength:"1" maxLength:"65536" doc:"The YAML document"`
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

type playbookPutInput struct {
	govapi.Idempotent
	PlaybookName
	Body playbookSource
}

type playbookActivateInput struct {
	govapi.Idempotent
	PlaybookVersionPath
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

type playbookSimulateInput struct {
	Body struct {
		Source string `json:"source" minLength:"1" maxLength:"65536" doc:"A YAML document; it is not stored"`
	}
}

type namedReason struct {
	PlaybookName
	Body PlaybookReason
}

type idReason struct {
	PlaybookID
	Body PlaybookReason
}

type reasonOnly struct{ Body PlaybookReason }

type playbookBatchesInput struct {
	PlaybookName
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type playbookRunsInput struct {
	govapi.Page
	Playbook string `query:"playbook" maxLength:"64"`
	Tenant   string `query:"tenant" maxLength:"128"`
	State    string `query:"state" enum:"shadow,running,stopping,succeeded,exited,failed,cancelled,rolled_back,rollback_incomplete"`
	Mode     string `query:"mode" enum:"shadow,live"`
}

type playbookExemptionsInput struct {
	All bool `query:"all" doc:"Those that ended as well"`
}

type playbookExemptInput struct {
	Body struct {
		Playbook     string    `json:"playbook,omitempty" maxLength:"64" doc:"Give this or all_playbooks"`
		AllPlaybooks bool      `json:"all_playbooks,omitempty"`
		Tenant       string    `json:"tenant" minLength:"1" maxLength:"128"`
		Reason       string    `json:"reason" minLength:"3" maxLength:"500"`
		Until        time.Time `json:"until" doc:"There is no exemption without an end"`
	}
}

type runbookInstancesInput struct {
	govapi.Page
	Runbook string `query:"runbook" maxLength:"64"`
	State   string `query:"state" enum:"open,closed"`
	Tenant  string `query:"tenant" maxLength:"128"`
}

type runbookOpenInput struct {
	Body struct {
		Runbook string `json:"runbook" minLength:"1" maxLength:"64"`
		Alert   string `json:"alert,omitempty" format:"uuid" doc:"The open alert it is about"`
		Tenant  string `json:"tenant,omitempty" minLength:"1" maxLength:"128"`
		Ticket  string `json:"ticket,omitempty" maxLength:"200"`
		Subject string `json:"subject,omitempty" maxLength:"300"`
	}
}

type runbookCheckInput struct {
	PlaybookID
	Step string `path:"step" maxLength:"64"`
	Body struct {
		Skip     bool   `json:"skip,omitempty" doc:"Not done, for the reason in note"`
		Note     string `json:"note,omitempty" maxLength:"2000"`
		Evidence string `json:"evidence,omitempty" maxLength:"4000"`
	}
}

type runbookTicketInput struct {
	PlaybookID
	Body struct {
		Ticket string `json:"ticket" minLength:"1" maxLength:"200"`
	}
}

type runbookCloseInput struct {
	PlaybookID
	Body struct {
		Outcome string `json:"outcome" enum:"resolved,not_needed,escalated"`
		Note    string `json:"note,omitempty" maxLength:"2000"`
	}
}

// Register adds the operations to a huma API; paths are relative.
func Register(api huma.API, svc *playbook.Service) {
	a := govapi.New(api, svc.Kernel())
	documents(a, svc)
	switches(a, svc)
	runs(a, svc)
	exemptions(a, svc)
	runbooks(a, svc)
	instances(a, svc)
}

func op(id, method, path, summary, tag string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tag}}
}

const (
	tagPlaybooks = "Playbooks"
	tagRunbooks  = "Runbooks"
	get, post    = http.MethodGet, http.MethodPost
)

func list[W, T any](items []T, wire func(T) W) *out[govapi.List[W]] {
	ws := make([]W, len(items))
	for i, it := range items {
		ws[i] = wire(it)
	}
	return &out[govapi.List[W]]{govapi.NewList(ws, "")}
}

// paged is a page of things that are ordered by id.
func paged[W, T any](items []T, limit int, wire func(T) W, id func(T) uuid.UUID) *out[govapi.List[W]] {
	o := list(items, wire)
	if len(items) > 0 && len(items) == limit {
		o.Body.Next = govapi.Cursor(id(items[len(items)-1]).String())
	}
	return o
}

func before(p govapi.Page) (uuid.UUID, error) {
	cur, err := govapi.ParseCursor(p.Cursor, 1)
	if err != nil || cur[0] == "" {
		return uuid.Nil, err
	}
	return parse("query.cursor", cur[0])
}

func documents(a *govapi.API, svc *playbook.Service) {
	govapi.Register(a, "playbook:read", op("playbook-list", get, "/playbooks", "List playbooks", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*out[govapi.List[Playbook]], error) {
			ps, err := svc.Playbooks(ctx)
			return list(ps, wirePlaybook), err
		})
	govapi.Register(a, "playbook:read", op("playbook-get", get, "/playbooks/{name}", "Read a playbook", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *PlaybookName) (*out[Playbook], error) {
			p, err := svc.Playbook(ctx, in.Name)
			return &out[Playbook]{wirePlaybook(p)}, err
		})
	put := op("playbook-put", http.MethodPut, "/playbooks/{name}", "Store a new version of a playbook", tagPlaybooks)
	put.Description = "It begins in shadow. A fault in the document names its line and column, and nothing is stored."
	govapi.Guarded(a, "playbook:write", put, func(ctx context.Context, id governance.Identity, in *playbookPutInput) (governance.Outcome, error) {
		d, err := svc.Parse(in.Body.Source)
		if err == nil && d.Name != in.Name {
			err = governance.Invalid("body.source", "the document is named %q, not %q", d.Name, in.Name)
		}
		if err != nil {
			return governance.Outcome{}, err
		}
		return svc.Put(ctx, id, in.Body.Source, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
	})
	govapi.Register(a, "playbook:read", op("playbook-list-versions", get, "/playbooks/{name}/versions", "List the versions of a playbook", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *PlaybookName) (*out[govapi.List[PlaybookVersion]], error) {
			vs, err := svc.Versions(ctx, in.Name)
			return list(vs, wireVersion), err
		})
	govapi.Register(a, "playbook:read", op("playbook-get-version", get, "/playbooks/{name}/versions/{version}", "Read a version", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *PlaybookVersionPath) (*out[PlaybookVersion], error) {
			v, err := svc.Version(ctx, in.Name, in.Version)
			return &out[PlaybookVersion]{wireVersion(v)}, err
		})
	act := op("playbook-activate", post, "/playbooks/{name}/versions/{version}/activate", "Let a version act", tagPlaybooks)
	act.Description = "It must have looked at the tenants in shadow before. Its author may not vote on it."
	govapi.Guarded(a, "playbook:write", act, func(ctx context.Context, id governance.Identity, in *playbookActivateInput) (governance.Outcome, error) {
		return svc.Activate(ctx, id, playbook.ActivateInput{Name: in.Name, Version: in.Version}, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
	})
	govapi.Register(a, "playbook:read", op("playbook-simulate", get, "/playbooks/{name}/versions/{version}/simulation", "Say what a version would do now", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *PlaybookVersionPath) (*out[PlaybookPlan], error) {
			p, err := svc.Simulate(ctx, in.Name, in.Version)
			return &out[PlaybookPlan]{wirePlan(p)}, err
		})
	govapi.Register(a, "playbook:read", op("playbook-simulate-source", post, "/playbook-simulations", "Say what a document would do now", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *playbookSimulateInput) (*out[PlaybookPlan], error) {
			p, err := svc.SimulateSource(ctx, in.Body.Source)
			return &out[PlaybookPlan]{wirePlan(p)}, err
		})
	govapi.Register(a, "playbook:read", op("playbook-list-kinds", get, "/playbook-kinds", "List the kinds of step", tagPlaybooks),
		func(_ context.Context, _ governance.Identity, _ *struct{}) (*out[govapi.List[PlaybookKind]], error) {
			return list(svc.Kinds(), wireKind), nil
		})
	retire := op("playbook-retire", post, "/playbooks/{name}/retire", "End the version that acts", tagPlaybooks)
	retire.DefaultStatus = http.StatusNoContent
	govapi.Register(a, "playbook:write", retire, func(ctx context.Context, id governance.Identity, in *namedReason) (*struct{}, error) {
		return nil, svc.Retire(ctx, id, in.Name, in.Body.Reason)
	})
}

func switches(a *govapi.API, svc *playbook.Service) {
	none := func(o huma.Operation) huma.Operation {
		o.DefaultStatus = http.StatusNoContent
		return o
	}
	govapi.Register(a, "playbook:read", op("playbook-list-pauses", get, "/playbook-pauses", "List what is paused", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*out[govapi.List[PlaybookPause]], error) {
			ps, err := svc.Paused(ctx)
			return list(ps, func(p playbook.Pause) PlaybookPause { return *wirePause(&p) }), err
		})
	govapi.Register(a, "playbook:run", none(op("playbook-pause", post, "/playbooks/{name}/pause", "Pause a playbook", tagPlaybooks)),
		func(ctx context.Context, id governance.Identity, in *namedReason) (*struct{}, error) {
			return nil, svc.Pause(ctx, id, in.Name, in.Body.Reason)
		})
	govapi.Register(a, "playbook:run", none(op("playbook-resume", post, "/playbooks/{name}/resume", "Resume a playbook", tagPlaybooks)),
		func(ctx context.Context, id governance.Identity, in *namedReason) (*struct{}, error) {
			return nil, svc.Resume(ctx, id, in.Name, in.Body.Reason)
		})
	govapi.Register(a, "playbook:run", none(op("playbook-pause-all", post, "/playbook-pauses/all", "Pause every playbook", tagPlaybooks)),
		func(ctx context.Context, id governance.Identity, in *reasonOnly) (*struct{}, error) {
			return nil, svc.Pause(ctx, id, "", in.Body.Reason)
		})
	govapi.Register(a, "playbook:run", none(op("playbook-resume-all", post, "/playbook-pauses/all/end", "End the pause of every playbook", tagPlaybooks)),
		func(ctx context.Context, id governance.Identity, in *reasonOnly) (*struct{}, error) {
			return nil, svc.Resume(ctx, id, "", in.Body.Reason)
		})
	govapi.Register(a, "playbook:run", op("playbook-scan", post, "/playbooks/{name}/scan", "Look at every tenant now", tagPlaybooks),
		func(ctx context.Context, id governance.Identity, in *PlaybookName) (*out[govapi.List[PlaybookBatch]], error) {
			bs, err := svc.ScanAs(ctx, id, in.Name)
			return &out[govapi.List[PlaybookBatch]]{govapi.NewList(wireBatches(bs), "")}, err
		})
}

func runs(a *govapi.API, svc *playbook.Service) {
	govapi.Register(a, "playbook:read", op("playbook-list-batches", get, "/playbooks/{name}/batches", "List the latest looks of a playbook", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *playbookBatchesInput) (*out[govapi.List[PlaybookBatch]], error) {
			bs, err := svc.Batches(ctx, in.Name, in.Limit)
			return &out[govapi.List[PlaybookBatch]]{govapi.NewList(wireBatches(bs), "")}, err
		})
	govapi.Register(a, "playbook:read", op("playbook-list-candidates", get, "/playbook-batches/{id}/candidates", "List the tenants of a batch, but for those that did not match", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *PlaybookID) (*out[govapi.List[PlaybookCandidate]], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			cs, err := svc.Candidates(ctx, id)
			return &out[govapi.List[PlaybookCandidate]]{govapi.NewList(wireCandidates(cs), "")}, err
		})
	govapi.Register(a, "playbook:read", op("playbook-list-runs", get, "/playbook-runs", "List runs", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *playbookRunsInput) (*out[govapi.List[PlaybookRun]], error) {
			cur, err := before(in.Page)
			if err != nil {
				return nil, err
			}
			rs, err := svc.Runs(ctx, playbook.RunFilter{Playbook: in.Playbook, Tenant: governance.TenantID(in.Tenant), State: playbook.RunState(in.State), Mode: playbook.Mode(in.Mode), Before: cur, Limit: in.Limit})
			return paged(rs, in.Limit, wireRun, func(r playbook.Run) uuid.UUID { return r.ID }), err
		})
	govapi.Register(a, "playbook:read", op("playbook-get-run", get, "/playbook-runs/{id}", "Read a run with its timeline", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *PlaybookID) (*out[PlaybookRun], error) {
			return runBody(ctx, svc, in.ID)
		})
	govapi.Register(a, "playbook:run", op("playbook-cancel-run", post, "/playbook-runs/{id}/cancel", "End a run and leave what was done", tagPlaybooks),
		func(ctx context.Context, id governance.Identity, in *idReason) (*out[PlaybookRun], error) {
			run, err := in.parse()
			if err != nil {
				return nil, err
			}
			if err := svc.Cancel(ctx, id, run, in.Body.Reason); err != nil {
				return nil, err
			}
			return runBody(ctx, svc, in.ID)
		})
	govapi.Register(a, "playbook:run", op("playbook-end-wait", post, "/playbook-runs/{id}/end-wait", "End the wait that a run stands at", tagPlaybooks),
		func(ctx context.Context, id governance.Identity, in *idReason) (*out[PlaybookRun], error) {
			run, err := in.parse()
			if err != nil {
				return nil, err
			}
			if err := svc.EndWait(ctx, id, run, in.Body.Reason); err != nil {
				return nil, err
			}
			return runBody(ctx, svc, in.ID)
		})
	back := op("playbook-rollback-run", post, "/playbook-runs/{id}/rollback", "Take a run back", tagPlaybooks)
	back.Description = "In reverse order. What somebody changed since stays as it is, and is listed. The tenant is exempt from the playbook for 30 days."
	govapi.Register(a, "playbook:run", back, func(ctx context.Context, id governance.Identity, in *idReason) (*out[PlaybookRun], error) {
		run, err := in.parse()
		if err != nil {
			return nil, err
		}
		if err := svc.Rollback(ctx, id, run, in.Body.Reason); err != nil {
			return nil, err
		}
		return runBody(ctx, svc, in.ID)
	})
}

func runBody(ctx context.Context, svc *playbook.Service, id string) (*out[PlaybookRun], error) {
	run, err := parse("path.id", id)
	if err != nil {
		return nil, err
	}
	r, err := svc.Run(ctx, run)
	return &out[PlaybookRun]{wireRun(r)}, err
}

func exemptions(a *govapi.API, svc *playbook.Service) {
	govapi.Register(a, "playbook:read", op("playbook-list-exemptions", get, "/playbook-exemptions", "List exemptions", tagPlaybooks),
		func(ctx context.Context, _ governance.Identity, in *playbookExemptionsInput) (*out[govapi.List[PlaybookExemption]], error) {
			es, err := svc.Exemptions(ctx, in.All)
			return list(es, wireExemption), err
		})
	create := op("playbook-exempt", post, "/playbook-exemptions", "Take a tenant out", tagPlaybooks)
	create.DefaultStatus = http.StatusCreated
	govapi.Register(a, "playbook:run", create, func(ctx context.Context, id governance.Identity, in *playbookExemptInput) (*out[PlaybookExemption], error) {
		b := in.Body
		if (b.Playbook == "") != b.AllPlaybooks { // forgetting the playbook must not mean every one
			return nil, governance.Invalid("body.playbook", "give either playbook or all_playbooks")
		}
		e, err := svc.Exempt(ctx, id, playbook.Exemption{Playbook: b.Playbook, Tenant: governance.TenantID(b.Tenant), Reason: b.Reason, Until: b.Until})
		return &out[PlaybookExemption]{wireExemption(e)}, err
	})
	end := op("playbook-end-exemption", post, "/playbook-exemptions/{id}/end", "End an exemption", tagPlaybooks)
	end.DefaultStatus = http.StatusNoContent
	govapi.Register(a, "playbook:run", end, func(ctx context.Context, id governance.Identity, in *idReason) (*struct{}, error) {
		x, err := in.parse()
		if err != nil {
			return nil, err
		}
		return nil, svc.EndExemption(ctx, id, x, in.Body.Reason)
	})
}

func runbooks(a *govapi.API, svc *playbook.Service) {
	govapi.Register(a, "runbook:read", op("runbook-list", get, "/runbooks", "List runbooks", tagRunbooks),
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*out[govapi.List[PlaybookRunbook]], error) {
			rs, err := svc.Runbooks(ctx)
			return list(rs, wireRunbook), err
		})
	put := op("runbook-put", http.MethodPut, "/runbooks/{name}", "Store a new version of a runbook", tagRunbooks)
	put.DefaultStatus = http.StatusNoContent
	govapi.Register(a, "playbook:write", put, func(ctx context.Context, id governance.Identity, in *struct {
		PlaybookName
		Body playbookSource
	}) (*struct{}, error) {
		d, err := playbook.ParseRunbook(in.Body.Source)
		if err == nil && d.Name != in.Name {
			err = governance.Invalid("body.source", "the document is named %q, not %q", d.Name, in.Name)
		}
		if err != nil {
			return nil, err
		}
		_, err = svc.PutRunbook(ctx, id, in.Body.Source)
		return nil, err
	})
}

func instances(a *govapi.API, svc *playbook.Service) {
	body := func(ctx context.Context, id uuid.UUID) (*out[PlaybookInstance], error) {
		in, err := svc.Instance(ctx, id)
		return &out[PlaybookInstance]{wireInstance(in)}, err
	}
	govapi.Register(a, "runbook:read", op("runbook-list-instances", get, "/runbook-instances", "List opened runbooks", tagRunbooks),
		func(ctx context.Context, _ governance.Identity, in *runbookInstancesInput) (*out[govapi.List[PlaybookInstance]], error) {
			cur, err := before(in.Page)
			if err != nil {
				return nil, err
			}
			is, err := svc.Instances(ctx, playbook.InstanceFilter{Runbook: in.Runbook, State: playbook.InstanceState(in.State), Tenant: governance.TenantID(in.Tenant), Before: cur, Limit: in.Limit})
			return paged(is, in.Limit, wireInstance, func(i playbook.Instance) uuid.UUID { return i.ID }), err
		})
	open := op("runbook-open", post, "/runbook-instances", "Open a runbook", tagRunbooks)
	open.DefaultStatus = http.StatusCreated
	open.Description = "For an alert that has it open already, that instance is returned."
	govapi.Register(a, "runbook:work", open, func(ctx context.Context, id governance.Identity, in *runbookOpenInput) (*out[PlaybookInstance], error) {
		o := playbook.Opening{Runbook: in.Body.Runbook, Tenant: governance.TenantID(in.Body.Tenant), Ticket: in.Body.Ticket, Subject: in.Body.Subject}
		if in.Body.Alert != "" {
			alert, err := parse("body.alert", in.Body.Alert)
			if err != nil {
				return nil, err
			}
			o.Alert = alert
		}
		instance, err := svc.Open(ctx, id, o)
		if err != nil {
			return nil, err
		}
		return body(ctx, instance)
	})
	govapi.Register(a, "runbook:read", op("runbook-get-instance", get, "/runbook-instances/{id}", "Read an opened runbook", tagRunbooks),
		func(ctx context.Context, _ governance.Identity, in *PlaybookID) (*out[PlaybookInstance], error) {
			id, err := in.parse()
			if err != nil {
				return nil, err
			}
			return body(ctx, id)
		})
	govapi.Register(a, "runbook:work", op("runbook-check-step", post, "/runbook-instances/{id}/steps/{step}/check", "Check a step off", tagRunbooks),
		func(ctx context.Context, id governance.Identity, in *runbookCheckInput) (*out[PlaybookInstance], error) {
			instance, err := in.parse()
			if err != nil {
				return nil, err
			}
			if err := svc.CheckStep(ctx, id, instance, playbook.Check{Step: in.Step, Skip: in.Body.Skip, Note: in.Body.Note, Evidence: in.Body.Evidence}); err != nil {
				return nil, err
			}
			return body(ctx, instance)
		})
	govapi.Register(a, "runbook:work", op("runbook-set-ticket", post, "/runbook-instances/{id}/ticket", "Link an opened runbook to a ticket", tagRunbooks),
		func(ctx context.Context, id governance.Identity, in *runbookTicketInput) (*out[PlaybookInstance], error) {
			instance, err := in.parse()
			if err != nil {
				return nil, err
			}
			if err := svc.SetTicket(ctx, id, instance, in.Body.Ticket); err != nil {
				return nil, err
			}
			return body(ctx, instance)
		})
	govapi.Register(a, "runbook:work", op("runbook-close", post, "/runbook-instances/{id}/close", "Close an opened runbook", tagRunbooks),
		func(ctx context.Context, id governance.Identity, in *runbookCloseInput) (*out[PlaybookInstance], error) {
			instance, err := in.parse()
			if err != nil {
				return nil, err
			}
			if err := svc.Close(ctx, id, instance, in.Body.Outcome, in.Body.Note); err != nil {
				return nil, err
			}
			return body(ctx, instance)
		})
}
