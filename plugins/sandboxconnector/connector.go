// Package sandboxconnector has three connectors for the sandbox vendor: [CRM], [Billing]
// and [Ticketing]. They are ordinary connectors, and serve as examples of one: the
// vendor knows nothing of Reeve, so the version of a record is one of its properties,
// and every write is bound to the revision that was read.
package sandboxconnector

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"time"

	"github.com/reevehq/reeve/integrations/connector"
)

// Version is the version of the three connectors.
const Version = "1.0.0"

// All gives the three by the names "crm", "billing" and "ticketing", as serve.IfPlugin
// wants them.
func All() map[string]connector.Connector {
	return map[string]connector.Connector{"crm": CRM(), "billing": Billing(), "ticketing": Ticketing()}
}

// object and page are the vendor's.
type object struct {
	ID         string         `json:"id"`
	ExternalID string         `json:"external_id"`
	Revision   int64          `json:"revision"`
	CreatedAt  time.Time      `json:"created_at"`
	Properties map[string]any `json:"properties"`
}

type page struct {
	Data    []object `json:"data"`
	HasMore bool     `json:"has_more"`
}

// versionKey is the property in which we keep the version an object was made from.
const versionKey = "reeve_version"

// base is what the three share: settings and one versioned object.
type base struct {
	d   connector.Descriptor
	api connector.API
}

func describe(id, name string, kind connector.Kind) connector.Descriptor {
	return connector.Descriptor{ID: id, Name: name, Version: Version, Kind: kind, Config: []connector.Field{
		{Key: "url", Title: "Address", Help: "Where the sandbox vendor listens", Required: true},
		{Key: "token", Title: "Token", Required: true, Secret: true},
	}}
}

func (b *base) Describe() connector.Descriptor { return b.d }

func (b *base) Configure(_ context.Context, cfg connector.Config) error {
	if u, err := url.Parse(cfg["url"]); err != nil || u.Host == "" || u.User != nil {
		return &connector.Error{Code: connector.Invalid, Field: "url", Message: "want http://host:port/path without credentials"}
	}
	b.api = connector.API{URL: cfg["url"], Header: http.Header{"Authorization": {"Bearer " + cfg["token"]}}}
	return nil
}

func (b *base) Check(ctx context.Context) error {
	return b.api.Do(ctx, http.MethodGet, "/ping?limit=1", nil, nil)
}

// find reads the object with an external id; not found is a nil object.
func (b *base) find(ctx context.Context, collection, externalID string) (*object, error) {
	var p page
	if err := b.api.Do(ctx, http.MethodGet, "/"+collection+"?external_id="+url.QueryEscape(externalID), nil, &p); err != nil {
		return nil, err
	}
	if len(p.Data) == 0 {
		return nil, nil
	}
	return &p.Data[0], nil
}

// put brings one object in line with props. When somebody else was faster it reads
// again, so that of two versions the newer one stays, whoever comes last.
func (b *base) put(ctx context.Context, collection, externalID string, version int64, props map[string]any) (connector.Outcome, *object, error) {
	props[versionKey] = version
	want, err := plain(props)
	if err != nil {
		return "", nil, err
	}
	for try := 0; ; try++ {
		held, err := b.find(ctx, collection, externalID)
		if err != nil {
			return "", nil, err
		}
		var got object
		outcome := connector.Updated
		if held == nil {
			outcome = connector.Created
			err = b.api.Do(ctx, http.MethodPost, "/"+collection, object{ExternalID: externalID, Properties: want}, &got)
		} else {
			switch v := number(held.Properties[versionKey]); {
			case v > version:
				return connector.SkippedStale, held, nil
			case v == version && holds(held.Properties, want):
				return connector.Unchanged, held, nil
			}
			err = b.api.Do(ctx, http.MethodPatch, "/"+collection+"/"+url.PathEscape(held.ID), object{Properties: want}, &got, "If-Match", strconv.FormatInt(held.Revision, 10))
		}
		if connector.CodeOf(err) != connector.Conflict || try == 3 {
			return outcome, &got, err
		}
	}
}

// plain is props as they come back from JSON.
func plain(props map[string]any) (map[string]any, error) {
	raw, err := json.Marshal(props)
	if err != nil {
		return nil, &connector.Error{Code: connector.Invalid, Message: "properties do not encode"}
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, &connector.Error{Code: connector.Invalid, Message: "properties do not encode"}
	}
	return out, nil
}

// holds tells whether all of want is held; a nil in want asks for absence.
func holds(held, want map[string]any) bool {
	for k, v := range want {
		if !reflect.DeepEqual(held[k], v) {
			return false
		}
	}
	return true
}

func number(v any) int64 {
	f, _ := v.(float64)
	return int64(f)
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func moment(v any) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text(v))
	if err != nil {
		return time.Time{}
	}
	return t
}

// date is what the vendor keeps of a time: nil for none, which clears the property.
func date(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// reader reads accounts of one collection back.
type reader struct {
	*base
	collection string
	fields     []string
	account    func(context.Context, object) (connector.Account, error)
}

func (r reader) remote(ctx context.Context, o object) (connector.Remote, error) {
	a, err := r.account(ctx, o)
	a.TenantID, a.SourceVersion = o.ExternalID, number(o.Properties[versionKey])
	return connector.Remote{Account: a, RemoteID: o.ID, Fields: r.fields}, err
}

func (r reader) Get(ctx context.Context, tenantID string) (connector.Remote, error) {
	o, err := r.find(ctx, r.collection, tenantID)
	if err != nil {
		return connector.Remote{}, err
	}
	if o == nil {
		return connector.Remote{}, &connector.Error{Code: connector.NotFound, Message: "no such account"}
	}
	return r.remote(ctx, *o)
}

func (r reader) List(ctx context.Context, cursor string, limit int) (connector.Page, error) {
	q := url.Values{"limit": {strconv.Itoa(min(max(limit, 1), 100))}} // the vendor's most
	if cursor != "" {
		q.Set("starting_after", cursor)
	}
	var p page
	if err := r.api.Do(ctx, http.MethodGet, "/"+r.collection+"?"+q.Encode(), nil, &p); err != nil {
		return connector.Page{}, err
	}
	var out connector.Page
	for _, o := range p.Data {
		a, err := r.remote(ctx, o)
		if err != nil {
			return connector.Page{}, err
		}
		out.Items = append(out.Items, a)
	}
	if p.HasMore && len(p.Data) > 0 {
		out.Next = p.Data[len(p.Data)-1].ID
	}
	return out, nil
}
