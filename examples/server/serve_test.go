package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/govtest"
)

// process is a server in a process of its own.
type process struct {
	cmd  *exec.Cmd
	log  *lockedBuffer
	out  *lockedBuffer // stdout
	url  string
	link string // of the first sign-in, when there was one
}

// startServe starts "server serve" and waits until it says where it listens.
func startServe(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{log: &lockedBuffer{}, out: &lockedBuffer{}}
	p.cmd = exec.Command(self, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "REEVE_") }), asServer+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.log
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	require.Eventually(t, func() bool {
		sc := bufio.NewScanner(strings.NewReader(p.out.String()))
		for sc.Scan() {
			if rest, ok := strings.CutPrefix(sc.Text(), "Reeve listens on "); ok {
				p.url = rest
			}
			if strings.Contains(sc.Text(), "/console/signin/") {
				p.link = sc.Text()
			}
		}
		if p.url == "" {
			return false
		}
		res, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond, "the server said: %s", p.log)
	return p
}

// term asks the server to stop and gives its exit code.
func (p *process) term(t *testing.T) int {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
}

// person is somebody's browser, which signs in once and then visits any server.
type person struct {
	http *http.Client
	key  string // instead of the cookie
}

func newPerson(t *testing.T) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &person{http: &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (p *person) send(t *testing.T, method, url string, body any, want int) string {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		require.NoError(t, err)
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, r)
	require.NoError(t, err)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if p.key != "" {
		req.Header.Set("Authorization", "Bearer "+p.key)
	}
	res, err := p.http.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, want, res.StatusCode, "%s %s: %s", method, url, b)
	return string(b)
}

func (p *person) get(t *testing.T, url string) string {
	t.Helper()
	return p.send(t, http.MethodGet, url, nil, http.StatusOK)
}

func field[T any](t *testing.T, body string, path ...string) T {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(body), &v))
	for _, name := range path {
		m, ok := v.(map[string]any)
		require.True(t, ok, "%s in %s", name, body)
		v = m[name]
	}
	out, ok := v.(T)
	require.True(t, ok, "%v in %s", path, body)
	return out
}

// invite invites somebody through the API, acting alone, and gives the browser of
// who accepted.
func (p *person) invite(t *testing.T, url, name string, roles ...string) *person {
	t.Helper()
	body := p.send(t, http.MethodPost, url+"/v1/invitations", invitation(name, roles...), http.StatusOK)
	// What would have been held is marked; an auditor may be invited by one anyway.
	require.Equal(t, slices.Contains(roles, "gov_approver"), strings.Contains(body, `"bootstrap":true`), body)
	link := field[string](t, p.send(t, http.MethodPost, url+"/v1/invitations/"+field[string](t, body, "result", "invitation")+"/link", nil, http.StatusOK), "url")
	guest := newPerson(t)
	require.Contains(t, guest.get(t, link), "Welcome, "+name)
	guest.send(t, http.MethodPost, link, nil, http.StatusOK)
	return guest
}

func invitation(name string, roles ...string) map[string]any {
	return map[string]any{"name": name, "email": strings.ToLower(name) + "@example.org", "roles": roles, "reason": "Works here"}
}

func (p *person) bootstrap(t *testing.T, url string) bool {
	t.Helper()
	open := field[bool](t, p.get(t, url+"/v1/me"), "bootstrap")
	require.Equal(t, open, strings.Contains(p.get(t, url+"/console/"), "Bootstrap mode."), "the banner")
	return open
}

// vote approves and gives what was answered.
func (p *person) vote(t *testing.T, url, approval string, want int) string {
	t.Helper()
	digest := field[string](t, p.get(t, url+"/v1/approvals/"+approval), "digest")
	return p.send(t, http.MethodPost, url+"/v1/approvals/"+approval+"/votes", map[string]any{"decision": "approve", "digest": digest}, want)
}

// firstPeople takes a new server through its first run: the administrator, an
// auditor and an approver, who ends bootstrap mode.
func firstPeople(t *testing.T, s *process) (admin, auditor, approver *person) {
	t.Helper()
	admin = newPerson(t)
	admin.send(t, http.MethodPost, s.link, nil, http.StatusOK)
	require.True(t, admin.bootstrap(t, s.url))
	auditor = admin.invite(t, s.url, "Ines", "gov_auditor")
	require.True(t, admin.bootstrap(t, s.url), "two people")
	approver = admin.invite(t, s.url, "Noor", "gov_approver")
	require.False(t, admin.bootstrap(t, s.url), "the third ends it")
	return admin, auditor, approver
}

func TestServe_FirstRun(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := startServe(t, "--data", data)
	require.NotEmpty(t, s.link)
	stranger := newPerson(t)
	require.Equal(t, "ok\n", stranger.get(t, s.url+"/livez"))
	require.Equal(t, "ok\n", stranger.get(t, s.url+"/readyz"))
	metrics := stranger.get(t, s.url+"/metrics")
	require.Contains(t, metrics, "reeve_http_request_seconds_count")
	require.Contains(t, metrics, "reeve_approvals_pending 0")
	stranger.send(t, http.MethodGet, s.url+"/v1/me", nil, http.StatusUnauthorized)
	stranger.send(t, http.MethodGet, s.url+"/console/users", nil, http.StatusSeeOther)

	// Opening the link, however often, uses nothing up; its button does, once.
	for range 2 {
		require.Contains(t, stranger.get(t, s.link), "Set up this server")
	}
	admin := newPerson(t)
	require.Contains(t, admin.send(t, http.MethodPost, s.link, nil, http.StatusOK), "sign-in code")
	stranger.send(t, http.MethodPost, s.link, nil, http.StatusGone)
	stranger.send(t, http.MethodGet, s.link, nil, http.StatusGone)
	require.True(t, admin.bootstrap(t, s.url))

	// One person may act, and what they do is marked.
	body := admin.send(t, http.MethodPost, s.url+"/v1/invitations", invitation("Ada", "super_admin"), http.StatusOK)
	require.True(t, field[bool](t, body, "bootstrap"))
	record := admin.get(t, s.url+"/v1/ledger/records/"+field[string](t, body, "receipt", "record"))
	require.True(t, field[bool](t, record, "body", "bootstrap"), record)
	require.Equal(t, "user.invite", field[string](t, record, "body", "action"))

	auditor := admin.invite(t, s.url, "Ines", "gov_auditor")
	require.True(t, admin.bootstrap(t, s.url), "two people")
	approver := admin.invite(t, s.url, "Noor", "gov_approver")
	require.False(t, admin.bootstrap(t, s.url), "the third ends it")
	held := admin.send(t, http.MethodPost, s.url+"/v1/invitations", invitation("Max", "super_admin"), http.StatusAccepted)
	approval := field[string](t, held, "approval")

	// By default a key does not vote, not even a personal one of an approver.
	key := field[string](t, admin.send(t, http.MethodPost, s.url+"/v1/keys", map[string]any{"kind": "personal", "person": field[string](t, approver.get(t, s.url+"/v1/me"), "person"), "name": "script", "reason": "Scripts"}, http.StatusOK), "result", "key")
	script := newPerson(t)
	script.key = field[string](t, approver.send(t, http.MethodPost, s.url+"/v1/keys/"+key+"/show", nil, http.StatusOK), "secret")
	require.Contains(t, script.vote(t, s.url, approval, http.StatusForbidden), "key")
	require.Equal(t, "pending", field[string](t, admin.get(t, s.url+"/v1/approvals/"+approval), "state"))
	admin.vote(t, s.url, approval, http.StatusForbidden) // nor does one's own vote count
	require.Equal(t, "executed", field[string](t, approver.vote(t, s.url, approval, http.StatusOK), "state"))

	// It has ended for good: fewer people and another start do not bring it back.
	ines := field[string](t, auditor.get(t, s.url+"/v1/me"), "person")
	admin.send(t, http.MethodPost, s.url+"/v1/users/"+ines+"/deactivate", map[string]any{"reason": "Left"}, http.StatusOK)
	require.False(t, admin.bootstrap(t, s.url))
	require.Zero(t, s.term(t), s.log)
	s = startServe(t, "--data", data)
	require.Empty(t, s.link, "a second first run")
	require.False(t, admin.bootstrap(t, s.url), "the session is still good, and the mode has ended")
	require.Zero(t, s.term(t), s.log)
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// slowBody gives its second half when it is told to.
type slowBody struct {
	first, second io.Reader
	read          chan struct{} // closed when the first half was taken
	more          chan struct{}
	asked         bool
}

func (b *slowBody) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	if !b.asked {
		b.asked = true
		close(b.read)
		<-b.more
	}
	return b.second.Read(p)
}

func TestServe_Stop(t *testing.T) {
	t.Parallel()
	s := startServe(t, "--data", t.TempDir())
	admin := newPerson(t)
	admin.send(t, http.MethodPost, s.link, nil, http.StatusOK)

	text, err := json.Marshal(invitation("Ines", "gov_auditor"))
	require.NoError(t, err)
	body := &slowBody{first: bytes.NewReader(text[:20]), second: bytes.NewReader(text[20:]), read: make(chan struct{}), more: make(chan struct{})}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/invitations", body)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	answer := make(chan int, 1)
	go func() {
		res, err := admin.http.Do(req)
		if err != nil {
			answer <- 0
			return
		}
		defer func() { _ = res.Body.Close() }()
		answer <- res.StatusCode
	}()
	<-body.read
	require.Eventually(t, func() bool { // the server has the head of the request
		return regexp.MustCompile(`reeve_http_request_seconds_count`).MatchString(admin.get(t, s.url+"/metrics"))
	}, 5*time.Second, 20*time.Millisecond)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { // nobody new is let in
		res, err := http.Get(s.url + "/livez")
		if err == nil {
			_ = res.Body.Close()
		}
		return err != nil
	}, 10*time.Second, 20*time.Millisecond)
	close(body.more)
	require.Equal(t, http.StatusOK, <-answer, "a running request is finished; the server said: %s", s.log)
	_ = s.cmd.Wait()
	require.Zero(t, s.cmd.ProcessState.ExitCode(), s.log)
}

// TestServe_Two runs two servers on one database.
func TestServe_Two(t *testing.T) {
	t.Parallel()
	dsn, schema := govtest.PostgresDSN(t), govtest.Schema(t)
	args := func() []string {
		return []string{"--data", t.TempDir(), "--set", "database=" + dsn, "--set", "database_schema=" + schema}
	}
	a := startServe(t, args()...)
	b := startServe(t, args()...)
	require.NotEmpty(t, a.link)
	admin, auditor, approver := firstPeople(t, a)
	require.False(t, admin.bootstrap(t, b.url), "both know")

	// Asked on one, decided on the other, executed once.
	approval := field[string](t, admin.send(t, http.MethodPost, a.url+"/v1/invitations", invitation("Max", "super_admin"), http.StatusAccepted), "approval")
	require.Equal(t, "executed", field[string](t, approver.vote(t, b.url, approval, http.StatusOK), "state"))
	approver.vote(t, a.url, approval, http.StatusConflict)
	db, err := opendb.Open(t.Context(), dsn, &opendb.Options{Schema: schema, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	require.Equal(t, 1, number(t, db, `SELECT COUNT(*) FROM gov_record WHERE body LIKE '%"user.invite"%' AND body LIKE '%"outcome":"done"%' AND body NOT LIKE '%"approval.vote"%' AND body LIKE ?`, "%"+approval+"%"))
	require.Equal(t, 1, number(t, db, "SELECT COUNT(*) FROM auth_invitation WHERE email = 'max@example.org'"))

	// Both sign as one: their checkpoints are the same note.
	sealedBy(t, db)
	require.Equal(t, auditor.get(t, a.url+"/v1/ledger/checkpoint"), auditor.get(t, b.url+"/v1/ledger/checkpoint"))

	// One goes, the other goes on, also with what the first one led; twice, so that
	// each way round the leader is lost at least once.
	first := sealedBy(t, db)
	a.kill(t)
	admin.send(t, http.MethodPost, b.url+"/v1/invitations", invitation("Kim", "cs_agent"), http.StatusOK)
	require.NotEmpty(t, sealedBy(t, db))
	c := startServe(t, args()...)
	require.Empty(t, c.link)
	admin.send(t, http.MethodPost, b.url+"/v1/invitations", invitation("Lee", "cs_agent"), http.StatusOK)
	second := sealedBy(t, db)
	b.kill(t)
	admin.send(t, http.MethodPost, c.url+"/v1/invitations", invitation("Pat", "cs_agent"), http.StatusOK)
	third := sealedBy(t, db)
	require.NotEqual(t, second, third, "somebody else leads; before it was %s", first)
	require.Equal(t, 0, number(t, db, `SELECT COUNT(*) FROM (SELECT COUNT(*) AS n, MIN(n) AS lo, MAX(n) AS hi FROM gov_record) x WHERE n <> hi - lo + 1`))

	var out, log bytes.Buffer
	code := run(context.WithoutCancel(t.Context()), append([]string{"ledger", "verify"}, args()[2:]...), nil, &out, &log)
	require.Zero(t, code, "%s%s", out.String(), log.String())
	require.Zero(t, c.term(t), c.log)
	for _, p := range []*process{a, b, c} {
		require.NotContains(t, p.log.String(), "level=ERROR")
	}
}

func number(t *testing.T, db *govdb.DB, query string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, db.Handle().NewRaw(query, args...).Scan(t.Context(), &n))
	return n
}

// sealedBy waits until every record is in the tree, which takes a lease's time when
// the leader is lost, and gives the leader.
func sealedBy(t *testing.T, db *govdb.DB) string {
	t.Helper()
	require.Eventually(t, func() bool { return number(t, db, "SELECT COUNT(*) FROM gov_record WHERE n IS NULL") == 0 }, 20*time.Second, 50*time.Millisecond, "the ledger is not sealed")
	var owner string
	require.NoError(t, db.Handle().NewRaw("SELECT owner FROM gov_lease WHERE name = 'ledger.seal'").Scan(t.Context(), &owner))
	return owner
}
