package govauth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// LinkKind says what a one-time link is for.
type LinkKind string

// The kinds of link.
const (
	LinkFirstRun   LinkKind = "first_run"  // the first super admin, from the machine itself
	LinkInvitation LinkKind = "invitation" // accepts an invitation
	LinkSignIn     LinkKind = "sign_in"    // somebody who is known already
)

// OneTimeLink is a link as it is shown once. Opening URL changes nothing; the button
// on its page uses it up.
type OneTimeLink struct {
	Token     string
	URL       string
	ExpiresAt time.Time
}

// LinkInfo is what a link's page may say before it is used.
type LinkInfo struct {
	Kind      LinkKind
	Name      string
	Roles     []string
	ExpiresAt time.Time
}

func (s *Service) insertLinkTx(ctx context.Context, tx *governance.Tx, kind LinkKind, person, by governance.PersonID, valid time.Duration) (string, linkRow, error) {
	id := newID()
	token, hash := newSecret(linkPrefix, id)
	now := s.k.Now()
	row := linkRow{ID: id, Kind: string(kind), Person: string(person), Hash: hash, CreatedBy: string(by), CreatedAt: govdb.At(now), ExpiresAt: govdb.At(now.Add(valid))}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return "", row, fmt.Errorf("link for %s: %w", person, err)
	}
	return token, row, nil
}

// SignInLink is the input of the action user.signin_link. Link may be left empty.
type SignInLink struct {
	Person governance.PersonID `json:"person"`
	Link   string              `json:"link"`
}

// issueWithin is how long a link that was asked for may wait to be shown.
const issueWithin = 24 * time.Hour

func (s *Service) linkAction() *governance.Action[SignInLink] {
	return governance.Define("user.signin_link", governance.Spec[SignInLink]{
		Summary:    "Makes a link by which a person signs in.",
		Permission: "user:write", Sensitive: true, Tenant: noTenant[SignInLink],
		Resource: func(in SignInLink) governance.Ref { return personRef(in.Person) },
		Version:  userVersion(func(in SignInLink) governance.PersonID { return in.Person }),
	}, func(ctx context.Context, tx *governance.Tx, in SignInLink) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		user, err := userTx(ctx, tx, in.Person)
		if err != nil {
			return governance.Result{}, err
		}
		if !user.active() {
			return governance.Result{}, fmt.Errorf("person %s is %s: %w", in.Person, user.State, governance.ErrConflict)
		}
		now := s.k.Now()
		row := &linkRow{ID: in.Link, Kind: string(LinkSignIn), Person: user.ID, CreatedBy: string(e.Identity.Actor.Person),
			CreatedAt: govdb.At(now), ExpiresAt: govdb.At(now.Add(issueWithin))}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return governance.Result{}, fmt.Errorf("sign-in link: %w", err)
		}
		_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: "signin-link:" + in.Link, Severity: governance.Warning, Title: "A sign-in link was made for somebody else",
			Body: "Whoever holds it signs in as that person. It was asked for by " + e.Identity.Actor.ID + "."})
		return governance.Result{Data: map[string]any{"link": in.Link, "person": in.Person}}, err
	})
}

// MakeSignInLink asks for a link by which somebody else signs in. Its address is
// shown by [Service.ShowSignInLink] once the action was executed.
func (s *Service) MakeSignInLink(ctx context.Context, id governance.Identity, person governance.PersonID, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.acts.link.Do(ctx, s.k, id, SignInLink{person, shortID(idFor(id, opts, "link"))}, opts)
}

// ShowSignInLink shows a link once, to the one who asked for it.
func (s *Service) ShowSignInLink(ctx context.Context, id governance.Identity, link string) (OneTimeLink, error) {
	if err := s.k.Authorize(ctx, id, "user:write", governance.Target{}); err != nil {
		return OneTimeLink{}, err
	}
	var out OneTimeLink
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row, err := linkTx(ctx, tx, link)
		if err != nil {
			return err
		}
		if !own(id, governance.PersonID(row.CreatedBy)) || row.Kind != string(LinkSignIn) {
			return fmt.Errorf("link %s: %w", link, governance.ErrNotFound)
		}
		now := s.k.Now()
		token, hash := newSecret(linkPrefix, link)
		expires := govdb.At(now.Add(s.opts.LinkValid))
		res, err := tx.ExecContext(ctx, "UPDATE auth_link SET hash = ?, expires_at = ? WHERE id = ? AND hash = '' AND used_at = 0 AND expires_at > ?",
			hash, expires, link, govdb.At(now))
		if err := affectOne(res, err, "link "+link+" was shown already, or too late", governance.ErrConflict); err != nil {
			return err
		}
		out = OneTimeLink{token, s.opts.LinkURL(token), expires.Time()}
		return s.record(ctx, tx, id, "signin.link", personRef(governance.PersonID(row.Person)), map[string]any{"kind": LinkSignIn, "link": link})
	})
	return out, err
}

// MintSignInLink makes a link for a person from inside the program: for a demo, or a
// command of the operator who has the machine anyway. It passes no guard, and is
// recorded.
func (s *Service) MintSignInLink(ctx context.Context, person governance.PersonID, valid time.Duration) (OneTimeLink, error) {
	var out OneTimeLink
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		user, err := userTx(ctx, tx, person)
		if err != nil {
			return err
		}
		if !user.active() {
			return fmt.Errorf("person %s is %s: %w", person, user.State, governance.ErrConflict)
		}
		token, link, err := s.insertLinkTx(ctx, tx, LinkSignIn, person, "", valid)
		if err != nil {
			return err
		}
		out = OneTimeLink{token, s.opts.LinkURL(token), link.ExpiresAt.Time()}
		return s.record(ctx, tx, governance.System("govauth"), "signin.link", personRef(person), map[string]any{"kind": LinkSignIn, "link": link.ID})
	})
	return out, err
}

func linkTx(ctx context.Context, db bun.IDB, id string) (linkRow, error) {
	var row linkRow
	err := db.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return row, fmt.Errorf("link %s: %w", id, err)
	}
	return row, nil
}

// checkLink gives the link of a token; a wrong token is ErrUnauthenticated.
func checkLink(ctx context.Context, db bun.IDB, token string) (linkRow, error) {
	id, ok := secretID(linkPrefix, token)
	if !ok {
		return linkRow{}, ErrUnauthenticated
	}
	row, err := linkTx(ctx, db, id)
	if errors.Is(err, governance.ErrNotFound) || err == nil && !matches(token, row.Hash) {
		return linkRow{}, ErrUnauthenticated
	}
	return row, err
}

// dead says why a link cannot be used any more, or is nil.
func (r linkRow) dead(now govdb.Micros) error {
	switch {
	case r.UsedAt != 0:
		return denied("signin", "link", "the link was used already, or replaced by another")
	case r.ExpiresAt <= now:
		return denied("signin", "link", "the link has expired")
	}
	return nil
}

// PeekLink says what a link is for. It changes nothing: mail scanners and previews
// open links, too.
func (s *Service) PeekLink(ctx context.Context, token string) (LinkInfo, error) {
	row, err := checkLink(ctx, s.db.Read(), token)
	if err == nil {
		err = row.dead(s.now())
	}
	if err != nil {
		return LinkInfo{}, err
	}
	info := LinkInfo{Kind: LinkKind(row.Kind), ExpiresAt: row.ExpiresAt.Time()}
	if info.Kind == LinkInvitation {
		inv, err := invitationTx(ctx, s.db.Read(), governance.PersonID(row.Person))
		info.Name, info.Roles = inv.Name, append([]string{}, inv.Roles...)
		return info, err
	}
	user, err := userTx(ctx, s.db.Read(), governance.PersonID(row.Person))
	info.Name, info.Roles = user.Name, append([]string{}, user.Roles...)
	return info, err
}

// UseLink uses a link up and signs its person in; an invitation makes the person in
// the same commit. Of two calls with one link, one succeeds.
func (s *Service) UseLink(ctx context.Context, token string, from governance.Origin) (SignedIn, error) {
	var out SignedIn
	var refused error
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
		out, refused = SignedIn{}, nil
		row, err := checkLink(ctx, tx, token)
		if err != nil {
			return err
		}
		if out, refused, err = s.useLinkTx(ctx, tx, row, from); err != nil || refused == nil {
			return err
		}
		return s.refuseTx(ctx, tx, governance.Identity{Actor: governance.Actor{ID: "link:" + row.ID, Kind: governance.ActorUser}, Origin: from}, "signin",
			personRef(governance.PersonID(row.Person)), refused)
	})
	if err = errors.Join(err, refused); err != nil {
		return SignedIn{}, err
	}
	return out, nil
}

func (s *Service) useLinkTx(ctx context.Context, tx *governance.Tx, row linkRow, from governance.Origin) (out SignedIn, refused, err error) {
	kind, person, now := LinkKind(row.Kind), governance.PersonID(row.Person), s.now()
	if kind == LinkFirstRun && !loopback(from.IP) {
		return out, denied("signin", "loopback", "the first-run link works from the server's own machine only"), nil
	}
	if kind == LinkInvitation {
		if err := lockPeopleTx(ctx, tx); err != nil {
			return out, nil, err
		}
	}
	// One statement decides who used it: a second one finds no row.
	res, err := tx.ExecContext(ctx, "UPDATE auth_link SET used_at = ? WHERE id = ? AND used_at = 0 AND expires_at > ?", now, row.ID, now)
	if err != nil {
		return out, nil, fmt.Errorf("use link: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		if row.UsedAt == 0 && row.ExpiresAt > now {
			row.UsedAt = now // somebody else was faster
		}
		return out, row.dead(now), err
	}
	switch kind {
	case LinkInvitation:
		if refused, err := s.acceptTx(ctx, tx, person, from); refused != nil || err != nil {
			return out, refused, err
		}
	case LinkFirstRun:
		if _, err := tx.ExecContext(ctx, "UPDATE auth_link SET used_at = ? WHERE kind = ? AND used_at = 0", now, LinkFirstRun); err != nil {
			return out, nil, fmt.Errorf("use link: %w", err)
		}
	}
	out, refused, err = s.startTx(ctx, tx, person, methodLink, from)
	if err != nil || refused != nil || kind == LinkSignIn {
		return out, refused, err
	}
	out.Code, err = s.newCodeTx(ctx, tx, person)
	return out, nil, err
}

// acceptTx makes an invited person. The caller holds the lock on people.
func (s *Service) acceptTx(ctx context.Context, tx *governance.Tx, person governance.PersonID, from governance.Origin) (refused, err error) {
	inv, err := invitationTx(ctx, tx, person)
	if err != nil {
		return nil, err
	}
	now := s.now()
	if inv.State != string(InvitationOpen) || inv.ExpiresAt <= now {
		return denied("signin", "invitation", "the invitation is not open any more"), nil
	}
	if _, err := tx.ExecContext(ctx, "UPDATE auth_invitation SET state = ?, closed_at = ? WHERE id = ?", InvitationAccepted, now, person); err != nil {
		return nil, fmt.Errorf("accept invitation: %w", err)
	}
	by := governance.Identity{Actor: governance.Actor{ID: "user:" + inv.ID, Kind: governance.ActorUser, Person: person, Name: inv.Name, Roles: inv.Roles}, Origin: from}
	return nil, s.insertUserTx(ctx, tx, by, userRow{ID: inv.ID, Name: inv.Name, Email: inv.Email, Roles: inv.Roles, Region: inv.Region,
		State: string(UserActive), Version: 1, InvitedBy: inv.InvitedBy, CreatedAt: now})
}

func loopback(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && a.Unmap().IsLoopback()
}

// refuseTx writes a refusal down.
func (s *Service) refuseTx(ctx context.Context, tx *governance.Tx, id governance.Identity, action string, on governance.Ref, refused error) error {
	var d *governance.DeniedError
	if !errors.As(refused, &d) {
		return refused
	}
	_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: action, Outcome: governance.OutcomeDenied, Resource: on,
		Data: map[string]any{"rule": d.Rule, "why": d.Reason}})
	return err
}

// WaitingLink is a sign-in link that may be shown still.
type WaitingLink struct {
	ID     string
	Person governance.PersonID
	Until  time.Time
}

// WaitingLinks lists the links that the caller asked for and was not shown yet.
func (s *Service) WaitingLinks(ctx context.Context, id governance.Identity) ([]WaitingLink, error) {
	out := []WaitingLink{}
	if !own(id, id.Actor.Person) {
		return out, nil
	}
	var rows []linkRow
	err := s.db.Read().NewSelect().Model(&rows).Where("kind = ? AND created_by = ? AND hash = '' AND used_at = 0 AND expires_at > ?", LinkSignIn, id.Actor.Person, s.now()).
		Order("created_at DESC", "id").Limit(50).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("waiting links: %w", err)
	}
	for _, r := range rows {
		out = append(out, WaitingLink{r.ID, governance.PersonID(r.Person), r.ExpiresAt.Time()})
	}
	return out, nil
}
