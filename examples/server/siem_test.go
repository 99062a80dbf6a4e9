package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/oversight/siem"
)

// TestServe_copiesItsLog: the file that the settings name has every record from the first
// on, once the server runs, and goes on after a restart where it was.
func TestServe_copiesItsLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "ocsf.jsonl")
	read := func() (events []siem.Event) {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for line := range bytes.Lines(b) {
			var e siem.Event
			if json.Unmarshal(line, &e) == nil && e.Metadata.Sequence != nil {
				events = append(events, e)
			}
		}
		return events
	}
	starts := func(events []siem.Event) (n int) {
		for _, e := range events {
			if e.Metadata.EventCode == "siem.sink.start" {
				n++
			}
		}
		return n
	}
	for run := 1; run <= 2; run++ {
		p := startServe(t, "--data", filepath.Join(dir, "data"), "--set", "siem_file="+path)
		require.Eventually(t, func() bool { return starts(read()) == run }, 20*time.Second, 50*time.Millisecond, "%s", p.log.String())
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		require.NoError(t, p.cmd.Wait(), "%s", p.log.String())
	}
	events := read()
	for i, e := range events {
		require.Equal(t, int64(i), *e.Metadata.Sequence)
		require.True(t, strings.HasPrefix(e.Metadata.LogName, "reeve."))
	}
}
