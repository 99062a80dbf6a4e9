package host

import (
	"context"
	"errors"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/reevehq/reeve/integrations/connector"
	pb "github.com/reevehq/reeve/plugins/connectorpb/v1"
	"github.com/reevehq/reeve/plugins/wire"
)

// remote is a connector whose calls go to whichever process runs now. The optional
// interfaces are separate types, so that offer can leave out what the plugin lacks.
type remote struct{ p *supervised }

type (
	upserts struct{ r *remote }
	reads   struct{ r *remote }
	lists   struct{ r *remote }
	tickets struct{ r *remote }
)

// offer gives r the optional interfaces in caps and no other. Ids it does not know
// belong to a later version and are left alone.
func offer(r *remote, caps []connector.Capability) connector.Connector {
	u, d, l, t := upserts{r}, reads{r}, lists{r}, tickets{r}
	kind := 0
	for i, c := range []connector.Capability{connector.CanUpsert, connector.CanRead, connector.CanLists, connector.CanTickets} {
		if slices.Contains(caps, c) {
			kind |= 1 << i
		}
	}
	switch kind {
	case 1:
		return struct {
			*remote
			upserts
		}{r, u}
	case 2:
		return struct {
			*remote
			reads
		}{r, d}
	case 3:
		return struct {
			*remote
			upserts
			reads
		}{r, u, d}
	case 4:
		return struct {
			*remote
			lists
		}{r, l}
	case 5:
		return struct {
			*remote
			upserts
			lists
		}{r, u, l}
	case 6:
		return struct {
			*remote
			reads
			lists
		}{r, d, l}
	case 7:
		return struct {
			*remote
			upserts
			reads
			lists
		}{r, u, d, l}
	case 8:
		return struct {
			*remote
			tickets
		}{r, t}
	case 9:
		return struct {
			*remote
			upserts
			tickets
		}{r, u, t}
	case 10:
		return struct {
			*remote
			reads
			tickets
		}{r, d, t}
	case 11:
		return struct {
			*remote
			upserts
			reads
			tickets
		}{r, u, d, t}
	case 12:
		return struct {
			*remote
			lists
			tickets
		}{r, l, t}
	case 13:
		return struct {
			*remote
			upserts
			lists
			tickets
		}{r, u, l, t}
	case 14:
		return struct {
			*remote
			reads
			lists
			tickets
		}{r, d, l, t}
	case 15:
		return struct {
			*remote
			upserts
			reads
			lists
			tickets
		}{r, u, d, l, t}
	}
	return r
}

// call makes one call with a deadline. Its error, if any, is a *connector.Error that
// holds no secret.
func call[In, Out any](ctx context.Context, r *remote, method func(pb.ConnectorServiceClient, context.Context, *In, ...grpc.CallOption) (*Out, error), in *In) (out *Out, err error) {
	run, err := r.p.acquire()
	if err != nil {
		return nil, err
	}
	defer run.calls.Done()
	defer func() {
		if v := recover(); v != nil {
			r.p.log.Error("call of plugin panicked")
			out, err = nil, &connector.Error{Code: connector.Other, Message: "the call panicked"}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, r.p.host.opts.CallTimeout)
	defer cancel()
	out, err = method(run.rpc, ctx, in)
	if err != nil {
		return nil, r.p.scrub.error(wire.FromStatus(err))
	}
	return out, nil
}

func (r *remote) Describe() connector.Descriptor {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	d := r.p.descriptor
	d.Config = slices.Clone(d.Config)
	return d
}

// Configure also holds for later starts, unless the Spec has Settings of its own.
func (r *remote) Configure(ctx context.Context, cfg connector.Config) error {
	if cfg == nil {
		cfg = connector.Config{}
	}
	r.p.scrub.learn(r.Describe(), cfg)
	if _, err := call(ctx, r, pb.ConnectorServiceClient.Configure, &pb.ConfigureRequest{Config: cfg}); err != nil {
		return err
	}
	r.p.change(func() {
		r.p.config = maps.Clone(cfg)
		if r.p.state == Misconfigured {
			r.p.state, r.p.lastErr = Ready, ""
		}
	})
	return nil
}

func (r *remote) Check(ctx context.Context) error {
	_, err := call(ctx, r, pb.ConnectorServiceClient.Check, &pb.CheckRequest{})
	return err
}

// Upsert splits the batch as the plugin and the wire want it. It ends early where the
// rest would meet the same refusal.
func (u upserts) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	most := u.r.Describe().MaxBatch
	if most <= 0 {
		most = connector.DefaultBatch
	}
	out := make([]connector.Result, 0, len(batch))
	var stop *connector.Error
	for len(out) < len(batch) {
		rest := batch[len(out):]
		if stop != nil {
			out = append(out, connector.Fail(rest[0], stop))
			continue
		}
		if err := rest[0].Validate(); err != nil {
			out = append(out, connector.Fail(rest[0], err))
			continue
		}
		in, size := &pb.UpsertRequest{}, 0
		for _, a := range rest {
			m := wire.FromAccount(a)
			size += proto.Size(m)
			if a.Validate() != nil || len(in.Accounts) == most || len(in.Accounts) > 0 && size > wire.MaxBatchBytes {
				break
			}
			in.Accounts = append(in.Accounts, m)
		}
		res, err := call(ctx, u.r, pb.ConnectorServiceClient.Upsert, in)
		if err != nil {
			stop = &connector.Error{Code: connector.Unavailable, Message: "not sent: an earlier call broke"}
			if c := connector.CodeOf(err); c == connector.Auth || c == connector.RateLimited || c == connector.Unavailable || c == connector.Unsupported {
				stop = connector.AsError(err)
			}
		}
		for i := range in.Accounts {
			r := u.result(rest[i], i, len(in.Accounts), res, err)
			if r.Err != nil && (r.Err.Code == connector.Auth || r.Err.Code == connector.RateLimited) {
				stop = r.Err
			}
			out = append(out, r)
		}
	}
	return out
}

func (u upserts) result(a connector.Account, i, n int, res *pb.UpsertResponse, err error) connector.Result {
	switch {
	case err != nil:
		return connector.Fail(a, err)
	case len(res.GetResults()) != n:
		return connector.Fail(a, errors.New("the plugin answered for another number of accounts"))
	}
	r := wire.Result(res.Results[i])
	r.Err = u.r.p.scrub.error(r.Err)
	switch {
	case r.TenantID != a.TenantID:
		return connector.Fail(a, errors.New("the plugin answered for another tenant"))
	case r.Outcome.Done():
		r.Err = nil
	case r.Err == nil:
		return connector.Fail(a, errors.New("the plugin said neither what happened nor why not"))
	}
	return r
}

func (d reads) Get(ctx context.Context, tenantID string) (connector.Remote, error) {
	res, err := call(ctx, d.r, pb.ConnectorServiceClient.Get, &pb.GetRequest{TenantId: tenantID})
	if err != nil {
		return connector.Remote{}, err
	}
	return wire.Remote(res.GetRemote()), nil
}

func (d reads) List(ctx context.Context, cursor string, limit int) (connector.Page, error) {
	limit = min(max(limit, 0), connector.MaxBatch)
	res, err := call(ctx, d.r, pb.ConnectorServiceClient.List, &pb.ListRequest{Cursor: cursor, Limit: int32(limit)})
	if err != nil {
		return connector.Page{}, err
	}
	page := connector.Page{Next: res.GetNext()}
	for _, r := range res.GetItems() {
		page.Items = append(page.Items, wire.Remote(r))
	}
	if page.Next != "" && page.Next == cursor {
		return connector.Page{}, &connector.Error{Code: connector.Other, Message: "the plugin's pages do not end"}
	}
	return page, nil
}

func (l lists) AddToList(ctx context.Context, m connector.Membership) (connector.Outcome, error) {
	res, err := call(ctx, l.r, pb.ConnectorServiceClient.AddToList, &pb.AddToListRequest{Meta: wire.FromMeta(m.Meta), List: m.List})
	return wire.Outcome(res.GetOutcome()), err
}

func (l lists) RemoveFromList(ctx context.Context, m connector.Membership) (connector.Outcome, error) {
	res, err := call(ctx, l.r, pb.ConnectorServiceClient.RemoveFromList, &pb.RemoveFromListRequest{Meta: wire.FromMeta(m.Meta), List: m.List})
	return wire.Outcome(res.GetOutcome()), err
}

func (l lists) InList(ctx context.Context, list, tenantID string) (bool, error) {
	res, err := call(ctx, l.r, pb.ConnectorServiceClient.InList, &pb.InListRequest{List: list, TenantId: tenantID})
	return res.GetIn(), err
}

func (t tickets) OpenTicket(ctx context.Context, d connector.TicketDraft) (connector.Ticket, bool, error) {
	res, err := call(ctx, t.r, pb.ConnectorServiceClient.OpenTicket, &pb.OpenTicketRequest{Meta: wire.FromMeta(d.Meta), DedupKey: d.DedupKey, Subject: d.Subject, Body: d.Body, Priority: d.Priority})
	return wire.Ticket(res.GetTicket()), res.GetCreated(), err
}

func (t tickets) FindTicket(ctx context.Context, dedupKey string) (connector.Ticket, error) {
	res, err := call(ctx, t.r, pb.ConnectorServiceClient.FindTicket, &pb.FindTicketRequest{DedupKey: dedupKey})
	return wire.Ticket(res.GetTicket()), err
}

func (t tickets) CommentTicket(ctx context.Context, c connector.TicketComment) (connector.Outcome, error) {
	res, err := call(ctx, t.r, pb.ConnectorServiceClient.CommentTicket, &pb.CommentTicketRequest{Meta: wire.FromMeta(c.Meta), TicketId: c.TicketID, Body: c.Body})
	return wire.Outcome(res.GetOutcome()), err
}

func (t tickets) CloseTicket(ctx context.Context, c connector.TicketComment) (connector.Outcome, error) {
	res, err := call(ctx, t.r, pb.ConnectorServiceClient.CloseTicket, &pb.CloseTicketRequest{Meta: wire.FromMeta(c.Meta), TicketId: c.TicketID, Body: c.Body})
	return wire.Outcome(res.GetOutcome()), err
}
