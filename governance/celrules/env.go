package celrules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// Options tunes an Env. The zero value is ready to use.
type Options struct {
	CostLimit uint64 // of one evaluation, in CEL's units; default 20000, some milliseconds
	MaxLength int    // of an expression, in code points; default 4000
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.CostLimit == 0 {
		c.CostLimit = 20_000
	}
	if c.MaxLength == 0 {
		c.MaxLength = 4000
	}
	return c
}

// CompileError says what is wrong with an expression, and where.
type CompileError struct {
	Expr   string
	Faults []Fault
}

// Fault is one thing that is wrong; Line and Column count from 1, 0 means the whole.
type Fault struct {
	Line, Column int
	Message      string
}

func (e *CompileError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.Message
		if f.Line > 0 {
			lines[i] = fmt.Sprintf("line %d column %d: %s", f.Line, f.Column, f.Message)
		}
	}
	return strings.Join(lines, "; ")
}

// Env is a set of variables that expressions may speak of.
type Env struct {
	env  *cel.Env
	opts Options
}

// NewEnv makes an Env. Every variable that is declared must be given to Eval.
func NewEnv(vars map[string]Type, opts *Options) (*Env, error) {
	o := opts.withDefaults()
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("celrules: %w", err)
	}
	provider := &objects{Registry: registry, byName: map[string]map[string]*cel.Type{}}
	options := []cel.EnvOption{
		cel.CustomTypeProvider(provider), cel.CustomTypeAdapter(registry),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(o.MaxLength), cel.ParserRecursionLimit(50), cel.RegexProgramSizeLimit(1000),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateComprehensionNestingLimit(2)),
	}
	for name, t := range vars {
		c, ok := provider.resolve(name, t)
		if !ok {
			return nil, fmt.Errorf("celrules: variable %s has no type", name)
		}
		options = append(options, cel.Variable(name, c))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("celrules: %w", err)
	}
	return &Env{env, o}, nil
}

// Program is a compiled expression.
type Program struct {
	prg  cel.Program
	expr string
}

// Compile checks an expression; what is wrong with it comes as a *CompileError.
func (e *Env) Compile(expr string) (*Program, error) {
	if strings.TrimSpace(expr) == "" {
		return nil, &CompileError{expr, []Fault{{Message: "the expression is empty"}}}
	}
	ast, issues := e.env.Compile(expr)
	if err := issues.Err(); err != nil {
		faults := make([]Fault, 0, len(issues.Errors()))
		for _, i := range issues.Errors() {
			faults = append(faults, Fault{i.Location.Line(), i.Location.Column() + 1, i.Message})
		}
		slices.SortFunc(faults, func(a, b Fault) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, &CompileError{expr, faults}
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, &CompileError{expr, []Fault{{Message: "the expression is " + ast.OutputType().String() + ", want bool"}}}
	}
	prg, err := e.env.Program(ast, cel.CostLimit(e.opts.CostLimit), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, &CompileError{expr, []Fault{{Message: err.Error()}}}
	}
	return &Program{prg, expr}, nil
}

// Expr is the text the program was compiled from.
func (p *Program) Expr() string { return p.expr }

// Eval answers the expression for these values. An error is no answer.
func (p *Program) Eval(ctx context.Context, vars map[string]any) (bool, error) {
	out, _, err := p.prg.ContextEval(ctx, vars)
	if err != nil {
		return false, fmt.Errorf("evaluate condition: %w", err)
	}
	yes, ok := out.Value().(bool)
	if !ok { // an unknown value, for one
		return false, errors.New("evaluate condition: the answer is not a bool")
	}
	return yes, nil
}
