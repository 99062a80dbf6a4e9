package tiles

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// Exported says what an export holds.
type Exported struct {
	Size  int64 // records
	Files int
	Bytes int64
}

// Export writes the log into dir, which must be new or empty, as its newest checkpoint
// has it that at least so many witnesses signed. A manifest signed by the log goes with it, so that no byte can change
// unseen; the checkpoint is the last file but it.
func Export(ctx context.Context, l *ledger.Log, dir string, witnesses int) (Exported, error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return Exported{}, fmt.Errorf("export the ledger: %s is not empty", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Exported{}, fmt.Errorf("export the ledger: %w", err)
	}
	return export(ctx, l, witnesses, func(path string, b []byte) error {
		full := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			return err
		}
		return os.WriteFile(full, b, 0o600)
	})
}

// ExportZip is [Export] into one zip file. Nothing in it tells of this machine or of the
// time it was made at.
func ExportZip(ctx context.Context, l *ledger.Log, w io.Writer, witnesses int) (Exported, error) {
	z := zip.NewWriter(w)
	out, err := export(ctx, l, witnesses, func(path string, b []byte) error {
		f, err := z.CreateHeader(&zip.FileHeader{Name: path, Method: zip.Deflate})
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		return err
	})
	if err != nil {
		return out, err
	}
	if err := z.Close(); err != nil {
		return out, fmt.Errorf("export the ledger: %w", err)
	}
	return out, nil
}

func export(ctx context.Context, l *ledger.Log, witnesses int, put func(path string, b []byte) error) (Exported, error) {
	var out Exported
	c, err := l.Witnessed(ctx, witnesses)
	if err != nil {
		return out, fmt.Errorf("export the ledger: %w", err)
	}
	out.Size = c.Size
	var manifest strings.Builder
	write := func(path string, b []byte) error {
		if err := put(path, b); err != nil {
			return fmt.Errorf("export the ledger: %w", err)
		}
		out.Files++
		out.Bytes += int64(len(b))
		fmt.Fprintf(&manifest, "%x %s\n", sha256.Sum256(b), path)
		return nil
	}
	err = All(c.Size, func(level int, n int64, width int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var b []byte
		var err error
		if level == offline.EntriesLevel {
			b, err = l.Entries(ctx, n, width)
		} else {
			b, err = l.Tile(ctx, level, n, width)
		}
		if err != nil {
			return fmt.Errorf("export the ledger: %w", err)
		}
		return write(offline.TilePath(level, n, width), b)
	})
	if err != nil {
		return out, err
	}
	keys, err := l.Keys(ctx)
	if err != nil {
		return out, fmt.Errorf("export the ledger: %w", err)
	}
	if len(keys) > 0 {
		if err := write(offline.KeysFile, keys); err != nil {
			return out, err
		}
	}
	if err := write(offline.CheckpointFile, []byte(c.Note)); err != nil {
		return out, err
	}
	signed, err := l.SignManifest(manifest.String())
	if err != nil {
		return out, fmt.Errorf("export the ledger: %w", err)
	}
	return out, write(offline.ManifestFile, signed)
}

// All calls visit for every tile and every bundle of entries of a log of size records.
func All(size int64, visit func(level int, n int64, width int) error) error {
	for level := offline.EntriesLevel; level < 8; level++ {
		count := size >> (8 * max(level, 0))
		for n := range (count + offline.Width - 1) / offline.Width {
			if err := visit(level, n, int(min(offline.Width, count-n*offline.Width))); err != nil {
				return err
			}
		}
	}
	return nil
}
