package oversight

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Companion is what else records a session, beside the recorder at the server: its
// words stand in the records of a session's beginning and end.
type Companion struct {
	Opened func() map[string]any                                                                   // with what it records
	Ended  func(ctx context.Context, tx *governance.Tx, session uuid.UUID) (map[string]any, error) // how far it had come
}

// Accompany sets the companion. Package browserrec calls it.
func (s *Service) Accompany(c Companion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.with = c
}

func (s *Service) companion() Companion {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with
}

func (s *Service) withOpened(data map[string]any) map[string]any {
	if c := s.companion(); c.Opened != nil {
		maps.Copy(data, c.Opened())
	}
	return data
}

func (s *Service) withEnded(ctx context.Context, tx *governance.Tx, session uuid.UUID, data map[string]any) error {
	c := s.companion()
	if c.Ended == nil {
		return nil
	}
	more, err := c.Ended(ctx, tx, session)
	maps.Copy(data, more)
	return err
}

// SessionOf finds the session of a request's own cookie and checks all that the
// middleware checks, without counting the request or keeping the session from being
// idle: for what belongs to the session and is no use of the product. A paused session
// is given back, with its state. [governance.ErrNotFound]: there is none, or it is over.
func (s *Service) SessionOf(r *http.Request) (Session, governance.Identity, error) {
	c, err := r.Cookie(s.opts.Cookie)
	if err != nil {
		return Session{}, governance.Identity{}, fmt.Errorf("session: %w", governance.ErrNotFound)
	}
	if err := s.csrf.Check(r); err != nil {
		return Session{}, governance.Identity{}, &governance.DeniedError{Action: "impersonation.use", Rule: "site", Reason: "the request comes from another site"}
	}
	have, id, err := s.authenticate(r.Context(), c.Value)
	var over *overError
	switch {
	case errors.As(err, &over), errors.Is(err, errSignedIn):
		return Session{}, id, fmt.Errorf("session: %w", governance.ErrNotFound)
	case errors.Is(err, errPaused):
		err = nil
	}
	return have, id, err
}

// LiveTx holds a session until tx commits, so that it cannot end meanwhile; one that
// has ended is [governance.ErrNotFound].
func (s *Service) LiveTx(ctx context.Context, tx *governance.Tx, session uuid.UUID) error {
	res, err := tx.ExecContext(ctx, "UPDATE oversight_session SET state = state WHERE id = ? AND state IN (?, ?)", session, StateActive, StatePaused)
	live, err := one(res, err)
	if err == nil && !live {
		err = fmt.Errorf("session %s is over: %w", session, governance.ErrNotFound)
	}
	return err
}
