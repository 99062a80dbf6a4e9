package evidenceapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight/evidence/evidenceapi"
)

type caller struct {
	*testing.T
	r   *evidencetest.Rig
	mux *http.ServeMux
}

func (c caller) send(as governance.PersonID, method, path, typ, body string, want int) *httptest.ResponseRecorder {
	c.Helper()
	ctx := c.Context()
	if as != "" {
		ctx = governance.WithIdentity(ctx, c.r.As(as))
	}
	req := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", typ)
	}
	w := httptest.NewRecorder()
	c.mux.ServeHTTP(w, req)
	require.Equal(c, want, w.Code, "%s %s: %s", method, path, w.Body.String())
	return w
}

func (c caller) json(as governance.PersonID, method, path, body string, want int, into any) {
	c.Helper()
	w := c.send(as, method, path, "application/json", body, want)
	if into != nil {
		require.NoError(c, json.Unmarshal(w.Body.Bytes(), into))
	}
}

func TestAPI(t *testing.T) {
	t.Parallel()
	govtest.Each(t, evidencetest.Options(), func(t *testing.T, e *govtest.Env) {
		r := evidencetest.New(t, e)
		mux := http.NewServeMux()
		evidenceapi.Register(humago.New(mux, huma.DefaultConfig("test", "1")), r.Evidence)
		c := caller{t, r, mux}
		s, a := r.Session(t, 2), r.Executed(t, "goodwill")

		var outline evidenceapi.EvidenceOutline
		c.json("aud", "GET", "/evidence/outline?kind=session&subject="+s.ID.String(), "", 200, &outline)
		require.Equal(t, 3, outline.Chunks)
		body := func(kind string, id uuid.UUID, more string) string {
			return `{"kind":"` + kind + `","subject":"` + id.String() + `","reason":"audit"` + more + `}`
		}
		var p, bare evidenceapi.EvidencePack
		c.json("aud", "POST", "/evidence/packs", body("session", s.ID, ""), 201, &p)
		require.Equal(t, "ready", p.State)
		c.json("aud", "POST", "/evidence/packs", body("session", s.ID, `,"recording":false`), 201, &bare)
		require.Less(t, bare.Files, p.Files)
		c.json("aud", "POST", "/evidence/packs", body("action", a.ID, `,"disclose":true`), 403, nil)
		c.json("dana", "POST", "/evidence/packs", body("action", a.ID, ""), 403, nil)
		c.json("", "POST", "/evidence/packs", body("action", a.ID, ""), 401, nil)
		c.json("aud", "POST", "/evidence/packs", body("action", uuid.New(), ""), 404, nil)
		c.json("aud", "POST", "/evidence/packs", body("tenant", a.ID, ""), 422, nil)
		c.json("aud", "POST", "/evidence/packs", `{"kind":"action","subject":"`+a.ID.String()+`","reason":"  x  "}`, 422, nil)

		var page struct {
			Items []evidenceapi.EvidencePack
			Next  string
		}
		c.json("aud", "GET", "/evidence/packs?limit=1", "", 200, &page)
		require.Equal(t, bare.ID, page.Items[0].ID)
		c.json("aud", "GET", "/evidence/packs?limit=1&cursor="+page.Next, "", 200, &page)
		require.Equal(t, p.ID, page.Items[0].ID)
		c.json("aud", "GET", "/evidence/packs?subject="+a.ID.String(), "", 200, &page)
		require.Empty(t, page.Items)
		c.json("aud", "GET", "/evidence/packs/"+p.ID, "", 200, &p)
		c.json("aud", "GET", "/evidence/packs/"+uuid.NewString(), "", 404, nil)
		c.json("dana", "GET", "/evidence/packs/"+p.ID, "", 403, nil)

		got := c.send("aud", "GET", "/evidence/packs/"+p.ID+"/file", "", "", 200)
		require.Equal(t, "application/zip", got.Header().Get("Content-Type"))
		require.Contains(t, got.Header().Get("Content-Disposition"), ".evidence.zip")
		c.send("dana", "GET", "/evidence/packs/"+p.ID+"/file", "", "", 403)
		var v evidenceapi.EvidenceVerification
		data := got.Body.String()
		require.NoError(t, json.Unmarshal(c.send("aud", "POST", "/evidence/verification", "application/zip", data, 200).Body.Bytes(), &v))
		require.True(t, v.Holds)
		require.Equal(t, s.ID.String(), v.Subject)
		flipped := []byte(data)
		flipped[len(flipped)/2] ^= 1
		require.NoError(t, json.Unmarshal(c.send("aud", "POST", "/evidence/verification", "application/zip", string(flipped), 200).Body.Bytes(), &v))
		require.False(t, v.Holds)
		require.NotEmpty(t, v.Problems[0].Place)
		c.send("dana", "POST", "/evidence/verification", "application/zip", data, 403)

		const period = "from=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z"
		var cov evidenceapi.EvidenceCoverage
		c.json("aud", "GET", "/evidence/coverage?"+period, "", 200, &cov)
		require.NotEmpty(t, cov.Rows)
		var records struct{ Items []evidenceapi.EvidenceRecord }
		c.json("aud", "GET", "/evidence/coverage/au10-bound/records?"+period, "", 200, &records)
		require.Len(t, records.Items, 3)
		c.json("aud", "GET", "/evidence/coverage/au10-bound/records?have=false&"+period, "", 200, &records)
		require.Empty(t, records.Items)
		c.json("aud", "GET", "/evidence/coverage/nothing/records?"+period, "", 404, nil)
		c.json("aud", "GET", "/evidence/coverage?from=2026-01-01T00:00:00Z&until=2025-01-01T00:00:00Z", "", 422, nil)
		c.json("dana", "GET", "/evidence/coverage?"+period, "", 403, nil)
		require.Contains(t, c.send("aud", "GET", "/evidence/coverage/csv?"+period, "", "", 200).Body.String(), "AC-5")
		require.Contains(t, c.send("aud", "GET", "/evidence/coverage/html?"+period, "", "", 200).Header().Get("Content-Type"), "text/html")
	})
}
