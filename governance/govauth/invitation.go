package govauth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// InvitationState is where an invitation stands.
type InvitationState string

// The states of an invitation. An open one also has an end.
const (
	InvitationOpen     InvitationState = "open"
	InvitationAccepted InvitationState = "accepted"
	InvitationRevoked  InvitationState = "revoked"
)

// Invitation lets one person in. ID is the id that the person will have.
type Invitation struct {
	ID        governance.PersonID
	Name      string
	Email     string
	Roles     []string
	Region    string
	State     InvitationState
	InvitedBy governance.PersonID
	CreatedAt time.Time
	ExpiresAt time.Time
	ClosedAt  time.Time
}

func (r invitationRow) invitation() Invitation {
	return Invitation{ID: governance.PersonID(r.ID), Name: r.Name, Email: r.Email, Roles: append([]string{}, r.Roles...), Region: r.Region,
		State: InvitationState(r.State), InvitedBy: governance.PersonID(r.InvitedBy), CreatedAt: r.CreatedAt.Time(), ExpiresAt: r.ExpiresAt.Time(), ClosedAt: r.ClosedAt.Time()}
}

// Invite is the input of the action user.invite. ID may be left empty.
type Invite struct {
	ID     governance.PersonID `json:"id"`
	Name   string              `json:"name"`
	Email  string              `json:"email"`
	Roles  []string            `json:"roles"`
	Region string              `json:"region,omitempty"`
}

func (in Invite) validate() error {
	return errors.Join(validName("name", in.Name, true), validEmail("email", in.Email), validRoles("roles", in.Roles, PersonRoles()), validName("region", in.Region, false))
}

func (s *Service) inviteAction() *governance.Action[Invite] {
	return governance.Define("user.invite", governance.Spec[Invite]{
		Summary:    "Invites a person, with roles.",
		Unheld:     "An invitation into a role without power to decide or administer needs nobody else.",
		Permission: "user:write", Sensitive: true, Tenant: noTenant[Invite],
		Resource: func(in Invite) governance.Ref { return personRef(in.ID) },
		Validate: Invite.validate,
	}, func(ctx context.Context, tx *governance.Tx, in Invite) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		now := s.k.Now()
		taken, err := tx.NewSelect().Model((*userRow)(nil)).Where("email = ? OR id = ?", in.Email, in.ID).Exists(ctx)
		if err != nil {
			return governance.Result{}, fmt.Errorf("invite: %w", err)
		}
		if taken {
			return governance.Result{}, fmt.Errorf("there is a person with this e-mail address: %w", governance.ErrConflict)
		}
		// An invitation nobody accepted in time makes room for another.
		if _, err := tx.ExecContext(ctx, "UPDATE auth_invitation SET state = ?, closed_at = expires_at WHERE email = ? AND state = ? AND expires_at < ?",
			InvitationRevoked, in.Email, InvitationOpen, govdb.At(now)); err != nil {
			return governance.Result{}, fmt.Errorf("invite: %w", err)
		}
		row := &invitationRow{ID: string(in.ID), Name: in.Name, Email: in.Email, Roles: in.Roles, Region: in.Region, State: string(InvitationOpen),
			InvitedBy: string(e.Identity.Actor.Person), CreatedAt: govdb.At(now), ExpiresAt: govdb.At(now.Add(s.opts.InvitationValid))}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			if governance.IsUnique(err) {
				return governance.Result{}, fmt.Errorf("there is an open invitation for this e-mail address: %w", governance.ErrConflict)
			}
			return governance.Result{}, fmt.Errorf("invite: %w", err)
		}
		data := map[string]any{"invitation": in.ID, "roles": in.Roles, "expires_at": row.ExpiresAt.Time()}
		ev, err := governance.NewEvent("user.invited", "", 0, personRef(in.ID), data)
		return governance.Result{Data: data, Events: []governance.Event{ev}}, err
	})
}

// Invite asks to invite somebody. The invitation's link is shown by
// [Service.InvitationLink] once the action was executed.
func (s *Service) Invite(ctx context.Context, id governance.Identity, in Invite, opts *governance.DoOptions) (governance.Outcome, error) {
	if in.ID == "" {
		in.ID = governance.PersonID(idFor(id, opts, "invite").String())
	}
	in.Email, in.Roles = normalEmail(in.Email), normalRoles(in.Roles)
	return s.acts.invite.Do(ctx, s.k, id, in, opts)
}

// InvitationLink makes the invitation's link, which is shown this once; an earlier
// one stops working. Only the inviter gets it, while they may still invite.
func (s *Service) InvitationLink(ctx context.Context, id governance.Identity, invitation governance.PersonID) (OneTimeLink, error) {
	if err := s.k.Authorize(ctx, id, "user:write", governance.Target{Resource: personRef(invitation)}); err != nil {
		return OneTimeLink{}, err
	}
	var out OneTimeLink
	var refused error
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		out, refused = OneTimeLink{}, nil
		row, err := invitationTx(ctx, tx, invitation)
		if err != nil {
			return err
		}
		if !own(id, governance.PersonID(row.InvitedBy)) {
			refused = denied("user.invite", "inviter", "only the inviter gets the link")
			return s.refuseTx(ctx, tx, id, "invitation.link", personRef(invitation), refused)
		}
		now := s.now()
		if row.State != string(InvitationOpen) || row.ExpiresAt <= now {
			return fmt.Errorf("invitation %s is not open any more: %w", invitation, governance.ErrConflict)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE auth_link SET used_at = ? WHERE kind = ? AND person = ? AND used_at = 0", now, LinkInvitation, invitation); err != nil {
			return fmt.Errorf("invitation %s: %w", invitation, err)
		}
		token, link, err := s.insertLinkTx(ctx, tx, LinkInvitation, invitation, id.Actor.Person, row.ExpiresAt.Time().Sub(now.Time()))
		if err != nil {
			return err
		}
		out = OneTimeLink{token, s.opts.LinkURL(token), link.ExpiresAt.Time()}
		return s.record(ctx, tx, id, "invitation.link", personRef(invitation), map[string]any{"link": link.ID})
	})
	return out, errors.Join(err, refused)
}

// RevokeInvitation closes an open invitation; its link stops working.
func (s *Service) RevokeInvitation(ctx context.Context, id governance.Identity, invitation governance.PersonID) error {
	if err := s.k.Authorize(ctx, id, "user:write", governance.Target{Resource: personRef(invitation)}); err != nil {
		return err
	}
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if _, err := invitationTx(ctx, tx, invitation); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "UPDATE auth_invitation SET state = ?, closed_at = ? WHERE id = ? AND state = ?",
			InvitationRevoked, s.now(), invitation, InvitationOpen)
		if err := affectOne(res, err, "revoke invitation", governance.ErrConflict); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE auth_link SET used_at = ? WHERE kind = ? AND person = ? AND used_at = 0", s.now(), LinkInvitation, invitation); err != nil {
			return fmt.Errorf("revoke invitation: %w", err)
		}
		return s.record(ctx, tx, id, "invitation.revoke", personRef(invitation), nil)
	})
}

func invitationTx(ctx context.Context, db bun.IDB, id governance.PersonID) (invitationRow, error) {
	var row invitationRow
	err := db.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return row, fmt.Errorf("invitation %s: %w", id, err)
	}
	return row, nil
}

// InvitationFilter selects invitations; the zero value lists all of them.
type InvitationFilter struct {
	State  InvitationState
	Before governance.PersonID // the last one of the page before
	Limit  int                 // default 50, at most 200
}

// Invitations lists invitations, newest first.
func (s *Service) Invitations(ctx context.Context, f InvitationFilter) ([]Invitation, error) {
	var rows []invitationRow
	q := s.db.Read().NewSelect().Model(&rows).Order("created_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if f.State != "" {
		q = q.Where("state = ?", f.State)
	}
	if f.Before != "" {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM auth_invitation WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	out := make([]Invitation, len(rows))
	for i, r := range rows {
		out[i] = r.invitation()
	}
	return out, nil
}
