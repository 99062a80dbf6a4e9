package connectortest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/integrations/connector"
	pb "github.com/reevehq/reeve/plugins/connectorpb/v1"
	"github.com/reevehq/reeve/plugins/host"
	"github.com/reevehq/reeve/plugins/sandboxvendor"
	"github.com/reevehq/reeve/plugins/wire"
)

// Plugin is what Run proves.
type Plugin struct {
	Path     string           // the program; see Build
	Serve    string           // which connector, of a program that has several
	Settings connector.Config // settings that work; secrets of at least 8 bytes
	Vendor   Vendor
}

// Vendor is the test's own view of the vendor, past the connector.
type Vendor struct {
	// Accounts counts what the vendor holds, by tenant. Required with accounts.upsert.
	Accounts func() map[string]int
	// Tickets counts tickets by dedup key. Required with tickets.
	Tickets func() map[string]int
	// Slow delays every request from now on; 0 ends it.
	Slow func(time.Duration)
	// Fail makes the vendor refuse with an HTTP status, and a Retry-After unless it is
	// 0, every request from now on; status 0 ends it.
	Fail func(status int, retryAfter time.Duration)
}

// Build builds a main package into a temporary folder.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// Sandbox starts a sandbox vendor and fills in Settings and Vendor of p; accounts is
// the collection in which the connector keeps them.
func Sandbox(t testing.TB, p Plugin, accounts string) Plugin {
	t.Helper()
	const token = "sandbox-token-7f3a"
	v, err := sandboxvendor.Open(filepath.Join(t.TempDir(), "vendor.jsonl"), sandboxvendor.Options{Token: token})
	require.NoError(t, err)
	srv := httptest.NewServer(v)
	t.Cleanup(func() {
		v.SetFault(sandboxvendor.Fault{})
		srv.Close()
		_ = v.Close()
	})
	count := func(collection string) func() map[string]int {
		return func() map[string]int {
			n := map[string]int{}
			for _, o := range v.Objects(collection) {
				n[o.ExternalID]++
			}
			return n
		}
	}
	p.Settings = connector.Config{"url": srv.URL, "token": token}
	p.Vendor = Vendor{Accounts: count(accounts), Tickets: count("tickets"),
		Slow: func(d time.Duration) { v.SetFault(sandboxvendor.Fault{Delay: d}) },
		Fail: func(status int, wait time.Duration) {
			v.SetFault(sandboxvendor.Fault{Status: status, RetryAfter: wait})
		}}
	return p
}

// hosted is the plugin under the real host.
type hosted struct {
	connector.Connector
	host *host.Host
}

func (p Plugin) start(t *testing.T, configured bool) *hosted {
	t.Helper()
	program, err := os.ReadFile(p.Path)
	require.NoError(t, err)
	sum := sha256.Sum256(program)
	h, err := host.New(t.TempDir(), &host.Options{MaxCrashes: 10, BackoffMin: time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	t.Cleanup(func() {
		pid := h.Status()[0].PID
		h.Close()
		requireGone(t, pid)
	})
	spec := host.Spec{Name: "under-test", Path: p.Path, SHA256: hex.EncodeToString(sum[:]), Serve: p.Serve}
	if configured {
		spec.Settings = func(context.Context) (connector.Config, error) { return p.Settings, nil }
	}
	require.NoError(t, h.Add(spec))
	c, err := h.Connector(t.Context(), spec.Name)
	require.NoError(t, err)
	return &hosted{Connector: c, host: h}
}

func (h *hosted) status() host.Status { return h.host.Status()[0] }

// kill ends the plugin as the kernel would when memory runs out, and waits for the next
// run.
func (h *hosted) kill(t *testing.T) {
	t.Helper()
	old := h.status()
	require.NotZero(t, old.PID)
	proc, err := os.FindProcess(old.PID)
	require.NoError(t, err)
	require.NoError(t, proc.Kill())
	require.Eventually(t, func() bool {
		s := h.status()
		return s.State == host.Ready && s.PID != 0 && s.PID != old.PID
	}, 30*time.Second, time.Millisecond, "the plugin did not come back")
}

// bare is the plugin under plain go-plugin, with everything it prints.
type bare struct {
	rpc pb.ConnectorServiceClient
	out *safeBuffer
}

func (p Plugin) bare(t *testing.T) *bare {
	t.Helper()
	out := &safeBuffer{}
	cmd := exec.Command(p.Path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), wire.Marker + "=" + p.Serve}
	c := plugin.NewClient(&plugin.ClientConfig{HandshakeConfig: wire.Handshake(), Plugins: plugin.PluginSet{wire.Name: &plugin.NetRPCUnsupportedPlugin{}}, Cmd: cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, AutoMTLS: true, SkipHostEnv: true, Logger: hclog.NewNullLogger(), Stderr: out, SyncStdout: out, SyncStderr: out})
	t.Cleanup(func() {
		time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() }) // Kill has no deadline of its own
		c.Kill()
	})
	conn, err := c.Client()
	require.NoError(t, err)
	return &bare{rpc: pb.NewConnectorServiceClient(conn.(*plugin.GRPCClient).Conn), out: out}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
