package console

import (
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/retention"
)

func retentionStories() []Story {
	at := time.Date(2026, 11, 24, 2, 30, 0, 0, time.UTC)
	id := uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f")
	law := []retention.Bound{
		{Kind: "floor", ID: "de.invoice", Version: 2, Period: retention.Period{Years: 8}, Due: "2025-01-01", Citation: "AO §147(3), HGB §257(4), UStG §14b as amended by BEG IV (BGBl. 2024 I 323)", Status: retention.VerifyWithCounsel},
		{Kind: "principle", ID: "eu.gdpr.contact", Version: 1, Citation: "Regulation (EU) 2016/679 art. 5(1)(e), 17", Status: retention.VerifyWithCounsel},
		{Kind: "policy", ID: "invoice", Version: 1, Period: retention.Period{Years: 5}, Due: "2022-03-05"},
	}
	exceptions := []retention.Exception{
		{Source: "crm-documents", State: retention.Held, Country: "DE", Hold: id.String(), Count: 42, Sample: []string{`"DE-0000007-0"`, `"DE-0000187-1"`}},
		{Source: "crm-documents", State: retention.UnknownCountry, Count: 611, Sample: []string{`"DE-0000031-0"`}},
		{Source: "crm-documents", State: retention.UnknownCountry, Written: "Atlantis", Count: 1, Sample: []string{`"X-1"`}},
		{Source: "crm-documents", State: retention.Conflict, Country: "FR", Count: 3, Sample: []string{`["a",1]`}},
	}
	run := retention.Run{ID: governance.ID[retention.Run]{UUID: id}, Plan: id.String(), Source: "crm-documents", State: retention.RunExceptions,
		Counts: retention.Counts{Planned: 12480, Deleted: 12301, Held: 12, Changed: 4, Failed: 163, Related: 18466}, Batches: 25, Chunks: 25, RequestedBy: "user:kim",
		EvidenceHash: "sha256:9c1185a5c5e9fc54612808977ee8f548b2258d31", StartedAt: at, EndedAt: at.Add(9 * time.Second)}
	going := run
	going.State, going.EvidenceHash, going.EndedAt = retention.RunRunning, "", time.Time{}
	going.Counts = retention.Counts{Planned: 12480, Deleted: 3990, Failed: 10, Related: 6004}
	going.Batches, going.Remaining = 8, 8480
	failed := going
	failed.State, failed.Error, failed.EndedAt = retention.RunBraked, "batch 9 would have touched more than 3 times the planned rows", at
	plan := retention.Plan{ID: governance.ID[retention.Plan]{UUID: id}, Source: "crm-documents", Class: "invoice", AsOf: at, Rows: 12480, Related: 18712,
		Groups:     []retention.PlanGroup{{Country: "US", Action: retention.Delete, Rows: 6120}, {Country: "DE", Action: retention.Delete, Rows: 4100}, {Country: "FR", Action: retention.Delete, Rows: 2260}},
		Exceptions: exceptions, Sample: []string{`"DE-0000012-0"`, `"DE-0000044-1"`}, Law: law, Chunks: 25, Place: "SQLite, table crm_document",
		Digest: "sha256:5f70bf18a086007016e948b04aed3b82103a36be", CreatedBy: "system:retention", CreatedAt: at, Warnings: []string{"crm_note(document_id) has no index: every batch reads the whole table"}}
	sources := []retention.SourceStatus{
		{Descriptor: retention.Descriptor{Name: "crm-documents", Class: "invoice", Place: "SQLite, table crm_document"}},
		{Descriptor: retention.Descriptor{Name: "crm-notes", Class: "support", Place: "PostgreSQL, table note", Warnings: []string{"note(customer_id) has no index"}}},
		{Descriptor: retention.Descriptor{Name: "billing"}, Error: "the host database does not answer, or its schema has changed"},
	}
	dash := retention.Dashboard{TotalOverdue: 20990, TotalSoon: 812, Holds: 2, HeldRows: 42, Exceptions: exceptions, Runs: []retention.Run{going, run}, Unplanned: []string{"billing"}, NextPlan: at.AddDate(0, 0, 1),
		Overdue: []retention.Overdue{
			{Source: "crm-documents", Class: "invoice", Country: "US", Action: retention.Delete, Rows: 6120, Soon: 300, AsOf: at},
			{Source: "crm-customers", Class: "contact", Country: "DE", Action: retention.Anonymise, Rows: 8510, Soon: 512, AsOf: at},
			{Source: "crm-documents", Class: "invoice", Country: "DE", Action: retention.Delete, Rows: 6360, AsOf: at},
			{Source: "crm-tickets", Class: "support", Country: "FR", Action: retention.Delete, Soon: 12, AsOf: at},
		}}
	reason := Field{Name: "reason", Label: "Reason", Required: true}
	hold := retention.Hold{ID: governance.ID[retention.Hold]{UUID: id}, Matter: "Acme v. us", Reason: "Letter of counsel, 3 November", Selector: retention.Selector{Tenant: "t-7", Country: "DE"},
		PlacedBy: "user:kim", PlacedAt: at}
	row := retention.Hold{ID: hold.ID, Matter: "قضية العمل رقم ١٢", Reason: "محكمة العمل", Selector: retention.Selector{Source: "employees", Key: "2"}, PlacedBy: "user:kim", PlacedAt: at}
	released := hold
	released.ReleasedAt, released.ReleasedBy, released.ReleasedFor = at.AddDate(0, 0, 5), "user:dana", "settled"
	rules := []retention.RuleVersion{
		{Rule: retention.Rule{ID: "de.invoice", Jurisdiction: "DE", Class: "invoice", Kind: retention.Floor, Period: retention.Period{Years: 8}, Clock: retention.Clock{From: "date of the voucher", Round: retention.RoundYear},
			Citation: law[0].Citation, Note: "Does not end before the tax assessment closes.", From: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), Status: retention.VerifyWithCounsel}, Version: 1},
		{Rule: retention.Rule{ID: "eu.gdpr.contact", Jurisdiction: "EEA", Class: "contact", Kind: retention.Principle, Citation: law[1].Citation, Status: retention.VerifyWithCounsel}, Version: 1},
		{Rule: retention.Rule{ID: "fr.access-log", Jurisdiction: "FR", Class: "access_log", Kind: retention.Ceiling, Period: retention.Period{Years: 1}, Citation: "CNIL délibération 2021-122", Status: retention.Contested}, Version: 3},
	}
	policies := []retention.PolicyVersion{
		{Policy: retention.Policy{ID: "invoice", Title: "Invoices go when the law lets them", Class: "invoice", Period: retention.Period{Years: 5}, Clock: retention.Clock{From: "date of the invoice"}, Action: retention.Delete}, Version: 1},
		{Policy: retention.Policy{ID: "old", Title: "An old one", Class: "contact", Country: "US", Source: "crm-customers", Period: retention.Period{Months: 6}, Action: retention.Anonymise, Off: true}, Version: 4},
	}
	evidence := retention.Evidence{Kind: "reeve/retention/evidence/v1", Run: id.String(), Plan: id.String(), PlanDigest: plan.Digest, Source: plan.Source, Place: plan.Place, AsOf: at, StartedAt: at, EndedAt: run.EndedAt,
		RequestedBy: "user:kim", Approvals: []retention.EvidenceVote{{Person: "bob", At: at, Comment: "Counts agree with last month."}}, Law: law, Counts: run.Counts, Equation: true,
		Verification: retention.Verification{At: run.EndedAt, StillDue: 221, Accounted: 179, Held: 42}, Root: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		Batches: []retention.EvidenceBatch{{Seq: 0, Counts: retention.Counts{Planned: 500, Deleted: 497, Failed: 3}, At: at, Record: id.String()}}, Traces: []string{"backups of the host keep the rows until they are recycled"}}
	held := plan
	held.Approval = id.String()
	empty := plan
	empty.Rows, empty.Related, empty.Groups, empty.Exceptions, empty.Law, empty.Warnings = 0, 0, nil, nil, nil, nil
	options := []Option{{"", "any"}, {"crm-documents", "crm-documents"}}
	found := retention.Explanation{Source: "crm-documents", Key: `"DE-0000012-0"`, AsOf: at, Decision: retention.Decision{State: retention.Held, Country: "DE", Zone: "Europe/Berlin", Due: "2025-01-01",
		DueAt: time.Date(2024, 12, 31, 23, 0, 0, 0, time.UTC), HeldBy: []string{id.String()}, Trace: law, Why: "kept: 1 legal hold(s) select it"}}
	rowForm := retentionRowPage{Source: Field{Name: "source", Label: "Source", Kind: "select", Options: options}, Key: Field{Name: "key", Label: "Row key"}, AsOf: Field{Name: "as_of", Label: "As of", Kind: "date"}}
	withRow, missing, fault := rowForm, rowForm, rowForm
	withRow.Found = &found
	missing.Missing = true
	fault.Fault = "key 7 has 1 parts, want 2"
	paused := dash
	paused.Paused = true
	return []Story{
		{Name: "overview", View: retentionOverviewView(retentionOverview{D: dash, CanRun: true, Sources: sources, Reason: reason})},
		{Name: "overview, paused", View: retentionOverviewView(retentionOverview{D: paused, CanRun: true, Sources: sources, Reason: reason})},
		{Name: "overview, nothing overdue", View: retentionOverviewView(retentionOverview{Sources: sources[:1]})},
		{Name: "overview, first use", View: retentionOverviewView(retentionOverview{})},
		{Name: "plans", View: retentionPlanListView(retentionPlanList{Rows: []retention.Plan{plan, held, empty}, Sources: sources, CanRun: true, Source: Field{Name: "source", Label: "Source", Kind: "select", Options: options[1:]}})},
		{Name: "plans, first use", View: retentionPlanListView(retentionPlanList{})},
		{Name: "plan", View: retentionPlanView(retentionPlanPage{P: plan, CanRun: true, Reason: reason})},
		{Name: "plan, waiting for approval", View: retentionPlanView(retentionPlanPage{P: held, CanRun: true, Reason: reason, Approval: "pending"})},
		{Name: "plan, executed, seen by an auditor", View: retentionPlanView(retentionPlanPage{P: held, Approval: "executed", Run: &run})},
		{Name: "plan, nothing due", View: retentionPlanView(retentionPlanPage{P: empty, CanRun: true, Reason: reason})},
		{Name: "runs", View: retentionRunListView([]retention.Run{going, run, failed}, Pager{Next: "/retention/runs?cursor=x"})},
		{Name: "runs, first use", View: retentionRunListView(nil, Pager{})},
		{Name: "run, going", View: retentionRunView(retentionRunPage{R: going, CanCancel: true, Reason: reason})},
		{Name: "run, with exceptions", View: retentionRunView(retentionRunPage{R: run, Items: []retention.RunItem{{Item: retention.Item{Key: `"DE-0000400-1"`, Outcome: retention.Failed, Reason: "other rows refer to it (SQLSTATE 23503)"}}}})},
		{Name: "run, braked", View: retentionRunView(retentionRunPage{R: failed})},
		{Name: "evidence", View: retentionEvidenceView(retentionEvidencePage{E: evidence, Run: id.String(), Hash: run.EvidenceHash})},
		{Name: "holds", View: retentionHoldListView(retentionHoldList{Rows: []retention.Hold{hold, released}, CanWrite: true, Fields: holdFields(options)}, true)},
		{Name: "holds, right to left", RTL: true, View: retentionHoldListView(retentionHoldList{Rows: []retention.Hold{row}}, false)},
		{Name: "holds, refused", View: retentionHoldListView(retentionHoldList{CanWrite: true, Open: true, Fault: "name a tenant, subject, class, country, or source and key; nothing never means everything", Fields: holdFields(options)}, false)},
		{Name: "holds, none", View: retentionHoldListView(retentionHoldList{}, false)},
		{Name: "hold", View: retentionHoldView(retentionHoldPage{H: hold, CanWrite: true, Reason: reason})},
		{Name: "hold, released", View: retentionHoldView(retentionHoldPage{H: released})},
		{Name: "rules", View: retentionRulesView(retentionRulesPage{Rules: rules, Policies: policies, Place: Field{Name: "jurisdiction", Label: "Country or region", Kind: "select"}, Class: Field{Name: "class", Label: "Data class", Kind: "select"}})},
		{Name: "rules, none match", View: retentionRulesView(retentionRulesPage{Place: Field{Name: "jurisdiction", Label: "Country or region", Kind: "select"}, Class: Field{Name: "class", Label: "Data class", Kind: "select"}})},
		{Name: "row, asked", View: retentionRowView(rowForm)},
		{Name: "row, held", View: retentionRowView(withRow)},
		{Name: "row, not there", View: retentionRowView(missing)},
		{Name: "row, bad key", View: retentionRowView(fault)},
	}
}
