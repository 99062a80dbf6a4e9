package ledger

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/ledger/offline"
)

// Tile reads a tile of the signed tree, as C2SP tlog-tiles has it: the hashes of width
// nodes at 8 times level, from the n-th group of 256 on. What no checkpoint covers
// is ErrNotFound.
func (l *Log) Tile(ctx context.Context, level int, n int64, width int) ([]byte, error) {
	if err := l.covers(ctx, level, n, width); err != nil {
		return nil, err
	}
	first := n * offline.Width
	var hashes []tlog.Hash
	var err error
	if level == 0 {
		hashes, err = readLeaves(ctx, l.db.Read(), first, first+int64(width))
	} else {
		places := make([]int64, width)
		for i := range places {
			places[i] = tlog.StoredHashIndex(8*level, first+int64(i))
		}
		hashes, err = newHashes(ctx, l.db.Read()).ReadHashes(places)
	}
	if err != nil {
		return nil, fmt.Errorf("tile %d of level %d: %w", n, level, err)
	}
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out, nil
}

// Entries reads a bundle of entries: the records' bodies, each behind its length.
func (l *Log) Entries(ctx context.Context, n int64, width int) ([]byte, error) {
	if err := l.covers(ctx, 0, n, width); err != nil {
		return nil, err
	}
	first := n * offline.Width
	var bodies []string
	if err := l.db.Read().NewRaw("SELECT body FROM gov_record WHERE n >= ? AND n < ? ORDER BY n", first, first+int64(width)).Scan(ctx, &bodies); err != nil {
		return nil, fmt.Errorf("entries from %d: %w", first, err)
	}
	if len(bodies) != width {
		return nil, fmt.Errorf("entries from %d: %d of %d are here: %w", first, len(bodies), width, ErrForked)
	}
	var out []byte
	for _, b := range bodies {
		out = binary.BigEndian.AppendUint16(out, uint16(len(b)))
		out = append(out, b...)
	}
	return out, nil
}

func (l *Log) covers(ctx context.Context, level int, n int64, width int) error {
	size, err := l.signed(ctx)
	if err != nil {
		return err
	}
	if level < 0 || level > 7 || n < 0 || width < 1 || width > offline.Width || n*offline.Width+int64(width) > size>>(8*level) {
		return fmt.Errorf("tile %d of level %d with %d hashes: %w", n, level, width, ErrNotFound)
	}
	return nil
}

// SignManifest signs the list of an export's files; see [offline.ManifestFile].
func (l *Log) SignManifest(lines string) ([]byte, error) {
	return note.Sign(&note.Note{Text: offline.ManifestHeader + "\n" + lines}, l.signer)
}
