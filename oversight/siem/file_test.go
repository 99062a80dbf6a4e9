package siem_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/oversight/siem"
)

// TestFile_rotationAndTornLine: a renamed file is followed by a new one, and a line that a
// crash tore is ended, not continued.
func TestFile_rotationAndTornLine(t *testing.T) {
	t.Parallel()
	f, path := fileSink(t)
	seq := func(n int64) siem.Event {
		return siem.Event{Metadata: siem.Metadata{UID: fmt.Sprint(n), Sequence: &n}}
	}
	require.NoError(t, f.Send(t.Context(), siem.Batch{Events: []siem.Event{seq(0), seq(1)}}))
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, f.Send(t.Context(), siem.Batch{Events: []siem.Event{seq(2)}}))
	require.Equal(t, []int64{0, 1}, leaves(readFile(t, path+".1")))
	require.Equal(t, []int64{2}, leaves(readFile(t, path)))
	h, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = h.WriteString(`{"activity_id":3,"met`)
	require.NoError(t, errors.Join(err, h.Close()))
	require.NoError(t, f.Send(t.Context(), siem.Batch{Events: []siem.Event{seq(3)}}))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	sc := bufio.NewScanner(bytes.NewReader(b))
	var good, bad int
	for sc.Scan() {
		if json.Valid(sc.Bytes()) {
			good++
		} else {
			bad++
		}
	}
	require.Equal(t, []int{2, 1}, []int{good, bad})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = siem.NewFile("dir", t.TempDir())
	require.ErrorContains(t, err, "no regular file")
	_, err = siem.NewFile("x", filepath.Join(t.TempDir(), "absent", "f"))
	require.ErrorContains(t, err, "no folder")
}
