package outgoing_test

import (
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/outgoing"
)

func get(c *http.Client, url string) (string, int, error) {
	res, err := c.Get(url)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return string(b), res.StatusCode, err
}

func TestNew_Prohibited(t *testing.T) {
	t.Parallel()
	client := outgoing.New(nil)
	for _, url := range []string{
		"http://127.0.0.1/", "http://localhost/", "http://0.0.0.0/", "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/",
		"http://[64:ff9b::7f00:1]/", "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://192.168.1.1/", "http://[fd00::1]/",
		"http://[fe80::1]/", "http://100.100.100.200/", "http://2130706433/", "https://93.184.216.34:22/", "http://93.184.216.34:6379/",
	} {
		_, _, err := get(client, url)
		require.Error(t, err, url)
		if !strings.Contains(url, "2130706433") && !strings.Contains(url, "fe80") { // not resolved, or no route, before it can be dialled
			require.ErrorIs(t, err, outgoing.ErrProhibited, url)
		}
	}
	for _, url := range []string{"file:///etc/passwd", "gopher://127.0.0.1/", "unix:///var/run/docker.sock"} {
		_, _, err := get(client, url)
		require.Error(t, err, url)
	}
}

func TestNew_Allow(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
		case "/big":
			_, _ = io.WriteString(w, strings.Repeat("x", 101))
		case "/exact":
			_, _ = io.WriteString(w, strings.Repeat("x", 100))
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, strings.Repeat("x", 1<<20))
			_ = z.Close()
		case "/slow":
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, "ok")
		}
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	require.NoError(t, err)
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	require.NoError(t, err)
	loopback := netip.MustParsePrefix("127.0.0.0/8")

	allow := func(a ...outgoing.Allowed) *http.Client {
		return outgoing.New(&outgoing.Options{Allow: a, MaxBody: 100})
	}
	body, status, err := get(allow(outgoing.Allowed{Prefix: loopback, Ports: []uint16{uint16(port)}}), srv.URL)
	require.NoError(t, err)
	require.Equal(t, "ok", body)
	require.Equal(t, 200, status)
	_, _, err = get(allow(outgoing.Allowed{Prefix: loopback, Ports: []uint16{1}}), srv.URL)
	require.ErrorIs(t, err, outgoing.ErrProhibited, "another port is no exception")
	_, _, err = get(allow(outgoing.Allowed{Prefix: loopback}), srv.URL)
	require.ErrorIs(t, err, outgoing.ErrProhibited, "no port named never means every port")
	_, _, err = get(allow(outgoing.Allowed{AnyPort: true}), srv.URL)
	require.ErrorIs(t, err, outgoing.ErrProhibited, "no prefix named never means every address")

	client := allow(outgoing.Loopback()...)
	body, status, err = get(client, srv.URL+"/redirect")
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, status)
	require.NotEqual(t, "ok", body)
	_, _, err = get(client, srv.URL+"/big")
	require.ErrorIs(t, err, outgoing.ErrTooLarge)
	body, _, err = get(client, srv.URL+"/exact")
	require.NoError(t, err)
	require.Len(t, body, 100)
	_, _, err = get(client, srv.URL+"/bomb")
	require.ErrorIs(t, err, outgoing.ErrTooLarge)
	_, _, err = get(outgoing.New(&outgoing.Options{Allow: outgoing.Loopback(), Timeout: 50 * time.Millisecond}), srv.URL+"/slow")
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
}

func TestNew_NoProxy(t *testing.T) {
	var hits atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	_, _, err := get(outgoing.New(&outgoing.Options{Allow: outgoing.Loopback()}), "http://10.1.2.3/")
	require.ErrorIs(t, err, outgoing.ErrProhibited)
	require.Zero(t, hits.Load())
}
