package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Source is where the files of a log are. A file that is not there is
// fs.ErrNotExist. Implementations: [Dir], [URL], [Files].
type Source interface {
	Read(ctx context.Context, path string) ([]byte, error)
}

// lister is implemented by sources that know which files they have.
type lister interface {
	List() ([]string, error)
}

// maxFile is the most a file of a log can have: a full bundle of the largest entries.
const maxFile = Width * (2 + 65535)

// Files is a Source of an fs.FS.
type Files struct{ fs.FS }

// Dir is a Source of a folder.
func Dir(path string) Files { return Files{os.DirFS(path)} }

// Read implements Source.
func (f Files) Read(_ context.Context, path string) ([]byte, error) { return fs.ReadFile(f.FS, path) }

// List names every file.
func (f Files) List() ([]string, error) {
	var out []string
	err := fs.WalkDir(f.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	return out, err
}

// URL is a Source behind an address.
type URL struct {
	base   *url.URL
	client *http.Client
	header http.Header
}

// NewURL makes a Source of the files below base. client may be nil; header goes with
// every request, for a log that asks who is reading.
func NewURL(base string, client *http.Client, header http.Header) (*URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("offline: %q is not an http or https address", base)
	}
	if client == nil {
		client = &http.Client{Timeout: time.Minute}
	}
	return &URL{u, client, header}, nil
}

// Read implements Source.
func (u *URL) Read(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.base.JoinPath(strings.Split(path, "/")...).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("offline: %s: %w", path, err)
	}
	for k, v := range u.header {
		req.Header[k] = v
	}
	res, err := u.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("offline: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("offline: %s: %w", path, fs.ErrNotExist)
	default:
		return nil, fmt.Errorf("offline: %s: the server answers %s", path, res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("offline: %s: %w", path, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("offline: %s: %w", path, errors.New("the file is larger than a log's can be"))
	}
	return b, nil
}
