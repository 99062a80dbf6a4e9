package console

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

func newEvidenceBench(t *testing.T) (*evidencetest.Rig, Section, http.Handler) {
	t.Helper()
	r := evidencetest.New(t, govtest.New(t, evidencetest.Options()))
	section := Evidence(r.Evidence)
	h, err := New(&Options{Kernel: r.Kernel, Sections: []Section{Oversight(r.Svc, r.Rec, nil), section}})
	require.NoError(t, err)
	return r, section, h
}

func TestEvidenceStories(t *testing.T) {
	t.Parallel()
	r, section, _ := newEvidenceBench(t)
	requireStories(t, r.Kernel, section)
}

// TestEvidence_Journey goes from a session to a pack, downloads it and has it checked.
func TestEvidence_Journey(t *testing.T) {
	t.Parallel()
	r, _, h := newEvidenceBench(t)
	s := r.Session(t, 2)
	a := r.Executed(t, `<script>x</script>`)
	aud := browse(t, h, r.As("aud"))
	require.Contains(t, aud.get("/evidence", 200).body, "No pack was built yet")
	at := "/evidence/new?kind=session&subject=" + s.ID.String()
	require.Contains(t, aud.get("/sessions/"+s.ID.String(), 200).body, strings.ReplaceAll(at, "&", "&amp;"))
	require.Contains(t, aud.get("/approvals/"+a.ID.String(), 200).body, "kind=action&amp;subject="+a.ID.String())
	choose := aud.get("/evidence/new", 200)
	requireMarkup(t, choose.body)
	require.Contains(t, choose.body, s.ID.String())
	require.Contains(t, choose.body, a.ID.String())
	form := aud.get(at, 200)
	requireMarkup(t, form.body)
	require.Contains(t, form.body, "3 chunks")
	require.NotContains(t, form.body, `name="disclose"`, "an auditor cannot disclose")
	require.Contains(t, browse(t, h, r.As("root")).get(at, 200).body, `name="disclose"`)
	aud.get("/evidence/new?kind=session&subject=x", 404)
	aud.get("/evidence/new?kind=tenant&subject="+s.ID.String(), 422)
	aud.get("/evidence/new?kind=action&subject=0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f", 404)

	back := aud.post("/evidence/new", http.StatusUnprocessableEntity, "kind", "session", "subject", s.ID.String(), "reason", " ")
	require.Contains(t, back.body, "is required")
	aud.post("/evidence/new", http.StatusForbidden, "kind", "session", "subject", s.ID.String(), "reason", "audit", "disclose", "on")
	done := aud.post("/evidence/new", http.StatusSeeOther, "kind", "session", "subject", s.ID.String(), "reason", "audit <b>2026</b>")
	page := strings.TrimPrefix(done.location, "/console")
	detail := aud.get(page, 200)
	requireMarkup(t, detail.body)
	require.Contains(t, detail.body, "audit &lt;b&gt;2026&lt;/b&gt;")
	got := aud.get(page+"/file", 200)
	require.Equal(t, "application/zip", got.header.Get("Content-Type"))
	require.Contains(t, got.header.Get("Content-Disposition"), "session-"+s.ID.String()+".evidence.zip")
	rep, err := pack.Verify(strings.NewReader(got.body), int64(len(got.body)), r.Kernel.Ledger().VerifierKey())
	require.NoError(t, err)
	require.Empty(t, rep.Problems)

	good := aud.upload("/evidence/verify", got.body, 200)
	requireMarkup(t, good.body)
	require.Contains(t, good.body, "Every byte is as it was built")
	flipped := []byte(got.body)
	flipped[bytes.Index(flipped, []byte("frames"))] ^= 1
	bad := aud.upload("/evidence/verify", string(flipped), 200)
	requireMarkup(t, bad.body)
	require.Contains(t, bad.body, "This pack is not what was built")
	require.Contains(t, aud.upload("/evidence/verify", "<script>alert(1)</script>", 200).body, "this is no evidence pack")
	require.Contains(t, aud.post("/evidence/verify", http.StatusUnprocessableEntity).body, "is required")
	require.Contains(t, aud.get("/evidence", 200).body, page)

	r.Advance(8 * 24 * time.Hour)
	aud.get(page+"/file", 404)
	require.Contains(t, aud.get(page, 200).body, "It cannot be downloaded any more")
}

func TestEvidence_Coverage(t *testing.T) {
	t.Parallel()
	r, _, h := newEvidenceBench(t)
	r.Executed(t, "goodwill")
	aud := browse(t, h, r.As("aud"))
	page := aud.get("/evidence/coverage", 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "AC-5")
	line := aud.get("/evidence/coverage/pci-origin?from=2026-01-01&until=2026-01-31&have=false", 200)
	requireMarkup(t, line.body)
	require.Contains(t, line.body, "/console/ledger/")
	require.Contains(t, aud.get("/evidence/coverage/ac5-own?from=2026-01-01&until=2026-01-31&have=true", 200).body, "No record is among these")
	for form, typ := range map[string]string{"csv": "text/csv", "html": "text/html", "json": "application/json"} {
		got := aud.get("/evidence/reports/"+form+"?from=2026-01-01&until=2026-01-31", 200)
		require.Contains(t, got.header.Get("Content-Type"), typ)
		require.Contains(t, got.header.Get("Content-Disposition"), "attachment")
		require.Contains(t, got.body, "AC-5")
	}
	aud.get("/evidence/reports/pdf", 404)
	aud.get("/evidence/coverage/nothing", 404)
	aud.get("/evidence/coverage?from=yesterday", 422)
	aud.get("/evidence/coverage?from=2026-02-01&until=2026-01-01", 422)
}

func TestEvidence_WhoMaySee(t *testing.T) {
	t.Parallel()
	r, _, h := newEvidenceBench(t)
	s := r.Session(t, 1)
	dana := browse(t, h, r.As("dana"))
	for _, path := range []string{"/evidence", "/evidence/new", "/evidence/coverage", "/evidence/coverage/pci-user", "/evidence/reports/csv", "/evidence/packs/" + s.ID.String(), "/evidence/packs/" + s.ID.String() + "/file"} {
		dana.get(path, 403)
	}
	dana.post("/evidence/new", 403, "kind", "session", "subject", s.ID.String(), "reason", "audit")
	dana.upload("/evidence/verify", "x", 403)
	browse(t, h, r.As("aud")).get("/evidence/packs/"+s.ID.String(), 404)
}
