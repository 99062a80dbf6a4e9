package siem

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// ErrTooLarge says that a sink takes fewer events at a time; the batch is halved.
var ErrTooLarge = errors.New("siem: the batch is too large for the sink")

// RetryAfterError is the answer of a sink that said when to come again.
type RetryAfterError struct {
	After time.Duration
	Err   error
}

func (e *RetryAfterError) Error() string { return e.Err.Error() }
func (e *RetryAfterError) Unwrap() error { return e.Err }

// Batch is what a sink gets at once. A batch that is sent again has the same ID and the
// same events.
type Batch struct {
	ID     string
	Events []Event
}

// Sink takes events. Implementations: [File], [Syslog], [HTTP].
type Sink interface {
	// Name is what the sink's cursor is kept under: it never changes.
	Name() string
	// Kind is file, syslog or http.
	Kind() string
	// Target says where events go, without secrets, for people and records.
	Target() string
	// Send returns nil only when the whole batch is where it is safe. It ends with ctx;
	// one that does not is not called again before it returned.
	Send(ctx context.Context, b Batch) error
}

var _, _, _ Sink = (*File)(nil), (*Syslog)(nil), (*HTTP)(nil)

func checkName(name string) error {
	if !regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`).MatchString(name) {
		return fmt.Errorf("siem: the name of a sink is %q, want a letter and up to 31 of a-z, 0-9 and -", name)
	}
	return nil
}

// lines are the events as JSON lines.
func lines(events []Event) ([]byte, error) {
	var out []byte
	for _, e := range events {
		line, err := e.Encode()
		if err != nil {
			return nil, err
		}
		out = append(append(out, line...), '\n')
	}
	return out, nil
}

// plain is the text of an error for a table and a page: one line, not endless.
func plain(err error) string {
	s := shown(strings.Join(strings.Fields(err.Error()), " "))
	return cutTo(s, 300)
}
