package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// BlobStore keeps the chunks of recordings. Put is durable when it returns; putting
// the same bytes again is fine. Get returns ErrNotFound for an unknown key. Keys
// are slash-separated paths of letters, digits, dashes and dots.
type BlobStore interface {
	Put(ctx context.Context, key string, data []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	Delete(ctx context.Context, key string) error
}

// Dir is a BlobStore in a directory. Use [OpenDir].
type Dir struct{ root *os.Root }

var _ BlobStore = (*Dir)(nil)

// OpenDir makes the directory if need be. Nothing outside it can be named.
func OpenDir(dir string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	return &Dir{root}, nil
}

// Close gives the directory back.
func (d *Dir) Close() error { return d.root.Close() }

// Put implements BlobStore: a file appears whole or not at all, and is never
// replaced by other bytes.
func (d *Dir) Put(_ context.Context, key string, data []byte) error {
	if have, err := d.root.ReadFile(key); err == nil {
		if bytes.Equal(have, data) {
			return nil
		}
		return fmt.Errorf("blob %s: exists with other bytes: %w", key, governance.ErrConflict)
	}
	if err := d.root.MkdirAll(path.Dir(key), 0o700); err != nil {
		return fmt.Errorf("blob %s: %w", key, err)
	}
	temp := key + "." + uuid.NewString() + ".tmp"
	if err := d.write(temp, data); err != nil {
		_ = d.root.Remove(temp)
		return fmt.Errorf("blob %s: %w", key, err)
	}
	if err := d.root.Rename(temp, key); err != nil {
		_ = d.root.Remove(temp)
		return fmt.Errorf("blob %s: %w", key, err)
	}
	return d.sync(path.Dir(key))
}

func (d *Dir) write(name string, data []byte) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// sync makes a rename durable.
func (d *Dir) sync(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements BlobStore.
func (d *Dir) Get(_ context.Context, key string) ([]byte, error) {
	b, err := d.root.ReadFile(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", key, governance.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", key, err)
	}
	return b, nil
}

// Delete implements BlobStore; deleting what is not there is fine.
func (d *Dir) Delete(_ context.Context, key string) error {
	if err := d.root.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob %s: %w", key, err)
	}
	return nil
}
