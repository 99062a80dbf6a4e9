package tiles

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// HandlerOptions tunes a Handler. The zero value is ready to use.
type HandlerOptions struct {
	Witnesses int          // the checkpoint served is the newest that so many signed; default 0
	Logger    *slog.Logger // default: discard
}

// Handler serves a log below its root: /checkpoint, /keys, /tile/<L>/<N>[.p/<W>] and
// /tile/entries/<N>[.p/<W>]. It asks nobody who they are: the host mounts it behind
// its own authentication.
func Handler(l *ledger.Log, opts *HandlerOptions) http.Handler {
	var o HandlerOptions
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the log is only read", http.StatusMethodNotAllowed)
			return
		}
		b, kind, cache, err := read(r, l, o.Witnesses)
		if errors.Is(err, ledger.ErrNotFound) {
			http.NotFound(w, r)
			return
		}
		if err != nil {
			o.Logger.ErrorContext(r.Context(), "serve the ledger", "error", err)
			http.Error(w, "the log could not be read", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", cache)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(b)
	})
}

func read(r *http.Request, l *ledger.Log, witnesses int) (body []byte, kind, cache string, err error) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if path == offline.CheckpointFile {
		c, err := l.Witnessed(r.Context(), witnesses)
		return []byte(c.Note), "text/plain; charset=utf-8", "no-cache", err
	}
	if path == offline.KeysFile {
		b, err := l.Keys(r.Context())
		if err == nil && len(b) == 0 {
			err = ledger.ErrNotFound
		}
		return b, "text/plain; charset=utf-8", "no-cache", err
	}
	level, n, width, ok := offline.ParseTilePath(path)
	if !ok {
		return nil, "", "", ledger.ErrNotFound
	}
	cache = "private, max-age=31536000, immutable" // a tile, also an incomplete one, never changes
	if level == offline.EntriesLevel {
		body, err = l.Entries(r.Context(), n, width)
	} else {
		body, err = l.Tile(r.Context(), level, n, width)
	}
	return body, "application/octet-stream", cache, err
}
