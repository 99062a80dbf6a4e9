package connector_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/integrations/connector"
)

func account(tenant string, version int64) connector.Account {
	return connector.Account{Meta: connector.Meta{TenantID: tenant, SourceVersion: version, IdempotencyID: fmt.Sprint(tenant, version)}, Name: tenant}
}

func TestEach(t *testing.T) {
	t.Parallel()
	written := func(connector.Account) (connector.Result, error) {
		return connector.Result{Outcome: connector.Created}, nil
	}

	t.Run("one bad record fails alone", func(t *testing.T) {
		t.Parallel()
		batch := []connector.Account{account("a", 1), account("", 1), account("panics", 1), account("odd", 1), account("z", 1)}
		out := connector.Each(t.Context(), batch, func(a connector.Account) (connector.Result, error) {
			switch a.TenantID {
			case "panics":
				panic("secret payload")
			case "odd":
				return connector.Result{}, nil
			}
			return written(a)
		})
		require.Len(t, out, 5)
		require.Equal(t, connector.Created, out[0].Outcome)
		require.Equal(t, connector.Failed, out[1].Outcome)
		require.Equal(t, connector.Invalid, out[1].Err.Code)
		require.Equal(t, connector.Unknown, out[2].Outcome, "it may have written before it panicked")
		require.NotContains(t, out[2].Err.Error(), "secret")
		require.Equal(t, connector.Unknown, out[3].Outcome)
		require.Equal(t, connector.Created, out[4].Outcome)
		require.Equal(t, "z", out[4].TenantID)
	})

	t.Run("a rate limit ends the batch", func(t *testing.T) {
		t.Parallel()
		calls := 0
		out := connector.Each(t.Context(), []connector.Account{account("a", 1), account("b", 1), account("c", 1)}, func(a connector.Account) (connector.Result, error) {
			if calls++; calls == 2 {
				return connector.Result{}, &connector.Error{Code: connector.RateLimited, RetryAfter: time.Minute}
			}
			return written(a)
		})
		require.Equal(t, 2, calls)
		require.Equal(t, connector.Created, out[0].Outcome)
		require.Equal(t, time.Minute, out[1].Err.RetryAfter)
		require.Equal(t, connector.Failed, out[2].Outcome)
		require.Equal(t, connector.RateLimited, out[2].Err.Code)
	})

	t.Run("records after the deadline surely did not happen", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		out := connector.Each(ctx, []connector.Account{account("a", 1), account("b", 1)}, func(a connector.Account) (connector.Result, error) {
			cancel()
			return connector.Result{}, ctx.Err()
		})
		require.Equal(t, connector.Unknown, out[0].Outcome)
		require.Equal(t, connector.Failed, out[1].Outcome)
		require.Equal(t, connector.Unavailable, out[1].Err.Code)
	})
}

func TestJudge(t *testing.T) {
	t.Parallel()
	held := account("a", 3)
	renamed := account("a", 3)
	renamed.Name = "b"
	require.Equal(t, connector.Created, connector.Judge(nil, held))
	require.Equal(t, connector.Unchanged, connector.Judge(&held, account("a", 3)))
	require.Equal(t, connector.Updated, connector.Judge(&held, renamed))
	require.Equal(t, connector.SkippedStale, connector.Judge(&held, account("a", 2)))
	require.Equal(t, connector.Updated, connector.Judge(&held, account("a", 4)), "the newer version must be kept, or version 3 could come back")
}

func TestConfig_printsNoValue(t *testing.T) {
	t.Parallel()
	cfg := connector.Config{"token": "hunter2", "url": "https://x"}
	for _, s := range []string{fmt.Sprint(cfg), fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, cfg), cfg.LogValue().String()} {
		require.NotContains(t, s, "hunter2")
		require.Contains(t, s, "token")
	}
	d := connector.Descriptor{ID: "x", Config: []connector.Field{{Key: "url", Required: true}, {Key: "token"}}}
	require.NoError(t, d.Validate(cfg))
	require.Equal(t, connector.Invalid, connector.CodeOf(d.Validate(connector.Config{"token": "a"})))
	require.Equal(t, connector.Invalid, connector.CodeOf(d.Validate(connector.Config{"url": "a", "uRl": "b"})))
}

type upserts struct{ connector.Connector }

func (upserts) Upsert(context.Context, []connector.Account) []connector.Result { return nil }

func TestCapabilities(t *testing.T) {
	t.Parallel()
	require.Equal(t, []connector.Capability{connector.CanUpsert}, connector.Capabilities(upserts{}))
}

func TestAPI_codes(t *testing.T) {
	t.Parallel()
	var target string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &code)
		switch code {
		case 429:
			w.Header().Set("Retry-After", "7")
		case 503:
			w.Header().Set("Retry-After", "99999999")
		case 302:
			w.Header().Set("Location", target)
		case 1:
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(srv.Close)
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	t.Cleanup(thief.Close)
	target = thief.URL

	api := &connector.API{URL: srv.URL, Header: http.Header{"Authorization": {"Bearer hunter2"}}}
	for _, c := range []struct {
		method, path string
		code         connector.Code
		wait         time.Duration
	}{
		{"GET", "/204", "", 0},
		{"POST", "/204", "", 0},
		{"GET", "/302", connector.Invalid, 0},
		{"GET", "/401", connector.Auth, 0},
		{"GET", "/403", connector.Auth, 0},
		{"GET", "/404", connector.NotFound, 0},
		{"PUT", "/409", connector.Conflict, 0},
		{"PUT", "/412", connector.Conflict, 0},
		{"PUT", "/422", connector.Invalid, 0},
		{"PUT", "/429", connector.RateLimited, 7 * time.Second},
		{"PUT", "/503", connector.Unavailable, connector.MaxRetryAfter},
		{"GET", "/500", connector.Unavailable, 0},
		{"PUT", "/500", connector.Other, 0},
		{"GET", "/1", connector.Unavailable, 0},
		{"POST", "/1", connector.Other, 0},
	} {
		err := api.Do(t.Context(), c.method, c.path, nil, nil)
		require.Equal(t, c.code, connector.CodeOf(err), "%s %s: %v", c.method, c.path, err)
		if e, ok := errors.AsType[*connector.Error](err); ok {
			require.Equal(t, c.wait, e.RetryAfter)
			require.NotContains(t, e.Error(), "hunter2")
		}
	}
	nobody := &connector.API{URL: "http://127.0.0.1:1"}
	require.Equal(t, connector.Unavailable, connector.CodeOf(nobody.Do(t.Context(), "PUT", "/", nil, nil)), "a write that never left surely did not happen")
}
