package recorder_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

// flaky is a directory whose writes can be made to fail.
type flaky struct {
	*recorder.Dir
	broken atomic.Bool
}

func (f *flaky) Put(ctx context.Context, key string, data []byte) error {
	if f.broken.Load() {
		return errors.New("the disk is full")
	}
	return f.Dir.Put(ctx, key, data)
}

type bench struct {
	*govtest.Env
	svc   *oversight.Service
	rec   *recorder.Recorder
	blobs *flaky
	dir   string
}

func each(t *testing.T, fn func(t *testing.T, b *bench)) {
	t.Helper()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{oversight.Schema()}}, func(t *testing.T, e *govtest.Env) {
		b := &bench{Env: e, dir: t.TempDir()}
		e.People.Put("dana", "cs_agent")
		e.People.Allow("cs_agent", "session:start")
		var err error
		b.svc, err = oversight.New(e.Kernel, &oversight.Options{Targets: func(context.Context, governance.TenantID, string) (governance.Actor, error) {
			return governance.Actor{ID: "product:u1", Kind: governance.ActorUser}, nil
		}})
		require.NoError(t, err)
		dir, err := recorder.OpenDir(b.dir)
		require.NoError(t, err)
		t.Cleanup(func() { _ = dir.Close() })
		b.blobs = &flaky{Dir: dir}
		b.rec, err = recorder.New(b.svc, b.blobs, &recorder.Options{MaxBuffer: 64 << 10})
		require.NoError(t, err)
		fn(t, b)
	})
}

func (b *bench) open(t *testing.T) (oversight.Session, *http.Cookie) {
	t.Helper()
	out, err := b.svc.Start(t.Context(), b.As("dana"), oversight.Request{Tenant: "acme", User: "u1", Scope: oversight.ReadWrite, Reason: "looking"})
	require.NoError(t, err)
	s, token, err := b.svc.Open(t.Context(), b.As("dana"), out.Action)
	require.NoError(t, err)
	return s, &http.Cookie{Name: "reeve_impersonation", Value: token}
}

func (b *bench) send(ctx context.Context, c *http.Cookie, h http.HandlerFunc, r *http.Request) *httptest.ResponseRecorder {
	r = r.WithContext(governance.WithIdentity(ctx, b.As("dana")))
	r.AddCookie(c)
	w := httptest.NewRecorder()
	b.svc.Middleware(b.rec.Middleware(h)).ServeHTTP(w, r)
	return w
}

func page(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, body)
	}
}

func TestRecorder_Replay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		s, c := b.open(t)
		const shown = `<!doctype html><title>Docs</title><p>Invoice <b data-mask title="secret plan">secret plan</b></p><script>steal()</script>`
		w := b.send(t.Context(), c, page(shown), httptest.NewRequest("GET", "/app/docs?q=x&token=abc", nil))
		require.Equal(t, shown, w.Body.String(), "the actor sees the page unmasked")

		form := httptest.NewRequest("POST", "/app/docs/1", strings.NewReader("title=New+name&password=hunter2&card=4111+1111+1111+1111&note=4111-1111-1111-1111"))
		form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		var got string
		w = b.send(t.Context(), c, func(w http.ResponseWriter, r *http.Request) {
			got = r.FormValue("password")
			http.Redirect(w, r, "/app/docs?token=abc&ok=1", http.StatusSeeOther)
		}, form)
		require.Equal(t, "hunter2", got, "the product gets the form as it was sent")
		require.Equal(t, http.StatusSeeOther, w.Code)

		frames, err := b.rec.Frames(t.Context(), s.ID)
		require.NoError(t, err)
		require.Len(t, frames, 2)
		require.Equal(t, "/app/docs/1", frames[1].Path)
		f, err := b.rec.Frame(t.Context(), s.ID, 1)
		require.NoError(t, err)
		require.Equal(t, "user:dana", f.Actor)
		require.Equal(t, "product:u1", f.Subject)
		require.Contains(t, f.Body, "Invoice")
		require.Equal(t, []string{recorder.Masked}, f.Query["token"])
		require.Equal(t, []string{"x"}, f.Query["q"])
		f, err = b.rec.Frame(t.Context(), s.ID, 2)
		require.NoError(t, err)
		require.Equal(t, []string{"New name"}, f.Form["title"])
		require.Contains(t, f.Location, "ok=1")
		_, err = b.rec.Frame(t.Context(), s.ID, 3)
		require.ErrorIs(t, err, governance.ErrNotFound)
		_, err = b.rec.Frame(t.Context(), s.ID, 0)
		require.ErrorIs(t, err, governance.ErrNotFound)

		// Nothing that was masked is anywhere on disk.
		require.NoError(t, filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, secret := range []string{"secret plan", "hunter2", "4111", "abc", "steal"} {
				require.NotContains(t, string(raw), secret)
			}
			return err
		}))

		page := httptest.NewRecorder()
		f, err = b.rec.Frame(t.Context(), s.ID, 1)
		require.NoError(t, err)
		require.NoError(t, recorder.WriteReplay(page, f))
		require.Contains(t, page.Header().Get("Content-Security-Policy"), "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:")

		rep, err := b.rec.Verify(t.Context(), s.ID)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		require.EqualValues(t, 2, rep.Requests)
		for _, r := range b.records(t, s) {
			if strings.Contains(string(r.Body), recorder.ActionChunk) {
				require.Contains(t, string(r.Body), `"subject":{"id":"product:u1"`)
			}
		}
	})
}

func (b *bench) records(t *testing.T, s oversight.Session) []ledger.Record {
	t.Helper()
	rs, err := b.rec.Records(t.Context(), s)
	require.NoError(t, err)
	return rs
}

func TestRecorder_Tampered(t *testing.T) {
	t.Parallel()
	blob := func(t *testing.T, b *bench, seq string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(b.dir, "*", seq+"-*"))
		require.NoError(t, err)
		require.Len(t, found, 1)
		return found[0]
	}
	exec := func(t *testing.T, b *bench, q string) {
		t.Helper()
		_, err := b.DB.Handle().ExecContext(t.Context(), q)
		require.NoError(t, err)
	}
	cases := map[string]struct {
		tamper func(t *testing.T, b *bench)
		want   string
	}{
		"bytes": {func(t *testing.T, b *bench) {
			raw, err := os.ReadFile(blob(t, b, "000002"))
			require.NoError(t, err)
			raw[len(raw)/2] ^= 1
			require.NoError(t, os.WriteFile(blob(t, b, "000002"), raw, 0o600))
		}, "chunk 2: its bytes are not those that were recorded"},
		"missing": {func(t *testing.T, b *bench) { require.NoError(t, os.Remove(blob(t, b, "000003"))) }, "chunk 3 is missing"},
		"tail cut off": {func(t *testing.T, b *bench) { exec(t, b, "DELETE FROM oversight_chunk WHERE seq = 3") },
			"the ledger knows of a chunk 3 that is not there"},
		"middle cut out": {func(t *testing.T, b *bench) { exec(t, b, "DELETE FROM oversight_chunk WHERE seq = 2") },
			"the ledger knows of a chunk 2 that is not there"},
		"row rewritten": {func(t *testing.T, b *bench) {
			exec(t, b, "UPDATE oversight_chunk SET sha256 = 'sha256:00' WHERE seq = 1")
		},
			"chunk 1: the ledger says something else"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, b *bench) {
				s, cookie := b.open(t)
				for range 3 {
					require.Equal(t, 200, b.send(t.Context(), cookie, page("<p>hello"), httptest.NewRequest("GET", "/app/", nil)).Code)
				}
				require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
				c.tamper(t, b)
				rep, err := b.rec.Verify(t.Context(), s.ID)
				require.NoError(t, err)
				require.Contains(t, rep.Problems, c.want)
			})
		})
	}
}

// TestRecorder_FailClosed: what cannot be recorded is not shown.
func TestRecorder_FailClosed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		s, c := b.open(t)
		b.blobs.broken.Store(true)
		w := b.send(t.Context(), c, page("<p>private"), httptest.NewRequest("GET", "/app/", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.NotContains(t, w.Body.String(), "private")
		got, err := b.svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.StatePaused, got.State)
		alerts, err := b.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Equal(t, governance.Critical, alerts[0].Severity)

		called := false
		w = b.send(t.Context(), c, func(http.ResponseWriter, *http.Request) { called = true }, httptest.NewRequest("GET", "/app/", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.False(t, called, "a paused session lets nothing through")
		require.Error(t, b.rec.Recover(t.Context()))

		b.blobs.broken.Store(false)
		require.NoError(t, b.rec.Recover(t.Context()))
		require.Equal(t, 200, b.send(t.Context(), c, page("<p>again"), httptest.NewRequest("GET", "/app/", nil)).Code)
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
		rep, err := b.rec.Verify(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"1 requests have no frame"}, rep.Problems, "the gap is told")
		alerts, err = b.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Empty(t, alerts)
	})
}

func TestRecorder_LargeAndCrashing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		s, c := b.open(t)
		big := "<p>" + strings.Repeat("x", 100<<10)
		w := b.send(t.Context(), c, page(big), httptest.NewRequest("GET", "/app/big", nil))
		require.Equal(t, len(big), w.Body.Len())
		require.PanicsWithValue(t, "boom", func() {
			b.send(t.Context(), c, func(http.ResponseWriter, *http.Request) { panic("boom") }, httptest.NewRequest("GET", "/app/crash", nil))
		})
		tooBig := httptest.NewRequest("POST", "/app/", strings.NewReader("a="+strings.Repeat("x", 2<<20)))
		tooBig.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		require.Equal(t, http.StatusRequestEntityTooLarge, b.send(t.Context(), c, page(""), tooBig).Code)
		f, err := b.rec.Frame(t.Context(), s.ID, 1)
		require.NoError(t, err)
		require.True(t, f.Truncated)
		f, err = b.rec.Frame(t.Context(), s.ID, 2)
		require.NoError(t, err)
		require.Equal(t, 500, f.Status)
	})
}

// TestRecorder_Race: frames of concurrent requests all land in one unbroken chain.
func TestRecorder_Race(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		s, c := b.open(t)
		other, err := recorder.New(b.svc, b.blobs, nil) // as on a second server
		require.NoError(t, err)
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() {
				r := httptest.NewRequest("GET", "/app/", nil).WithContext(governance.WithIdentity(context.Background(), b.As("dana")))
				r.AddCookie(c)
				rec := []*recorder.Recorder{b.rec, other}[i%2]
				b.svc.Middleware(rec.Middleware(page("<p>hi"))).ServeHTTP(httptest.NewRecorder(), r)
			})
		}
		wg.Wait()
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
		rep, err := b.rec.Verify(t.Context(), s.ID)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		require.EqualValues(t, 24, rep.Frames)
	})
}

func TestRecorder_Evidence(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		s, c := b.open(t)
		b.send(t.Context(), c, page("<p>hi"), httptest.NewRequest("GET", "/app/", nil))
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
		b.Drain(t)
		e, err := b.rec.Evidence(t.Context(), b.As("dana"), s.ID)
		require.NoError(t, err)
		require.Empty(t, e.Recording.Problems)
		require.Len(t, e.Records, 4) // start, open, chunk, end
		raw, err := json.Marshal(e)
		require.NoError(t, err)
		var outside recorder.Evidence
		require.NoError(t, json.Unmarshal(raw, &outside))
		for _, r := range outside.Records {
			require.NotNil(t, r.Proof)
			require.NoError(t, ledger.VerifyProof(outside.VerifierKey, *r.Proof))
			require.JSONEq(t, r.Proof.Body, string(r.Body))
		}
		require.Contains(t, b.Actions(t), "evidence.take observed")
		require.NoError(t, b.rec.Watch(t.Context(), b.As("dana"), s))
		require.NoError(t, b.rec.Watch(t.Context(), b.As("dana"), s))
		require.Equal(t, 1, strings.Count(strings.Join(b.Actions(t), ","), "recording.watch"))
	})
}

func TestDir(t *testing.T) {
	t.Parallel()
	d, err := recorder.OpenDir(filepath.Join(t.TempDir(), "a", "b"))
	require.NoError(t, err)
	defer func() { _ = d.Close() }()
	require.NoError(t, d.Put(t.Context(), "s/1", []byte("x")))
	require.NoError(t, d.Put(t.Context(), "s/1", []byte("x")))
	require.ErrorIs(t, d.Put(t.Context(), "s/1", []byte("y")), governance.ErrConflict)
	require.Error(t, d.Put(t.Context(), "../out", []byte("y")))
	_, err = d.Get(t.Context(), "../../etc/passwd")
	require.Error(t, err)
	_, err = d.Get(t.Context(), "s/2")
	require.ErrorIs(t, err, governance.ErrNotFound)
	require.NoError(t, d.Delete(t.Context(), "s/1"))
	require.NoError(t, d.Delete(t.Context(), "s/1"))
}
