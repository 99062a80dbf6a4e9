package governance

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/schedule"
)

// Problem is something stored that can never be so, whatever was going on and
// whenever a server died.
type Problem struct {
	Rule string `json:"rule"`
	What string `json:"what"` // what breaks it: an id and what is wrong with it
}

// String is the problem in one line.
func (p Problem) String() string { return p.Rule + ": " + p.What }

// problemsMax is the most problems told of one rule.
const problemsMax = 20

// Check holds what is stored against the kernel's invariants, in one snapshot, and
// names what breaks them; it changes nothing and needs no key. The ledger's own
// proof is [ledger.Log.Verify]; [Kernel.Check] does both. It reads every record once.
//
// The rules: an action is executed if and only if one record says it was done, held
// if and only if one says so, refused likewise; a local action is never seen
// executing; an approved action has its quorum of distinct persons among its votes,
// none of them excluded, and each signed where that is required; each vote has its record; a reservation is pending,
// posted or voided as its action is; places of events and records have no gaps.
func Check(ctx context.Context, db *govdb.DB) ([]Problem, error) {
	isolation := sql.LevelDefault
	if db.Postgres() {
		isolation = sql.LevelRepeatableRead
	}
	tx, err := db.Read().BeginTx(ctx, &sql.TxOptions{ReadOnly: db.Postgres(), Isolation: isolation})
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	out := []Problem{}
	for _, r := range checkRules(db.Postgres()) {
		var found []struct{ What string }
		if err := tx.NewRaw(r.sql+fmt.Sprintf(" LIMIT %d", problemsMax)).Scan(ctx, &found); err != nil {
			return nil, fmt.Errorf("check %q: %w", r.rule, err)
		}
		for _, f := range found {
			out = append(out, Problem{r.rule, f.What})
		}
	}
	more, err := checkQuorums(ctx, tx)
	return append(out, more...), err
}

// CheckReport is what [Kernel.Check] found.
type CheckReport struct {
	Problems []Problem     `json:"problems"` // of the invariants; empty: none
	Ledger   ledger.Report `json:"ledger"`
}

// Sound tells whether nothing was found.
func (r CheckReport) Sound() bool { return len(r.Problems) == 0 && len(r.Ledger.Problems) == 0 }

// Check holds everything stored against the invariants and verifies the ledger.
func (k *Kernel) Check(ctx context.Context) (CheckReport, error) {
	var r CheckReport
	var err error
	if r.Problems, err = Check(ctx, k.db); err != nil {
		return r, err
	}
	r.Ledger, err = k.log.Verify(ctx)
	return r, err
}

const checkAlert = "governance.check"

// Jobs are the daily check of everything stored: what it finds is an alert until it
// is gone, and each check is a record; and the daily pruning of old notices of alerts.
func (k *Kernel) Jobs() []schedule.Job {
	return []schedule.Job{{Name: "governance.check", Spec: schedule.Spec{Every: 24 * time.Hour}, Max: 2 * time.Hour, Run: func(ctx context.Context, _ time.Time) error {
		return k.checkAndTell(ctx)
	}}, {Name: "alerts.prune", Spec: schedule.Spec{Every: 24 * time.Hour}, Max: time.Hour, Run: func(ctx context.Context, _ time.Time) error {
		_, err := k.PruneNotices(ctx)
		return err
	}}}
}

func (k *Kernel) checkAndTell(ctx context.Context) error {
	r, err := k.Check(ctx)
	if err != nil {
		return err
	}
	lines := append([]string{}, r.Ledger.Problems...)
	for _, p := range r.Problems {
		lines = append(lines, p.String())
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		if len(lines) == 0 {
			err = k.ResolveAlertTx(ctx, tx, checkAlert)
		} else {
			_, err = k.AlertTx(ctx, tx, Alert{Key: checkAlert, Severity: Critical, Title: "What is stored breaks an invariant",
				Body: strings.Join(lines[:min(len(lines), 10)], "\n")})
		}
		if err != nil {
			return err
		}
		_, err = k.RecordTx(ctx, tx, System("check"), Record{Action: "governance.check", Outcome: OutcomeObserved,
			Data: map[string]any{"problems": fmt.Sprint(len(lines)), "records": fmt.Sprint(r.Ledger.Records)}})
		return err
	})
}

type checkRule struct{ rule, sql string }

// checkRules are queries that find nothing in a sound database.
func checkRules(postgres bool) []checkRule {
	field := func(name string) string {
		if postgres {
			return "(body::json ->> '" + name + "')"
		}
		return "json_extract(body, '$." + name + "')"
	}
	// said is what the ledger says of each action under the action's own name.
	said := `WITH said AS (SELECT ` + field("action_id") + ` AS id, ` + field("action") + ` AS name,
			SUM(CASE WHEN ` + field("outcome") + ` = 'done' THEN 1 ELSE 0 END) AS done,
			SUM(CASE WHEN ` + field("outcome") + ` = 'held' THEN 1 ELSE 0 END) AS held,
			SUM(CASE WHEN ` + field("outcome") + ` = 'denied' THEN 1 ELSE 0 END) AS denied
		FROM gov_record WHERE kind = '` + RecordKind + `' AND body LIKE '%"action_id":"%' AND ` + field("action_id") + ` IS NOT NULL GROUP BY 1, 2) `
	return []checkRule{
		{"an action and the records of it do not agree", said + `SELECT CAST(a.id AS TEXT) || ' ' || a.name || ' is ' || a.state || ' and the ledger has it done ' || CAST(COALESCE(s.done, 0) AS TEXT)
				|| ', held ' || CAST(COALESCE(s.held, 0) AS TEXT) || ', refused ' || CAST(COALESCE(s.denied, 0) AS TEXT) || ' times' AS what
			FROM gov_action a LEFT JOIN said s ON s.id = CAST(a.id AS TEXT) AND s.name = a.name
			WHERE COALESCE(s.done, 0) <> CASE WHEN a.state = 'executed' THEN 1 ELSE 0 END
			OR COALESCE(s.held, 0) <> CASE WHEN a.held THEN 1 ELSE 0 END
			OR COALESCE(s.denied, 0) <> CASE WHEN a.state = 'denied' AND NOT a.held THEN 1 ELSE 0 END`},
		{"a record of an action that is not there", said + `SELECT s.id || ' ' || s.name AS what FROM said s LEFT JOIN gov_action a ON CAST(a.id AS TEXT) = s.id
			WHERE a.id IS NULL AND s.done + s.held + s.denied > 0`},
		{"a vote and its record do not agree", said + `, votes AS (SELECT CAST(approval AS TEXT) AS id, COUNT(*) AS n FROM gov_vote GROUP BY 1)
			SELECT COALESCE(v.id, s.id) || ' has ' || CAST(COALESCE(v.n, 0) AS TEXT) || ' votes and ' || CAST(COALESCE(s.done, 0) AS TEXT) || ' records of votes' AS what
			FROM gov_action a LEFT JOIN votes v ON v.id = CAST(a.id AS TEXT) LEFT JOIN said s ON s.id = CAST(a.id AS TEXT) AND s.name = 'approval.vote'
			WHERE a.held AND COALESCE(v.n, 0) <> COALESCE(s.done, 0)`},
		{"a vote on something that was never held", `SELECT CAST(v.approval AS TEXT) || ' by ' || v.person AS what FROM gov_vote v LEFT JOIN gov_action a ON a.id = v.approval WHERE a.id IS NULL OR NOT a.held`},
		{"a local action that is seen executing", `SELECT CAST(id AS TEXT) || ' ' || name AS what FROM gov_action WHERE NOT remote AND state IN ('executing', 'unknown')`},
		{"an action that passed through an approval it never had", `SELECT CAST(id AS TEXT) || ' ' || name || ' is ' || state AS what FROM gov_action WHERE NOT held AND state IN ('pending', 'approved', 'expired', 'cancelled', 'lapsed', 'superseded')`},
		{"a reservation that does not fit its action", `SELECT CAST(r.id AS TEXT) || ' is ' || r.state || ', action ' || CAST(r.action AS TEXT) || ' is ' || COALESCE(a.state, 'not there') AS what
			FROM gov_reservation r LEFT JOIN gov_action a ON a.id = r.action
			WHERE (a.id IS NULL AND r.state <> 'voided') OR (r.state = 'pending' AND a.state NOT IN ('pending', 'approved', 'executing', 'unknown', 'failed'))
			OR (r.state = 'posted' AND a.state <> 'executed') OR (a.state = 'executed' AND r.state <> 'posted')
			OR (a.state IN ('pending', 'approved', 'executing', 'unknown') AND r.state <> 'pending')`},
		{"places of events have a gap", `SELECT CAST(c AS TEXT) || ' events, the last is ' || CAST(hi AS TEXT) AS what FROM (SELECT COUNT(*) AS c, COALESCE(MAX(n), 0) AS hi FROM gov_event WHERE n IS NOT NULL) x WHERE c <> hi`},
		{"places of a tenant's events have a gap", `SELECT t.tenant || ': ' || CAST(COUNT(e.id) AS TEXT) || ' events, the last is ' || CAST(t.last_seq AS TEXT) AS what
			FROM gov_event_tenant t LEFT JOIN gov_event e ON e.tenant = t.tenant AND e.tenant_seq IS NOT NULL GROUP BY t.tenant, t.last_seq
			HAVING COUNT(e.id) <> t.last_seq OR COALESCE(MAX(e.tenant_seq), 0) <> t.last_seq OR COALESCE(MIN(e.tenant_seq), 0) <> CASE WHEN t.last_seq = 0 THEN 0 ELSE 1 END`},
		{"places of records have a gap", `SELECT CAST(c AS TEXT) || ' records, the last is ' || CAST(hi AS TEXT) AS what FROM (SELECT COUNT(*) AS c, COALESCE(MAX(n) + 1, 0) AS hi FROM gov_record WHERE n IS NOT NULL) x WHERE c <> hi`},
	}
}

// checkQuorums holds every action that went past its approval against the votes: each
// requirement is met by distinct persons, none of whom may decide on it.
func checkQuorums(ctx context.Context, tx bun.IDB) ([]Problem, error) {
	const rule = "an action went on without its approval"
	var out []Problem
	for last := uuid.Nil; len(out) < problemsMax; {
		var rows []actionRow
		if err := tx.NewSelect().Model(&rows).Column("id", "name", "tenant", "requirement", "requester", "decision", "state").
			Where("held AND NOT bootstrap AND state IN ('approved', 'executing', 'executed', 'unknown', 'failed') AND id > ?", last).
			Order("id").Limit(500).Scan(ctx); err != nil {
			return nil, fmt.Errorf("check approvals: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		ids := make([]uuid.UUID, len(rows))
		for i, r := range rows {
			ids[i] = r.ID
		}
		last = ids[len(ids)-1]
		var votes []voteRow
		if err := tx.NewSelect().Model(&votes).Where("approval IN (?)", bun.List(ids)).Scan(ctx); err != nil {
			return nil, fmt.Errorf("check votes: %w", err)
		}
		byApproval := map[uuid.UUID][]voteRow{}
		for _, v := range votes {
			byApproval[v.Approval] = append(byApproval[v.Approval], v)
		}
		for _, r := range rows {
			if why := unapproved(r, byApproval[r.ID]); why != "" {
				out = append(out, Problem{rule, fmt.Sprintf("%s %s is %s: %s", r.ID, r.Name, r.State, why)})
			}
		}
	}
	return out, nil
}

// unapproved says why the votes do not carry the action, or is empty.
func unapproved(r actionRow, votes []voteRow) string {
	var require []Require
	var requester Identity
	var d Decision
	for what, err := range map[string]error{
		"requirement": json.Unmarshal([]byte(r.Requirement), &require),
		"requester":   json.Unmarshal([]byte(r.Requester), &requester),
		"decision":    json.Unmarshal([]byte(r.Decision), &d),
	} {
		if err != nil {
			return "its " + what + " does not parse"
		}
	}
	if len(require) == 0 {
		return "nothing was required of it"
	}
	excluded := slices.Concat(requester.persons(), d.Editors, d.Exclude)
	voters := map[PersonID][]GroupID{}
	against := 0
	for _, v := range votes {
		var groups []GroupID
		if err := json.Unmarshal([]byte(v.Groups), &groups); err != nil {
			return "the groups of " + v.Person + " do not parse"
		}
		var actor Actor
		if err := json.Unmarshal([]byte(v.Actor), &actor); err != nil {
			return "the voter " + v.Person + " does not parse"
		}
		switch {
		case fakesTenant(TenantID(r.Tenant), actor, PersonID(v.Person), groups):
			return v.Person + " voted in the tenant's place without being of it"
		case VoteDecision(v.Decision) != Approve:
			against++
			continue
		case slices.Contains(excluded, PersonID(v.Person)):
			return v.Person + " may not decide on it and did"
		}
		if v.Signature != "" || !signed(require) {
			voters[PersonID(v.Person)] = groups
		}
	}
	if against >= rejections(require) {
		return fmt.Sprintf("%d voted against it", against)
	}
	var open []string
	for _, m := range lacks(require, voters) {
		open = append(open, fmt.Sprintf("%d of %s", m.Approvals, m.Group))
	}
	if len(open) > 0 {
		return "it lacks " + strings.Join(open, ", ")
	}
	return ""
}
