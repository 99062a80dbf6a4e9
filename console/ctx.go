package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Ctx is one request: who asks, what for, and what is to be said.
type Ctx struct {
	Identity governance.Identity
	R        *http.Request

	con   *console
	w     http.ResponseWriter
	may   map[string]bool
	errs  []FieldError
	story bool
	rtl   bool
}

// FieldError is what is wrong with one field of a form.
type FieldError struct{ Field, Reason string }

func (c *console) ctx(w http.ResponseWriter, r *http.Request) *Ctx {
	x := &Ctx{R: r, con: c, w: w, may: map[string]bool{}}
	x.Identity, _ = governance.IdentityFrom(r.Context())
	if x.Identity.Origin.RequestID == "" {
		x.Identity.Origin.RequestID = uuid.NewString()
	}
	return x
}

// Context is the request's context.
func (x *Ctx) Context() context.Context { return x.R.Context() }

// Kernel is the kernel the console stands on.
func (x *Ctx) Kernel() *governance.Kernel { return x.con.kernel }

// Authorize asks whether the caller holds a permission on a target.
func (x *Ctx) Authorize(permission string, on governance.Target) error {
	return x.con.kernel.Authorize(x.Context(), x.Identity, permission, on)
}

// Can tells whether the caller holds a permission in general; for hiding what
// would be refused.
func (x *Ctx) Can(permission string) bool {
	if permission == "" || x.story {
		return true
	}
	yes, known := x.may[permission]
	if !known {
		yes = x.Authorize(permission, governance.Target{}) == nil
		x.may[permission] = yes
	}
	return yes
}

// HasRole tells whether the caller has a role.
func (x *Ctx) HasRole(role string) bool {
	for _, r := range x.Identity.Actor.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// Path is a wildcard of the route's pattern.
func (x *Ctx) Path(name string) string { return x.R.PathValue(name) }

// UUID is a wildcard that is a UUID; what is none is not found.
func (x *Ctx) UUID(name string) (uuid.UUID, error) {
	id, err := uuid.Parse(x.Path(name))
	if err != nil {
		return uuid.Nil, governance.ErrNotFound
	}
	return id, nil
}

// Query is a parameter of the address, without spaces around it.
func (x *Ctx) Query(name string) string { return strings.TrimSpace(x.R.URL.Query().Get(name)) }

// Form is a value that was sent, without spaces around it.
func (x *Ctx) Form(name string) string { return strings.TrimSpace(x.R.PostForm.Get(name)) }

// FormAll is every value that was sent under one name.
func (x *Ctx) FormAll(name string) []string { return x.R.PostForm[name] }

// FormInt is a whole number that was sent; empty is 0.
func (x *Ctx) FormInt(name string) (int64, error) {
	s := x.Form(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, governance.Invalid(name, "is not a whole number")
	}
	return n, nil
}

// Key is the idempotency key that {{key}} put into the form, for
// governance.DoOptions: sending the same form twice acts once.
func (x *Ctx) Key() string { return x.Form("_key") }

// SetCookie sets a cookie on the answer.
func (x *Ctx) SetCookie(ck *http.Cookie) { http.SetCookie(x.w, ck) }

// Render writes a page from a Route.Serve.
func (x *Ctx) Render(v View) { x.con.render(x, v) }

// URL is the address of a path below the base.
func (x *Ctx) URL(path string) string { return x.con.url(path) }

// Base is the console's own path prefix with a slash at its end; cookies are set for it.
func (x *Ctx) Base() string { return x.con.url("/") }

// Here is the current path below the base with its query.
func (x *Ctx) Here() string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(x.R.URL.RequestURI(), x.con.base), "/")
}

// With is the current path below the base with one query parameter set, or removed
// when value is empty. Changing anything but the cursor goes back to the first page.
func (x *Ctx) With(name, value string) string {
	q := x.R.URL.Query()
	q.Del("cursor")
	if value == "" {
		q.Del(name)
	} else {
		q.Set(name, value)
	}
	path := "/" + strings.TrimPrefix(strings.TrimPrefix(x.R.URL.Path, x.con.base), "/")
	if s := q.Encode(); s != "" {
		path += "?" + s
	}
	return path
}

// Pager makes the links below a list from the next cursor, empty on the last page.
// The cursor of this page is Query("cursor").
func (x *Ctx) Pager(next string) Pager {
	p := Pager{}
	if next != "" {
		p.Next = x.With("cursor", next)
	}
	if x.Query("cursor") != "" {
		p.First = x.With("cursor", "")
	}
	return p
}

// Field fills in what was sent and what is wrong with it, when the form came back.
func (x *Ctx) Field(f Field) Field {
	if x.R != nil && x.R.Method == http.MethodPost && f.Kind != "password" && f.Kind != "file" {
		f.Value = x.R.PostForm.Get(f.Name)
	}
	for _, e := range x.errs {
		if e.Field == f.Name {
			f.Error = e.Reason
		}
	}
	return f
}

// Errors are the faults of the form that came back.
func (x *Ctx) Errors() []FieldError { return x.errs }

func (x *Ctx) parseForm(maxBody int64) error {
	var err error
	if strings.HasPrefix(x.R.Header.Get("Content-Type"), "multipart/form-data") {
		err = x.R.ParseMultipartForm(max(maxForm, maxBody))
	} else {
		err = x.R.ParseForm()
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return governance.Invalid("form", "is larger than %d bytes", large.Limit)
	case err != nil:
		return governance.Invalid("form", "could not be read")
	}
	for name, values := range x.R.PostForm {
		if !storable(name + strings.Join(values, "")) {
			return governance.Invalid("form", "contains U+0000 or bytes that are no text")
		}
	}
	return nil
}

// storable tells whether a text can be kept: a database takes neither U+0000 nor, on
// PostgreSQL, bytes that are not UTF-8.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// fieldErrors lists the invalid fields in an error.
func fieldErrors(err error) []FieldError {
	var out []FieldError
	var walk func(err error)
	walk = func(err error) {
		if err == nil {
			return
		}
		if inv, ok := err.(*governance.InvalidError); ok { //nolint:errorlint // the tree is walked here
			out = append(out, FieldError{inv.Field, inv.Reason})
			return
		}
		switch u := err.(type) { //nolint:errorlint // the tree is walked here
		case interface{ Unwrap() error }:
			walk(u.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	return out
}

func withQuery(path, name, value string) string {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return path + sep + name + "=" + url.QueryEscape(value)
}

// url is the address of a path below the base. Further parts are escaped and joined
// by slashes.
func (c *console) url(path string, parts ...any) string {
	var b strings.Builder
	b.WriteString(c.base)
	b.WriteString(path)
	for _, p := range parts {
		b.WriteString("/")
		b.WriteString(url.PathEscape(text(p)))
	}
	return b.String()
}
