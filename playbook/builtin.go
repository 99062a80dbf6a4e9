package playbook

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// ApprovalInput is what an approval step that names no later step asks.
type ApprovalInput struct {
	Run      uuid.UUID           `json:"run"`
	Step     string              `json:"step"`
	Playbook string              `json:"playbook"`
	Tenant   governance.TenantID `json:"tenant"`
	Question string              `json:"question"`
}

func (s *Service) defineApproval() *governance.Action[ApprovalInput] {
	return governance.Define(ActionApproval, governance.Spec[ApprovalInput]{
		Summary:    "Asks people whether a playbook may go on.",
		Permission: "playbook:run",
		Tenant:     func(in ApprovalInput) governance.TenantID { return in.Tenant },
		Resource:   func(in ApprovalInput) governance.Ref { return governance.RefTo("playbook_run", in.Run) },
	}, func(context.Context, *governance.Tx, ApprovalInput) (governance.Result, error) {
		return governance.Result{Data: Output{"answer": "approved"}}, nil
	})
}

func (s *Service) builtinKinds() []Kind {
	never := func(context.Context, *governance.Tx, Call) (Output, error) {
		return nil, errors.New("playbook: the engine runs this kind itself")
	}
	return []Kind{
		{Name: KindWait, Title: "Wait", Params: map[string]Param{"for": {Type: "duration", Required: true, Doc: "How long"}}, DoTx: never},
		{Name: KindApproval, Title: "Ask a person", Guarded: true, DoTx: s.askTx, Params: map[string]Param{
			"step":     {Type: "text", Doc: "A later step: people decide on exactly what it will do"},
			"question": {Type: "text", Doc: "What they are asked when no step is named"},
		}},
		{Name: KindRunbook, Title: "Open a runbook", DoTx: s.openStepTx, Outputs: []string{"instance"}, Params: map[string]Param{
			"runbook": {Type: "text", Required: true, Doc: "Name of the runbook"},
			"ticket":  {Type: "text", Doc: "Reference of its ticket"},
		}},
	}
}

// askTx asks people. A guard that lets it pass without a person is an error: an
// approval step is never passed by default.
func (s *Service) askTx(ctx context.Context, tx *governance.Tx, c Call) (Output, error) {
	if step := c.Params.Text("step"); step != "" {
		target, err := s.askedCall(ctx, tx, c, step)
		if err != nil {
			return nil, err
		}
		if _, err := s.kinds[target.kind].DoTx(ctx, tx, target.call); err != nil {
			return nil, err
		}
		return nil, governance.Invalid("step", "no policy asks a person about %s: the step is refused", step)
	}
	out, err := s.approval.InTx(ctx, s.k, tx, c.Identity, ApprovalInput{c.Run, c.Step, c.Playbook, c.Tenant, c.Params.Text("question")}, c.Do())
	if err != nil {
		return nil, err
	}
	if !out.Bootstrap {
		return nil, governance.Invalid("approval", "no policy asks a person: the step is refused")
	}
	return Output{"answer": "bootstrap"}, nil
}

type asked struct {
	call Call
	kind string
}

// askedCall is the call of the later step that an approval step asks for.
func (s *Service) askedCall(ctx context.Context, tx *governance.Tx, c Call, step string) (asked, error) {
	var row runRow
	if err := tx.NewSelect().Model(&row).Where("id = ?", c.Run).Scan(ctx); err != nil {
		return asked{}, fmt.Errorf("run %s: %w", c.Run, err)
	}
	comp, err := s.versionTx(ctx, tx, c.Playbook, c.Version)
	if err != nil {
		return asked{}, err
	}
	rs, err := fromJSON[map[string]Reading]("signals", row.Signals)
	if err != nil {
		return asked{}, err
	}
	state, err := s.k.TenantStateTx(ctx, tx, c.Tenant)
	if err != nil {
		return asked{}, err
	}
	for i, st := range comp.Steps {
		if st.ID != step {
			continue
		}
		sc := scope{tenant: state.Tenant, run: c.Run, playbook: c.Playbook, signals: rs}
		params, err := sc.resolve(s.kinds[st.Kind], st.Params)
		if err != nil {
			return asked{}, governance.Invalid("params", "%v", err)
		}
		target := c
		target.Step, target.Index, target.Idem, target.Params = st.ID, i, idem(c.Run, i), params
		return asked{target, st.Kind}, nil
	}
	return asked{}, fmt.Errorf("step %s: %w", step, governance.ErrNotFound)
}

func (s *Service) openStepTx(ctx context.Context, tx *governance.Tx, c Call) (Output, error) {
	in, err := s.openTx(ctx, tx, c.Identity, Opening{Runbook: c.Params.Text("runbook"), Tenant: c.Tenant, Run: c.Run, Ticket: c.Params.Text("ticket"), Subject: "Playbook " + c.Playbook})
	if err != nil {
		return nil, err
	}
	return Output{"instance": in.String()}, nil
}
