package evidence_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// TestBuild_Browser: what a browser told is in the pack of its session, and a byte of it
// that is changed, or a chunk that is left out, is found.
func TestBuild_Browser(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		dir := t.TempDir()
		dist := filepath.Join(dir, "node_modules", "@rrweb", "record", "dist")
		require.NoError(t, os.MkdirAll(dist, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dist, "record.js"), []byte("export const record = () => {};"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dist, "..", "package.json"), []byte(`{"name":"@rrweb/record","version":"2.1.6","license":"MIT"}`), 0o600))
		kit, err := browserrec.OpenKit(dir)
		require.NoError(t, err)
		inside, err := browserrec.New(t.Context(), r.Svc, r.Rec, kit, nil)
		require.NoError(t, err)
		r.Evidence.Accompany(inside)
		out, err := r.Svc.Start(t.Context(), r.As("dana"), oversightRequest)
		require.NoError(t, err)
		s, token, err := r.Svc.Open(t.Context(), r.As("dana"), out.Action)
		require.NoError(t, err)
		req := httptest.NewRequest("GET", "/app/", nil)
		req = req.WithContext(governance.WithIdentity(context.Background(), r.As("dana")))
		req.AddCookie(r.Svc.Cookie(s, token))
		w := httptest.NewRecorder()
		r.Svc.Middleware(r.Rec.Middleware(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			tag, err := inside.Script(req)
			if err != nil {
				http.Error(w, err.Error(), 500)
				return
			}
			_, _ = w.Write([]byte(tag))
		}))).ServeHTTP(w, req)
		page := uuid.MustParse(regexp.MustCompile(`data-page="([^"]+)"`).FindStringSubmatch(w.Body.String())[1])
		for n, state := range []string{"open", "closed"} {
			raw := []byte(`{"page":"` + page.String() + `","tab":"t","n":` + string(rune('1'+n)) + `,"state":"` + state + `","lost":0,"events":[{"type":4,"timestamp":1,"data":{"href":"/app/pointed-here","width":1,"height":1}}]}`)
			require.NoError(t, inside.Take(t.Context(), s, r.As("dana"), raw))
		}
		require.NoError(t, r.Svc.End(t.Context(), r.As("dana"), s.ID, ""))
		data := r.Build(t, pack.KindSession, s.ID)
		require.Empty(t, verify(t, r, data).Problems)
		require.Contains(t, string(data), "browser/00000002.ndjson")
		require.Contains(t, string(data), "/app/pointed-here")
		rep := verify(t, r, bytes.Replace(data, []byte("/app/pointed-here"), []byte("/app/pointed-away"), 1))
		require.NotEmpty(t, rep.Problems)
		require.Contains(t, rep.Problems[0].String(), "browser/00000001.ndjson")

		_, err = r.DB.Handle().ExecContext(t.Context(), "DELETE FROM browserrec_chunk WHERE seq = 2")
		require.NoError(t, err)
		_, err = r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: pack.KindSession, Subject: s.ID, Reason: "audit"})
		require.ErrorContains(t, err, "leaves out the chunk of record")
	})
}
