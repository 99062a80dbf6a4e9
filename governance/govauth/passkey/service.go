package passkey

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// PermissionRevoke revokes anybody's key.
const PermissionRevoke = "key:write"

// Options tunes a Service. The zero value is ready to use.
type Options struct {
	SignIn time.Duration // how old a sign-in may be to register a key; default 5 minutes
}

// Service registers and revokes keys, and gives out challenges. Use [New].
type Service struct {
	k     *governance.Kernel
	store *Store
	opts  Options
}

// New makes a Service on k, whose Votes should be store.
func New(k *governance.Kernel, store *Store, opts *Options) (*Service, error) {
	if k == nil || store == nil {
		return nil, errors.New("passkey: kernel and store are required")
	}
	if k.DB() != store.db {
		return nil, errors.New("passkey: kernel and store are on different databases")
	}
	s := &Service{k: k, store: store}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.SignIn < 0 || s.opts.SignIn > time.Hour {
		return nil, fmt.Errorf("passkey: SignIn is %s, want at most an hour", s.opts.SignIn)
	}
	if s.opts.SignIn == 0 {
		s.opts.SignIn = 5 * time.Minute
	}
	return s, nil
}

// Kernel is the kernel the service works with.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Site is where keys work; an error says why they do not.
func (s *Service) Site() (Site, error) { return s.store.Site() }

// Key is a registered key.
type Key struct {
	ID          uuid.UUID
	Person      governance.PersonID
	Name        string
	Credential  string // the authenticator's own id of it, base64url
	Site        string // domain it works on
	Synced      bool   // a passkey that its vendor copies between devices
	CreatedAt   time.Time
	UsedAt      time.Time // zero: never
	RevokedAt   time.Time // zero: it works
	Compromised bool      // its votes do not count any more where they were not carried out
}

func (r keyRow) key() Key {
	return Key{ID: r.ID, Person: governance.PersonID(r.Person), Name: r.Name, Credential: r.Credential, Site: r.RPID, Synced: r.Synced,
		CreatedAt: r.CreatedAt.Time(), UsedAt: r.UsedAt.Time(), RevokedAt: r.RevokedAt.Time(), Compromised: r.CompromisedAt != 0}
}

func keyRef(id uuid.UUID) governance.Ref { return governance.RefTo("passkey", id) }

func denied(rule, reason string) error {
	return &governance.DeniedError{Action: "passkey.enrol", Rule: rule, Reason: reason}
}

// mayEnrol says why the caller may not register a key for themselves; for anybody else
// nobody can.
func (s *Service) mayEnrol(id governance.Identity, slack time.Duration) error {
	switch {
	case id.Subject != nil:
		return denied("impersonation", "refused while impersonating somebody")
	case id.Actor.Kind != governance.ActorUser || id.Actor.Person == "":
		return denied("person", "only a person who is signed in registers a key, for themselves")
	case !s.fresh(id, slack):
		return denied("sign-in", "sign in again: the sign-in is older than "+s.opts.SignIn.String())
	}
	return nil
}

func (s *Service) fresh(id governance.Identity, slack time.Duration) bool {
	return s.k.Now().Sub(id.Actor.AuthTime) <= s.opts.SignIn+slack
}

// Fresh tells whether the caller's sign-in is new enough to register a key.
func (s *Service) Fresh(id governance.Identity) bool { return s.mayEnrol(id, 0) == nil }

// BeginEnrol gives what the browser's navigator.credentials.create takes, as JSON.
func (s *Service) BeginEnrol(ctx context.Context, id governance.Identity) (json.RawMessage, error) {
	if err := s.mayEnrol(id, 0); err != nil {
		return nil, err
	}
	site, err := s.store.Site()
	if err != nil {
		return nil, err
	}
	party, err := site.party(site.Origins...)
	if err != nil {
		return nil, err
	}
	rows, err := active(ctx, s.k.DB().Read(), id.Actor.Person, site.RPID)
	if err != nil {
		return nil, err
	}
	if len(rows) >= maxKeys {
		return nil, fmt.Errorf("you have %d keys, revoke one first: %w", len(rows), governance.ErrConflict)
	}
	name := id.Actor.Name
	if name == "" {
		name = string(id.Actor.Person)
	}
	h, err := holderOf(id.Actor.Person, name, rows)
	if err != nil {
		return nil, err
	}
	creation, session, err := party.BeginRegistration(h, webauthn.WithCredentialParameters(algorithms()), webauthn.WithExclusions(webauthn.Credentials(h.keys).CredentialDescriptors()))
	if err != nil {
		return nil, fmt.Errorf("register a key: %w", err)
	}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		return s.store.keepTx(ctx, tx, challengeRow{Challenge: session.Challenge, Kind: kindEnrol, Person: string(id.Actor.Person)})
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(creation.Response)
}

// FinishEnrol registers the key that the authenticator made, under a name of the
// person's choice.
func (s *Service) FinishEnrol(ctx context.Context, id governance.Identity, name string, answer json.RawMessage) (Key, error) {
	name = strings.TrimSpace(name)
	if err := s.mayEnrol(id, validFor); err != nil {
		return Key{}, err
	}
	if name == "" || utf8.RuneCountInString(name) > 100 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return Key{}, governance.Invalid("name", "is required, at most 100 printable characters")
	}
	site, err := s.store.Site()
	if err != nil {
		return Key{}, err
	}
	party, err := site.party(site.Origins...)
	if err != nil {
		return Key{}, err
	}
	if len(answer) > maxAnswer {
		return Key{}, governance.Invalid("credential", "has more than %d bytes", maxAnswer)
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return Key{}, governance.Invalid("credential", "cannot be read")
	}
	row := keyRow{ID: uuid.Must(uuid.NewV7()), Person: string(id.Actor.Person), Name: name, RPID: site.RPID}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		challenge, ok, err := s.store.useTx(ctx, tx, kindEnrol, parsed.Response.CollectedClientData.Challenge)
		if err != nil {
			return err
		}
		if !ok || challenge.Person != row.Person {
			return governance.Invalid("credential", "answers no challenge that is out for you: begin again")
		}
		h := holder{person: id.Actor.Person}
		cred, err := party.CreateCredential(h, webauthn.SessionData{Challenge: challenge.Challenge, RelyingPartyID: site.RPID, UserID: h.WebAuthnID(),
			UserVerification: protocol.VerificationRequired, CredParams: algorithms()}, parsed)
		if err != nil {
			return governance.Invalid("credential", "%s", why(err))
		}
		return s.enrolTx(ctx, tx, id, &row, cred)
	})
	return row.key(), err
}

func (s *Service) enrolTx(ctx context.Context, tx *governance.Tx, id governance.Identity, row *keyRow, cred *webauthn.Credential) error {
	var transports []string
	for _, t := range cred.Transport {
		if t := string(t); slices.Contains([]string{"usb", "nfc", "ble", "smart-card", "hybrid", "internal"}, t) {
			transports = append(transports, t)
		}
	}
	row.Credential, row.PublicKey = base64.RawURLEncoding.EncodeToString(cred.ID), base64.StdEncoding.EncodeToString(cred.PublicKey)
	row.Transports, row.Synced, row.SignCount, row.CreatedAt = strings.Join(transports, ","), cred.Flags.BackupEligible, int64(cred.Authenticator.SignCount), s.store.now()
	if model, err := uuid.FromBytes(cred.Authenticator.AAGUID); err == nil {
		row.AAGUID = model.String()
	}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return fmt.Errorf("this key is registered already: %w", governance.ErrConflict)
		}
		return fmt.Errorf("key: %w", err)
	}
	data := map[string]any{"key": row.ID, "credential": row.Credential, "public_key": governance.PublicKeyDigest(cred.PublicKey), "rp_id": row.RPID, "aaguid": row.AAGUID, "synced": row.Synced}
	ev, err := governance.NewEvent("passkey.enrolled", "", 0, keyRef(row.ID), map[string]any{"key": row.ID, "person": row.Person})
	if err != nil {
		return err
	}
	_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "passkey.enrol", Resource: keyRef(row.ID), Data: data}, ev)
	return err
}

// Keys lists a person's keys, revoked ones too, newest first.
func (s *Service) Keys(ctx context.Context, person governance.PersonID) ([]Key, error) {
	var rows []keyRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("person = ?", string(person)).Order("created_at DESC", "id DESC").Scan(ctx); err != nil {
		return nil, fmt.Errorf("keys of %s: %w", person, err)
	}
	out := make([]Key, len(rows))
	for i, r := range rows {
		out[i] = r.key()
	}
	return out, nil
}

// Revoke ends a key at once. What it signed and was not yet carried out does not count
// any more, unless its person says that the key was Retired: never out of their hands.
// A key that was retired can still be revoked as compromised.
type Revoke struct {
	Key     uuid.UUID
	Reason  string
	Retired bool // only the person themselves may say so
}

// Revoke ends a key: one's own, or with [PermissionRevoke] anybody's.
func (s *Service) Revoke(ctx context.Context, id governance.Identity, in Revoke) error {
	var rows []keyRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("id = ?", in.Key).Scan(ctx); err != nil {
		return fmt.Errorf("key %s: %w", in.Key, err)
	}
	own := len(rows) == 1 && rows[0].Person != "" && id.Actor.Person == governance.PersonID(rows[0].Person) && id.Subject == nil
	if !own {
		if err := s.k.Authorize(ctx, id, PermissionRevoke, governance.Target{}); err != nil {
			return err
		}
	}
	switch {
	case len(rows) == 0:
		return fmt.Errorf("key %s: %w", in.Key, governance.ErrNotFound)
	case in.Retired && !own:
		return governance.Invalid("retired", "only its person can say that a key was never out of their hands")
	case strings.TrimSpace(in.Reason) == "" || len(in.Reason) > 500 || strings.ContainsRune(in.Reason, 0):
		return governance.Invalid("reason", "is required, at most 500 bytes")
	}
	ev, err := governance.NewEvent("passkey.revoked", "", 0, keyRef(in.Key), map[string]any{"key": in.Key, "person": rows[0].Person, "compromised": !in.Retired})
	if err != nil {
		return err
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		now := s.store.now()
		q := tx.NewUpdate().Table("passkey_key").Set("revoked_at = CASE WHEN revoked_at = 0 THEN ? ELSE revoked_at END", now).Where("id = ? AND compromised_at = 0", in.Key)
		if in.Retired {
			q = q.Where("revoked_at = 0")
		} else {
			q = q.Set("compromised_at = ?", now)
		}
		res, err := q.Exec(ctx)
		if err != nil {
			return fmt.Errorf("key %s: %w", in.Key, err)
		}
		if n, _ := res.RowsAffected(); n != 1 {
			return fmt.Errorf("key %s is revoked: %w", in.Key, governance.ErrConflict)
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "passkey.revoke", Resource: keyRef(in.Key), Reason: in.Reason,
			Data: map[string]any{"key": in.Key, "compromised": !in.Retired}}, ev)
		return err
	})
}

// BeginVote gives what the browser's navigator.credentials.get takes for one vote, as
// JSON. The answer goes into governance.Vote.Assertion of that very vote.
func (s *Service) BeginVote(ctx context.Context, id governance.Identity, approval uuid.UUID, decision governance.VoteDecision, digest governance.Digest) (json.RawMessage, error) {
	if decision != governance.Approve && decision != governance.Reject {
		return nil, governance.Invalid("decision", "%q is neither approve nor deny", decision)
	}
	a, err := s.k.Approval(ctx, approval)
	if err != nil {
		return nil, err
	}
	if digest != a.Digest {
		return nil, fmt.Errorf("the digest is not that of approval %s: %w", approval, governance.ErrConflict)
	}
	if yes, why := s.k.CanVote(ctx, id, a); !yes {
		return nil, &governance.DeniedError{Action: "approval.vote", Rule: "vote", Reason: why}
	}
	site, err := s.store.Site()
	if err != nil {
		return nil, err
	}
	rows, err := active(ctx, s.k.DB().Read(), id.Actor.Person, site.RPID)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, &governance.DeniedError{Action: "approval.vote", Rule: "signature", Reason: "you have no security key registered"}
	}
	h, err := holderOf(id.Actor.Person, "", rows)
	if err != nil {
		return nil, err
	}
	st := governance.VoteStatement{Approval: a.ID, Digest: a.Digest, Decision: decision, Person: id.Actor.Person, Nonce: base64.RawURLEncoding.EncodeToString(random())}
	challenge, err := st.Challenge()
	if err != nil {
		return nil, err
	}
	party, err := site.party(site.Origins...)
	if err != nil {
		return nil, err
	}
	options, session, err := party.BeginLogin(h, webauthn.WithChallenge(challenge), webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, fmt.Errorf("challenge of a vote: %w", err)
	}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		return s.store.keepTx(ctx, tx, challengeRow{Challenge: session.Challenge, Kind: kindVote, Person: string(st.Person), Approval: st.Approval.String(),
			Decision: string(st.Decision), Digest: string(st.Digest), Nonce: st.Nonce})
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(options.Response)
}
