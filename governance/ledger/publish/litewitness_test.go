package publish_test

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh/agent"
	_ "modernc.org/sqlite"

	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/publish"
	"github.com/reevehq/reeve/governance/outgoing"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "witness")
	if err != nil {
		panic(err)
	}
	buildDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var buildDir string

// litewitness builds torchwood's witness, in its own module, once.
var litewitness = sync.OnceValues(func() (string, error) {
	dir := buildDir
	cmd := exec.Command("go", "install", "filippo.io/torchwood/cmd/litewitness@v0.9.0")
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return strings.TrimSpace(string(out)), err
	}
	return filepath.Join(dir, "litewitness"), nil
})

// startWitness runs litewitness for the logs with these keys. It gives its address and
// its verification key.
func startWitness(t *testing.T, vkeys map[string]string) publish.Witness {
	t.Helper()
	bin, err := litewitness()
	if err != nil {
		t.Skipf("SKIP litewitness: it could not be built: %v: %s", err, bin)
	}
	dir, err := os.MkdirTemp("", "w") //nolint:usetesting // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	ring := agent.NewKeyring()
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: private}))
	socket := filepath.Join(dir, "agent")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())

	db := filepath.Join(dir, "w.db")
	sum := sha256.Sum256(public)
	cmd := exec.Command(bin, "-name", "witness.test/one", "-db", db, "-ssh-agent", socket, "-listen", address, "-key", hex.EncodeToString(sum[:]))
	errs, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	})
	vkey := make(chan string, 1)
	go func() {
		for s := bufio.NewScanner(errs); s.Scan(); {
			if _, key, ok := strings.Cut(s.Text(), "vkey="); ok {
				vkey <- strings.Trim(key, `"`)
			}
		}
	}()
	w := publish.Witness{URL: "http://" + address}
	select {
	case w.Key = <-vkey:
	case <-time.After(20 * time.Second):
		t.Fatal("litewitness does not say its key")
	}
	require.Eventually(t, func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)

	// What witnessctl does, which cannot be built: one of its modules cannot be had.
	h, err := sql.Open("sqlite", "file:"+db+"?_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	defer func() { _ = h.Close() }()
	empty := sha256.Sum256(nil)
	for origin, key := range vkeys {
		_, err = h.ExecContext(t.Context(), "INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", origin, base64.StdEncoding.EncodeToString(empty[:]))
		require.NoError(t, err)
		_, err = h.ExecContext(t.Context(), "INSERT INTO key (origin, key) VALUES (?, ?)", origin, key)
		require.NoError(t, err)
	}
	return w
}

// TestLitewitness lets a witness that nobody here wrote follow our log.
func TestLitewitness(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIP litewitness: it has to be built")
	}
	opts, skey := keyed(t)
	govtest.Each(t, opts, func(t *testing.T, e *govtest.Env) {
		ctx, log := t.Context(), e.Kernel.Ledger()
		w := startWitness(t, map[string]string{log.Origin(): log.VerifierKey()})
		p, err := publish.New(log, &publish.Options{Client: client(), Witnesses: []publish.Witness{w}})
		require.NoError(t, err)
		require.NoError(t, p.Turn(ctx), "nothing is signed yet")
		for _, n := range []int{1, 6, 300, 1} {
			add(t, e, log, n)
			require.NoError(t, p.Turn(ctx))
			require.NoError(t, p.Turn(ctx), "what is cosigned is not asked for again")
			c, err := log.Witnessed(ctx, 1)
			require.NoError(t, err)
			head, err := offline.ParseHead([]byte(c.Note), log.VerifierKey(), w.Key)
			require.NoError(t, err)
			require.Len(t, head.Cosigned, 1)
			require.Equal(t, "witness.test/one", head.Cosigned[0].Witness)
			require.WithinDuration(t, time.Now(), time.Unix(head.Cosigned[0].Time, 0), time.Minute)
		}
		head, err := log.Checkpoint(ctx)
		require.NoError(t, err)

		// Whoever lost what the witness said begins at 0 and is told the size.
		_, err = e.DB.Handle().ExecContext(ctx, "DELETE FROM gov_cosignature")
		require.NoError(t, err)
		add(t, e, log, 2)
		require.NoError(t, p.Turn(ctx))
		c, err := log.Witnessed(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, head.Size+2, c.Size)

		// Another past is refused by the witness, whatever we sign.
		other := govtest.New(t, nil)
		forked, err := ledger.New(other.DB, skey, nil)
		require.NoError(t, err)
		q, err := publish.New(forked, &publish.Options{Client: client(), Witnesses: []publish.Witness{w}})
		require.NoError(t, err)
		add(t, other, forked, 5)
		require.ErrorIs(t, q.Turn(ctx), ledger.ErrForked, "fewer than the witness saw")
		resume(t, other, forked)
		add(t, other, forked, 400)
		require.ErrorIs(t, q.Turn(ctx), ledger.ErrForked, "as many, but others")
	})
}

func client() *http.Client { return outgoing.New(&outgoing.Options{Allow: outgoing.Loopback()}) }
