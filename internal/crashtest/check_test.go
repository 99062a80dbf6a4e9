package crashtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

type action struct {
	ID         string
	Name       string
	State      string
	Held       bool
	Remote     bool
	Reason     string
	LeaseUntil govdb.Micros
}

// saying is what the ledger says about an action.
type saying struct {
	Action   string `json:"action"`
	Outcome  string `json:"outcome"`
	ActionID string `json:"action_id"`
}

// world is what was ever seen in the database; rounds add to it, so that each reads
// only what is new.
type world struct {
	actions map[string]action
	keyed   map[string]string // reason of a call to its action
	records map[string]saying
	done    map[string]int // records that an action was done
	held    map[string]int
	denied  map[string]int
	credits map[string]int // events of credits
	events  map[string]bool
}

func newWorld() *world {
	return &world{map[string]action{}, map[string]string{}, map[string]saying{}, map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, map[string]bool{}}
}

// idFrom is the lowest id, as text, that was made at an instant or later.
func idFrom(at time.Time) string {
	h := fmt.Sprintf("%012x", at.UnixMilli())
	return h[:8] + "-" + h[8:] + "-0000-0000-000000000000"
}

// read adds what was written since.
func (w *world) read(ctx context.Context, t *testing.T, db *govdb.DB, since time.Time) {
	t.Helper()
	// One snapshot: the server goes on working meanwhile.
	h, err := db.Handle().BeginTx(ctx, &sql.TxOptions{Isolation: snapshot(db), ReadOnly: true})
	require.NoError(t, err)
	defer func() { _ = h.Rollback() }()
	var actions []action
	require.NoError(t, h.NewRaw("SELECT id, name, state, held, remote, reason, lease_until FROM gov_action WHERE created_at >= ? OR held", govdb.At(since)).Scan(ctx, &actions))
	for _, a := range actions {
		w.actions[a.ID] = a
		if !strings.HasPrefix(a.Reason, keyPrefix) {
			continue
		}
		if other, twice := w.keyed[a.Reason]; twice && other != a.ID {
			t.Errorf("two actions for one request %s: %s and %s", a.Reason, other, a.ID)
		}
		w.keyed[a.Reason] = a.ID
	}
	var records []struct{ ID, Body string }
	require.NoError(t, h.NewRaw("SELECT id, body FROM gov_record WHERE id >= ?", idFrom(since)).Scan(ctx, &records))
	for _, r := range records {
		if _, known := w.records[r.ID]; known {
			continue
		}
		var s saying
		require.NoError(t, json.Unmarshal([]byte(r.Body), &s))
		w.records[r.ID] = s
		if s.ActionID == "" || s.Action == "approval.vote" {
			continue
		}
		switch s.Outcome {
		case "done":
			w.done[s.ActionID+" "+s.Action]++
		case "held":
			w.held[s.ActionID]++
		case "denied":
			w.denied[s.ActionID+" "+s.Action]++
		}
	}
	var events []struct{ ID, Resource string }
	require.NoError(t, h.NewRaw("SELECT id, resource FROM gov_event WHERE id >= ? AND type = 'tenant.credited'", idFrom(since)).Scan(ctx, &events))
	for _, e := range events {
		if !w.events[e.ID] {
			w.events[e.ID] = true
			w.credits[e.Resource]++
		}
	}
}

// snapshot is the isolation in which several statements see one state.
func snapshot(db *govdb.DB) sql.IsolationLevel {
	if db.Postgres() {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

// ours are the actions that calls ask for, each with its key as its reason.
func ours(name string) bool {
	return name == "tenant.credit" || name == "tenant.plan" || name == "tenant.export"
}

// check holds what was read, and the tables, against what must always be so.
func (w *world) check(ctx context.Context, t *testing.T, db *govdb.DB, since time.Time) {
	t.Helper()
	w.read(ctx, t, db, since)
	b2i := map[bool]int{true: 1}
	for id, a := range w.actions {
		executed := a.State == "executed"
		if n := w.done[id+" "+a.Name]; n != b2i[executed] {
			t.Errorf("action %s %s is %s and has %d records that it was done", a.Name, id, a.State, n)
		}
		if n := w.held[id]; n != b2i[a.Held] {
			t.Errorf("action %s %s, held %t, has %d records that it was held", a.Name, id, a.Held, n)
		}
		if n := w.denied[id+" "+a.Name]; n != b2i[a.State == "denied" && !a.Held] {
			t.Errorf("action %s %s is %s and has %d records that it was refused", a.Name, id, a.State, n)
		}
		if a.Name == "tenant.credit" {
			if n := w.credits["credit/"+id]; n != b2i[executed] {
				t.Errorf("credit %s is %s and has %d events", id, a.State, n)
			}
		}
		switch {
		case a.State == "executing" && !a.Remote:
			t.Errorf("local action %s %s is still executing", a.Name, id)
		case (a.State == "executing" || a.State == "unknown") && time.Since(a.LeaseUntil.Time()) > 30*time.Second:
			t.Errorf("remote action %s %s is %s, and nobody looked after its lease ended at %s", a.Name, id, a.State, a.LeaseUntil.Time())
		}
	}
	for id, s := range w.records {
		if _, known := w.actions[s.ActionID]; ours(s.Action) && s.ActionID != "" && s.Outcome != "failed" && !known {
			t.Errorf("record %s of %s is about action %s, which is not there", id, s.Action, s.ActionID)
		}
	}
	problems, err := governance.Check(ctx, db)
	require.NoError(t, err)
	require.Empty(t, problems)
	for _, q := range tables {
		var rows []struct{ What string }
		require.NoError(t, db.Handle().NewRaw(q.sql).Scan(ctx, &rows), q.title)
		require.Empty(t, rows, q.title)
	}
}

// tables are queries that must find nothing, each in one snapshot.
var tables = []struct{ title, sql string }{
	{"a credit without an executed action", `SELECT c.id AS what FROM product_credit c LEFT JOIN gov_action a ON a.id = c.id AND a.state = 'executed' AND a.name = 'tenant.credit' WHERE a.id IS NULL`},
	{"an executed credit without its row", `SELECT a.id AS what FROM gov_action a LEFT JOIN product_credit c ON c.id = a.id WHERE a.state = 'executed' AND a.name = 'tenant.credit' AND c.id IS NULL`},
	{"an executed export without its row", `SELECT a.id AS what FROM gov_action a LEFT JOIN product_export c ON c.id = a.id WHERE a.state = 'executed' AND a.name = 'tenant.export' AND c.id IS NULL`},
	{"more credit without approval than the limit", `SELECT c.tenant AS what FROM product_credit c JOIN gov_action a ON a.id = c.id WHERE NOT a.held AND c.currency = 'EUR' GROUP BY c.tenant HAVING SUM(c.minor) > 100000`},
	{"a subscription and a tenant on different plans", `SELECT s.tenant AS what FROM product_subscription s JOIN gov_tenant t ON t.id = s.tenant WHERE s.plan <> t.plan`},
	{"plan changes and facts that do not match", `SELECT CAST(a.n AS TEXT) || ' changes, facts: ' || CAST(f.n AS TEXT) AS what FROM (SELECT COUNT(*) AS n FROM gov_action WHERE name = 'tenant.plan' AND state = 'executed') a,
		(SELECT COUNT(*) AS n FROM analytics_fact WHERE key LIKE 'plan/%') f WHERE a.n <> f.n`},
	{"an ended purge that does not account for every row", `SELECT id AS what FROM retention_run WHERE state IN ('completed', 'completed_with_exceptions') AND planned <> deleted + anonymised + held + changed + failed`},
	{"an event that a target was not told of", `SELECT t.name AS what FROM integration_target t JOIN gov_event e ON e.type = 'tenant.plan_changed' AND e.at > t.created_at
		AND e.n <= (SELECT n FROM gov_consumer WHERE name = 'integrations') LEFT JOIN integration_delivery d ON d.target = t.id AND d.event = CAST(e.id AS TEXT) WHERE d.id IS NULL AND t.state <> 'removed'`},
}

// acknowledged holds every answered call against the database, and gives those whose
// answer nobody heard.
func (w *world) acknowledged(ctx context.Context, t *testing.T, db *govdb.DB, calls []*call) (unknown []*call) {
	t.Helper()
	people := map[string]string{"gov_approver": "noor", "gov_approver_2": "tomas"}
	var votes []struct{ Approval, Person string }
	require.NoError(t, db.Handle().NewRaw("SELECT approval, person FROM gov_vote").Scan(ctx, &votes))
	voted := map[string]bool{}
	for _, v := range votes {
		voted[v.Approval+" "+v.Person] = true
	}
	for _, k := range calls {
		a, there := w.actions[k.action]
		switch {
		case k.status == 0:
			unknown = append(unknown, k)
		case k.kind == "vote" && k.status == 200:
			if !voted[k.action+" "+people[k.who]] {
				t.Errorf("a vote of %s on %s was acknowledged and is lost", k.who, k.action)
			}
		case k.status == 200:
			if !there || a.State != "executed" || a.Reason != k.key {
				t.Errorf("%s %s was acknowledged as done: action %s is %q", k.kind, k.key, k.action, a.State)
			}
		case k.status == 202:
			if !there || !a.Held || a.Reason != k.key {
				t.Errorf("%s %s was acknowledged as held: approval %s is %q", k.kind, k.key, k.action, a.State)
			}
		case k.status >= 500 && k.status != 503:
			t.Errorf("%s %s was answered with %d: %s", k.kind, k.key, k.status, k.answer)
		}
	}
	return unknown
}

// filesOf finds exports whose row names a file that is not there.
func filesOf(ctx context.Context, t *testing.T, db *govdb.DB, e engine) {
	t.Helper()
	var rows []struct{ ID, Blob string }
	require.NoError(t, db.Handle().NewRaw("SELECT id, blob FROM product_export WHERE blob <> ''").Scan(ctx, &rows))
	for _, r := range rows {
		found, err := filepath.Glob(filepath.Join(e.data, "exports", "*"+r.Blob+"*"))
		require.NoError(t, err)
		if len(found) == 0 {
			if found, err = filepath.Glob(filepath.Join(e.data, "exports", "*", "*"+filepath.Base(r.Blob)+"*")); err != nil || len(found) == 0 {
				t.Errorf("the file %s of export %s is lost", r.Blob, r.ID)
			}
		}
	}
}
