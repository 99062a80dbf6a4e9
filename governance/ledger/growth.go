package ledger

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/ledger/offline"
)

// WriteGrowth writes every record after the first from ones, as the newest checkpoint
// has them, in the form that [offline.CheckGrowth] reads. It gives the size of the log.
func (l *Log) WriteGrowth(ctx context.Context, from int64, w io.Writer) (int64, error) {
	c, err := l.Checkpoint(ctx)
	if err != nil {
		return 0, err
	}
	if from < 0 || from > c.Size {
		return 0, fmt.Errorf("growth from %d, the log has %d records: %w", from, c.Size, ErrNotFound)
	}
	g := offline.Growth{From: from, Peaks: []string{}, Checkpoint: c.Note}
	var places []int64
	for at := int64(0); at < from; { // the full subtrees of the first records, largest first
		level := bits.Len64(uint64(from-at)) - 1
		places = append(places, tlog.StoredHashIndex(level, at>>level))
		at += 1 << level
	}
	peaks, err := newHashes(ctx, l.db.Read()).ReadHashes(places)
	if err != nil {
		return 0, fmt.Errorf("growth from %d: %w", from, err)
	}
	for _, p := range peaks {
		g.Peaks = append(g.Peaks, base64.StdEncoding.EncodeToString(p[:]))
	}
	switch before, err := l.CheckpointOf(ctx, from); {
	case err == nil:
		g.Earlier = before.Note
	case !errors.Is(err, ErrNotFound):
		return 0, err
	}
	keys, err := l.Keys(ctx)
	if err != nil {
		return 0, err
	}
	g.Keys = string(keys)
	head, err := json.Marshal(g)
	if err != nil {
		return 0, fmt.Errorf("growth from %d: %w", from, err)
	}
	out := bufio.NewWriter(w)
	_, _ = out.Write(append(head, '\n')) // Flush tells
	for at := from; at < c.Size; {
		rows, err := l.Leaves(ctx, at, min(1000, c.Size-at))
		if err != nil {
			return 0, fmt.Errorf("growth from %d: %w", from, err)
		}
		if len(rows) == 0 {
			return 0, fmt.Errorf("leaf %d: %w", at, ErrNotFound)
		}
		for _, r := range rows {
			line, err := offline.EncodeEntry(r.Body)
			if err != nil {
				return 0, fmt.Errorf("leaf %d: %w", r.N, err)
			}
			_, _ = out.Write(line)
		}
		at += int64(len(rows))
	}
	if err := out.Flush(); err != nil {
		return 0, fmt.Errorf("growth from %d: %w", from, err)
	}
	return c.Size, nil
}
