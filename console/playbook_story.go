package console

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/playbook"
)

func playbookStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	run := storyRun(at)
	list, detail := storyPlaybooks(at, run)
	shadow := run
	shadow.Mode, shadow.State = playbook.Shadow, playbook.RunShadow
	incomplete := run
	incomplete.State, incomplete.Why, incomplete.EndedAt = playbook.RunIncomplete, "rolled back by hand: wrong customer", at.Add(time.Hour)
	incomplete.Steps = append([]playbook.RunStep{}, run.Steps...)
	incomplete.Steps[3].State, incomplete.Steps[3].Detail = playbook.StepRefused, "somebody changed it since; it is left as it is"
	approvals := map[string]*approvalSaid{run.Steps[2].Approval: {ID: run.Steps[2].Approval, State: "pending", Votes: []string{"approved by Ana Ruiz"}}}
	going := newRunPage(run, approvals)
	going.CanStop, going.CanUndo, going.CanGoOn, going.Reason = true, true, true, Field{Name: "reason", Label: "Why", Required: true}
	bad := going
	bad.Reason.Error = "is required, at most 500 bytes"
	x := playbook.Exemption{ID: run.ID, Tenant: "acme", Reason: strings.Repeat("Promised by sales until the contract is signed. ", 4), By: "user:dana", Until: at.AddDate(0, 1, 0), At: at}
	filters := []Field{{Name: "state", Label: "State", Kind: "select", Options: []Option{{"", "Any state"}}}}
	return append([]Story{
		{Name: "playbooks, none", View: playbookListView(playbookListPage{})},
		{Name: "playbooks, rows", View: playbookListView(list)},
		{Name: "playbook", View: playbookView(detail)},
		{Name: "playbook, right to left", View: playbookView(detail), RTL: true},
		{Name: "playbook, edit", View: playbookEditView(storyCtx(), "name: x\n", []playbook.Kind{{Name: "wait", Title: "Wait", Params: map[string]playbook.Param{"for": {Type: "duration", Required: true, Doc: "How long"}}}})},
		{Name: "runs, none yet", View: runListView(runListPage{Filters: filters, Empty: Empty{Icon: "playbook", Title: "No run yet"}})},
		{Name: "runs, none match", View: runListView(runListPage{Filters: filters, Empty: Empty{Icon: "search", Title: "No run matches", Action: &Button{Text: "Show all", Href: "/playbooks/runs"}}})},
		{Name: "runs, rows", View: runListView(runListPage{Filters: filters, Rows: newRunLines([]playbook.Run{run, shadow, incomplete}), Pager: Pager{Next: "/playbooks/runs?cursor=x"}})},
		{Name: "run, waits for approval", View: runView(going)},
		{Name: "run, form came back", View: runView(bad)},
		{Name: "run, in shadow", View: runView(newRunPage(shadow, nil))},
		{Name: "run, rollback incomplete", View: runView(newRunPage(incomplete, nil))},
		{Name: "batch, none", View: batchView(run.ID, batchPage{})},
		{Name: "batch, every verdict", View: batchView(run.ID, batchPage{Rows: storyCandidates(run.Signals)})},
		{Name: "exemptions, none", View: exemptionView(exemptionPage{})},
		{Name: "exemptions, rows", View: exemptionView(exemptionPage{Rows: []playbook.Exemption{x}, CanAdd: true, Fields: []Field{{Name: "tenant", Label: "Tenant", Required: true}}})},
	}, runbookStories(at, run.ID)...)
}

func storyRun(at time.Time) playbook.Run {
	signals := map[string]playbook.Reading{"renewal_in_days": {Value: 4.5, AsOf: at.Add(-time.Minute)}, "payment_overdue_days": {Value: 19.0, AsOf: at.Add(-9 * time.Hour)}}
	approval := "0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e50"
	return playbook.Run{ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f"), Playbook: "expiring-licence", Version: 2, Tenant: "acme", TenantName: "Acme GmbH", Mode: playbook.Live, Trigger: "schedule",
		State: playbook.RunRunning, Signals: signals, Depth: 1, DueAt: at.Add(5 * time.Minute), CreatedAt: at.AddDate(0, 0, -5),
		Steps: []playbook.RunStep{
			{ID: "notice", Title: "Tell the tenant and its manager", Kind: "notice", State: playbook.StepDone, Params: playbook.Params{"title": "The licence of Acme GmbH runs out"}, Output: playbook.Output{"alert": "0192d0a1"}, StartedAt: at.AddDate(0, 0, -5), EndedAt: at.AddDate(0, 0, -5), Attempts: 1},
			{ID: "cure", Title: "Time to answer", Kind: "wait", State: playbook.StepDone, Detail: "the time is over", StartedAt: at.AddDate(0, 0, -5), EndedAt: at},
			{ID: "approve", Title: "A person decides on the restriction", Kind: "approval", State: playbook.StepAwaiting, Detail: "playbook-restriction: An automation asks a person before it restricts a tenant", Approval: approval, Checked: signals, CheckedAt: at, StartedAt: at},
			{ID: "restrict", Title: "Restrict the tenant", Kind: "restriction.place", State: playbook.StepPending, Approval: approval, Undoable: true, Params: playbook.Params{"reason": "licence-expired"}},
			{ID: "ticket", Title: "Tell support", Kind: "ticket.open", State: playbook.StepPending, Undoable: true},
		},
		Timeline: []playbook.TimelineEntry{{N: 1, At: at.AddDate(0, 0, -5), State: "running", Detail: "by schedule", Actor: "playbook:expiring-licence"}, {N: 2, At: at.AddDate(0, 0, -5), Step: "notice", State: "done", Actor: "playbook:expiring-licence"},
			{N: 3, At: at, Step: "approve", State: "awaiting_approval", Actor: "playbook:expiring-licence"}}}
}

func storyCandidates(signals map[string]playbook.Reading) []candidateLine {
	var cs []playbook.Candidate
	for _, v := range []playbook.Verdict{playbook.Match, playbook.Stale, playbook.Fault, playbook.Exempt, playbook.Repeated, playbook.Loop} {
		c := playbook.Candidate{Tenant: "t-" + governance.TenantID(v), Name: "Tenant " + string(v), Verdict: v, Why: "because of " + string(v), Signals: signals}
		if v == playbook.Match {
			c.Why, c.Steps = "", []playbook.PlannedStep{{ID: "notice", Kind: "notice", Params: playbook.Params{"title": "The licence runs out"}}, {ID: "ticket", Kind: "ticket.open", Fault: "${steps.x.y} is not there"}}
		}
		if v == playbook.Stale {
			c.Signals = map[string]playbook.Reading{"renewal_in_days": {Fault: "missing"}}
		}
		cs = append(cs, c)
	}
	return newCandidates(cs)
}

func storyPlaybooks(at time.Time, run playbook.Run) (playbookListPage, playbookPage) {
	day := playbook.Duration{Duration: 24 * time.Hour}
	month := playbook.Duration{Duration: 30 * 24 * time.Hour}
	p := playbook.Playbook{Name: "expiring-licence", Title: "Expiring licence", LiveVersion: 2, ShadowVersion: 3, NextScanAt: at.Add(20 * time.Hour), UpdatedAt: at, Runs: map[playbook.RunState]int{playbook.RunRunning: 2, playbook.RunSucceeded: 11},
		Document: playbook.Document{Name: "expiring-licence", Title: "Expiring licence", Description: "A licence that is about to run out without a renewal.", Trigger: playbook.Trigger{Daily: "07:00", Events: []string{"tenant.updated"}},
			Signals: map[string]playbook.Declaration{"renewal_in_days": {Type: "number", MaxAge: day}}, When: "signals.renewal_in_days < 7.0", OnStop: playbook.OnStopRollback,
			Safeguards: playbook.Safeguards{MaxTargets: 10, MaxPercent: 5, MaxUnusable: 50, MaxDepth: 2, RepeatAfter: month},
			Rollback:   &playbook.RollbackRule{Events: []string{"tenant.updated"}, When: "signals.renewal_in_days >= 30.0"},
			Steps:      []playbook.Step{{ID: "notice", Kind: "notice", Params: map[string]any{"title": "The licence runs out"}}, {ID: "restrict", Kind: "restriction.place", Params: map[string]any{"reason": "licence-expired"}}}}}
	paused := p
	paused.Name, paused.Title, paused.Paused = "paused", strings.Repeat("A very long title ", 9), &playbook.Pause{Playbook: "paused", By: "user:dana", Reason: "looks wrong", At: at}
	stopped := playbook.Batch{ID: run.ID, Playbook: p.Name, Version: 2, Mode: playbook.Live, Trigger: "schedule", State: playbook.BatchStopped, Why: "31 tenants match, more than the cap of 9", Scanned: 180, Matched: 31, Cap: 9, At: at}
	detail := playbookPage{P: p, Control: true, CanWrite: true, ActivateTo: 3, PlanHref: "/playbooks/expiring-licence?simulate=1", Reason: Field{Name: "reason", Label: "Why", Required: true},
		Versions: []playbook.Version{{Name: p.Name, Version: 3, Source: "name: expiring-licence\ntitle: Expiring licence\n", Hash: "sha256:9f2c", Author: "dana", At: at}}, Batches: []playbook.Batch{stopped}, Runs: newRunLines([]playbook.Run{run}),
		Plan: &planView{playbook.Plan{Playbook: p.Name, Version: 3, At: at, Scanned: 180, Matched: 31, Unusable: 2, Cap: 9, Stopped: stopped.Why}, storyCandidates(run.Signals)}}
	detail.fill(nil)
	all := playbook.Pause{By: "user:dana", Reason: "drill", At: at}
	return playbookListPage{Rows: []playbookLine{newPlaybookLine(p), newPlaybookLine(paused)}, Paused: pausedAlert(all), Pausing: true, Stopped: true, Reason: Field{Name: "reason", Label: "Why", Required: true}}, detail
}

func runbookStories(at time.Time, id uuid.UUID) []Story {
	steps := []playbook.InstanceStep{
		{RunbookStep: playbook.RunbookStep{ID: "read", Title: "Read what was to happen", Do: "Open the run.", Expect: "The timeline ends with the step."}, Result: "done", By: "user:cara", Person: "cara", At: at},
		{RunbookStep: playbook.RunbookStep{ID: "look", Title: "Look in the other system", Do: "Search it.", Otherwise: "Escalate.", Evidence: "Link to what you found"}},
		{RunbookStep: playbook.RunbookStep{ID: "tell", Title: "Tell whoever is concerned", Do: "Update the ticket.", Optional: true}},
	}
	in := playbook.Instance{ID: id, Runbook: "unknown-outcome", Version: 1, Title: "Nobody knows whether a remote action happened", State: playbook.InstanceOpen, Subject: "Step ticket of expiring-licence", Alert: id.String(), AlertKey: "playbook.unknown:x/ticket",
		Tenant: "acme", Run: id.String(), Ticket: "SUP-4182", OpenedBy: "system:runbooks", OpenedAt: at, Steps: steps, Left: 1}
	closed := in
	closed.State, closed.Outcome, closed.ClosedAt, closed.ClosedBy, closed.Note = playbook.InstanceClosed, playbook.OutcomeResolved, at.Add(time.Hour), "user:cara", "It had happened once."
	rb := playbook.Runbook{Version: 1, Source: "name: unknown-outcome\n", At: at, Document: playbook.RunbookDocument{Name: "unknown-outcome", Title: in.Title, Purpose: "A call ended without an answer.", Alerts: []string{"playbook.unknown:"}, Steps: []playbook.RunbookStep{steps[0].RunbookStep}}}
	name := func(p governance.PersonID) string { return string(p) }
	bad := storyCtx()
	bad.errs = []FieldError{{"evidence.look", "is required: Link to what you found"}}
	return []Story{
		{Name: "runbooks, none open", View: runbookListView(runbookListPage{Runbooks: []playbook.Runbook{rb}})},
		{Name: "runbooks, rows", View: runbookListView(runbookListPage{Open: newInstanceLines([]playbook.Instance{in}), Closed: newInstanceLines([]playbook.Instance{closed}), Runbooks: []playbook.Runbook{rb}, CanWork: true})},
		{Name: "runbook, open", View: instanceView(newInstancePage(storyCtx(), in, name))},
		{Name: "runbook, check came back", View: instanceView(newInstancePage(bad, in, name)), Errors: bad.errs},
		{Name: "runbook, closed", View: instanceView(newInstancePage(storyCtx(), closed, name))},
	}
}
