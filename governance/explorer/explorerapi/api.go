// Package explorerapi puts package explorer on a huma API: verifications, exports, the
// ledger's state, and whom personal values are kept about.
//
// Start with [Register]. Errors are those of package govapi.
package explorerapi

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/explorer"
	"github.com/reevehq/reeve/governance/govapi"
)

// GovLedgerCheck is one recomputing of the whole ledger.
type GovLedgerCheck struct {
	ID          string     `json:"id"`
	AskedBy     string     `json:"asked_by"`
	AskedAt     time.Time  `json:"asked_at"`
	State       string     `json:"state" enum:"waiting,running,done,failed"`
	StartedAt   *time.Time `json:"started_at,omitempty"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	Records     int64      `json:"records"`
	Checkpoints int64      `json:"checkpoints"`
	Unsealed    int64      `json:"unsealed"`
	Problems    []string   `json:"problems" doc:"Of one that is done; empty: everything is as it was signed"`
	Error       string     `json:"error,omitempty"`
}

// GovLedgerPlace is a witness or a sink outside.
type GovLedgerPlace struct {
	Name          string     `json:"name"`
	Key           string     `json:"key,omitempty" doc:"A witness's"`
	Address       string     `json:"address,omitempty" doc:"A witness's"`
	State         string     `json:"state" enum:"current,late,never,removed" doc:"removed: no longer in the settings"`
	Size          int64      `json:"size" doc:"Records of the newest checkpoint it took"`
	Lag           int64      `json:"lag" doc:"Records that it does not know of"`
	At            *time.Time `json:"at,omitempty"`
	BehindSeconds int64      `json:"behind_seconds" doc:"Since when a larger checkpoint is there"`
}

// GovLedgerKey is a key of the log and what it signed.
type GovLedgerKey struct {
	Key   string     `json:"key"`
	Since int64      `json:"since" doc:"Records there were when it began"`
	Until *int64     `json:"until,omitempty" doc:"Absent: it signs now"`
	Ended *time.Time `json:"ended,omitempty"`
	Next  string     `json:"next,omitempty" enum:"rotated,renewed"`
}

// GovLedgerHead is a checkpoint with who cosigned it.
type GovLedgerHead struct {
	Size      int64     `json:"size"`
	At        time.Time `json:"at"`
	Witnesses []string  `json:"witnesses" doc:"Their keys"`
}

// GovLedgerState is how the ledger stands.
type GovLedgerState struct {
	Origin      string           `json:"origin"`
	VerifierKey string           `json:"verifier_key"`
	Witnesses   []GovLedgerPlace `json:"witnesses"`
	Sinks       []GovLedgerPlace `json:"sinks"`
	Keys        []GovLedgerKey   `json:"keys"`
	Checkpoints []GovLedgerHead  `json:"checkpoints" doc:"The newest ten"`
}

// GovDataSubject is whom personal values are kept about.
type GovDataSubject struct {
	Subject     string     `json:"subject"`
	Keys        int64      `json:"keys" doc:"In use"`
	Values      int64      `json:"values" doc:"That can be read with them"`
	Since       time.Time  `json:"since"`
	DestroyedAt *time.Time `json:"destroyed_at,omitempty"`
}

// GovErasure is one record under which values were erased.
type GovErasure struct {
	Record  string    `json:"record"`
	At      time.Time `json:"at"`
	By      string    `json:"by" doc:"Account"`
	Action  string    `json:"action,omitempty" doc:"The guarded action"`
	Subject string    `json:"subject,omitempty"`
	Basis   string    `json:"basis"`
	Values  int64     `json:"values"`
}

type out[T any] struct{ Body T }

type checkID struct {
	ID string `path:"id" format:"uuid"`
}

type subjectList struct {
	govapi.Page
	Prefix string `query:"prefix" maxLength:"300" doc:"How their names begin"`
}

type govLedgerExport struct {
	Body struct {
		Kind      string `json:"kind" enum:"whole,since,tenant"`
		From      int64  `json:"from,omitempty" minimum:"0" doc:"Of since: after so many records; of tenant: after the checkpoint of this size"`
		Tenant    string `json:"tenant,omitempty" minLength:"1" maxLength:"128" doc:"Of tenant; absent: records of no tenant"`
		Witnesses int    `json:"witnesses,omitempty" minimum:"0" maximum:"100" doc:"Of whole: the newest checkpoint that so many signed"`
	}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func parseUUID(field, s string) (uuid.UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return u, governance.Invalid(field, "is not a UUID")
	}
	return u, nil
}

// before reads the id that a page begins after.
func before(p govapi.Page) (uuid.UUID, error) {
	parts, err := govapi.ParseCursor(p.Cursor, 1)
	if err != nil || parts[0] == "" {
		return uuid.Nil, err
	}
	return parseUUID("query.cursor", parts[0])
}

func next[T any](items []T, limit int, key func(T) string) string {
	if len(items) < limit || len(items) == 0 {
		return ""
	}
	return govapi.Cursor(key(items[len(items)-1]))
}

var tags = []string{"Ledger"}

// Register adds the operations.
func Register(api huma.API, svc *explorer.Service) {
	a := govapi.New(api, svc.Kernel())
	checks(a, svc)
	exports(a, svc)
	state(a, svc)
	subjects(a, svc)
}

func checks(a *govapi.API, svc *explorer.Service) {
	govapi.Register(a, explorer.PermissionRead, huma.Operation{OperationID: "gov-ask-ledger-check", Method: http.MethodPost, Path: "/ledger/verifications", Summary: "Have the whole log recomputed in the background", Tags: tags,
		Description: "While one waits or runs, that one is the answer."},
		func(ctx context.Context, id governance.Identity, _ *struct{}) (*out[GovLedgerCheck], error) {
			v, err := svc.Verify(ctx, id)
			if err != nil {
				return nil, err
			}
			return &out[GovLedgerCheck]{wireCheck(v)}, nil
		})
	govapi.Register(a, explorer.PermissionRead, huma.Operation{OperationID: "gov-list-ledger-checks", Method: http.MethodGet, Path: "/ledger/verifications", Summary: "List verifications, newest first", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *govapi.Page) (*out[govapi.List[GovLedgerCheck]], error) {
			cur, err := before(*in)
			if err != nil {
				return nil, err
			}
			vs, err := svc.Verifications(ctx, id, cur, in.Limit)
			if err != nil {
				return nil, err
			}
			items := make([]GovLedgerCheck, len(vs))
			for i, v := range vs {
				items[i] = wireCheck(v)
			}
			return &out[govapi.List[GovLedgerCheck]]{govapi.NewList(items, next(items, in.Limit, func(c GovLedgerCheck) string { return c.ID }))}, nil
		})
	govapi.Register(a, explorer.PermissionRead, huma.Operation{OperationID: "gov-get-ledger-check", Method: http.MethodGet, Path: "/ledger/verifications/{id}", Summary: "Read a verification", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *checkID) (*out[GovLedgerCheck], error) {
			which, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			v, err := svc.Verification(ctx, id, which)
			if err != nil {
				return nil, err
			}
			return &out[GovLedgerCheck]{wireCheck(v)}, nil
		})
}

func wireCheck(v explorer.Verification) GovLedgerCheck {
	return GovLedgerCheck{v.ID.String(), v.AskedBy, v.AskedAt, v.State, optional(v.StartedAt), optional(v.EndedAt), v.Records, v.Checkpoints, v.Unsealed, v.Problems, v.Error}
}

func exports(a *govapi.API, svc *explorer.Service) {
	binary := map[string]*huma.MediaType{}
	for _, typ := range []string{"application/zip", "application/jsonl", "application/json"} {
		binary[typ] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Format: "binary"}}
	}
	govapi.Register(a, explorer.PermissionRead, huma.Operation{OperationID: "gov-export-ledger", Method: http.MethodPost, Path: "/ledger/exports", Summary: "Export the log, what it grew by, or a tenant's records", Tags: tags,
		Description: "Each export is a record with the digest of the file. reeve-verify log, growth and tenant check them.",
		Responses:   map[string]*huma.Response{"200": {Description: "The file", Content: binary}}},
		func(ctx context.Context, id governance.Identity, in *govLedgerExport) (*huma.StreamResponse, error) {
			f, err := svc.Export(ctx, id, explorer.Export{Kind: in.Body.Kind, From: in.Body.From, Tenant: governance.TenantID(in.Body.Tenant), Witnesses: in.Body.Witnesses})
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(w huma.Context) {
				defer func() { _ = f.Close() }()
				w.SetHeader("Content-Type", f.Type)
				w.SetHeader("Content-Length", strconv.FormatInt(f.Size, 10))
				w.SetHeader("Content-Disposition", `attachment; filename="`+f.Name+`"`)
				w.SetHeader("Cache-Control", "no-store")
				_, _ = io.Copy(w.BodyWriter(), f) // a reader that went away misses bytes of the length it was told
			}}, nil
		})
}

func state(a *govapi.API, svc *explorer.Service) {
	govapi.Register(a, explorer.PermissionRead, huma.Operation{OperationID: "gov-ledger-state", Method: http.MethodGet, Path: "/ledger/state", Summary: "Say how witnesses, sinks and keys of the log stand", Tags: tags},
		func(ctx context.Context, id governance.Identity, _ *struct{}) (*out[GovLedgerState], error) {
			st, err := svc.State(ctx, id, 10)
			if err != nil {
				return nil, err
			}
			w := GovLedgerState{Origin: st.Origin, VerifierKey: st.Key, Witnesses: wirePlaces(st.Witnesses), Sinks: wirePlaces(st.Sinks), Keys: []GovLedgerKey{}, Checkpoints: []GovLedgerHead{}}
			for _, k := range st.Keys {
				key := GovLedgerKey{Key: k.Key, Since: k.Since, Ended: optional(k.Ended), Next: k.Next}
				if k.Until >= 0 {
					key.Until = &k.Until
				}
				w.Keys = append(w.Keys, key)
			}
			for _, c := range st.Checkpoints {
				w.Checkpoints = append(w.Checkpoints, GovLedgerHead{c.Size, c.At, append([]string{}, c.Witnesses...)})
			}
			return &out[GovLedgerState]{w}, nil
		})
}

func wirePlaces(ps []explorer.Place) []GovLedgerPlace {
	items := make([]GovLedgerPlace, len(ps))
	for i, p := range ps {
		items[i] = GovLedgerPlace{p.Name, p.Key, p.Address, p.State, p.Size, p.Lag, optional(p.At), int64(p.Behind.Seconds())}
	}
	return items
}

func subjects(a *govapi.API, svc *explorer.Service) {
	govapi.Register(a, explorer.PermissionRead, huma.Operation{OperationID: "gov-list-data-subjects", Method: http.MethodGet, Path: "/ledger/subjects", Summary: "List whom the log keeps personal values about, by name", Tags: tags,
		Description: "Values about one record alone are left out."},
		func(ctx context.Context, id governance.Identity, in *subjectList) (*out[govapi.List[GovDataSubject]], error) {
			parts, err := govapi.ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			rows, err := svc.Subjects(ctx, id, in.Prefix, parts[0], in.Limit)
			if err != nil {
				return nil, err
			}
			items := make([]GovDataSubject, len(rows))
			for i, r := range rows {
				items[i] = GovDataSubject{r.Subject, r.Keys, r.Values, r.Since, optional(r.Destroyed)}
			}
			return &out[govapi.List[GovDataSubject]]{govapi.NewList(items, next(items, in.Limit, func(s GovDataSubject) string { return s.Subject }))}, nil
		})
	govapi.Register(a, explorer.PermissionRead, huma.Operation{OperationID: "gov-list-erasures", Method: http.MethodGet, Path: "/ledger/erasures", Summary: "List what was erased, newest first", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *govapi.Page) (*out[govapi.List[GovErasure]], error) {
			cur, err := before(*in)
			if err != nil {
				return nil, err
			}
			rows, err := svc.Erasures(ctx, id, cur, in.Limit)
			if err != nil {
				return nil, err
			}
			items := make([]GovErasure, len(rows))
			for i, e := range rows {
				items[i] = GovErasure{e.ID.String(), e.At, e.Actor.ID, e.ActionID, e.Subject, e.Basis, e.Values}
			}
			return &out[govapi.List[GovErasure]]{govapi.NewList(items, next(items, in.Limit, func(e GovErasure) string { return e.Record }))}, nil
		})
}
