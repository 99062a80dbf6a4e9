package celrules

import "github.com/reevehq/reeve/governance"

// Rules compiles the conditions of the kernel's policies, over the variables
// action, actor and tenant; see [PolicyVars].
type Rules struct{ env *Env }

var _ governance.Rules = (*Rules)(nil)

// New makes the Rules for governance.Options.
func New(opts *Options) (*Rules, error) {
	env, err := NewEnv(PolicyVars(), opts)
	if err != nil {
		return nil, err
	}
	return &Rules{env}, nil
}

// PolicyVars are the variables that the kernel gives to a policy's condition. A
// tenant that the kernel does not know has empty fields.
func PolicyVars() map[string]Type {
	return map[string]Type{
		"action": Object(map[string]Type{
			"name": String(), "resource": String(), "sensitive": Bool(), "measures": Map(Int()), "input": Dyn(), "reason": String(),
		}),
		"actor": Object(map[string]Type{"id": String(), "kind": String(), "person": String(), "roles": List(String())}),
		"tenant": Object(map[string]Type{
			"id": String(), "country": String(), "region": String(), "plan": String(), "status": String(), "seats": Int(),
		}),
	}
}

// Compile implements governance.Rules.
func (r *Rules) Compile(expr string) (governance.Condition, error) {
	p, err := r.env.Compile(expr)
	if err != nil {
		return nil, err
	}
	return p, nil
}
