package host

import (
	"bufio"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/reevehq/reeve/integrations/connector"
)

const (
	maxLine     = 2 << 10 // bytes of one line that are kept
	lineWindow  = 10 * time.Second
	linesWindow = 200 // lines kept in one window
)

// scrubber cuts the secrets of a plugin's settings out of text.
type scrubber struct {
	mu sync.RWMutex
	r  *strings.Replacer
}

func (s *scrubber) learn(d connector.Descriptor, cfg connector.Config) {
	open := map[string]bool{}
	for _, f := range d.Config {
		open[f.Key] = !f.Secret
	}
	var pairs []string
	for k, v := range cfg {
		if !open[k] && len(v) >= 4 { // shorter ones would tear up every text
			pairs = append(pairs, v, "[secret]", url.QueryEscape(v), "[secret]")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r = strings.NewReplacer(pairs...)
}

func (s *scrubber) clean(text string, limit int) string {
	s.mu.RLock()
	r := s.r
	s.mu.RUnlock()
	if r != nil {
		text = r.Replace(text)
	}
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

func (s *scrubber) error(e *connector.Error) *connector.Error {
	if e == nil {
		return nil
	}
	c := *e
	c.Message, c.Field, c.VendorCode = s.clean(c.Message, 500), s.clean(c.Field, 100), s.clean(c.VendorCode, 100)
	return &c
}

// lines logs one stream of a plugin: whole lines, scrubbed, cut and counted.
type lines struct {
	log   *slog.Logger
	scrub *scrubber
	now   func() time.Time

	mu      sync.Mutex
	since   time.Time
	kept    int
	dropped int
	rest    []byte // of Write
}

func (l *lines) copy(from io.Reader) {
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		line, more, err := r.ReadLine()
		if err != nil {
			return
		}
		l.line(string(line))
		for more && err == nil { // the rest of an endless line
			_, more, err = r.ReadLine()
		}
	}
}

// Write takes what comes over the connection, as a plugin's stdout and stderr do once it serves.
func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	l.mu.Lock()
	b = append(l.rest, b...)
	var whole []string
	for {
		i := strings.IndexByte(string(b), '\n')
		if i < 0 && len(b) < 64<<10 {
			break
		}
		if i < 0 {
			i = len(b) - 1
		}
		whole = append(whole, string(b[:i]))
		b = b[i+1:]
	}
	l.rest = append([]byte(nil), b...)
	l.mu.Unlock()
	for _, s := range whole {
		l.line(s)
	}
	return n, nil
}

func (l *lines) line(s string) {
	l.mu.Lock()
	now, lost := l.now(), 0
	if now.Sub(l.since) >= lineWindow {
		l.since, l.kept, lost, l.dropped = now, 0, l.dropped, 0
	}
	l.kept++
	drop := l.kept > linesWindow
	if drop {
		l.dropped++
	}
	l.mu.Unlock()
	if lost > 0 {
		l.log.Warn("plugin printed too much", "lines_dropped", lost)
	}
	if drop {
		return
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "�")
	}
	l.log.Info("plugin output", "line", l.scrub.clean(s, maxLine))
}
