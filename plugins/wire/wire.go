// Package wire is what host and serve must agree on: the handshake, and how the Go
// contract of package connector becomes protocol messages and back.
package wire

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reevehq/reeve/integrations/connector"
	pb "github.com/reevehq/reeve/plugins/connectorpb/v1"
)

const (
	// Name is the plugin's name inside the handshake.
	Name = "connector"
	// Version is the major version of the protocol.
	Version = 1
	// MaxMessage is the most bytes of one message, either way. gRPC's own limit at a
	// plugin is 4 MiB.
	MaxMessage = 4 << 20
	// MaxBatchBytes is the most bytes of accounts in one call.
	MaxBatchBytes = 1 << 20
	// Marker names the variable that makes a program serve one of its connectors.
	Marker = "REEVE_PLUGIN"
)

// Handshake is what tells a program that it runs as our plugin. The cookie guards
// against a start by hand, nothing else; mutual TLS guards the socket.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{ProtocolVersion: Version, MagicCookieKey: "REEVE_CONNECTOR", MagicCookieValue: "9d8f54f2c3b0"}
}

var outcomes = [...]connector.Outcome{
	pb.Outcome_OUTCOME_UNSPECIFIED: connector.Unknown, pb.Outcome_OUTCOME_CREATED: connector.Created, pb.Outcome_OUTCOME_UPDATED: connector.Updated,
	pb.Outcome_OUTCOME_UNCHANGED: connector.Unchanged, pb.Outcome_OUTCOME_SKIPPED_STALE: connector.SkippedStale,
	pb.Outcome_OUTCOME_FAILED: connector.Failed, pb.Outcome_OUTCOME_UNKNOWN: connector.Unknown,
}

// Outcome reads an outcome; a number from the future is Unknown.
func Outcome(o pb.Outcome) connector.Outcome {
	if o < 0 || int(o) >= len(outcomes) {
		return connector.Unknown
	}
	return outcomes[o]
}

// FromOutcome writes an outcome.
func FromOutcome(o connector.Outcome) pb.Outcome {
	for i, v := range outcomes {
		if i > 0 && v == o {
			return pb.Outcome(i)
		}
	}
	return pb.Outcome_OUTCOME_UNKNOWN
}

var errorCodes = [...]struct {
	code connector.Code
	grpc codes.Code
}{
	pb.Code_CODE_UNSPECIFIED:  {connector.Other, codes.Unknown},
	pb.Code_CODE_AUTH:         {connector.Auth, codes.Unauthenticated},
	pb.Code_CODE_RATE_LIMITED: {connector.RateLimited, codes.ResourceExhausted},
	pb.Code_CODE_INVALID:      {connector.Invalid, codes.InvalidArgument},
	pb.Code_CODE_NOT_FOUND:    {connector.NotFound, codes.NotFound},
	pb.Code_CODE_CONFLICT:     {connector.Conflict, codes.Aborted},
	pb.Code_CODE_UNAVAILABLE:  {connector.Unavailable, codes.FailedPrecondition}, // not Unavailable: gRPC says that of a broken connection
	pb.Code_CODE_UNSUPPORTED:  {connector.Unsupported, codes.Unimplemented},
	pb.Code_CODE_UNKNOWN:      {connector.Other, codes.Unknown},
}

// FromError writes an error.
func FromError(e *connector.Error) *pb.Error {
	if e == nil {
		return nil
	}
	out := &pb.Error{Code: pb.Code_CODE_UNKNOWN, Message: e.Message, Field: e.Field, VendorCode: e.VendorCode}
	for i, c := range errorCodes {
		if i > 0 && c.code == e.Code {
			out.Code = pb.Code(i)
			break
		}
	}
	if e.RetryAfter > 0 {
		out.RetryAfter = durationpb.New(e.RetryAfter)
	}
	return out
}

// Error reads an error.
func Error(e *pb.Error) *connector.Error {
	if e == nil {
		return nil
	}
	code := connector.Other
	if e.Code >= 0 && int(e.Code) < len(errorCodes) {
		code = errorCodes[e.Code].code
	}
	return &connector.Error{Code: code, Message: e.Message, Field: e.Field, VendorCode: e.VendorCode,
		RetryAfter: min(max(e.RetryAfter.AsDuration(), 0), connector.MaxRetryAfter)}
}

// Status makes err a gRPC status with an Error among its details.
func Status(err error) error {
	if err == nil {
		return nil
	}
	e := FromError(connector.AsError(err))
	st, detailErr := status.New(errorCodes[e.Code].grpc, e.Message).WithDetails(e)
	if detailErr != nil {
		return status.Error(codes.Unknown, "error does not encode")
	}
	return st.Err()
}

// FromStatus reads the error of a call. Without details it is the transport's: the
// call may have reached the vendor, so its fate is open.
func FromStatus(err error) *connector.Error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &connector.Error{Code: connector.Other, Message: "no answer in time"}
	}
	st, _ := status.FromError(err)
	for _, d := range st.Details() {
		if e, ok := d.(*pb.Error); ok {
			return Error(e)
		}
	}
	switch st.Code() {
	case codes.Unimplemented:
		return &connector.Error{Code: connector.Unsupported, Message: "the plugin does not know this call"}
	case codes.DeadlineExceeded, codes.Canceled:
		return &connector.Error{Code: connector.Other, Message: "no answer in time"}
	case codes.ResourceExhausted:
		return &connector.Error{Code: connector.Invalid, Message: "the message is too large"}
	case codes.Unavailable:
		return &connector.Error{Code: connector.Other, Message: "the plugin ended during the call"}
	}
	return &connector.Error{Code: connector.Other, Message: "the call broke: " + st.Code().String()}
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// FromMeta writes a Meta.
func FromMeta(m connector.Meta) *pb.Meta {
	return &pb.Meta{TenantId: m.TenantID, SourceVersion: m.SourceVersion, IdempotencyId: m.IdempotencyID}
}

// Meta reads a Meta.
func Meta(m *pb.Meta) connector.Meta {
	return connector.Meta{TenantID: m.GetTenantId(), SourceVersion: m.GetSourceVersion(), IdempotencyID: m.GetIdempotencyId()}
}

// FromAccount writes an account.
func FromAccount(a connector.Account) *pb.Account {
	out := &pb.Account{Meta: FromMeta(a.Meta), Event: a.Event, Name: a.Name, Country: a.Country, Region: a.Region, Owner: a.Owner, Status: a.Status,
		Suspended: a.Suspended, Plan: a.Plan, Seats: a.Seats, RenewalAt: stamp(a.RenewalAt), Attributes: a.Attributes}
	for _, e := range a.Entitlements {
		out.Entitlements = append(out.Entitlements, &pb.Entitlement{Feature: e.Feature, Quantity: e.Quantity, ExpiresAt: stamp(e.ExpiresAt)})
	}
	if len(a.ExternalKeys) > 0 {
		out.ExternalKeys = make(map[string]*pb.Keys, len(a.ExternalKeys))
		for k, v := range a.ExternalKeys {
			out.ExternalKeys[k] = &pb.Keys{Keys: v}
		}
	}
	return out
}

// Account reads an account.
func Account(a *pb.Account) connector.Account {
	out := connector.Account{Meta: Meta(a.GetMeta()), Event: a.GetEvent(), Name: a.GetName(), Country: a.GetCountry(), Region: a.GetRegion(), Owner: a.GetOwner(),
		Status: a.GetStatus(), Suspended: a.GetSuspended(), Plan: a.GetPlan(), Seats: a.GetSeats(), RenewalAt: instant(a.GetRenewalAt()), Attributes: a.GetAttributes()}
	for _, e := range a.GetEntitlements() {
		out.Entitlements = append(out.Entitlements, connector.Entitlement{Feature: e.GetFeature(), Quantity: e.GetQuantity(), ExpiresAt: instant(e.GetExpiresAt())})
	}
	if len(a.GetExternalKeys()) > 0 {
		out.ExternalKeys = make(map[string][]string, len(a.GetExternalKeys()))
		for k, v := range a.GetExternalKeys() {
			out.ExternalKeys[k] = v.GetKeys()
		}
	}
	return out
}

// FromResult writes a result.
func FromResult(r connector.Result) *pb.Result {
	return &pb.Result{TenantId: r.TenantID, Outcome: FromOutcome(r.Outcome), RemoteId: r.RemoteID, RemoteUrl: r.RemoteURL, Error: FromError(r.Err)}
}

// Result reads a result.
func Result(r *pb.Result) connector.Result {
	return connector.Result{TenantID: r.GetTenantId(), Outcome: Outcome(r.GetOutcome()), RemoteID: r.GetRemoteId(), RemoteURL: r.GetRemoteUrl(), Err: Error(r.GetError())}
}

// FromRemote writes a remote account.
func FromRemote(r connector.Remote) *pb.Remote {
	return &pb.Remote{Account: FromAccount(r.Account), RemoteId: r.RemoteID, RemoteUrl: r.RemoteURL, Fields: r.Fields}
}

// Remote reads a remote account.
func Remote(r *pb.Remote) connector.Remote {
	return connector.Remote{Account: Account(r.GetAccount()), RemoteID: r.GetRemoteId(), RemoteURL: r.GetRemoteUrl(), Fields: r.GetFields()}
}

// FromTicket writes a ticket.
func FromTicket(t connector.Ticket) *pb.Ticket {
	return &pb.Ticket{Id: t.ID, Url: t.URL, TenantId: t.TenantID, DedupKey: t.DedupKey, Subject: t.Subject, State: t.State, CreatedAt: stamp(t.CreatedAt)}
}

// Ticket reads a ticket.
func Ticket(t *pb.Ticket) connector.Ticket {
	return connector.Ticket{ID: t.GetId(), URL: t.GetUrl(), TenantID: t.GetTenantId(), DedupKey: t.GetDedupKey(), Subject: t.GetSubject(), State: t.GetState(), CreatedAt: instant(t.GetCreatedAt())}
}

// FromDescriptor writes a descriptor with what c can do.
func FromDescriptor(d connector.Descriptor, caps []connector.Capability) *pb.DescribeResponse {
	out := &pb.DescribeResponse{Id: d.ID, Name: d.Name, Version: d.Version, Kind: string(d.Kind), MaxBatch: int32(min(max(d.MaxBatch, 0), connector.MaxBatch))}
	for _, f := range d.Config {
		out.Config = append(out.Config, &pb.Field{Key: f.Key, Title: f.Title, Help: f.Help, Required: f.Required, Secret: f.Secret})
	}
	for _, c := range caps {
		out.Capabilities = append(out.Capabilities, string(c))
	}
	return out
}

// Descriptor reads a descriptor and the capabilities.
func Descriptor(d *pb.DescribeResponse) (connector.Descriptor, []connector.Capability) {
	out := connector.Descriptor{ID: d.GetId(), Name: d.GetName(), Version: d.GetVersion(), Kind: connector.Kind(d.GetKind()), MaxBatch: int(d.GetMaxBatch())}
	for _, f := range d.GetConfig() {
		out.Config = append(out.Config, connector.Field{Key: f.GetKey(), Title: f.GetTitle(), Help: f.GetHelp(), Required: f.GetRequired(), Secret: f.GetSecret()})
	}
	var caps []connector.Capability
	for _, c := range d.GetCapabilities() {
		caps = append(caps, connector.Capability(c))
	}
	return out, caps
}
