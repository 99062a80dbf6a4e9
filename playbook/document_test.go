package playbook_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
)

func TestService_Parse(t *testing.T) {
	t.Parallel()
	r := newRig(t, govtest.New(t, options), 0)
	_, err := r.svc.Parse(nurture)
	require.NoError(t, err)
	for _, src := range playbook.Shipped() {
		if src.Runbook {
			d, err := playbook.ParseRunbook(src.Text)
			require.NoError(t, err, src.Name)
			require.Equal(t, src.Name, d.Name)
			continue
		}
		d, err := r.svc.Parse(src.Text)
		require.NoError(t, err, src.Name)
		require.Equal(t, src.Name, d.Name)
	}

	for name, c := range map[string]struct{ from, to, says string }{
		"unknown key":             {"title: Nurture", "titel: Nurture", `line 3 column 1: unknown field "titel"`},
		"unknown key deeper":      {"max_percent: 50", "max_procent: 50", "line 8 column 30"},
		"key given twice":         {"title: Nurture", "title: Nurture\ntitle: Twice", "line 4 column 1"},
		"wrong type":              {"max_targets: 5", "max_targets: many", "line 8 column 27: the value is of another type"},
		"nested flow":             {"title: Nurture", "title: " + strings.Repeat("[", 30_000), "line 3: is nested"},
		"nested maps":             {"title: Nurture", "title: " + strings.Repeat("{a: ", 12_000), "line 3: is nested"},
		"nested lists":            {"title: Nurture", "title:\n  " + strings.Repeat("- ", 20_000) + "a", "line 4: is nested"},
		"no cap":                  {"max_targets: 5, ", "", "safeguards.max_targets: line 8"},
		"no share":                {"max_percent: 50, ", "", "safeguards.max_percent"},
		"no window":               {", repeat_after: 30d", "", "safeguards.repeat_after"},
		"no outage limit":         {"max_unusable: 50, ", "", "safeguards.max_unusable"},
		"no age":                  {", max_age: 36h", "", "max_age is required"},
		"no signal":               {"  usage_30d: {type: number, max_age: 36h}", "", "declare at least one signal"},
		"no condition":            {"when: signals.usage_30d < 50.0", `when: ""`, "when: line 7 column 7: the expression is empty"},
		"misspelt signal":         {"when: signals.usage_30d", "when: signals.usage_30", "usage_30"},
		"condition of other type": {"when: signals.usage_30d < 50.0", "when: signals.usage_30d", "want bool"},
		"unknown kind":            {"kind: crm.list_add", "kind: crm.delete_all", `steps[0].kind: line 10 column 22: "crm.delete_all" is not a kind`},
		"unknown parameter":       {"list: nurture}", "lst: nurture}", "steps[0].params.lst"},
		"missing parameter":       {`title: "${tenant.name} at ${signals.usage_30d}", `, "", "parameter title is required"},
		"parameter of other type": {"list: nurture}", "list: [a]}", "steps[0].params.list"},
		"unknown template":        {"${tenant.name}", "${tenant.secret}", "${tenant.secret} is not known"},
		"undeclared signal":       {"at ${signals.usage_30d}", "at ${signals.mrr}", "not declared"},
		"later step":              {"list: nurture}", `list: "${steps.tell.alert}"}`, "no step \"tell\" before"},
		"no such output":          {"${steps.list.ref}", "${steps.list.url}", `gives no "url"`},
		"same step twice":         {"id: tell", "id: list", "given twice"},
		"two documents":           {"name: nurture", "name: x\n---\nname: nurture", "exactly one YAML document"},
		"anchor":                  {"title: Nurture", "title: &a Nurture", "anchors"},
		"no trigger":              {`{daily: "06:00", events: [tenant.updated]}`, "{}", "name a daily time or an event"},
		"bad time":                {`"06:00"`, `"6am"`, "time of day"},
		"not YAML":                {"name: nurture", "name: [", "source"},
		"NUL":                     {"title: Nurture", "title: Nur\x00ture", "source"},
	} {
		src := strings.Replace(nurture, c.from, c.to, 1)
		require.NotEqual(t, nurture, src, name)
		_, err := r.svc.Parse(src)
		var invalid *governance.InvalidError
		require.ErrorAs(t, err, &invalid, name)
		require.ErrorContains(t, err, c.says, name)
	}
	_, err = r.svc.Parse(strings.Repeat("#", 70_000))
	require.ErrorContains(t, err, "at most")
	_, err = r.svc.Put(t.Context(), r.As("root"), strings.Replace(nurture, "max_targets: 5", "max_targets: 0", 1), nil)
	require.Error(t, err)
	ps, err := r.svc.Playbooks(t.Context())
	require.NoError(t, err)
	require.Empty(t, ps, "a wrong document stores nothing")
}

func FuzzParse(f *testing.F) {
	for _, s := range playbook.Shipped() {
		f.Add(s.Text)
	}
	r := newRig(f, govtest.New(f, options), 0)
	f.Fuzz(func(_ *testing.T, source string) {
		_, _ = r.svc.Parse(source) // must neither panic nor hang
		_, _ = playbook.ParseRunbook(source)
	})
}

func TestParseRunbook(t *testing.T) {
	t.Parallel()
	good := "name: x\ntitle: X\nalerts: [\"a.b:\"]\nsteps:\n  - {id: a, title: A, do: it}\n"
	_, err := playbook.ParseRunbook(good)
	require.NoError(t, err)
	for from, says := range map[string]string{
		"title: X|titel: X":                  "line 2 column 1",
		"do: it|doo: it":                     "line 5",
		", do: it|":                          "title and do are required",
		"[\"a.b:\"]|[\"a\"]":                 "almost every alert",
		"  - {id: a, title: A, do: it}|  []": "",
	} {
		parts := strings.SplitN(from, "|", 2)
		_, err := playbook.ParseRunbook(strings.Replace(good, parts[0], parts[1], 1))
		require.ErrorContains(t, err, says, from)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"5d": "5d", "24h": "1d", "36h": "36h", "90m": "1h30m"} {
		var d playbook.Duration
		require.NoError(t, d.UnmarshalText([]byte(text)))
		require.Equal(t, want, d.String())
	}
	for _, text := range []string{"", "d", "-1h", "1.5d", "5 days", "99999999d"} {
		var d playbook.Duration
		require.Error(t, d.UnmarshalText([]byte(text)), text)
	}
}
