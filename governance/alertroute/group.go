package alertroute

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Labels are what the alerts of one group have in common.
type Labels map[string]string

// Prefix is what kind of alert a key is of: "approval" of "approval:0195f2a0".
func Prefix(key string) string {
	prefix, _, _ := strings.Cut(key, ":")
	return prefix
}

// Labels are those of an alert by which the route groups.
func (r Route) Labels(f Facts) Labels {
	by := r.GroupBy
	if len(by) == 0 {
		by = []string{"tenant", "prefix", "policy"}
	}
	all := Labels{"tenant": f.Tenant, "prefix": Prefix(f.Key), "policy": f.Policy, "key": f.Key}
	out := Labels{}
	for _, name := range by {
		out[name] = all[name]
	}
	return out
}

// Same tells whether two groups are one.
func (l Labels) Same(o Labels) bool {
	if len(l) != len(o) {
		return false
	}
	for k, v := range l {
		if w, ok := o[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// Group is the id of the group that an alert belongs to under the route.
func (r Route) Group(f Facts) string {
	h := sha256.New()
	_, _ = h.Write([]byte(r.Name))
	l := r.Labels(f)
	for _, name := range labelNames {
		if v, ok := l[name]; ok {
			_, _ = h.Write([]byte("\x00" + name + "\x01" + v))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Title names a group: "approval, acme, credit-24h".
func (l Labels) Title() string {
	var out []string
	for _, name := range []string{"prefix", "tenant", "policy", "key"} {
		if v := l[name]; v != "" {
			out = append(out, v)
		}
	}
	return strings.Join(out, ", ")
}
