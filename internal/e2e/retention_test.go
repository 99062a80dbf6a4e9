package e2e

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // opens the host's database file
)

// purge is what a run left behind, to be looked at again after a restart.
type purge struct {
	run, evidence string
	rows          int64
}

// host reads the host's database, which is not ours.
func host(t *testing.T, s *server) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.data, "host.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func count(t *testing.T, db *sql.DB, query string, args ...any) int64 {
	t.Helper()
	var n int64
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

// retention is the second journey: the plan that waits is approved, a hold placed in
// between still counts, and every row is accounted for.
func retention(t *testing.T, s *server) purge {
	const admin = "super_admin"
	type plan struct {
		ID, Source, Digest, Approval, Run string
		Rows, Related                     int64
		Sample                            []string
	}
	plans := get[list[plan]](t, s, "gov_auditor", "/retention/plans").Items
	i := slices.IndexFunc(plans, func(p plan) bool { return p.Approval != "" })
	require.GreaterOrEqual(t, i, 0, "a plan waits")
	p := plans[i]
	require.Equal(t, "crm-tickets", p.Source)
	require.Positive(t, p.Rows)
	s.call(t, admin, http.MethodPost, "/retention/plans/"+p.ID+"/purge", map[string]string{"digest": "sha256:" + hex.EncodeToString(make([]byte, 32)), "reason": "x"}).want(t, http.StatusConflict)

	// The customer of a planned ticket goes to court after the plan was made.
	customer := regexp.MustCompile(`\d+`).FindString(p.Sample[0])
	s.call(t, admin, http.MethodPost, "/retention/holds", map[string]any{"matter": "2026-031", "reason": "A court asked for it", "selector": map[string]string{"subject": customer}}).want(t, http.StatusCreated)
	db := host(t, s)
	const tickets, messages = "SELECT COUNT(*) FROM crm_ticket", "SELECT COUNT(*) FROM crm_ticket_message"
	ticketsBefore, messagesBefore := count(t, db, tickets), count(t, db, messages)
	kept := dump(t, db, customer)
	documents, customers := count(t, db, "SELECT COUNT(*) FROM crm_document"), count(t, db, "SELECT COUNT(*) FROM crm_customer WHERE name = 'Former customer'")

	ap := s.vote(t, "gov_approver", p.Approval, "approve")
	type run struct {
		ID, Plan, State string
		Remaining       int64
		EvidenceHash    string `json:"evidence_hash"`
		Counts          struct{ Planned, Deleted, Anonymised, Held, Changed, Failed, Related int64 }
	}
	var r run
	soon(t, "the purge ends", func() bool {
		runs := get[list[run]](t, s, "gov_auditor", "/retention/runs?source=crm-tickets").Items
		if len(runs) == 0 {
			return false
		}
		r = runs[0]
		return r.State != "running"
	})
	require.Equal(t, "executed", get[approval](t, s, admin, "/approvals/"+p.Approval).State, ap.Error)
	require.Equal(t, "completed_with_exceptions", r.State)
	require.Equal(t, p.ID, r.Plan)
	require.Equal(t, p.Rows, r.Counts.Planned)
	require.Zero(t, r.Remaining)
	require.Equal(t, r.Counts.Planned, r.Counts.Deleted+r.Counts.Anonymised+r.Counts.Held+r.Counts.Changed+r.Counts.Failed, "%+v", r.Counts)
	require.EqualValues(t, 1, r.Counts.Held)
	require.Equal(t, ticketsBefore-r.Counts.Deleted, count(t, db, tickets), "what the run says is what is gone")
	require.Equal(t, messagesBefore-r.Counts.Related, count(t, db, messages))
	require.Equal(t, kept, dump(t, db, customer), "what is held is untouched")
	require.Equal(t, documents, count(t, db, "SELECT COUNT(*) FROM crm_document"), "no other source is touched")
	require.Equal(t, customers, count(t, db, "SELECT COUNT(*) FROM crm_customer WHERE name = 'Former customer'"))
	require.Zero(t, count(t, db, "SELECT COUNT(*) FROM crm_ticket_message m WHERE NOT EXISTS (SELECT 1 FROM crm_ticket t WHERE t.customer_id = m.customer_id AND t.no = m.no)"))
	exceptions := get[list[struct{ Key, State string }]](t, s, "gov_auditor", "/retention/runs/"+r.ID+"/exceptions").Items
	require.Len(t, exceptions, 1)

	evidence := s.call(t, "gov_auditor", http.MethodGet, "/retention/runs/"+r.ID+"/evidence", nil).want(t, http.StatusOK)
	sum := sha256.Sum256(evidence.Body)
	require.Equal(t, r.EvidenceHash, "sha256:"+hex.EncodeToString(sum[:]))
	require.True(t, json.Valid(evidence.Body))
	require.True(t, slices.ContainsFunc(s.records(t, "search="+r.ID), func(rec record) bool {
		b, err := json.Marshal(rec.Body.Data)
		return err == nil && regexp.MustCompile(regexp.QuoteMeta(r.EvidenceHash)).Match(b)
	}), "the evidence's hash is in the ledger")
	s.call(t, admin, http.MethodPost, "/retention/plans/"+p.ID+"/purge", map[string]string{"digest": p.Digest, "reason": "Again"}).want(t, http.StatusConflict)
	return purge{run: r.ID, evidence: string(evidence.Body), rows: r.Counts.Deleted}
}

// dump is every row that belongs to a customer.
func dump(t *testing.T, db *sql.DB, customer string) string {
	t.Helper()
	out := ""
	for _, q := range []string{
		"SELECT * FROM crm_customer WHERE id = ?", "SELECT * FROM crm_document WHERE customer_id = ? ORDER BY id",
		"SELECT p.* FROM crm_document_page p JOIN crm_document d ON d.id = p.document_id WHERE d.customer_id = ? ORDER BY 1, 2",
		"SELECT * FROM crm_ticket WHERE customer_id = ? ORDER BY no", "SELECT * FROM crm_ticket_message WHERE customer_id = ? ORDER BY no, seq",
	} {
		rows, err := db.QueryContext(t.Context(), q, customer)
		require.NoError(t, err)
		cols, err := rows.Columns()
		require.NoError(t, err)
		for rows.Next() {
			values, into := make([]sql.NullString, len(cols)), make([]any, len(cols))
			for i := range values {
				into[i] = &values[i]
			}
			require.NoError(t, rows.Scan(into...))
			b, err := json.Marshal(values)
			require.NoError(t, err)
			out += string(b) + "\n"
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
	}
	require.NotEmpty(t, out)
	return out
}

// restart stops the demo, checks its folder, and starts it again.
func restart(t *testing.T, s *server, p purge) {
	waiting := get[list[approval]](t, s, "gov_auditor", "/approvals?state=pending&limit=100").Items
	require.NotEmpty(t, waiting)
	runs := get[list[playbookRun]](t, s, "gov_auditor", "/playbook-runs?mode=live&limit=100").Items
	plans := map[string]string{}
	for _, c := range s.tenants(t) {
		plans[c.ID] = c.Plan
	}
	s.stop(t)
	code, out := verb(t, "--set", "data="+s.data, "ledger", "verify")
	require.Equal(t, 0, code, out)

	again := start(t, s.data)
	require.Equal(t, s.Keys, again.Keys)
	for name := range again.Keys {
		require.NotEmpty(t, get[struct{ Person string }](t, again, name, "/me").Person)
	}
	require.Equal(t, waiting, get[list[approval]](t, again, "gov_auditor", "/approvals?state=pending&limit=100").Items)
	after := get[list[playbookRun]](t, again, "gov_auditor", "/playbook-runs?mode=live&limit=100").Items
	require.Len(t, after, len(runs))
	for _, c := range again.tenants(t) {
		require.Equal(t, plans[c.ID], c.Plan)
	}
	require.Equal(t, p.evidence, string(again.call(t, "gov_auditor", http.MethodGet, "/retention/runs/"+p.run+"/evidence", nil).want(t, http.StatusOK).Body))
	// What is changed now still reaches the vendors, which listen elsewhere this time.
	i := slices.IndexFunc(again.tenants(t), func(c tenant) bool { return c.Plan == "team" })
	c := again.tenants(t)[i]
	again.call(t, "cs_agent", http.MethodPost, "/tenants/"+c.ID+"/plan", map[string]string{"plan": "business", "reason": "They grow"}).want(t, http.StatusOK)
	soon(t, "the CRM holds the plan", func() bool { return again.vendorHas(t, "crm", "companies", c.ID)["plan"] == "business" })
	again.stop(t)
	code, out = verb(t, "--set", "data="+s.data, "ledger", "verify")
	require.Equal(t, 0, code, out)
}
