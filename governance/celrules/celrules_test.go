package celrules_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govtest"
)

func policyVars(t testing.TB) map[string]any {
	var input any
	require.NoError(t, json.Unmarshal([]byte(`{"plan":"free","seats":3,"tags":["a"]}`), &input))
	return map[string]any{
		"action": map[string]any{"name": "tenant.plan", "resource": "tenant/acme", "sensitive": true, "measures": map[string]int64{"EUR.cent": 1200}, "input": input, "reason": "r"},
		"actor":  map[string]any{"id": "user:dana", "kind": "user", "person": "dana", "roles": []string{"cs_agent"}},
		"tenant": map[string]any{"id": "acme", "country": "DE", "region": "", "plan": "pro", "status": "active", "seats": int64(40)},
	}
}

func TestRules_Compile(t *testing.T) {
	t.Parallel()
	rules, err := celrules.New(nil)
	require.NoError(t, err)

	for expr, want := range map[string]bool{
		`tenant.country == "DE"`:                                         true,
		`tenant.country in ["FR", "IT"]`:                                 false,
		`"cs_agent" in actor.roles && tenant.seats > 10`:                 true,
		`action.measures["EUR.cent"] >= 1200`:                            true,
		`"rows" in action.measures && action.measures["rows"] > 5`:       false,
		`action.input.seats < 5 && action.input.plan == "free"`:          true,
		`action.input.tags.exists(t, t == "a")`:                          true,
		`has(action.input.nothing)`:                                      false,
		`action.resource.startsWith("tenant/") && actor.kind != "key"`:   true,
		`int(action.input.seats) + 1 == 4`:                               true,
		`tenant.status.matches("^act.*$") && size(action.reason) > 0`:    true,
		`actor.roles.all(r, r != "super_admin") || action.name == "foo"`: true,
	} {
		cond, err := rules.Compile(expr)
		require.NoError(t, err, expr)
		got, err := cond.Eval(t.Context(), policyVars(t))
		require.NoError(t, err, expr)
		require.Equal(t, want, got, expr)
	}

	t.Run("a wrong expression does not load", func(t *testing.T) {
		t.Parallel()
		for expr, says := range map[string]string{
			``:                           "empty",
			`tenant.contry == "DE"`:      "contry",
			`tennant.country == "DE"`:    "tennant",
			`tenant.seats`:               "want bool",
			`action.input.flag`:          "want bool",
			`tenant.seats > "ten"`:       "overload",
			`tenant.country == 5`:        "overload",
			`tenant.status.matches("(")`: "matches",
			`tenant.country == `:         "line 1",
			`actor.roles.exists(r, r)`:   "",
			`true || ` + strings.Repeat("!", 5000) + `true`:              "",
			strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200): "",
		} {
			_, err := rules.Compile(expr)
			require.Error(t, err, expr)
			var ce *celrules.CompileError
			require.ErrorAs(t, err, &ce, expr)
			require.Contains(t, err.Error(), says)
		}
	})

	t.Run("no error is false", func(t *testing.T) {
		t.Parallel()
		for _, expr := range []string{
			`action.measures["USD.cent"] > 5`,        // no such key
			`action.input.missing == "x"`,            // no such field
			`action.input.plan > 5`,                  // other type than expected
			`1 / (tenant.seats - 40) > 0`,            // division by zero
			`tenant.seats * 9223372036854775807 > 1`, // overflow
			`action.input.seats + 1 > 0`,             // double and int do not add
		} {
			cond, err := rules.Compile(expr)
			require.NoError(t, err, expr)
			_, err = cond.Eval(t.Context(), policyVars(t))
			require.Error(t, err, expr)
		}
		cond, err := rules.Compile(`tenant.country == "DE"`)
		require.NoError(t, err)
		_, err = cond.Eval(t.Context(), map[string]any{})
		require.Error(t, err, "a variable nobody gave")
		_, err = cond.Eval(t.Context(), map[string]any{"tenant": map[string]any{}})
		require.Error(t, err, "a field nobody gave")
	})

	t.Run("an evaluation is bounded", func(t *testing.T) {
		t.Parallel()
		long := make([]string, 100_000)
		vars := policyVars(t)
		vars["actor"].(map[string]any)["roles"] = long
		cond, err := rules.Compile(`actor.roles.all(a, actor.roles.all(b, a == b))`)
		require.NoError(t, err)
		begin := time.Now()
		_, err = cond.Eval(t.Context(), vars)
		require.ErrorContains(t, err, "cost limit")
		require.Less(t, time.Since(begin), 2*time.Second)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = cond.Eval(ctx, vars)
		require.Error(t, err)
	})
}

func TestNewEnv(t *testing.T) {
	t.Parallel()
	env, err := celrules.NewEnv(map[string]celrules.Type{
		"now": celrules.Timestamp(), "renewal": celrules.Timestamp(), "quiet": celrules.Duration(), "score": celrules.Double(),
		"facts": celrules.Map(celrules.Double()), "event": celrules.Object(map[string]celrules.Type{
			"type": celrules.String(), "tenant": celrules.String(), "data": celrules.Dyn(),
			"at": celrules.Object(map[string]celrules.Type{"day": celrules.Int()}),
		}),
		"lines": celrules.List(celrules.Object(map[string]celrules.Type{"amount": celrules.Int()})),
	}, nil)
	require.NoError(t, err)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	vars := map[string]any{
		"now": now, "renewal": now.Add(20 * 24 * time.Hour), "quiet": 26 * time.Hour, "score": 0.25, "facts": map[string]float64{"logins": 2},
		"event": map[string]any{"type": "tenant.closed", "tenant": governance.TenantID("acme"), "data": map[string]any{"n": 1.0}, "at": map[string]any{"day": 4}},
		"lines": []any{map[string]any{"amount": int64(5)}},
	}
	for expr, want := range map[string]bool{
		`renewal - now < duration("720h")`:            true,
		`renewal < now`:                               false,
		`quiet > duration("24h") && score < 1`:        true,
		`facts["logins"] < 3.0 && facts.logins < 3`:   true,
		`event.type == "tenant.closed"`:               true,
		`event.tenant == "acme" && event.data.n == 1`: true,
		`event.at.day == 4`:                           true,
		`lines.exists(l, l.amount > 4)`:               true,
		`now.getMonth() == 2`:                         true,
		`timestamp("2026-01-01T00:00:00Z") > now`:     false,
	} {
		p, err := env.Compile(expr)
		require.NoError(t, err, expr)
		require.Equal(t, expr, p.Expr())
		got, err := p.Eval(t.Context(), vars)
		require.NoError(t, err, expr)
		require.Equal(t, want, got, expr)
	}
	for _, expr := range []string{`event.at.dey == 4`, `lines.exists(l, l.amuont > 4)`, `renewal < 5`, `timestamp("yesterday") < now`, `facts == 1`} {
		_, err := env.Compile(expr)
		require.Error(t, err, expr)
	}

	_, err = celrules.NewEnv(map[string]celrules.Type{"x": {}}, nil)
	require.ErrorContains(t, err, "x has no type")
	_, err = celrules.NewEnv(map[string]celrules.Type{"x": celrules.List(celrules.Type{})}, nil)
	require.Error(t, err)
}

type set struct{ Plan string }

func TestRules_Kernel(t *testing.T) {
	t.Parallel()
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	e := govtest.New(t, &govtest.Options{Kernel: func(o *governance.Options) { o.Rules = rules }})
	e.People.Put("root", "root")
	act := governance.Define("tenant.plan", governance.Spec[set]{
		Permission: "tenant:plan", Tenant: func(set) governance.TenantID { return "" }, Resource: func(set) governance.Ref { return governance.Ref{Kind: "tenant", ID: "x"} },
		Measures: func(context.Context, *governance.Tx, set) ([]governance.Measure, error) {
			return []governance.Measure{{Unit: "rows", Value: 7}}, nil
		},
	}, func(context.Context, *governance.Tx, set) (governance.Result, error) { return governance.Result{}, nil })
	require.NoError(t, e.Kernel.Register(act))
	deny := func(match string) governance.Policy {
		return governance.Policy{ID: "p", Title: "no", Actions: []string{"tenant.plan"}, Match: match, Mode: governance.Enforce, Deny: true}
	}
	put := func(p governance.Policy) error {
		_, err := e.Kernel.PutPolicy(t.Context(), e.As("root"), p, nil)
		return err
	}
	do := func(plan string) error {
		_, err := act.Do(t.Context(), e.Kernel, e.As("root"), set{plan}, nil)
		return err
	}
	var invalid *governance.InvalidError
	require.ErrorAs(t, put(deny(`actions.name == "x"`)), &invalid, "a policy with a misspelt condition is not stored")
	require.NoError(t, put(deny(`action.input.Plan == "free" && action.measures["rows"] == 7 && "root" in actor.roles && tenant.seats == 0 && !action.sensitive`)))
	var denied *governance.DeniedError
	require.ErrorAs(t, do("free"), &denied)
	require.NoError(t, do("pro"))
	require.NoError(t, put(deny(`action.measures["missing"] > 1`)))
	require.ErrorAs(t, do("pro"), &denied, "a condition without an answer lets nothing through")
	require.False(t, errors.Is(denied, governance.ErrNotFound))
}

func BenchmarkRules(b *testing.B) {
	rules, err := celrules.New(nil)
	require.NoError(b, err)
	cond, err := rules.Compile(`"cs_agent" in actor.roles && tenant.seats > 10 && action.input.plan == "free"`)
	require.NoError(b, err)
	vars := policyVars(b)
	for b.Loop() {
		if yes, err := cond.Eval(b.Context(), vars); err != nil || !yes {
			b.Fatal(yes, err)
		}
	}
}
