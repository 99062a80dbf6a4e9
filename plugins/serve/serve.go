// Package serve turns a connector into a plugin program.
//
//	func main() { serve.Connector(new(acme)) }
//
// It speaks hashicorp/go-plugin over gRPC with mutual TLS, answers health checks,
// turns panics into errors, refuses records without a version, and ends by itself
// when the host is gone. What the program prints goes to the host's log; until
// [Connector] runs stdout belongs to the handshake, so print nothing there.
package serve

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/reevehq/reeve/integrations/connector"
	pb "github.com/reevehq/reeve/plugins/connectorpb/v1"
	"github.com/reevehq/reeve/plugins/wire"
)

// Connector serves c until the host lets go. It is the one line of a plugin's main.
func Connector(c connector.Connector) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: wire.Handshake(),
		Plugins:         plugin.PluginSet{wire.Name: &served{c: c}},
		Logger:          hclog.NewNullLogger(),
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			s := grpc.NewServer(append(opts, grpc.UnaryInterceptor(new(guard).call), grpc.MaxRecvMsgSize(wire.MaxMessage), grpc.MaxSendMsgSize(wire.MaxMessage))...)
			go endWithHost(s)
			return s
		},
	})
}

// IfPlugin makes a program its own plugin: it serves the connector that the host
// asked for and returns true, or returns false at once when this is no plugin
// process. It is the first line of such a program's main.
func IfPlugin(connectors map[string]connector.Connector) bool {
	shake := wire.Handshake()
	name := os.Getenv(wire.Marker)
	if name == "" || os.Getenv(shake.MagicCookieKey) != shake.MagicCookieValue {
		return false
	}
	c, ok := connectors[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no connector %q, there are: %s\n", name, strings.Join(slices.Sorted(maps.Keys(connectors)), ", "))
		os.Exit(2)
	}
	Connector(c)
	return true
}

// endWithHost stops s when the host closes our stdin, as it does to stop us and as
// the kernel does for it when it dies.
func endWithHost(s *grpc.Server) {
	if fi, err := os.Stdin.Stat(); err != nil || fi.Mode()&os.ModeNamedPipe == 0 {
		return // started by another host, which lets go by the Shutdown call
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	time.AfterFunc(time.Second, func() { os.Exit(0) }) // whatever main still does
	s.Stop()
}

// guard keeps Configure apart from other calls, and panics from the process.
type guard struct{ configuring sync.RWMutex }

func (g *guard) call(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
	switch {
	case info.FullMethod == pb.ConnectorService_Configure_FullMethodName:
		g.configuring.Lock()
		defer g.configuring.Unlock()
	case strings.HasPrefix(info.FullMethod, "/"+pb.ConnectorService_ServiceDesc.ServiceName+"/"): // health checks pass
		g.configuring.RLock()
		defer g.configuring.RUnlock()
	}
	defer func() {
		if p := recover(); p != nil { // its value may hold a payload: log only where it was
			fmt.Fprintf(os.Stderr, "panic in %s\n%s\n", info.FullMethod, debug.Stack())
			res, err = nil, wire.Status(&connector.Error{Code: connector.Other, Message: "the connector panicked"})
		}
	}()
	return next(ctx, req)
}

// served is the plugin side of go-plugin.
type served struct {
	plugin.NetRPCUnsupportedPlugin
	c connector.Connector
}

var _ plugin.GRPCPlugin = (*served)(nil)

func (p *served) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	srv := &server{c: p.c, d: p.c.Describe()}
	srv.up, _ = p.c.(connector.Upserter)
	srv.rd, _ = p.c.(connector.Reader)
	srv.ls, _ = p.c.(connector.Lists)
	srv.tk, _ = p.c.(connector.Tickets)
	pb.RegisterConnectorServiceServer(s, srv)
	return nil
}

func (p *served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("package serve is the plugin's side")
}

type server struct {
	pb.UnimplementedConnectorServiceServer
	c          connector.Connector
	d          connector.Descriptor
	up         connector.Upserter // nil, as those below: not offered
	rd         connector.Reader
	ls         connector.Lists
	tk         connector.Tickets
	configured atomic.Bool
}

func (s *server) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return wire.FromDescriptor(s.d, connector.Capabilities(s.c)), nil
}

func (s *server) Configure(ctx context.Context, in *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	cfg := connector.Config(in.Config)
	if cfg == nil {
		cfg = connector.Config{}
	}
	if err := s.d.Validate(cfg); err != nil {
		return nil, wire.Status(err)
	}
	if err := s.c.Configure(ctx, cfg); err != nil {
		return nil, wire.Status(err)
	}
	s.configured.Store(true)
	return &pb.ConfigureResponse{}, nil
}

// ready refuses a call that the connector does not offer or is not ready for.
func (s *server) ready(offered bool, c connector.Capability) error {
	if !offered {
		return wire.Status(&connector.Error{Code: connector.Unsupported, Message: s.d.ID + " does not offer " + string(c)})
	}
	if !s.configured.Load() {
		return wire.Status(&connector.Error{Code: connector.Unavailable, Message: s.d.ID + " is not configured"})
	}
	return nil
}

func (s *server) Check(ctx context.Context, _ *pb.CheckRequest) (*pb.CheckResponse, error) {
	if err := s.ready(true, ""); err != nil {
		return nil, err
	}
	if err := s.c.Check(ctx); err != nil {
		return nil, wire.Status(err)
	}
	return &pb.CheckResponse{}, nil
}

func (s *server) Upsert(ctx context.Context, in *pb.UpsertRequest) (*pb.UpsertResponse, error) {
	if err := s.ready(s.up != nil, connector.CanUpsert); err != nil {
		return nil, err
	}
	most := s.d.MaxBatch
	if most <= 0 {
		most = connector.DefaultBatch
	}
	if len(in.Accounts) > most {
		return nil, wire.Status(&connector.Error{Code: connector.Invalid, Field: "accounts", Message: fmt.Sprintf("%d in one call, at most %d", len(in.Accounts), most)})
	}
	batch := make([]connector.Account, len(in.Accounts))
	for i, a := range in.Accounts {
		batch[i] = wire.Account(a)
		if err := batch[i].Validate(); err != nil {
			return nil, wire.Status(err)
		}
	}
	results := s.up.Upsert(ctx, batch)
	if len(results) != len(batch) { // which is whose cannot be told
		return nil, wire.Status(fmt.Errorf("the connector answered %d results for %d accounts", len(results), len(batch)))
	}
	out := &pb.UpsertResponse{}
	for i, r := range results {
		switch {
		case r.TenantID != "" && r.TenantID != batch[i].TenantID:
			r = connector.Fail(batch[i], fmt.Errorf("the connector answered for another tenant"))
		case r.Err == nil && !r.Outcome.Done():
			r = connector.Fail(batch[i], fmt.Errorf("the connector answered outcome %q without an error", r.Outcome))
		}
		r.TenantID = batch[i].TenantID
		out.Results = append(out.Results, wire.FromResult(r))
	}
	return out, nil
}

func (s *server) Get(ctx context.Context, in *pb.GetRequest) (*pb.GetResponse, error) {
	if err := s.ready(s.rd != nil, connector.CanRead); err != nil {
		return nil, err
	}
	r, err := s.rd.Get(ctx, in.TenantId)
	if err != nil {
		return nil, wire.Status(err)
	}
	return &pb.GetResponse{Remote: wire.FromRemote(r)}, nil
}

func (s *server) List(ctx context.Context, in *pb.ListRequest) (*pb.ListResponse, error) {
	if err := s.ready(s.rd != nil, connector.CanRead); err != nil {
		return nil, err
	}
	limit := int(in.Limit)
	if limit <= 0 {
		limit = connector.DefaultBatch
	}
	p, err := s.rd.List(ctx, in.Cursor, min(limit, connector.MaxBatch))
	if err != nil {
		return nil, wire.Status(err)
	}
	out := &pb.ListResponse{Next: p.Next}
	for _, r := range p.Items {
		out.Items = append(out.Items, wire.FromRemote(r))
	}
	return out, nil
}

func (s *server) AddToList(ctx context.Context, in *pb.AddToListRequest) (*pb.AddToListResponse, error) {
	o, err := s.member(ctx, connector.Membership{Meta: wire.Meta(in.Meta), List: in.List}, true)
	if err != nil {
		return nil, err
	}
	return &pb.AddToListResponse{Outcome: o}, nil
}

func (s *server) RemoveFromList(ctx context.Context, in *pb.RemoveFromListRequest) (*pb.RemoveFromListResponse, error) {
	o, err := s.member(ctx, connector.Membership{Meta: wire.Meta(in.Meta), List: in.List}, false)
	if err != nil {
		return nil, err
	}
	return &pb.RemoveFromListResponse{Outcome: o}, nil
}

func (s *server) member(ctx context.Context, m connector.Membership, on bool) (pb.Outcome, error) {
	if err := s.ready(s.ls != nil, connector.CanLists); err != nil {
		return 0, err
	}
	if err := need(m.Meta, "list", m.List); err != nil {
		return 0, err
	}
	write := s.ls.RemoveFromList
	if on {
		write = s.ls.AddToList
	}
	o, err := write(ctx, m)
	return done(o, err)
}

func (s *server) InList(ctx context.Context, in *pb.InListRequest) (*pb.InListResponse, error) {
	if err := s.ready(s.ls != nil, connector.CanLists); err != nil {
		return nil, err
	}
	ok, err := s.ls.InList(ctx, in.List, in.TenantId)
	if err != nil {
		return nil, wire.Status(err)
	}
	return &pb.InListResponse{In: ok}, nil
}

func (s *server) OpenTicket(ctx context.Context, in *pb.OpenTicketRequest) (*pb.OpenTicketResponse, error) {
	if err := s.ready(s.tk != nil, connector.CanTickets); err != nil {
		return nil, err
	}
	d := connector.TicketDraft{Meta: wire.Meta(in.Meta), DedupKey: in.DedupKey, Subject: in.Subject, Body: in.Body, Priority: in.Priority}
	if err := need(d.Meta, "dedup_key", d.DedupKey); err != nil {
		return nil, err
	}
	t, created, err := s.tk.OpenTicket(ctx, d)
	if err != nil {
		return nil, wire.Status(err)
	}
	return &pb.OpenTicketResponse{Ticket: wire.FromTicket(t), Created: created}, nil
}

func (s *server) FindTicket(ctx context.Context, in *pb.FindTicketRequest) (*pb.FindTicketResponse, error) {
	if err := s.ready(s.tk != nil, connector.CanTickets); err != nil {
		return nil, err
	}
	t, err := s.tk.FindTicket(ctx, in.DedupKey)
	if err != nil {
		return nil, wire.Status(err)
	}
	return &pb.FindTicketResponse{Ticket: wire.FromTicket(t)}, nil
}

func (s *server) CommentTicket(ctx context.Context, in *pb.CommentTicketRequest) (*pb.CommentTicketResponse, error) {
	o, err := s.remark(ctx, connector.TicketComment{Meta: wire.Meta(in.Meta), TicketID: in.TicketId, Body: in.Body}, false)
	if err != nil {
		return nil, err
	}
	return &pb.CommentTicketResponse{Outcome: o}, nil
}

func (s *server) CloseTicket(ctx context.Context, in *pb.CloseTicketRequest) (*pb.CloseTicketResponse, error) {
	o, err := s.remark(ctx, connector.TicketComment{Meta: wire.Meta(in.Meta), TicketID: in.TicketId, Body: in.Body}, true)
	if err != nil {
		return nil, err
	}
	return &pb.CloseTicketResponse{Outcome: o}, nil
}

func (s *server) remark(ctx context.Context, c connector.TicketComment, last bool) (pb.Outcome, error) {
	if err := s.ready(s.tk != nil, connector.CanTickets); err != nil {
		return 0, err
	}
	if err := need(c.Meta, "ticket_id", c.TicketID); err != nil {
		return 0, err
	}
	write := s.tk.CommentTicket
	if last {
		write = s.tk.CloseTicket
	}
	o, err := write(ctx, c)
	return done(o, err)
}

// need refuses a record without its meta, or without the one field named.
func need(m connector.Meta, field, value string) error {
	if err := m.Validate(); err != nil {
		return wire.Status(err)
	}
	if value == "" {
		return wire.Status(&connector.Error{Code: connector.Invalid, Field: field, Message: "is required"})
	}
	return nil
}

func done(o connector.Outcome, err error) (pb.Outcome, error) {
	if err == nil && !o.Done() {
		err = fmt.Errorf("the connector answered outcome %q without an error", o)
	}
	return wire.FromOutcome(o), wire.Status(err)
}
