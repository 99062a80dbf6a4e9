package s3sink_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/publish"
	"github.com/reevehq/reeve/governance/ledger/publish/s3sink"
)

const access, secret = "reeve", "not-a-secret"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "s3")
	if err != nil {
		panic(err)
	}
	buildDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var buildDir string

// gateway builds versitygw, in its own module, once.
var gateway = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "install", "github.com/versity/versitygw/cmd/versitygw@v1.8.0") //nolint:noctx // shared by every test
	cmd.Env = append(os.Environ(), "GOBIN="+buildDir, "GOFLAGS=")
	cmd.Dir = buildDir
	if out, err := cmd.CombinedOutput(); err != nil {
		return strings.TrimSpace(string(out)), err
	}
	return filepath.Join(buildDir, "versitygw"), nil
})

// startStore runs an object store that nobody here wrote, with a bucket "log" that has
// object lock. It gives its address.
func startStore(t *testing.T) (string, *minio.Client) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIP versitygw: it has to be built")
	}
	bin, err := gateway()
	if err != nil {
		t.Skipf("SKIP versitygw: it could not be built: %v: %s", err, bin)
	}
	dir := t.TempDir()
	for _, d := range []string{"data", "meta", "versions"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host := free.Addr().String()
	require.NoError(t, free.Close())
	cmd := exec.Command(bin, "--access", access, "--secret", secret, "--port", host, "--quiet", //nolint:noctx // ended by a signal below
		"posix", "--sidecar", filepath.Join(dir, "meta"), "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	c, err := minio.New(host, &minio.Options{Creds: credentials.NewStaticV4(access, secret, ""), Region: "us-east-1"})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return c.MakeBucket(t.Context(), "log", minio.MakeBucketOptions{ObjectLocking: true}) == nil
	}, 20*time.Second, 20*time.Millisecond)
	return "http://" + host + "/log", c
}

func newSink(t testing.TB, e *govtest.Env, address string, change func(*s3sink.Options)) *s3sink.Sink {
	t.Helper()
	o := &s3sink.Options{Address: address, AccessKey: access, SecretKey: secret, Transport: http.DefaultTransport, Tiles: true}
	if change != nil {
		change(o)
	}
	s, err := s3sink.New(e.Kernel.Ledger(), o)
	require.NoError(t, err)
	return s
}

func add(t testing.TB, e *govtest.Env, n int) {
	t.Helper()
	log := e.Kernel.Ledger()
	require.NoError(t, e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
		for range n {
			id := uuid.Must(uuid.NewV7())
			if _, err := log.Append(ctx, tx, ledger.Entry{ID: id, Kind: "test", At: e.Now(), Body: fmt.Appendf(nil, `{"id":%q}`, id)}); err != nil {
				return err
			}
		}
		return nil
	}))
	_, err := log.Seal(context.Background())
	require.NoError(t, err)
}

func keyed(t testing.TB) *govtest.Options {
	t.Helper()
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	return &govtest.Options{Kernel: func(o *governance.Options) { o.LedgerKey = skey }}
}

// bucket is a source of a log that is read from a bucket.
type bucket struct {
	c      *minio.Client
	prefix string
}

func (b bucket) Read(ctx context.Context, path string) ([]byte, error) {
	o, err := b.c.GetObject(ctx, "log", b.prefix+path, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = o.Close() }()
	out, err := io.ReadAll(o)
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil, os.ErrNotExist
	}
	return out, err
}

// TestSink_Log: what is in the bucket is the whole log, for any client, at every size
// that was published, and a lock keeps it.
func TestSink_Log(t *testing.T) {
	t.Parallel()
	address, c := startStore(t)
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx, prefix := t.Context(), uuid.NewString()+"/"
		plain := newSink(t, e, address+"/"+prefix, func(o *s3sink.Options) { o.Tiles = false })
		s := newSink(t, e, address+"/"+prefix, func(o *s3sink.Options) { o.Lock = 24 * time.Hour })
		last, err := s.Last(ctx)
		require.NoError(t, err)
		require.Nil(t, last)
		add(t, e, 3)
		head, err := e.Kernel.Ledger().Checkpoint(ctx)
		require.NoError(t, err)
		require.NoError(t, plain.Publish(ctx, head), "without tiles first: they are caught up with")
		p, err := publish.New(e.Kernel.Ledger(), &publish.Options{Sinks: []publish.Sink{s}})
		require.NoError(t, err)
		for _, n := range []int{1, 300, 257, 1} {
			add(t, e, n)
			require.NoError(t, p.Turn(ctx))
			require.NoError(t, p.Restore(ctx))
			rep, err := offline.Check(ctx, bucket{c, prefix}, e.Kernel.Ledger().VerifierKey(), nil)
			require.NoError(t, err)
			require.Empty(t, rep.Problems)
			head, err = e.Kernel.Ledger().Checkpoint(ctx)
			require.NoError(t, err)
			require.Equal(t, head.Size, rep.Head.Size)
		}
		require.NoError(t, s.Publish(ctx, head), "told twice")
		name := fmt.Sprintf("%scheckpoints/%020d", prefix, head.Size)
		info, err := c.StatObject(ctx, "log", name, minio.StatObjectOptions{})
		require.NoError(t, err)
		require.Error(t, c.RemoveObject(ctx, "log", name, minio.RemoveObjectOptions{VersionID: info.VersionID}), "it is locked")
	})
}

// TestSink_Receipts: receipts lie in the bucket, and a file of them holds against it.
func TestSink_Receipts(t *testing.T) {
	t.Parallel()
	address, c := startStore(t)
	e := govtest.New(t, nil)
	ctx, log := t.Context(), e.Kernel.Ledger()
	s := newSink(t, e, address, nil)
	signed, err := log.SignReceipts("a", 1, true, []ledger.Receipt{{ID: uuid.Must(uuid.NewV7()), At: e.Now()}})
	require.NoError(t, err)
	require.NoError(t, s.PublishReceipts(ctx, "a", 1, signed))
	require.NoError(t, s.PublishReceipts(ctx, "a", 1, signed), "told twice")
	other, err := log.SignReceipts("a", 1, true, nil)
	require.NoError(t, err)
	require.ErrorIs(t, s.PublishReceipts(ctx, "a", 1, other), publish.ErrDiffers)
	got, err := bucket{c, ""}.Read(ctx, "receipts/a/00000000000000000001")
	require.NoError(t, err)
	require.Equal(t, string(signed), string(got))
}

// TestSink_Differs: nothing that is there is written over, by nobody; a head of another
// past stops the log.
func TestSink_Differs(t *testing.T) {
	t.Parallel()
	address, c := startStore(t)
	put := func(t *testing.T, name, text string) {
		t.Helper()
		_, err := c.PutObject(t.Context(), "log", name, strings.NewReader(text), int64(len(text)), minio.PutObjectOptions{SendContentMd5: true})
		require.NoError(t, err)
	}
	t.Run("a tile", func(t *testing.T) {
		t.Parallel()
		e, prefix := govtest.New(t, nil), uuid.NewString()+"/"
		put(t, prefix+"tile/0/000.p/2", "something else")
		add(t, e, 2)
		p, err := publish.New(e.Kernel.Ledger(), &publish.Options{Sinks: []publish.Sink{newSink(t, e, address+"/"+prefix, nil)}})
		require.NoError(t, err)
		require.ErrorIs(t, p.Turn(t.Context()), publish.ErrDiffers)
		got, err := bucket{c, prefix}.Read(t.Context(), "tile/0/000.p/2")
		require.NoError(t, err)
		require.Equal(t, "something else", string(got))
		_, err = bucket{c, prefix}.Read(t.Context(), "checkpoint")
		require.ErrorIs(t, err, os.ErrNotExist, "no checkpoint over tiles that are not there")
	})
	t.Run("another past under the same key", func(t *testing.T) {
		t.Parallel()
		opts, prefix := keyed(t), uuid.NewString()+"/"
		one, two := govtest.New(t, opts), govtest.New(t, opts)
		add(t, one, 2)
		add(t, two, 2)
		s := newSink(t, one, address+"/"+prefix, func(o *s3sink.Options) { o.Tiles = false })
		head, err := one.Kernel.Ledger().Checkpoint(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.Publish(t.Context(), head))
		// The newest is gone, as somebody who may write to the bucket would have it.
		require.NoError(t, c.RemoveObject(t.Context(), "log", prefix+"checkpoint", minio.RemoveObjectOptions{}))
		p, err := publish.New(two.Kernel.Ledger(), &publish.Options{Sinks: []publish.Sink{newSink(t, two, address+"/"+prefix, func(o *s3sink.Options) { o.Tiles = false })}})
		require.NoError(t, err)
		require.ErrorIs(t, p.Turn(t.Context()), publish.ErrDiffers)
		h, err := two.Kernel.Ledger().Halted(t.Context())
		require.NoError(t, err)
		require.NotNil(t, h)
		require.Equal(t, head.Note, h.Proof, "by what the log itself signed")
	})
	t.Run("no bucket, no right", func(t *testing.T) {
		t.Parallel()
		e := govtest.New(t, nil)
		add(t, e, 1)
		for name, s := range map[string]*s3sink.Sink{
			"no bucket": newSink(t, e, strings.TrimSuffix(address, "log")+"nowhere", nil),
			"no right":  newSink(t, e, address, func(o *s3sink.Options) { o.SecretKey = "guessed" }),
		} {
			_, err := s.Last(t.Context())
			require.Error(t, err, name)
			require.NotContains(t, err.Error(), "guessed")
		}
	})
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	for want, change := range map[string]func(*s3sink.Options){
		"names no bucket":          func(o *s3sink.Options) { o.Address = "https://s3.example/" },
		"is not an http or https":  func(o *s3sink.Options) { o.Address = "s3://bucket" },
		"and Transport are":        func(o *s3sink.Options) { o.Transport = nil },
		"AccessKey, SecretKey and": func(o *s3sink.Options) { o.SecretKey = "" },
		"Lock is -1":               func(o *s3sink.Options) { o.Lock = -1 },
	} {
		o := &s3sink.Options{Address: "https://s3.example/b", AccessKey: "a", SecretKey: "s", Transport: http.DefaultTransport}
		change(o)
		_, err := s3sink.New(e.Kernel.Ledger(), o)
		require.ErrorContains(t, err, want)
	}
	_, err := s3sink.New(nil, nil)
	require.Error(t, err)
}
