package wire_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/reevehq/reeve/integrations/connector"
	pb "github.com/reevehq/reeve/plugins/connectorpb/v1"
	"github.com/reevehq/reeve/plugins/wire"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	at := time.Date(2027, 1, 2, 3, 4, 5, 678900, time.UTC)
	a := connector.Account{Meta: connector.Meta{TenantID: "t", SourceVersion: 1 << 60, IdempotencyID: "i"}, Event: "e", Name: "株", Country: "DE", Region: "EU", Owner: "o",
		Status: "active", Suspended: true, Plan: "p", Seats: 9, RenewalAt: at, Entitlements: []connector.Entitlement{{Feature: "f", Quantity: 3, ExpiresAt: at}, {Feature: "g"}},
		ExternalKeys: map[string][]string{"domain": {"a", "b"}}, Attributes: map[string]string{"k": "v"}}
	require.Equal(t, a, wire.Account(wire.FromAccount(a)))
	require.Equal(t, connector.Account{}, wire.Account(wire.FromAccount(connector.Account{})), "no time stays no time")
	require.Equal(t, connector.Account{}, wire.Account(nil))
	r := connector.Remote{Account: a, RemoteID: "r", RemoteURL: "u", Fields: []string{"name"}}
	require.Equal(t, r, wire.Remote(wire.FromRemote(r)))
	k := connector.Ticket{ID: "1", URL: "u", TenantID: "t", DedupKey: "d", Subject: "s", State: connector.TicketOpen, CreatedAt: at}
	require.Equal(t, k, wire.Ticket(wire.FromTicket(k)))
	d := connector.Descriptor{ID: "x", Name: "X", Version: "1.0.0", Kind: connector.Billing, MaxBatch: 7, Config: []connector.Field{{Key: "k", Title: "T", Help: "H", Required: true, Secret: true}}}
	got, caps := wire.Descriptor(wire.FromDescriptor(d, []connector.Capability{connector.CanRead, "later.one"}))
	require.Equal(t, d, got)
	require.Equal(t, []connector.Capability{connector.CanRead, "later.one"}, caps)
	for _, o := range []connector.Outcome{connector.Created, connector.Updated, connector.Unchanged, connector.SkippedStale, connector.Failed, connector.Unknown} {
		require.Equal(t, o, wire.Outcome(wire.FromOutcome(o)))
	}
	for _, c := range []connector.Code{connector.Auth, connector.RateLimited, connector.Invalid, connector.NotFound, connector.Conflict, connector.Unavailable, connector.Unsupported, connector.Other} {
		e := &connector.Error{Code: c, Message: "m", Field: "f", VendorCode: "v", RetryAfter: time.Second}
		require.Equal(t, e, wire.Error(wire.FromError(e)))
		require.Equal(t, e, wire.FromStatus(wire.Status(fmt.Errorf("around: %w", e))))
	}
}

// What a later or a careless peer sends must fail towards "unknown".
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	require.Equal(t, connector.Unknown, wire.Outcome(99))
	require.Equal(t, connector.Unknown, wire.Outcome(-1))
	require.Equal(t, connector.Unknown, wire.Outcome(0))
	require.Equal(t, connector.Unknown, wire.Outcome(wire.FromOutcome("nonsense")))
	require.Equal(t, connector.Other, wire.Error(&pb.Error{Code: 99}).Code)
	require.Equal(t, connector.Other, wire.Error(&pb.Error{Code: -1}).Code)
	require.Equal(t, connector.MaxRetryAfter, wire.Error(&pb.Error{RetryAfter: durationpb.New(1000 * time.Hour)}).RetryAfter)
	require.Zero(t, wire.Error(&pb.Error{RetryAfter: durationpb.New(-time.Hour)}).RetryAfter)
	for err, want := range map[error]connector.Code{
		status.Error(codes.Unavailable, "connection closed"): connector.Other,
		status.Error(codes.DeadlineExceeded, ""):             connector.Other,
		context.DeadlineExceeded:                             connector.Other,
		status.Error(codes.Unimplemented, ""):                connector.Unsupported,
		status.Error(codes.ResourceExhausted, ""):            connector.Invalid,
		errors.New("anything"):                               connector.Other,
	} {
		require.Equal(t, want, wire.FromStatus(err).Code, "%v", err)
	}
	require.Nil(t, wire.FromStatus(nil))
	require.NoError(t, wire.Status(nil))
}
