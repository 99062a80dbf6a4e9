package siem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File appends JSON lines to a file, for an agent that reads it. It opens the file anew
// for each batch, so that it may be renamed away at any time; it never truncates. A batch
// is taken once it is on the disk. Use [NewFile].
type File struct{ name, path string }

// NewFile makes a File. The folder must be there; the file is made, readable by its owner.
func NewFile(name, path string) (*File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if path == "" {
		return nil, errors.New("siem: the path of a file sink is required")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("siem: path of sink %s: %w", name, err)
	}
	if info, err := os.Stat(filepath.Dir(abs)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("siem: sink %s: %s is no folder", name, filepath.Dir(abs))
	}
	if err := regular(abs); err != nil {
		return nil, fmt.Errorf("siem: sink %s: %w", name, err)
	}
	return &File{name, abs}, nil
}

// regular refuses what is no plain file: opening a pipe could wait for ever.
func regular(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	return nil
}

// Name implements Sink.
func (f *File) Name() string { return f.name }

// Kind implements Sink.
func (f *File) Kind() string { return "file" }

// Target implements Sink.
func (f *File) Target() string { return f.path }

// Send implements Sink.
func (f *File) Send(ctx context.Context, b Batch) (err error) {
	text, err := lines(b.Events)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := regular(f.path); err != nil {
		return err
	}
	_, before := os.Lstat(f.path)
	h, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	torn, err := endsTorn(h)
	if err != nil {
		return err
	}
	if torn { // a crash in the middle of a line: end it, its event comes again whole
		text = append([]byte{'\n'}, text...)
	}
	if _, err := h.Write(text); err != nil {
		return err
	}
	if err := h.Sync(); err != nil {
		return err
	}
	if errors.Is(before, fs.ErrNotExist) { // a new name is on the disk when its folder is
		return syncDir(filepath.Dir(f.path))
	}
	return nil
}

func endsTorn(h *os.File) (bool, error) {
	info, err := h.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	if _, err := h.ReadAt(last, info.Size()-1); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return last[0] != '\n', nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
