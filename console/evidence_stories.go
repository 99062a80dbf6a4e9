package console

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

func evidenceStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	id := uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f")
	bare := &Ctx{R: &http.Request{Method: http.MethodGet}, story: true}
	x := evidence.Pack{ID: id, Kind: pack.KindSession, Subject: id, Tenant: "acme", Name: "impersonation.start", Reason: "Audit of the third quarter", State: evidence.StateReady, Records: 42, Files: 61,
		Bytes: 1_250_000, SHA256: "sha256:9f2c", Record: id, MadeBy: "user:kim", MadeAt: at, ExpiresAt: at.AddDate(0, 0, 7)}
	gone, long := x, x
	gone.State, gone.Kind, gone.Name = evidence.StateErased, pack.KindAction, "tenant.credit"
	long.Reason, long.Tenant, long.State = strings.Repeat("long reason ", 40), "شركة أكمي للتجارة", evidence.StateExpired
	list := func(change func(p *packListPage)) View {
		p := packListPage{Upload: packUpload(bare), Build: true, Empty: Empty{Icon: "shield", Title: "No pack was built yet"}}
		if change != nil {
			change(&p)
		}
		return packListView(p)
	}
	good := pack.Report{ID: id.String(), Subject: pack.Subject{Kind: "session", ID: id.String()}, MadeAt: at, MadeBy: "user:kim", Log: "reeve.example", Files: 61, Records: 42, Votes: 3, Chunks: 9,
		Notes: []string{"2 personal values were erased; their digests stand in the records and the proofs hold"}}
	bad := pack.Report{Problems: []pack.Problem{{Place: "recording/00000002.ndjson", Why: "is not the file that the manifest lists"}, {Place: "manifest.json", Why: "was changed"}}}
	o := evidence.Outline{Kind: pack.KindSession, Subject: id, Tenant: "acme", Name: "impersonation.start", Actions: 2, Votes: 3, Policies: 1, Records: 42, Alerts: 2, Chunks: 9, ChunkBytes: 900_000, Missing: 1,
		Personal: 30, Erased: 2, Withheld: []string{"alerts: the builder may not read them"}}
	choices := packFormPage{Find: packFind(), Sessions: []packChoice{{"session", id.String(), "Dana Weiss as u1", "The list is empty", "ended", at}}, Actions: []packChoice{{"action", id.String(), "Tenant credit", "Dana Weiss", "executed", at}}}
	fields := []Field{{Name: "from", Label: "From", Kind: "date", Value: "2026-10-01"}, {Name: "until", Label: "Up to and including", Kind: "date", Value: "2026-10-31"}}
	rows := []evidence.CoverageRow{{Key: "pci-user", Framework: "PCI DSS 4.0", Control: "10.2.2", Field: "User", Rule: "the record names an actor", Have: 12_400, Of: 12_400},
		{Key: "pci-origin", Framework: "PCI DSS 4.0", Control: "10.2.2", Field: "Origin", Rule: "an address stands in the record", Have: 12_000, Of: 12_400},
		{Key: "ac5-own", Framework: "NIST SP 800-53 r5", Control: "AC-5", Field: "Decisions on one's own request", Rule: "the voter asked for it", Of: 31, None: true},
		{Key: "cc7-acked", Framework: "SOC 2", Control: "CC7.3", Field: "Alerts taken by a person", Rule: "the acknowledgement names a person"}}
	c := evidence.Coverage{Records: 12_400, Foreign: 3, Log: "reeve.example", Size: 40_000, Rows: rows}
	record := governance.RecordView{ID: id, At: at, Action: "tenant.credit", Outcome: governance.OutcomeHeld, Tenant: "acme", Resource: governance.Ref{Kind: "tenant", ID: "acme"}, Actor: governance.Actor{ID: "user:dana"}}
	none := Empty{Icon: "check", Title: "No record is among these"}
	return []Story{
		{Name: "evidence, first use", View: list(nil)},
		{Name: "evidence, packs", View: list(func(p *packListPage) {
			p.Rows, p.Pager = []evidence.Pack{x, gone, long}, Pager{Next: "/evidence?cursor=x"}
		})},
		{Name: "evidence, a pack that holds", View: list(func(p *packListPage) { p.Report, p.Rows = newPackReport(good), []evidence.Pack{x} })},
		{Name: "evidence, a pack that does not", View: list(func(p *packListPage) { p.Report = newPackReport(bad) })},
		{Name: "evidence, right to left", RTL: true, View: list(func(p *packListPage) { p.Rows = []evidence.Pack{long} })},
		{Name: "evidence, choose", View: packChooseView(choices)},
		{Name: "evidence, choose from nothing", View: packChooseView(packFormPage{Find: packFind()})},
		{Name: "evidence, form", View: packFormView(newPackForm(bare, o))},
		{Name: "evidence, no reason given", View: packFormView(newPackForm(&Ctx{R: bare.R, story: true, errs: []FieldError{{"reason", "is required"}}}, o)), Errors: []FieldError{{"reason", "is required"}}},
		{Name: "evidence, pack", View: packDetailView(newPackPage(x, "reeve.example+1a2b3c4d+AbC"))},
		{Name: "evidence, pack that is gone", View: packDetailView(newPackPage(gone, "reeve.example+1a2b3c4d+AbC"))},
		{Name: "coverage", View: coverageView(newCoveragePage(c, fields))},
		{Name: "coverage, records", View: coverageRecordsView(coverageRecordsPage{Row: rows[1], Rows: []governance.RecordView{record}, Links: true, Pager: Pager{Next: "/evidence/coverage/pci-origin?cursor=x"}}, "from=2026-10-01")},
		{Name: "coverage, no such record", View: coverageRecordsView(coverageRecordsPage{Row: rows[2], Have: true, Empty: none}, "from=2026-10-01")},
	}
}
