package playbook

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// A template is ${path} and nothing more: no function, no condition.
var template = regexp.MustCompile(`\$\{([^}]*)\}`)

var (
	tenantFields = []string{"id", "name", "country", "region", "owner", "plan", "status", "renewal_date"}
	runFields    = []string{"id", "playbook"}
)

func templateRefs(s string) []string {
	var out []string
	for _, m := range template.FindAllStringSubmatch(s, -1) {
		out = append(out, m[1])
	}
	return out
}

// scope is what templates of one step may speak of.
type scope struct {
	tenant   governance.Tenant
	run      uuid.UUID
	playbook string
	signals  map[string]Reading
	steps    map[string]Output
}

func (s scope) lookup(ref string) (any, error) {
	parts := strings.Split(ref, ".")
	switch {
	case len(parts) == 2 && parts[0] == "tenant":
		t := s.tenant
		renewal := ""
		if !t.RenewalAt.IsZero() {
			renewal = t.RenewalAt.Format(time.DateOnly)
		}
		v := map[string]string{"id": string(t.ID), "name": t.Name, "country": t.Country, "region": t.Region, "owner": string(t.Owner),
			"plan": t.Plan, "status": string(t.Status), "renewal_date": renewal}[parts[1]]
		if v == "" {
			return nil, fmt.Errorf("${%s} is empty", ref)
		}
		return v, nil
	case len(parts) == 2 && parts[0] == "run":
		return map[string]string{"id": s.run.String(), "playbook": s.playbook}[parts[1]], nil
	case len(parts) == 2 && parts[0] == "signals":
		if r, ok := s.signals[parts[1]]; ok && r.Value != nil {
			return r.Value, nil
		}
	case len(parts) == 3 && parts[0] == "steps":
		if v := s.steps[parts[1]][parts[2]]; v != "" {
			return v, nil
		}
	}
	return nil, fmt.Errorf("${%s} is not there", ref)
}

// resolve fills the parameters of a step; a value that is not there is an error,
// never an empty text.
func (s scope) resolve(k Kind, params map[string]any) (Params, error) {
	out := Params{}
	for name, v := range params {
		text, isText := v.(string)
		if isText && strings.Contains(text, "${") {
			filled, err := s.fill(text)
			if err != nil {
				return nil, fmt.Errorf("parameter %s: %w", name, err)
			}
			v = filled
			if k.Params[name].Type == "text" {
				v = show(filled)
			}
		}
		typed, err := k.Params[name].value(v)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		out[name] = typed
	}
	return out, nil
}

// fill keeps the type of a value that is the whole template.
func (s scope) fill(text string) (any, error) {
	if m := template.FindStringSubmatch(text); m != nil && m[0] == text {
		return s.lookup(m[1])
	}
	var fault error
	out := template.ReplaceAllStringFunc(text, func(m string) string {
		v, err := s.lookup(m[2 : len(m)-1])
		if err != nil {
			fault = err
		}
		return show(v)
	})
	return out, fault
}

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(math.Round(v*1e4)/1e4, 'f', -1, 64)
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	}
	return fmt.Sprint(v)
}
