package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// errWrongProgram is a program that is not the one that was allowed.
var errWrongProgram = errors.New("the program's SHA-256 is another one")

// stage gives the path to execute and its digest: a copy in our private folder that
// was hashed while it was made, so that nobody can swap the file between check and run.
func (h *Host) stage(s Spec) (path, sum string, err error) {
	if s.Self {
		sum, err := h.self()
		if err != nil {
			return "", "", err
		}
		if runtime.GOOS == "linux" {
			return "/proc/self/exe", sum, nil // the very file that runs now, even after an upgrade on disk
		}
		if s.Path, err = os.Executable(); err != nil {
			return "", "", err
		}
		s.SHA256 = sum
	}
	want := strings.ToLower(s.SHA256)
	path = filepath.Join(h.dir, want)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	if got, err := digest(path); err == nil && got == want {
		return path, want, nil
	}
	got, err := h.copy(s.Path, path, want)
	if err != nil {
		return "", got, fmt.Errorf("plugin %s: %w", s.Name, err)
	}
	return path, got, nil
}

func (h *Host) copy(from, to, want string) (string, error) {
	src, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.CreateTemp(h.dir, "copy-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(dst.Name()) }()
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(dst, hash), src)
	if err := errors.Join(err, dst.Chmod(0o500), dst.Close()); err != nil {
		return "", err
	}
	got := hex.EncodeToString(hash.Sum(nil))
	if got != want {
		return got, errWrongProgram
	}
	return got, os.Rename(dst.Name(), to)
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func selfDigest() (string, error) {
	path := "/proc/self/exe"
	if runtime.GOOS != "linux" {
		var err error
		if path, err = os.Executable(); err != nil {
			return "", err
		}
	}
	return digest(path)
}

// workFolder makes a short-lived folder with a short name, as a socket's path may have
// about a hundred bytes. Folders of hosts that were killed are removed on the way.
func workFolder() (string, error) {
	base := os.TempDir()
	if len(base) > 40 {
		if _, err := os.Stat("/tmp"); err == nil {
			base = "/tmp"
		}
	}
	const prefix = "reeve-plugins-"
	old, _ := filepath.Glob(filepath.Join(base, prefix+"*"))
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && n > 0 && gone(n) {
			_ = os.RemoveAll(dir)
		}
	}
	return os.MkdirTemp(base, fmt.Sprintf("%s%d-", prefix, os.Getpid()))
}
