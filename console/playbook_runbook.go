package console

import (
	"errors"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/playbook"
)

type runbookListPage struct {
	Open     []instanceLine
	Closed   []instanceLine
	Runbooks []playbook.Runbook
	Empty    Empty
	CanWork  bool
}

type instanceLine struct {
	playbook.Instance
	Said saidState
	All  int
	Done int
}

func newInstanceLines(is []playbook.Instance) []instanceLine {
	out := make([]instanceLine, len(is))
	for i, in := range is {
		l := instanceLine{Instance: in, Said: instanceState(in), All: len(in.Steps)}
		for _, s := range in.Steps {
			if s.Result != "" {
				l.Done++
			}
		}
		out[i] = l
	}
	return out
}

func instanceState(in playbook.Instance) saidState {
	switch {
	case in.State == playbook.InstanceOpen:
		return saidState{ToneWarn, "Open"}
	case in.Outcome == playbook.OutcomeResolved:
		return saidState{ToneOK, "Resolved"}
	case in.Outcome == playbook.OutcomeEscalated:
		return saidState{ToneDanger, "Escalated"}
	}
	return saidState{ToneNone, "Not needed"}
}

func (p playbookPages) runbooks(c *Ctx) (View, error) {
	ctx := c.Context()
	rbs, err1 := p.svc.Runbooks(ctx)
	open, err2 := p.svc.Instances(ctx, playbook.InstanceFilter{State: playbook.InstanceOpen, Limit: 100})
	closed, err3 := p.svc.Instances(ctx, playbook.InstanceFilter{State: playbook.InstanceClosed, Limit: 25})
	if err := errors.Join(err1, err2, err3); err != nil {
		return View{}, err
	}
	return runbookListView(runbookListPage{Open: newInstanceLines(open), Closed: newInstanceLines(closed), Runbooks: rbs, CanWork: c.Can("runbook:work")}), nil
}

func runbookListView(page runbookListPage) View {
	page.Empty = Empty{Icon: "runbook", Title: "No runbook is open", Text: "An alert opens the runbook that fits it, and so may a step of a playbook."}
	return View{Title: "Runbooks", Lead: "What people do, step by step, when no automation should.", Template: "playbook_runbooks", Data: page}
}

func (p playbookPages) open(c *Ctx) (Done, error) {
	o := playbook.Opening{Runbook: c.Form("runbook"), Subject: "Opened by hand"}
	if a := c.Form("alert"); a != "" {
		id, err := uuid.Parse(a)
		if err != nil {
			return Done{}, governance.ErrNotFound
		}
		o.Alert, o.Subject = id, ""
	}
	id, err := p.svc.Open(c.Context(), c.Identity, o)
	return Done{To: "/runbooks/" + id.String(), Flash: "The runbook is open."}, err
}

type instancePage struct {
	In       playbook.Instance
	Said     saidState
	Facts    []Fact
	Steps    []instanceStepView
	Working  bool // open, and the caller may work on it
	Ticket   Field
	Outcome  Field
	Note     Field
	CloseWhy string
}

type instanceStepView struct {
	playbook.InstanceStep
	N        int
	Said     saidState
	Next     bool // the first one that is open
	By       string
	Remark   Field
	Evidence Field
}

func (p playbookPages) instance(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	in, err := p.svc.Instance(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	names := people(c)
	return instanceView(newInstancePage(c, in, func(p governance.PersonID) string { return names(governance.Actor{Person: p}) })), nil
}

func newInstancePage(c *Ctx, in playbook.Instance, name func(governance.PersonID) string) instancePage {
	page := instancePage{In: in, Said: instanceState(in), Working: in.State == playbook.InstanceOpen && c.Can("runbook:work"),
		Ticket:  c.Field(Field{Name: "ticket", Label: "Ticket", Value: in.Ticket, MaxLen: 200, Required: true}),
		Outcome: c.Field(Field{Name: "outcome", Label: "Outcome", Kind: "select", Required: true, Options: []Option{{playbook.OutcomeResolved, "Resolved"}, {playbook.OutcomeNotNeeded, "Not needed"}, {playbook.OutcomeEscalated, "Escalated"}}}),
		Note:    c.Field(Field{Name: "note", Label: "What came of it", Kind: "textarea", MaxLen: 2000})}
	if in.Left > 0 {
		page.CloseWhy = countText(int64(in.Left), "step is", "steps are") + " open: it can be closed as not needed or escalated, not as resolved."
	}
	next := true
	for i, s := range in.Steps {
		v := instanceStepView{InstanceStep: s, N: i + 1, Said: saidState{ToneNone, "Open"}}
		switch {
		case s.Result == "done":
			v.Said = saidState{ToneOK, "Done"}
		case s.Result == "skipped":
			v.Said = saidState{ToneWarn, "Skipped"}
		case s.Optional:
			v.Said = saidState{ToneNone, "Optional"}
		}
		if s.Result == "" {
			v.Next, next = next, false
			// Every step has a form: ids must differ, so the fields carry the step's name.
			v.Remark = c.Field(Field{Name: "note." + s.ID, Label: "Note", MaxLen: 2000})
			if s.Evidence != "" {
				v.Evidence = c.Field(Field{Name: "evidence." + s.ID, Label: "Evidence", Hint: s.Evidence, MaxLen: 4000, Kind: "textarea", Required: true})
			}
		} else {
			v.By = name(s.Person)
		}
		page.Steps = append(page.Steps, v)
	}
	page.Facts = []Fact{{Label: "About", Value: in.Subject}, {Label: "Opened", At: in.OpenedAt}, {Label: "By", Value: in.OpenedBy}, {Label: "Ticket", Value: in.Ticket}}
	if in.Tenant != "" {
		page.Facts = append(page.Facts, Fact{Label: "Tenant", Value: string(in.Tenant), Href: "/tenants/" + string(in.Tenant)})
	}
	if in.Run != "" {
		page.Facts = append(page.Facts, Fact{Label: "Run", Value: ShortID(in.Run), Href: "/playbooks/runs/" + in.Run})
	}
	if in.AlertKey != "" {
		page.Facts = append(page.Facts, Fact{Label: "Alert", Value: in.AlertKey, Mono: true, Href: "/alerts"})
	}
	if !in.ClosedAt.IsZero() {
		page.Facts = append(page.Facts, Fact{Label: "Closed", At: in.ClosedAt}, Fact{Label: "By", Value: in.ClosedBy}, Fact{Label: "What came of it", Value: in.Note})
	}
	return page
}

func instanceView(page instancePage) View {
	return View{Title: page.In.Title, Lead: page.In.Subject, Badge: string(page.In.State), Crumbs: []Crumb{{"Runbooks", "/runbooks"}, {ShortID(page.In.ID.String()), ""}}, Template: "playbook_instance", Data: page}
}

func (p playbookPages) check(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	step := c.Path("step")
	err = p.svc.CheckStep(c.Context(), c.Identity, id, playbook.Check{Step: step, Skip: c.Form("do") == "skip", Note: c.Form("note." + step), Evidence: c.Form("evidence." + step)})
	if faults := fieldErrors(err); len(faults) > 0 { // the fields carry the step's name
		return Done{}, governance.Invalid(faults[0].Field+"."+step, "%s", faults[0].Reason)
	}
	return Done{To: "/runbooks/" + id.String(), Flash: "The step is checked off."}, err
}

func (p playbookPages) ticket(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/runbooks/" + id.String(), Flash: "The ticket is linked."}, p.svc.SetTicket(c.Context(), c.Identity, id, c.Form("ticket"))
}

func (p playbookPages) close(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	err = p.svc.Close(c.Context(), c.Identity, id, c.Form("outcome"), c.Form("note"))
	if errors.Is(err, governance.ErrConflict) {
		if in, readErr := p.svc.Instance(c.Context(), id); readErr == nil && in.State == playbook.InstanceOpen {
			return Done{}, governance.Invalid("outcome", "steps are open: check them off, or close it as not needed or escalated")
		}
	}
	return Done{To: "/runbooks/" + id.String(), Flash: "The runbook is closed."}, err
}
