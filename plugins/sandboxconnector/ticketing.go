package sandboxconnector

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/reevehq/reeve/integrations/connector"
)

type ticketing struct{ reader }

var (
	_ connector.Upserter = (*ticketing)(nil)
	_ connector.Reader   = (*ticketing)(nil)
	_ connector.Tickets  = (*ticketing)(nil)
)

// Ticketing keeps tenants as organizations, and their tickets.
func Ticketing() connector.Connector {
	b := &base{d: describe("sandbox-ticketing", "Sandbox vendor help desk", connector.Ticketing)}
	return &ticketing{reader{base: b, collection: "organizations", fields: []string{"name", "plan", "suspended"},
		account: func(_ context.Context, o object) (connector.Account, error) {
			suspended, _ := o.Properties["suspended"].(bool)
			return connector.Account{Name: text(o.Properties["name"]), Plan: text(o.Properties["plan"]), Suspended: suspended}, nil
		}}}
}

func (c *ticketing) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	return connector.Each(ctx, batch, func(a connector.Account) (connector.Result, error) {
		outcome, o, err := c.put(ctx, "organizations", a.TenantID, a.SourceVersion, map[string]any{"name": a.Name, "plan": a.Plan, "suspended": a.Suspended})
		if err != nil {
			return connector.Result{}, err
		}
		return connector.Result{Outcome: outcome, RemoteID: o.ID}, nil
	})
}

func (c *ticketing) OpenTicket(ctx context.Context, d connector.TicketDraft) (connector.Ticket, bool, error) {
	var o object
	err := c.api.Do(ctx, http.MethodPost, "/tickets", object{ExternalID: d.DedupKey, Properties: map[string]any{"organization": d.TenantID, "subject": d.Subject,
		"body": d.Body, "priority": d.Priority, "state": connector.TicketOpen}}, &o)
	if connector.CodeOf(err) == connector.Conflict { // the key is taken: by us, earlier
		t, err := c.FindTicket(ctx, d.DedupKey)
		return t, false, err
	}
	if err != nil {
		return connector.Ticket{}, false, err
	}
	return ticket(o), true, nil
}

func ticket(o object) connector.Ticket {
	return connector.Ticket{ID: o.ID, TenantID: text(o.Properties["organization"]), DedupKey: o.ExternalID, Subject: text(o.Properties["subject"]),
		State: text(o.Properties["state"]), CreatedAt: o.CreatedAt}
}

func (c *ticketing) FindTicket(ctx context.Context, dedupKey string) (connector.Ticket, error) {
	o, err := c.find(ctx, "tickets", dedupKey)
	if err != nil {
		return connector.Ticket{}, err
	}
	if o == nil {
		return connector.Ticket{}, &connector.Error{Code: connector.NotFound, Message: "no ticket has this key"}
	}
	return ticket(*o), nil
}

func (c *ticketing) CommentTicket(ctx context.Context, m connector.TicketComment) (connector.Outcome, error) {
	if err := c.api.Do(ctx, http.MethodGet, "/tickets/"+url.PathEscape(m.TicketID), nil, nil); err != nil {
		return "", err
	}
	err := c.api.Do(ctx, http.MethodPost, "/comments", object{ExternalID: m.IdempotencyID, Properties: map[string]any{"ticket": m.TicketID, "body": m.Body}}, nil)
	if connector.CodeOf(err) == connector.Conflict { // said already
		return connector.Unchanged, nil
	}
	return connector.Created, err
}

// CloseTicket says the last words first: a process that died between the two says
// nothing twice and closes the second time.
func (c *ticketing) CloseTicket(ctx context.Context, m connector.TicketComment) (connector.Outcome, error) {
	for try := 0; ; try++ {
		var o object
		if err := c.api.Do(ctx, http.MethodGet, "/tickets/"+url.PathEscape(m.TicketID), nil, &o); err != nil {
			return "", err
		}
		if o.Properties["state"] == connector.TicketClosed {
			return connector.Unchanged, nil
		}
		if m.Body != "" {
			if _, err := c.CommentTicket(ctx, m); err != nil {
				return "", err
			}
		}
		err := c.api.Do(ctx, http.MethodPatch, "/tickets/"+url.PathEscape(o.ID), object{Properties: map[string]any{"state": connector.TicketClosed}}, nil, "If-Match", strconv.FormatInt(o.Revision, 10))
		if connector.CodeOf(err) != connector.Conflict || try == 3 {
			return connector.Updated, err
		}
	}
}
