package playbookapi

import (
	"maps"
	"slices"
	"time"

	"github.com/reevehq/reeve/playbook"
)

// Playbook is a playbook as it stands.
type Playbook struct {
	Name          string             `json:"name"`
	Title         string             `json:"title"`
	LiveVersion   int                `json:"live_version" doc:"The version that acts; 0: none"`
	ShadowVersion int                `json:"shadow_version" doc:"The version that writes down what it would do; 0: none"`
	Paused        *PlaybookPause     `json:"paused,omitempty"`
	NextScanAt    time.Time          `json:"next_scan_at,omitzero"`
	UpdatedAt     time.Time          `json:"updated_at"`
	Description   string             `json:"description,omitempty"`
	When          string             `json:"when" doc:"CEL"`
	Signals       []PlaybookSignal   `json:"signals" doc:"What it reads, and how old that may be"`
	Safeguards    PlaybookSafeguards `json:"safeguards"`
	Steps         []PlaybookStep     `json:"steps"`
	Runs          map[string]int     `json:"runs" doc:"Runs by state"`
}

// PlaybookPause says who paused what, and why.
type PlaybookPause struct {
	Playbook string    `json:"playbook,omitempty" doc:"Absent: everything"`
	By       string    `json:"by"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// PlaybookSignal is a signal that a playbook reads.
type PlaybookSignal struct {
	Name   string `json:"name"`
	Type   string `json:"type" enum:"number,text,bool,time"`
	MaxAge string `json:"max_age" example:"36h"`
}

// PlaybookSafeguards bound a playbook.
type PlaybookSafeguards struct {
	MaxTargets  int    `json:"max_targets"`
	MaxPercent  int    `json:"max_percent"`
	MaxUnusable int    `json:"max_unusable"`
	RepeatAfter string `json:"repeat_after" example:"30d"`
	MaxDepth    int    `json:"max_depth"`
}

// PlaybookStep is a step of a document.
type PlaybookStep struct {
	ID     string         `json:"id"`
	Title  string         `json:"title,omitempty"`
	Kind   string         `json:"kind"`
	Params map[string]any `json:"params"`
}

func wirePause(p *playbook.Pause) *PlaybookPause {
	if p == nil {
		return nil
	}
	return &PlaybookPause{p.Playbook, p.By, p.Reason, p.At}
}

func wirePlaybook(p playbook.Playbook) Playbook {
	d := p.Document
	out := Playbook{Name: p.Name, Title: p.Title, LiveVersion: p.LiveVersion, ShadowVersion: p.ShadowVersion, Paused: wirePause(p.Paused), NextScanAt: p.NextScanAt, UpdatedAt: p.UpdatedAt,
		Description: d.Description, When: d.When, Signals: []PlaybookSignal{}, Steps: []PlaybookStep{}, Runs: map[string]int{},
		Safeguards: PlaybookSafeguards{d.Safeguards.MaxTargets, d.Safeguards.MaxPercent, d.Safeguards.MaxUnusable, d.Safeguards.RepeatAfter.String(), d.Safeguards.MaxDepth}}
	for _, n := range slices.Sorted(maps.Keys(d.Signals)) {
		out.Signals = append(out.Signals, PlaybookSignal{n, d.Signals[n].Type, d.Signals[n].MaxAge.String()})
	}
	for _, s := range d.Steps {
		out.Steps = append(out.Steps, PlaybookStep{s.ID, s.Title, s.Kind, orEmpty(s.Params)})
	}
	for s, n := range p.Runs {
		out.Runs[string(s)] = n
	}
	return out
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// PlaybookVersion is a stored document.
type PlaybookVersion struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Source  string    `json:"source" doc:"YAML"`
	Hash    string    `json:"hash"`
	Author  string    `json:"author,omitempty" doc:"May not vote on what the playbook asks for"`
	At      time.Time `json:"at"`
}

func wireVersion(v playbook.Version) PlaybookVersion {
	return PlaybookVersion{v.Name, v.Version, v.Source, v.Hash, string(v.Author), v.At}
}

// PlaybookKind is a kind of step.
type PlaybookKind struct {
	Name          string          `json:"name"`
	Title         string          `json:"title"`
	Consequential bool            `json:"consequential" doc:"The condition is looked at again right before it"`
	Remote        bool            `json:"remote"`
	Undoable      bool            `json:"undoable"`
	Params        []PlaybookParam `json:"params"`
	Outputs       []string        `json:"outputs"`
}

// PlaybookParam is a parameter of a kind.
type PlaybookParam struct {
	Name     string `json:"name"`
	Type     string `json:"type" enum:"text,number,duration,bool"`
	Required bool   `json:"required"`
	Doc      string `json:"doc"`
}

func wireKind(k playbook.Kind) PlaybookKind {
	out := PlaybookKind{Name: k.Name, Title: k.Title, Consequential: k.Consequential, Remote: k.Do != nil, Undoable: k.UndoTx != nil || k.Undo != nil, Params: []PlaybookParam{}, Outputs: append([]string{}, k.Outputs...)}
	for _, n := range slices.Sorted(maps.Keys(k.Params)) {
		p := k.Params[n]
		out.Params = append(out.Params, PlaybookParam{n, p.Type, p.Required, p.Doc})
	}
	return out
}

// PlaybookReading is a signal as it was seen.
type PlaybookReading struct {
	Name  string    `json:"name"`
	Value any       `json:"value"`
	AsOf  time.Time `json:"as_of,omitzero" doc:"Up to when it is true"`
	Fault string    `json:"fault,omitempty" doc:"Why it could not be used"`
}

func wireReadings(rs map[string]playbook.Reading) []PlaybookReading {
	out := make([]PlaybookReading, 0, len(rs))
	for _, n := range slices.Sorted(maps.Keys(rs)) {
		r := rs[n]
		out = append(out, PlaybookReading{n, r.Value, r.AsOf.UTC(), r.Fault})
	}
	return out
}

// PlaybookCandidate is one tenant as a playbook sees it.
type PlaybookCandidate struct {
	Tenant  string                `json:"tenant"`
	Name    string                `json:"name"`
	Verdict string                `json:"verdict" enum:"match,stale,error,exempt,repeated,loop"`
	Why     string                `json:"why,omitempty"`
	Signals []PlaybookReading     `json:"signals"`
	Steps   []PlaybookPlannedStep `json:"steps"`
	Run     string                `json:"run,omitempty"`
}

// PlaybookPlannedStep is a step with the parameters it would have.
type PlaybookPlannedStep struct {
	ID     string         `json:"id"`
	Kind   string         `json:"kind"`
	Params map[string]any `json:"params"`
	Fault  string         `json:"fault,omitempty"`
}

func wireCandidates(cs []playbook.Candidate) []PlaybookCandidate {
	out := make([]PlaybookCandidate, len(cs))
	for i, c := range cs {
		out[i] = PlaybookCandidate{Tenant: string(c.Tenant), Name: c.Name, Verdict: string(c.Verdict), Why: c.Why, Signals: wireReadings(c.Signals), Steps: []PlaybookPlannedStep{}, Run: c.Run}
		for _, s := range c.Steps {
			out[i].Steps = append(out[i].Steps, PlaybookPlannedStep{s.ID, s.Kind, orEmpty(s.Params), s.Fault})
		}
	}
	return out
}

// PlaybookPlan says what a playbook would do now.
type PlaybookPlan struct {
	Playbook   string              `json:"playbook"`
	Version    int                 `json:"version" doc:"0: a document that is not stored"`
	At         time.Time           `json:"at"`
	Scanned    int                 `json:"scanned"`
	Matched    int                 `json:"matched"`
	Unusable   int                 `json:"unusable"`
	Cap        int                 `json:"cap"`
	Stopped    string              `json:"stopped,omitempty" doc:"Why the whole batch would not run"`
	Candidates []PlaybookCandidate `json:"candidates" doc:"All tenants but those that do not match"`
}

func wirePlan(p playbook.Plan) PlaybookPlan {
	return PlaybookPlan{p.Playbook, p.Version, p.At, p.Scanned, p.Matched, p.Unusable, p.Cap, p.Stopped, wireCandidates(p.Candidates)}
}

// PlaybookBatch is one look at tenants.
type PlaybookBatch struct {
	ID       string    `json:"id"`
	Playbook string    `json:"playbook"`
	Version  int       `json:"version"`
	Mode     string    `json:"mode" enum:"shadow,live"`
	Trigger  string    `json:"trigger"`
	State    string    `json:"state" enum:"done,stopped"`
	Why      string    `json:"why,omitempty"`
	Scanned  int       `json:"scanned"`
	Matched  int       `json:"matched"`
	Unusable int       `json:"unusable"`
	Cap      int       `json:"cap"`
	At       time.Time `json:"at"`
}

func wireBatches(bs []playbook.Batch) []PlaybookBatch {
	out := make([]PlaybookBatch, len(bs))
	for i, b := range bs {
		out[i] = PlaybookBatch{b.ID.String(), b.Playbook, b.Version, string(b.Mode), b.Trigger, b.State, b.Why, b.Scanned, b.Matched, b.Unusable, b.Cap, b.At}
	}
	return out
}

// PlaybookRun is a run as it stands.
type PlaybookRun struct {
	ID         string              `json:"id"`
	Batch      string              `json:"batch"`
	Playbook   string              `json:"playbook"`
	Version    int                 `json:"version"`
	Tenant     string              `json:"tenant"`
	TenantName string              `json:"tenant_name"`
	Mode       string              `json:"mode" enum:"shadow,live"`
	Trigger    string              `json:"trigger"`
	State      string              `json:"state" enum:"shadow,running,stopping,succeeded,exited,failed,cancelled,rolled_back,rollback_incomplete"`
	Undo       bool                `json:"undo" doc:"A stopping run takes back what was done"`
	Why        string              `json:"why,omitempty"`
	Signals    []PlaybookReading   `json:"signals" doc:"As they were when it began"`
	DueAt      time.Time           `json:"due_at,omitzero"`
	CreatedAt  time.Time           `json:"created_at"`
	EndedAt    time.Time           `json:"ended_at,omitzero"`
	Steps      []PlaybookRunStep   `json:"steps"`
	Timeline   []PlaybookHappening `json:"timeline" doc:"Of a single run; empty in lists"`
}

// PlaybookRunStep is a step of a run.
type PlaybookRunStep struct {
	ID        string            `json:"id"`
	Title     string            `json:"title"`
	Kind      string            `json:"kind"`
	State     string            `json:"state" enum:"pending,waiting,awaiting_approval,running,done,failed,unknown,compensating,compensated,compensation_refused,skipped,cancelled"`
	Detail    string            `json:"detail,omitempty"`
	Params    map[string]any    `json:"params"`
	Output    map[string]string `json:"output"`
	Checked   []PlaybookReading `json:"checked" doc:"What was seen at the last look at the condition"`
	CheckedAt time.Time         `json:"checked_at,omitzero"`
	Approval  string            `json:"approval,omitempty"`
	Attempts  int               `json:"attempts"`
	Undoable  bool              `json:"undoable"`
	DueAt     time.Time         `json:"due_at,omitzero"`
	StartedAt time.Time         `json:"started_at,omitzero"`
	EndedAt   time.Time         `json:"ended_at,omitzero"`
}

// PlaybookHappening is one line of a run's timeline.
type PlaybookHappening struct {
	N      int64     `json:"n"`
	At     time.Time `json:"at"`
	Step   string    `json:"step,omitempty"`
	State  string    `json:"state"`
	Detail string    `json:"detail,omitempty"`
	Actor  string    `json:"actor"`
}

func wireRun(r playbook.Run) PlaybookRun {
	out := PlaybookRun{ID: r.ID.String(), Batch: r.Batch.String(), Playbook: r.Playbook, Version: r.Version, Tenant: string(r.Tenant), TenantName: r.TenantName, Mode: string(r.Mode), Trigger: r.Trigger,
		State: string(r.State), Undo: r.Undo, Why: r.Why, Signals: wireReadings(r.Signals), DueAt: r.DueAt, CreatedAt: r.CreatedAt, EndedAt: r.EndedAt, Steps: []PlaybookRunStep{}, Timeline: []PlaybookHappening{}}
	for _, s := range r.Steps {
		output := map[string]string{}
		maps.Copy(output, s.Output)
		out.Steps = append(out.Steps, PlaybookRunStep{ID: s.ID, Title: s.Title, Kind: s.Kind, State: string(s.State), Detail: s.Detail, Params: orEmpty(s.Params), Output: output, Checked: wireReadings(s.Checked),
			CheckedAt: s.CheckedAt, Approval: s.Approval, Attempts: s.Attempts, Undoable: s.Undoable, DueAt: s.DueAt, StartedAt: s.StartedAt, EndedAt: s.EndedAt})
	}
	for _, l := range r.Timeline {
		out.Timeline = append(out.Timeline, PlaybookHappening{l.N, l.At, l.Step, l.State, l.Detail, l.Actor})
	}
	return out
}

// PlaybookExemption takes a tenant out for a time.
type PlaybookExemption struct {
	ID       string    `json:"id"`
	Playbook string    `json:"playbook,omitempty" doc:"Absent: every playbook"`
	Tenant   string    `json:"tenant"`
	Reason   string    `json:"reason"`
	By       string    `json:"by"`
	Until    time.Time `json:"until"`
	At       time.Time `json:"at"`
	Ended    time.Time `json:"ended,omitzero"`
}

func wireExemption(e playbook.Exemption) PlaybookExemption {
	return PlaybookExemption{e.ID.String(), e.Playbook, string(e.Tenant), e.Reason, e.By, e.Until.UTC(), e.At, e.Ended}
}

// PlaybookRunbook is the active version of a runbook.
type PlaybookRunbook struct {
	Name    string                `json:"name"`
	Title   string                `json:"title"`
	Purpose string                `json:"purpose,omitempty"`
	Version int                   `json:"version"`
	Hash    string                `json:"hash"`
	Source  string                `json:"source" doc:"YAML"`
	Alerts  []string              `json:"alerts" doc:"An alert whose key begins so opens it"`
	Steps   []PlaybookRunbookStep `json:"steps"`
	Open    int                   `json:"open" doc:"Instances that are open"`
	At      time.Time             `json:"at"`
}

// PlaybookRunbookStep is one thing a person does.
type PlaybookRunbookStep struct {
	ID        string `json:"id"`
	Title     string `json:"title"`
	Do        string `json:"do"`
	Expect    string `json:"expect,omitempty"`
	Otherwise string `json:"otherwise,omitempty"`
	Evidence  string `json:"evidence,omitempty" doc:"What must be given to check it off; absent: nothing"`
	Optional  bool   `json:"optional"`
}

func wireRunbookStep(s playbook.RunbookStep) PlaybookRunbookStep {
	return PlaybookRunbookStep{s.ID, s.Title, s.Do, s.Expect, s.Otherwise, s.Evidence, s.Optional}
}

func wireRunbook(r playbook.Runbook) PlaybookRunbook {
	d := r.Document
	out := PlaybookRunbook{Name: d.Name, Title: d.Title, Purpose: d.Purpose, Version: r.Version, Hash: r.Hash, Source: r.Source, Alerts: append([]string{}, d.Alerts...), Steps: []PlaybookRunbookStep{}, Open: r.Open, At: r.At}
	for _, s := range d.Steps {
		out.Steps = append(out.Steps, wireRunbookStep(s))
	}
	return out
}

// PlaybookInstance is an opened runbook.
type PlaybookInstance struct {
	ID       string                 `json:"id"`
	Runbook  string                 `json:"runbook"`
	Version  int                    `json:"version"`
	Title    string                 `json:"title"`
	State    string                 `json:"state" enum:"open,closed"`
	Subject  string                 `json:"subject"`
	Alert    string                 `json:"alert,omitempty"`
	AlertKey string                 `json:"alert_key,omitempty"`
	Tenant   string                 `json:"tenant,omitempty"`
	Run      string                 `json:"run,omitempty"`
	Ticket   string                 `json:"ticket,omitempty"`
	Outcome  string                 `json:"outcome,omitempty" enum:"resolved,not_needed,escalated"`
	Note     string                 `json:"note,omitempty"`
	OpenedBy string                 `json:"opened_by"`
	OpenedAt time.Time              `json:"opened_at"`
	ClosedBy string                 `json:"closed_by,omitempty"`
	ClosedAt time.Time              `json:"closed_at,omitzero"`
	Left     int                    `json:"left" doc:"Required steps that are not checked off"`
	Steps    []PlaybookInstanceStep `json:"steps"`
}

// PlaybookInstanceStep is a step with what was said about it.
type PlaybookInstanceStep struct {
	Step     PlaybookRunbookStep `json:"step"`
	Result   string              `json:"result,omitempty" enum:"done,skipped" doc:"Absent: open"`
	Note     string              `json:"note,omitempty"`
	Evidence string              `json:"evidence,omitempty"`
	By       string              `json:"by,omitempty"`
	Person   string              `json:"person,omitempty"`
	At       time.Time           `json:"at,omitzero"`
}

func wireInstance(in playbook.Instance) PlaybookInstance {
	out := PlaybookInstance{ID: in.ID.String(), Runbook: in.Runbook, Version: in.Version, Title: in.Title, State: string(in.State), Subject: in.Subject, Alert: in.Alert, AlertKey: in.AlertKey, Tenant: string(in.Tenant),
		Run: in.Run, Ticket: in.Ticket, Outcome: in.Outcome, Note: in.Note, OpenedBy: in.OpenedBy, OpenedAt: in.OpenedAt, ClosedBy: in.ClosedBy, ClosedAt: in.ClosedAt, Left: in.Left, Steps: []PlaybookInstanceStep{}}
	for _, s := range in.Steps {
		out.Steps = append(out.Steps, PlaybookInstanceStep{wireRunbookStep(s.RunbookStep), s.Result, s.Remark, s.Given, s.By, string(s.Person), s.At})
	}
	return out
}
