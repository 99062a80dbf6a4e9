package governance

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/govdb"
)

var (
	// ErrNotFound: there is no such thing, or the caller may not know of it.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the thing is in another state or version than the call assumes.
	ErrConflict = errors.New("conflict")
	// ErrRetry: the transaction lost a race and may be tried again as a whole.
	ErrRetry = govdb.ErrRetry
)

// InvalidError names the place of bad input. Several come joined.
type InvalidError struct {
	Field  string // path of the field, such as "limits[0].max"
	Reason string
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

// Invalid makes an *InvalidError.
func Invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// DeniedError says that an act was refused, by what and why. A refusal is recorded.
type DeniedError struct {
	Action string
	Rule   string // policy id, permission, or the name of a hard rule
	Reason string
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("%s is denied by %s: %s", e.Action, e.Rule, e.Reason)
}

// ApprovalRequiredError says that an act is held; Approval is where people decide.
type ApprovalRequiredError struct {
	Action   string
	Approval uuid.UUID
	Why      []string // one line per policy that holds it
}

func (e *ApprovalRequiredError) Error() string {
	return fmt.Sprintf("%s is held for approval %s", e.Action, e.Approval)
}

// notDoneError marks a remote failure after which the effect certainly is not there.
type notDoneError struct{ err error }

func (e *notDoneError) Error() string { return e.err.Error() }
func (e *notDoneError) Unwrap() error { return e.err }

// NotDone tells the kernel that a remote call failed before it had any effect, so
// that it may fail at once instead of becoming unknown.
func NotDone(err error) error {
	if err == nil {
		return nil
	}
	return &notDoneError{err}
}

// IsUnique tells whether err is a violated UNIQUE or PRIMARY KEY constraint.
func IsUnique(err error) bool { return govdb.IsUnique(err) }
