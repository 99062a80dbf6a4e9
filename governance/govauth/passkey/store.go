package passkey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "passkey", FS: files}
	}
	return govdb.Schema{Name: "passkey", FS: sub}
}

// Site is where people are when they use their keys. A key works on the site that it
// was registered on and nowhere else.
type Site struct {
	Name    string   // shown by the authenticator; default "Reeve"
	RPID    string   // domain of the site, such as "reeve.example.com"; no IP address
	Origins []string // addresses of its pages, such as "https://reeve.example.com"
}

// SiteOf is the site of an address. Browsers use no keys on an IP address: for a
// loopback address it is localhost on the same port, for any other there is none.
func SiteOf(address string) Site {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return Site{}
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); ip != nil {
		if !ip.IsLoopback() {
			return Site{}
		}
		host, u.Host = "localhost", strings.TrimSuffix("localhost:"+u.Port(), ":")
	}
	return Site{RPID: host, Origins: []string{u.Scheme + "://" + u.Host}}
}

func (s Site) check() error {
	if s.RPID == "" || len(s.Origins) == 0 {
		return governance.Invalid("site", "security keys need an address with a name: browsers use none on an IP address")
	}
	if protocol.ValidateRPID(s.RPID) != nil {
		return governance.Invalid("site", "%q is no domain that keys can be for", s.RPID)
	}
	for _, o := range s.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Hostname() != "localhost" || u.Hostname() != s.RPID && !strings.HasSuffix(u.Hostname(), "."+s.RPID) {
			return governance.Invalid("site", "%q is no https address below %s", o, s.RPID)
		}
	}
	return nil
}

func (s Site) party(origins ...string) (*webauthn.WebAuthn, error) {
	name := s.Name
	if name == "" {
		name = "Reeve"
	}
	w, err := webauthn.New(&webauthn.Config{RPID: s.RPID, RPDisplayName: name, RPOrigins: origins, AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{UserVerification: protocol.VerificationRequired, ResidentKey: protocol.ResidentKeyRequirementDiscouraged}})
	if err != nil {
		return nil, fmt.Errorf("security keys: %w", err)
	}
	return w, nil
}

const (
	kindEnrol = "enrol"
	kindVote  = "vote"
	validFor  = 5 * time.Minute // a challenge
	maxKeys   = 10              // of one person
)

func algorithms() []protocol.CredentialParameter {
	var out []protocol.CredentialParameter
	for _, a := range []webauthncose.COSEAlgorithmIdentifier{webauthncose.AlgES256, webauthncose.AlgEdDSA, webauthncose.AlgRS256} { // what a pack's verifier knows
		out = append(out, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: a})
	}
	return out
}

type keyRow struct {
	bun.BaseModel `bun:"table:passkey_key"`

	ID            uuid.UUID    `bun:"id,pk"`
	Person        string       `bun:"person"`
	Name          string       `bun:"name"`
	Credential    string       `bun:"credential"` // base64url
	PublicKey     string       `bun:"public_key"` // COSE, base64
	RPID          string       `bun:"rp_id"`
	AAGUID        string       `bun:"aaguid"`
	Transports    string       `bun:"transports"`
	Synced        bool         `bun:"synced"`
	SignCount     int64        `bun:"sign_count"`
	CreatedAt     govdb.Micros `bun:"created_at"`
	UsedAt        govdb.Micros `bun:"used_at"`
	RevokedAt     govdb.Micros `bun:"revoked_at"`
	CompromisedAt govdb.Micros `bun:"compromised_at"`
}

type challengeRow struct {
	bun.BaseModel `bun:"table:passkey_challenge"`

	Challenge string       `bun:"challenge,pk"`
	Kind      string       `bun:"kind"`
	Person    string       `bun:"person"`
	Approval  string       `bun:"approval"`
	Decision  string       `bun:"decision"`
	Digest    string       `bun:"digest"`
	Nonce     string       `bun:"nonce"`
	ExpiresAt govdb.Micros `bun:"expires_at"`
}

// Store is the registered keys and the challenges that are out. It verifies votes for
// the kernel.
type Store struct {
	db   *govdb.DB
	site func() Site
}

var _ governance.VoteVerifier = (*Store)(nil)

// NewStore opens the keys of a site. The site is asked for with each use: a server may
// learn its own address late.
func NewStore(db *govdb.DB, site func() Site) (*Store, error) {
	if db == nil || site == nil {
		return nil, errors.New("passkey: a database and a site are required")
	}
	return &Store{db: db, site: site}, nil
}

// Site is where keys work now; a problem with it is an error that says so.
func (s *Store) Site() (Site, error) {
	site := s.site()
	return site, site.check()
}

func (s *Store) now() govdb.Micros { return govdb.At(s.db.Now()) }

// handle names a person to authenticators without saying who it is.
func handle(p governance.PersonID) []byte {
	sum := sha256.Sum256([]byte("reeve/person/v1\n" + string(p)))
	return sum[:]
}

// holder is a person with their keys, as the library wants them.
type holder struct {
	person governance.PersonID
	name   string
	keys   []webauthn.Credential
}

// WebAuthnID implements webauthn.User.
func (h holder) WebAuthnID() []byte { return handle(h.person) }

// WebAuthnName implements webauthn.User.
func (h holder) WebAuthnName() string { return h.name }

// WebAuthnDisplayName implements webauthn.User.
func (h holder) WebAuthnDisplayName() string { return h.name }

// WebAuthnCredentials implements webauthn.User.
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.keys }

func (r keyRow) credential() (webauthn.Credential, error) {
	id, err := base64.RawURLEncoding.DecodeString(r.Credential)
	if err != nil {
		return webauthn.Credential{}, fmt.Errorf("key %s: %w", r.ID, err)
	}
	public, err := base64.StdEncoding.DecodeString(r.PublicKey)
	if err != nil {
		return webauthn.Credential{}, fmt.Errorf("key %s: %w", r.ID, err)
	}
	c := webauthn.Credential{ID: id, PublicKey: public, Flags: webauthn.CredentialFlags{BackupEligible: r.Synced},
		Authenticator: webauthn.Authenticator{SignCount: uint32(min(r.SignCount, 1<<32-1))}} //nolint:gosec // bounded
	for _, t := range strings.FieldsFunc(r.Transports, func(c rune) bool { return c == ',' }) {
		c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
	}
	return c, nil
}

// active are the keys of a person that work on the site.
func active(ctx context.Context, db bun.IDB, person governance.PersonID, rpid string) ([]keyRow, error) {
	var rows []keyRow
	if err := db.NewSelect().Model(&rows).Where("person = ? AND rp_id = ? AND revoked_at = 0", string(person), rpid).Order("created_at", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("keys of %s: %w", person, err)
	}
	return rows, nil
}

func holderOf(person governance.PersonID, name string, rows []keyRow) (holder, error) {
	h := holder{person: person, name: name}
	for _, r := range rows {
		c, err := r.credential()
		if err != nil {
			return h, err
		}
		h.keys = append(h.keys, c)
	}
	return h, nil
}

// Signers implements governance.VoteVerifier.
func (s *Store) Signers(ctx context.Context, people []governance.PersonID) ([]governance.PersonID, error) {
	site, err := s.Site()
	if err != nil || len(people) == 0 {
		return nil, nil //nolint:nilerr // without a site nobody can sign
	}
	var out []governance.PersonID
	if err := s.db.Read().NewSelect().Model((*keyRow)(nil)).ColumnExpr("DISTINCT person").Where("person IN (?) AND rp_id = ? AND revoked_at = 0", bun.List(people), site.RPID).Scan(ctx, &out); err != nil {
		return nil, fmt.Errorf("who has a key: %w", err)
	}
	return out, nil
}

// random is a nonce or challenge that nobody can guess.
func random() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return b
}

// keepTx stores a challenge and forgets those that have ended.
func (s *Store) keepTx(ctx context.Context, tx *governance.Tx, row challengeRow) error {
	now := s.db.Now()
	if _, err := tx.ExecContext(ctx, "DELETE FROM passkey_challenge WHERE expires_at <= ?", govdb.At(now)); err != nil {
		return fmt.Errorf("challenges: %w", err)
	}
	row.ExpiresAt = govdb.At(now.Add(validFor))
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return fmt.Errorf("challenge: %w", err)
	}
	return nil
}

// useTx takes a challenge that is out; ok is false when there is none, or no more.
func (s *Store) useTx(ctx context.Context, tx *governance.Tx, kind, challenge string) (row challengeRow, ok bool, err error) {
	var rows []challengeRow
	if err := tx.NewSelect().Model(&rows).Where("challenge = ? AND kind = ? AND expires_at > ?", challenge, kind, s.now()).Scan(ctx); err != nil {
		return row, false, fmt.Errorf("challenge: %w", err)
	}
	if len(rows) == 0 {
		return row, false, nil
	}
	res, err := tx.ExecContext(ctx, "DELETE FROM passkey_challenge WHERE challenge = ?", challenge)
	if err != nil {
		return row, false, fmt.Errorf("challenge: %w", err)
	}
	n, err := res.RowsAffected()
	return rows[0], n == 1, err
}
