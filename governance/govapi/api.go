package govapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// API is a host's huma API with our door in front of it. Use [New].
type API struct {
	huma huma.API // wrapped
	k    *governance.Kernel
}

// New wraps the host's API, a group of it included.
func New(api huma.API, k *governance.Kernel) *API {
	return &API{&wrapped{api}, k}
}

// Kernel is the kernel that decides about callers.
func (a *API) Kernel() *governance.Kernel { return a.k }

// wrapped scrubs what huma itself answers on our operations.
type wrapped struct{ huma.API }

// Config implements what huma looks for to read its settings.
func (w *wrapped) Config() huma.Config {
	if c, ok := w.API.(interface{ Config() huma.Config }); ok {
		return c.Config()
	}
	return huma.Config{}
}

// DocumentOperation implements huma.OperationDocumenter, so that a group still adds
// its prefix.
func (w *wrapped) DocumentOperation(op *huma.Operation) {
	if d, ok := w.API.(huma.OperationDocumenter); ok {
		d.DocumentOperation(op)
		return
	}
	if !op.Hidden {
		w.OpenAPI().AddOperation(op)
	}
}

// Transform implements huma.API. It runs last of all, so it sees every error.
func (w *wrapped) Transform(ctx huma.Context, status string, v any) (any, error) {
	if _, ours := v.(*GovProblem); !ours {
		if err, ok := v.(huma.StatusError); ok {
			p := fromHuma(err)
			ctx.SetHeader("Content-Type", p.ContentType(""))
			return p, nil
		}
	} else {
		return v, nil
	}
	return w.API.Transform(ctx, status, v)
}

// Unmarshal implements huma.API. PostgreSQL keeps no U+0000, so none may come in,
// and a name given twice would be read differently by different readers.
func (w *wrapped) Unmarshal(contentType string, data []byte, v any) error {
	if bytes.IndexByte(data, 0) >= 0 {
		return errors.New("the body contains U+0000")
	}
	if strings.Contains(contentType, "json") || contentType == "" {
		if err := checkJSON(data); err != nil {
			return err
		}
		if err := checkCase(data, v); err != nil {
			return err
		}
	}
	return w.API.Unmarshal(contentType, data, v)
}

func checkJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := checkValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

func checkValue(d *json.Decoder, depth int) error {
	if depth > 100 {
		return errors.New("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return errors.New("not JSON")
	}
	switch t := t.(type) {
	case string:
		if strings.ContainsRune(t, 0) {
			return errors.New("the body contains U+0000")
		}
	case json.Delim:
		seen := map[string]bool{}
		for d.More() {
			if t == '{' {
				name, err := d.Token()
				if err != nil {
					return errors.New("not JSON")
				}
				s, _ := name.(string)
				s = strings.ToLower(s) // encoding/json takes a field in any case
				if seen[s] || strings.ContainsRune(s, 0) {
					return errors.New("a name is given twice or contains U+0000")
				}
				seen[s] = true
			}
			if err := checkValue(d, depth+1); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return errors.New("not JSON")
		}
	}
	return nil
}

// PermissionKey is where an operation's permission stands in its Metadata and, for
// readers of the OpenAPI document, in the extension x-permission.
const PermissionKey = "permission"

// Register adds an operation whose caller must hold a permission. fn's errors go
// through [Problem]. An empty permission admits every caller who is signed in.
func Register[I, O any](a *API, permission string, op huma.Operation, fn func(ctx context.Context, id governance.Identity, in *I) (*O, error)) {
	a.prepare(&op, permission)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		id, _ := governance.IdentityFrom(ctx)
		out, err := fn(ctx, id, in)
		if err != nil {
			return nil, a.problem(ctx, op, err)
		}
		return out, nil
	})
}

func (a *API) problem(ctx context.Context, op huma.Operation, err error) error {
	p := Problem(err)
	var gp *GovProblem
	if errors.As(p, &gp) && gp.Status >= 500 && ctx.Err() == nil {
		a.k.Logger().ErrorContext(ctx, "request failed", "operation", op.OperationID, "error", err)
	}
	return p
}

// prepare puts the door in front of an operation and documents it.
func (a *API) prepare(op *huma.Operation, permission string) {
	op.RejectUnknownQueryParameters = true
	op.Middlewares = append(huma.Middlewares{a.door(permission)}, op.Middlewares...)
	if op.Metadata == nil {
		op.Metadata = map[string]any{}
	}
	op.Metadata[PermissionKey] = permission
	if op.Extensions == nil {
		op.Extensions = map[string]any{}
	}
	if permission != "" {
		op.Extensions["x-permission"] = permission
	}
	if op.Security == nil {
		op.Security = []map[string][]string{{"bearer": {}}}
	}
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[GovProblem](), true, "GovProblem")
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	codes := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusInternalServerError}
	if strings.Contains(op.Path, "{") {
		codes = append(codes, http.StatusNotFound)
	}
	if op.Method != http.MethodGet {
		codes = append(codes, http.StatusConflict)
	}
	for _, code := range append(codes, op.Errors...) {
		s := strconv.Itoa(code)
		if op.Responses[s] == nil {
			op.Responses[s] = &huma.Response{Description: http.StatusText(code), Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schema}}}
		}
	}
	op.Errors = nil // else huma would document the host's own error type
}

// door checks the caller before anything is read.
func (a *API) door(permission string) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		id, ok := governance.IdentityFrom(ctx.Context())
		if !ok || id.Actor.ID == "" {
			writeProblem(ctx, problem("unauthenticated", http.StatusUnauthorized, "Nobody is signed in, or the key is not valid."))
			return
		}
		if permission != "" {
			if err := a.k.Authorize(ctx.Context(), id, permission, governance.Target{}); err != nil {
				var p *GovProblem
				if !errors.As(Problem(err), &p) {
					p = problem("denied", http.StatusForbidden, "You may not do this.")
				}
				writeProblem(ctx, p)
				return
			}
		}
		u := ctx.URL()
		q, err := url.QueryUnescape(u.RawQuery)
		if err != nil || !storable(q) || !storable(u.Path) || !storable(ctx.Header("Idempotency-Key")) || !storable(ctx.Header(preferHeader)) || len(ctx.Header(preferHeader)) > preferMax {
			writeProblem(ctx, problem("invalid", http.StatusUnprocessableEntity, "The address or a header contains U+0000, is too long or not well-formed."))
			return
		}
		if v, given := u.Query()["tenant"]; given && slices.Contains(v, "") { // forgetting the tenant must not mean every tenant
			writeProblem(ctx, problem("invalid", http.StatusUnprocessableEntity, "The filter by tenant is empty: name one, or leave the filter out."))
			return
		}
		switch v := ctx.Header(breakGlassHeader); v {
		case "":
		case "true":
			ctx = huma.WithContext(ctx, governance.WithBreakGlass(ctx.Context()))
		default:
			writeProblem(ctx, problem("invalid", http.StatusUnprocessableEntity, "The header "+breakGlassHeader+" is true, or absent."))
			return
		}
		if prefers(ctx.Header(preferHeader), preferSigned) {
			ctx = huma.WithValue(ctx, signedKey{}, true)
		}
		next(ctx)
	}
}

// breakGlassHeader asks to act at once where a policy would hold it.
const breakGlassHeader = "Break-Glass"

// storable tells whether a text can be kept: PostgreSQL takes neither U+0000 nor
// bytes that are not UTF-8.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// List is one page of things; Next is the cursor of the page after, empty at the end.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent at the end"`
}

// NewList makes a page; no item is an empty list.
func NewList[T any](items []T, next string) List[T] {
	if items == nil {
		items = []T{}
	}
	return List[T]{items, next}
}

// Page is what a list operation takes.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Most items on a page"`
	Cursor string `query:"cursor" maxLength:"400" doc:"Next of the page before"`
}

// Cursor makes an opaque cursor of its parts.
func Cursor(parts ...string) string {
	b, err := json.Marshal(parts)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor reads a cursor of n parts; an empty one gives n empty parts.
func ParseCursor(cursor string, n int) ([]string, error) {
	parts := make([]string, n)
	if cursor == "" {
		return parts, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(b, &parts) != nil || len(parts) != n || !storable(strings.Join(parts, "")) {
		return nil, governance.Invalid("query.cursor", "is not a cursor of this list")
	}
	return parts, nil
}

// ParseIDCursor reads a cursor of one id; empty is uuid.Nil, the first page.
func ParseIDCursor(cursor string) (uuid.UUID, error) {
	cur, err := ParseCursor(cursor, 1)
	if err != nil || cur[0] == "" {
		return uuid.Nil, err
	}
	id, err := uuid.Parse(cur[0])
	if err != nil {
		return uuid.Nil, governance.Invalid("query.cursor", "is not a cursor of this list")
	}
	return id, nil
}
