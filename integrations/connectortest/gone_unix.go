//go:build unix

package connectortest

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func requireGone(t *testing.T, pid int) {
	t.Helper()
	if pid != 0 {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "process %d is still there", pid)
	}
}
