package governance

import (
	"strings"

	"github.com/google/uuid"
)

// ID is an identifier of a T: an ID[Approval] cannot be given where an ID[Run] is
// wanted. Its text form is that of the UUID.
type ID[T any] struct{ uuid.UUID }

// NewID makes a time-ordered (version 7) ID.
func NewID[T any]() ID[T] { return ID[T]{uuid.Must(uuid.NewV7())} }

// ParseID reads the text form; the error names the value.
func ParseID[T any](s string) (ID[T], error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return ID[T]{}, Invalid("id", "%q is not a UUID", s)
	}
	return ID[T]{u}, nil
}

// IsZero tells whether the ID was never set.
func (id ID[T]) IsZero() bool { return id.UUID == uuid.Nil }

// TenantID is the host's own identifier of a tenant.
type TenantID string

// PersonID identifies a human being, who may act through several accounts and keys.
type PersonID string

// GroupID identifies a group of people by a stable id, never by a display name.
type GroupID string

// Ref points at a thing: its kind and its id.
type Ref struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// RefTo makes a Ref of anything that prints its id.
func RefTo(kind string, id interface{ String() string }) Ref { return Ref{kind, id.String()} }

// String is "kind/id"; empty for the zero Ref.
func (r Ref) String() string {
	if r == (Ref{}) {
		return ""
	}
	return r.Kind + "/" + r.ID
}

// ParseRef reads the form of [Ref.String].
func ParseRef(s string) Ref {
	kind, id, _ := strings.Cut(s, "/")
	return Ref{kind, id}
}
