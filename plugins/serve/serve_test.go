package serve_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/plugins/serve"
	"github.com/reevehq/reeve/plugins/wire"
)

func TestMain(m *testing.M) {
	if serve.IfPlugin(map[string]connector.Connector{"plain": plain{}}) {
		return
	}
	os.Exit(m.Run())
}

type plain struct{}

func (plain) Describe() connector.Descriptor {
	return connector.Descriptor{ID: "plain", Version: "1.0.0", Kind: connector.CRM}
}
func (plain) Configure(context.Context, connector.Config) error { return nil }
func (plain) Check(context.Context) error                       { return nil }

func program(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	shake := wire.Handshake()
	cmd.Env = []string{shake.MagicCookieKey + "=" + shake.MagicCookieValue, "PLUGIN_PROTOCOL_VERSIONS=1", wire.Marker + "=" + name, "TMPDIR=" + t.TempDir()}
	return cmd
}

// Where no kernel ends a plugin with its host, the pipe that closes must do.
func TestConnector_endsWithItsHost(t *testing.T) {
	t.Parallel()
	cmd := program(t, "plain")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	part := strings.Split(line, "|")
	require.Equal(t, []string{"1", "1", "unix"}, part[:3])
	_, err = os.Stat(part[3])
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait(), "it ends by itself, and well")
	require.Less(t, time.Since(began), 5*time.Second)
	_, err = os.Stat(part[3])
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestIfPlugin_unknownName(t *testing.T) {
	t.Parallel()
	out, err := program(t, "plane").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `no connector "plane", there are: plain`)
}
