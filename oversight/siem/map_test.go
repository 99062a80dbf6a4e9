package siem_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight/siem"
)

var mapper = siem.Mapper{Version: "1.2.3", Origin: "reeve.test/eu"}

// nasty are texts as somebody would write them to break a log.
func nasty() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.StringN(0, 40, 200),
		rapid.SampledFrom([]string{"", "a\nb", "a\r\nJan  1 00:00:00 forged", "\u2028forged", "\u202egnp.exe", "\u0000", "\x1b[31m", `"}]}`, "<13>1 - - - - - -", "a\xffb", "ünïcødé", "😀", `\u000a`, "]"}),
	)
}

func recordBody() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		text := func(name string) string { return strings.ToValidUTF8(nasty().Draw(t, name), "?") }
		who := func(name string) map[string]any {
			return map[string]any{"id": text(name + ".id"), "kind": rapid.SampledFrom([]string{"user", "key", "playbook", "plugin", "system", "", "robot"}).Draw(t, name+".kind"),
				"person": text(name + ".person"), "roles": rapid.SliceOfN(nasty(), 0, 3).Draw(t, name+".roles")}
		}
		verbs := []string{"impersonation.open", "impersonation.end", "impersonation.chunk", "tenant.credit", "tenant.restrict", "tenant.restriction.lift", "policy.put", "key.revoke",
			"export.download", "ledger.read", "integration.delivered", "user.deactivate", "playbook.pause", "retention.purge", "x", "", "siem.sink.pause"}
		action := rapid.OneOf(rapid.SampledFrom(verbs), nasty()).Draw(t, "action")
		b := map[string]any{"kind": governance.RecordKind, "id": uuid.Must(uuid.NewV7()), "at": time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 123456789).UTC().Format(time.RFC3339Nano),
			"action": action, "outcome": rapid.SampledFrom([]string{"done", "held", "denied", "failed", "unknown", "observed", "", "odd"}).Draw(t, "outcome"),
			"tenant": text("tenant"), "resource": rapid.OneOf(rapid.Just(""), rapid.Just("tenant/acme"), nasty()).Draw(t, "resource"), "actor": who("actor"), "session": text("session"),
			"request": text("request"), "reason": text("reason"), "ticket": text("ticket"), "digest": text("digest"), "depth": rapid.IntRange(0, 9).Draw(t, "depth"), "bootstrap": rapid.Bool().Draw(t, "bootstrap")}
		if rapid.Bool().Draw(t, "represents") {
			b["subject"] = who("subject")
		}
		if rapid.Bool().Draw(t, "personal") {
			b["personal"] = map[string]string{"ip": "sha256:" + strings.Repeat("a", 64), "actor_name": text("name")}
		}
		b["data"] = rapid.SampledFrom([]any{nil, "text", 7, []int{1}, map[string]any{"decision": map[string]any{"effect": "hold", "policies": []any{map[string]any{"policy": "p", "version": 3, "effect": "hold"}, map[string]any{}}},
			"why": []string{"one", "two\n"}, "rule": "r"}, map[string]any{"decision": "not ours", "why": 7, "rule": []int{1}, "scope": "write"}, map[string]any{"scope": 9}}).Draw(t, "data")
		out, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		return out
	})
}

// TestMapper_everyRecordIsValid: whatever stands in a record, its event is what OCSF says,
// in ASCII on one line, and gives the leaf back byte for byte.
func TestMapper_everyRecordIsValid(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	classes := map[int]int{}
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.OneOf(recordBody(), rapid.SampledFrom([][]byte{[]byte(`{"kind":"other/v1","x":1}`), []byte("no json at all \xff")})).Draw(t, "body")
		r := ledger.Record{ID: uuid.Must(uuid.NewV7()), N: rapid.Int64Range(0, 1<<40).Draw(t, "n"), Kind: "other/v1", Body: body, At: time.Unix(1, 0)}
		e := mapper.Record(r)
		classes[e.ClassUID]++
		line, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		checkLine(t, s, line)
		var back siem.Event
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(string(body), "\ufffd"); back.RawData != want {
			t.Fatalf("raw_data is not the leaf:\n%q\n%q", back.RawData, want)
		}
		small, err := e.Shrink(4096)
		if err != nil {
			t.Fatal(err)
		}
		if len(small) > 4096 {
			t.Fatalf("%d bytes", len(small))
		}
		checkLine(t, s, small)
	})
	if !testing.Short() { // few examples are drawn then
		require.Len(t, classes, 3, "the generator did not reach every class: %v", classes)
	}
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func checkLine(t fataler, s *schema, line []byte) {
	for _, b := range line {
		if b < 0x20 || b > 0x7e {
			t.Fatalf("byte %#x in %q", b, line)
		}
	}
	if err := s.validate(line); err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
}

func TestMapper_everyAlertIsValid(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		a := governance.Alert{ID: uuid.New(), Key: nasty().Draw(t, "key"), Severity: governance.Severity(rapid.SampledFrom([]string{"info", "warning", "critical", ""}).Draw(t, "severity")),
			Title: nasty().Draw(t, "title"), Body: nasty().Draw(t, "body"), Tenant: governance.TenantID(nasty().Draw(t, "tenant")), Times: rapid.Int64Range(1, 9).Draw(t, "times"),
			State:   governance.AlertState(rapid.SampledFrom([]string{"firing", "acked", "resolved", "silenced", ""}).Draw(t, "state")),
			FirstAt: time.Unix(1e9, 0), LastAt: time.Unix(2e9, 0), Links: []governance.Link{{Kind: nasty().Draw(t, "kind"), ID: nasty().Draw(t, "id"), URL: nasty().Draw(t, "url")}}}
		e := mapper.Alert(a, rapid.Bool().Draw(t, "first"))
		line, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		checkLine(t, s, line)
		small, err := e.Shrink(4096)
		if err != nil {
			t.Fatal(err)
		}
		checkLine(t, s, small)
	})
}

// TestSchema_refuses: a validator that took everything would prove nothing.
func TestSchema_refuses(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	good := func() map[string]any {
		body := `{"kind":"reeve/record/v1","id":"0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f","at":"2026-01-15T12:00:00Z","action":"impersonation.open","outcome":"done","resource":"session/s1","actor":{"id":"user:dana","kind":"user"},"session":"s1"}`
		line, err := mapper.Record(ledger.Record{Body: []byte(body)}).Encode()
		require.NoError(t, err)
		require.NoError(t, s.validate(line))
		var m map[string]any
		require.NoError(t, json.Unmarshal(line, &m))
		return m
	}
	for name, spoil := range map[string]func(m map[string]any){
		"class_uid":              func(m map[string]any) { m["class_uid"] = 3999 },
		"type_uid":               func(m map[string]any) { m["type_uid"] = 300302 },
		"category_uid":           func(m map[string]any) { m["category_uid"] = 6 },
		"category_name":          func(m map[string]any) { m["category_name"] = "IAM" },
		"activity_id: 42 is":     func(m map[string]any) { m["activity_id"], m["type_uid"] = 42, 300342 },
		"severity says":          func(m map[string]any) { m["severity"] = "Bad" },
		"time: is required":      func(m map[string]any) { delete(m, "time") },
		"user: is required":      func(m map[string]any) { delete(m, "user") },
		"at_least_one":           func(m map[string]any) { delete(m, "privileges") },
		"actor.: at_least_one":   func(m map[string]any) { m["actor"] = map[string]any{"authorizations": []any{}} },
		"entity: is no attr":     func(m map[string]any) { m["entity"] = map[string]any{"uid": "x"} },
		"attestation_list: bel":  func(m map[string]any) { m["attestation_list"] = []any{} },
		"message: is no text":    func(m map[string]any) { m["message"] = 7 },
		"privileges: is no arr":  func(m map[string]any) { m["privileges"] = "x" },
		"time: noon is no":       func(m map[string]any) { m["time"] = json.RawMessage(`"noon"`) },
		"is no ip_t":             func(m map[string]any) { m["src_endpoint"] = map[string]any{"ip": "hello"} },
		"is none of":             func(m map[string]any) { m["raw_data_hash"] = map[string]any{"algorithm_id": 77, "value": "x"} },
		"metadata: is required":  func(m map[string]any) { delete(m, "metadata") },
		"is 99 and status":       func(m map[string]any) { m["status_id"] = 99; delete(m, "status") },
		"credential_uid: is dep": func(m map[string]any) { m["user"] = map[string]any{"uid": "x", "credential_uid": "y"} },
	} {
		m := maps.Clone(good())
		spoil(m)
		line, err := json.Marshal(m)
		require.NoError(t, err)
		err = s.validate(line)
		require.Error(t, err, name)
		require.Contains(t, err.Error(), name)
	}
}

// TestMapper_actorIsWhoActs is the fork of the bug in which an audit names the one who was
// impersonated.
func TestMapper_actorIsWhoActs(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"impersonation.open", "tenant.plan", "export.download"} {
		body := fmt.Sprintf(`{"kind":"reeve/record/v1","id":"0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f","at":"2026-01-15T12:00:00Z","action":%q,"outcome":"done","resource":"tenant/acme",`+
			`"actor":{"id":"user:dana","kind":"user","person":"dana"},"subject":{"id":"olga","kind":"user","person":"olga"},"session":"s1"}`, action)
		e := mapper.Record(ledger.Record{N: 7, Body: []byte(body)})
		require.Equal(t, "user:dana", e.Actor.User.UID)
		require.Equal(t, "s1", e.Actor.Session.UID)
		require.Equal(t, "olga", e.Unmapped.Subject.UID)
		if e.User != nil {
			require.Equal(t, "user:dana", e.User.UID)
		}
	}
}
