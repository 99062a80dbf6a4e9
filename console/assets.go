package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

//go:embed templates
var templateFiles embed.FS

type asset struct {
	mime       string
	raw, small []byte // small is gzip
}

// assets are served under names that carry their hash, so that they may be kept
// for ever and are never stale.
type assets struct {
	byHash map[string]asset  // "console.1a2b3c.css"
	names  map[string]string // "console.css" → that
}

func loadAssets() (*assets, error) {
	a := &assets{byHash: map[string]asset{}, names: map[string]string{}}
	err := fs.WalkDir(staticFiles, "static", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := staticFiles.ReadFile(p)
		if err != nil {
			return err
		}
		var small bytes.Buffer
		z := gzip.NewWriter(&small)
		if _, err := z.Write(raw); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		name, ext := path.Base(p), path.Ext(p)
		sum := sha256.Sum256(raw)
		hashed := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		kind := mime.TypeByExtension(ext)
		if ext == ".js" {
			kind = "text/javascript; charset=utf-8"
		}
		a.byHash[hashed] = asset{kind, raw, small.Bytes()}
		a.names[name] = hashed
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("console: assets: %w", err)
	}
	return a, nil
}

func (c *console) assetURL(name string) (string, error) {
	hashed, ok := c.assets.names[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return c.base + "/static/" + hashed, nil
}

func (c *console) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets.byHash[path.Base(r.URL.Path)]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.mime)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := a.raw
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.small
	}
	_, _ = w.Write(body)
}
