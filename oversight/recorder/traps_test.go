package recorder_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

// TestTrap43_MasksAreRecheckedAtStoring: the places in which pages are known to give
// away what a mask hid. In every one the value stands a second time where no rule
// names it, and nothing of it may be on disk.
func TestTrap43_MasksAreRecheckedAtStoring(t *testing.T) {
	t.Parallel()
	const secret = "LEAK-7f3a"
	pages := map[string]string{
		"hidden input":              `<input type=hidden name=password_hint value="LEAK-7f3a"><p>LEAK-7f3a`,
		"hidden input, any name":    `<input type=hidden name=x value="LEAK-7f3a">`,
		"aria-label":                `<b data-mask>LEAK-7f3a</b><button aria-label="Call LEAK-7f3a">call</button>`,
		"placeholder":               `<input name=iban value="LEAK-7f3a"><input name=other placeholder="such as LEAK-7f3a">`,
		"title of the page":         `<title>LEAK-7f3a</title><h1 data-mask>LEAK-7f3a</h1>`,
		"select":                    `<select name=api_key><option value="LEAK-7f3a" selected>LEAK-7f3a</option></select><select name=again><option value="LEAK-7f3a" label="LEAK-7f3a">one</select>`,
		"radio":                     `<input type=radio name=card value="LEAK-7f3a" checked aria-label="LEAK-7f3a"><label>LEAK-7f3a</label>`,
		"datalist":                  `<input name=account_number list=l value="LEAK-7f3a"><datalist id=l><option value="LEAK-7f3a"></datalist>`,
		"data attribute":            `<b data-mask>LEAK-7f3a</b><i data-user="LEAK-7f3a">x</i>`,
		"link":                      `<b data-mask>LEAK-7f3a</b><a href="/find?q=LEAK-7f3a">x</a><img alt="LEAK-7f3a" src="/LEAK-7f3a.png">`,
		"autocomplete says so":      `<input name=n autocomplete="section-a cc-number" value="LEAK-7f3a">`,
		"one-time code":             `<input name=n autocomplete=one-time-code value="LEAK-7f3a">`,
		"aria-valuetext":            `<meter name=birth aria-valuetext="LEAK-7f3a" value=1>LEAK-7f3a</meter>`,
		"aria-description":          `<b data-mask>LEAK-7f3a</b><i aria-description="of LEAK-7f3a">x</i>`,
		"textarea":                  `<textarea name=secret>LEAK-7f3a</textarea><p title="LEAK-7f3a">`,
		"meta":                      `<meta name=description content="about LEAK-7f3a"><b data-mask>LEAK-7f3a</b>`,
		"style":                     `<b data-mask>LEAK-7f3a</b><i style="--n:'LEAK-7f3a'">x</i>`,
		"svg":                       `<b data-mask>LEAK-7f3a</b><svg aria-label="LEAK-7f3a"><title>LEAK-7f3a</title><text>LEAK-7f3a</text></svg>`,
		"before it is masked":       `<p>LEAK-7f3a</p><b data-mask>LEAK-7f3a</b>`,
		"noscript and template":     `<noscript><input value="LEAK-7f3a"></noscript><template><b>LEAK-7f3a</b></template>`,
		"markup that reads anew":    `<svg></p><style><a id="</style><img title='LEAK-7f3a'>"></style></svg><b data-mask>LEAK-7f3a</b>`,
		"a pattern of the operator": `<p>Customer no. LEAK-7f3a</p>`,
	}
	each(t, func(t *testing.T, b *bench) {
		rec, err := recorder.New(b.svc, b.blobs, nil)
		require.NoError(t, err)
		withPattern, err := recorder.New(b.svc, b.blobs, &recorder.Options{MaskPatterns: []*regexp.Regexp{regexp.MustCompile(`no\. \S+`)}})
		require.NoError(t, err)
		s, c := b.open(t)
		for name, body := range pages {
			b.rec = rec
			if strings.Contains(name, "pattern") {
				b.rec = withPattern
			}
			w := b.send(t.Context(), c, page("<!doctype html>"+body), httptest.NewRequest("GET", "/app/x", nil))
			require.Equal(t, 200, w.Code, name)
			_, n, err := b.rec.Last(t.Context(), s.ID)
			require.NoError(t, err)
			f, err := b.rec.Frame(t.Context(), s.ID, n)
			require.NoError(t, err)
			require.NotEmpty(t, f.Body, name)
			require.NotContains(t, f.Body, secret, "%s: %s", name, f.Body)
		}
		// What a form sent is masked in the answer, in the address and in a redirect.
		form := httptest.NewRequest("POST", "/app/settings?q=LEAK-7f3a", strings.NewReader("password=LEAK-7f3a&note=it+is+LEAK-7f3a"))
		form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		b.send(t.Context(), c, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/app/done?x=LEAK-7f3a")
			w.WriteHeader(303)
		}, form)
		b.send(t.Context(), c, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, `{"secret":{"a":["LEAK-7f3a"]},"label":"for LEAK-7f3a","LEAK-7f3a":1}`)
		}, httptest.NewRequest("GET", "/app/x.json", nil))
		// Shapes of secrets are found without any mask.
		b.send(t.Context(), c, page(`<p title="DE89 3704 0044 0532 0130 00">otpauth://totp/x?secret=LEAK-7f3a Bearer LEAK-7f3aLEAK-7f3a</p><p>-----BEGIN RSA PRIVATE KEY-----
LEAK-7f3a</p><p>sk_live_abcdefghijklmnop1234 eyJhbGciOiJ.eyJzdWIiOiIx.c2ln`), httptest.NewRequest("GET", "/app/keys", nil))
		require.NoError(t, filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, leak := range []string{secret, "3704 0044", "sk_live", "eyJ"} {
				require.NotContains(t, string(raw), leak)
			}
			return err
		}))
		// That the check had something to do stands with the frame and in the ledger.
		found := false
		for _, r := range b.records(t, s) {
			found = found || regexp.MustCompile(`"remasked":[1-9]`).Match(r.Body)
		}
		require.True(t, found)
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
		rep, err := b.rec.Verify(t.Context(), s.ID)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
	})
}

// TestTrap43_ReplayRunsNothing: whatever a page contained, its replay has no script,
// no handler and a policy under which nothing runs, loads or submits.
func TestTrap43_ReplayRunsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		s, c := b.open(t)
		b.send(t.Context(), c, page(`<!doctype html><base href=//x><script>a()</script><svg onload=a()><script>a()</script></svg><iframe src=//x></iframe><a href="javascript:a()" onclick=a() ping=//x>x</a><form action=//x><button formaction="javascript:a()">go</button></form><meta http-equiv=refresh content="0;//x"><object data=//x></object>`),
			httptest.NewRequest("GET", "/app/", nil))
		f, err := b.rec.Frame(t.Context(), s.ID, 1)
		require.NoError(t, err)
		for _, bad := range []string{"<script", "onload", "onclick", "<iframe", "<object", "<base", "http-equiv", "ping="} {
			require.NotContains(t, strings.ToLower(f.Body), bad)
		}
		w := httptest.NewRecorder()
		require.NoError(t, recorder.WriteReplay(w, f))
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"sandbox;", "default-src 'none'", "form-action 'none'"} {
			require.Contains(t, policy, want)
		}
		require.NotContains(t, policy, "allow-")
		require.NotContains(t, policy, "script")
	})
}

// TestRecorder_Gaps: where something is wrong the replay has a gap of that kind, and
// everything sound around it keeps its number.
func TestRecorder_Gaps(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		tamper func(t *testing.T, b *bench, s oversight.Session)
		kind   recorder.GapKind
		after  int
		sound  []int
	}{
		"altered": {func(t *testing.T, b *bench, _ oversight.Session) { b.flip(t, 3) }, recorder.GapAltered, 2, []int{1, 2, 4, 5}},
		"missing": {func(t *testing.T, b *bench, _ oversight.Session) { require.NoError(t, os.Remove(b.blob(t, 1))) }, recorder.GapMissing, 0, []int{2, 3, 4, 5}},
		"truncated": {func(t *testing.T, b *bench, _ oversight.Session) {
			b.exec(t, "DELETE FROM oversight_chunk WHERE seq = 5")
		}, recorder.GapMissing, 4, []int{1, 2, 3, 4}},
		"cut off in the ledger as well": {func(t *testing.T, b *bench, s oversight.Session) {
			b.unguard(t)
			b.exec(t, "DELETE FROM gov_disclosure WHERE record IN (SELECT record FROM oversight_chunk WHERE seq = 5)")
			b.exec(t, "DELETE FROM gov_record WHERE id IN (SELECT record FROM oversight_chunk WHERE seq = 5)")
			b.exec(t, "DELETE FROM oversight_chunk WHERE seq = 5")
			b.exec(t, "UPDATE oversight_session SET requests = 4")
		}, recorder.GapTruncated, 4, []int{1, 2, 3, 4}},
		"reordered": {func(t *testing.T, b *bench, _ oversight.Session) {
			for _, set := range []string{"seq = 99 WHERE seq = 2", "seq = 2 WHERE seq = 4", "seq = 4 WHERE seq = 99"} {
				b.exec(t, "UPDATE oversight_chunk SET "+set)
			}
		}, recorder.GapMoved, 1, []int{1, 3, 5}},
		"files exchanged": {func(t *testing.T, b *bench, _ oversight.Session) {
			two, four := b.blob(t, 2), b.blob(t, 4)
			require.NoError(t, os.Rename(two, two+".x"))
			require.NoError(t, os.Rename(four, two))
			require.NoError(t, os.Rename(two+".x", four))
		}, recorder.GapAltered, 1, []int{1, 3, 5}},
		"rewritten with matching hashes": {func(t *testing.T, b *bench, _ oversight.Session) {
			raw, err := os.ReadFile(b.blob(t, 5))
			require.NoError(t, err)
			doctored := []byte(strings.Replace(string(raw), "hello 5", "nothing", 1))
			require.NoError(t, os.WriteFile(b.blob(t, 5), doctored, 0o600))
			b.exec(t, fmt.Sprintf("UPDATE oversight_chunk SET sha256 = '%s' WHERE seq = 5", recorder.Digest(doctored)))
		}, recorder.GapAltered, 4, []int{1, 2, 3, 4}},
		"put in": {func(t *testing.T, b *bench, s oversight.Session) {
			b.exec(t, fmt.Sprintf("INSERT INTO oversight_chunk (session, seq, blob, sha256, prev, bytes, frames, record, first_at, last_at) SELECT session, 6, blob, 'sha256:00', prev, bytes, frames, record, first_at, last_at FROM oversight_chunk WHERE seq = 5 AND session = '%s'", s.ID))
		}, recorder.GapForeign, 5, []int{1, 2, 3, 4, 5}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, b *bench) {
				s, cookie := b.open(t)
				for i := range 5 {
					require.Equal(t, 200, b.send(t.Context(), cookie, page(fmt.Sprintf("<p>hello %d", i+1)), httptest.NewRequest("GET", "/app/", nil)).Code)
				}
				require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
				whole, err := b.rec.Replay(t.Context(), s.ID)
				require.NoError(t, err)
				require.Empty(t, whole.Report.Gaps)
				require.Len(t, whole.Frames, 5)
				c.tamper(t, b, s)
				got, err := b.rec.Replay(t.Context(), s.ID)
				require.NoError(t, err)
				require.NotEmpty(t, got.Report.Gaps)
				require.Len(t, got.Report.Problems, len(got.Report.Gaps))
				require.Equal(t, c.kind, got.Report.Gaps[0].Kind, got.Report.Problems)
				require.Equal(t, c.after, got.Report.Gaps[0].After)
				var numbers []int
				for _, f := range got.Frames {
					numbers = append(numbers, f.N)
					full, err := b.rec.Frame(t.Context(), s.ID, f.N)
					require.NoError(t, err)
					require.Contains(t, full.Body, fmt.Sprintf("hello %d", f.N))
				}
				require.Equal(t, c.sound, numbers)
				for n := 1; n <= 5; n++ {
					if !strings.Contains(fmt.Sprint(c.sound), fmt.Sprint(n)) {
						_, err := b.rec.Frame(t.Context(), s.ID, n)
						require.Error(t, err, "nothing doctored is shown")
					}
				}
			})
		})
	}
}

func (b *bench) blob(t *testing.T, seq int) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(b.dir, "*", fmt.Sprintf("%06d-*", seq)))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func (b *bench) flip(t *testing.T, seq int) {
	t.Helper()
	raw, err := os.ReadFile(b.blob(t, seq))
	require.NoError(t, err)
	raw[len(raw)/2] ^= 1
	require.NoError(t, os.WriteFile(b.blob(t, seq), raw, 0o600))
}

func (b *bench) exec(t *testing.T, q string) {
	t.Helper()
	_, err := b.DB.Handle().ExecContext(t.Context(), q)
	require.NoError(t, err)
}

// unguard takes away what keeps the ledger's table from being changed, as the owner of
// a database can.
func (b *bench) unguard(t *testing.T) {
	t.Helper()
	if b.DB.Postgres() {
		b.exec(t, "ALTER TABLE gov_record DISABLE TRIGGER USER")
		return
	}
	var names []string
	require.NoError(t, b.DB.Handle().NewRaw("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'gov_record'").Scan(t.Context(), &names))
	for _, n := range names {
		b.exec(t, "DROP TRIGGER "+n)
	}
}

// TestRecorder_AnchorsWhileItRuns: each chunk's hash, number and predecessor stand in
// the ledger before the session is over, no chunk is larger than 256 KiB, and none
// waits: what was shown is anchored before it is shown.
func TestRecorder_AnchorsWhileItRuns(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		s, c := b.open(t)
		prev := ""
		for i := range 3 {
			var before int
			b.send(t.Context(), c, func(w http.ResponseWriter, r *http.Request) {
				before = len(b.chunkRecords(t, s))
				page("<p>"+strings.Repeat(`"&\<`, 40_000))(w, r)
			}, httptest.NewRequest("GET", "/app/", nil))
			got := b.chunkRecords(t, s)
			require.Len(t, got, i+1)
			require.Equal(t, i, before)
			last := got[len(got)-1]
			require.EqualValues(t, i+1, last.Seq)
			require.Equal(t, prev, last.Prev)
			require.LessOrEqual(t, last.Bytes, int64(256<<10))
			prev = last.SHA256
		}
		live, err := b.svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.StateActive, live.State)
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
		records, err := b.Kernel.Ledger().Records(t.Context(), ledger.Filter{Tenant: "acme", Search: "impersonation.end"})
		require.NoError(t, err)
		require.Contains(t, string(records[0].Body), prev, "the end tells how far the recording had come")
	})
}

// TestRecorder_Liveness: nothing has an effect that could not be recorded, an idle
// session is paused when the store fails, and one that stays lost is over.
func TestRecorder_Liveness(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		b.blobs.broken.Store(true)
		out, err := b.svc.Start(t.Context(), b.As("dana"), oversight.Request{Tenant: "acme", User: "u1", Scope: oversight.ReadWrite, Reason: "looking"})
		require.NoError(t, err)
		var denied *governance.DeniedError
		_, _, err = b.svc.Open(t.Context(), b.As("dana"), out.Action)
		require.ErrorAs(t, err, &denied)
		require.Equal(t, "recorder", denied.Rule)
		b.blobs.broken.Store(false)
		s, token, err := b.svc.Open(t.Context(), b.As("dana"), out.Action)
		require.NoError(t, err)
		c := b.svc.Cookie(s, token)

		b.Advance(20 * time.Second) // the last proof of life is too old: the next request asks first
		b.blobs.broken.Store(true)
		effect := false
		w := b.send(t.Context(), c, func(http.ResponseWriter, *http.Request) { effect = true }, httptest.NewRequest("POST", "/app/", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.False(t, effect)
		b.blobs.broken.Store(false)
		require.NoError(t, b.rec.Recover(t.Context()))

		b.Advance(20 * time.Second)
		b.blobs.broken.Store(true)
		require.Error(t, b.rec.Recover(t.Context()))
		got, err := b.svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.StatePaused, got.State, "although nobody asked for anything")
		require.Equal(t, oversight.ByRecorder, got.PausedBy)
		b.Advance(2 * time.Minute)
		b.blobs.broken.Store(false)
		require.NoError(t, b.rec.Recover(t.Context()))
		require.NoError(t, b.svc.Sweep(t.Context()))
		got, err = b.svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.EndRecorder, got.Ended, "it does not come back after the grace time")
	})
}

func (b *bench) chunkRecords(t *testing.T, s oversight.Session) []recorder.ChunkRecord {
	t.Helper()
	return b.rec.ChunkRecords(t.Context(), t, s)
}
