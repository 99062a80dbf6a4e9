package passkey

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// maxAnswer bounds what an authenticator may say.
const maxAnswer = 16 << 10

func refuse(format string, args ...any) error {
	return &governance.SignatureError{Why: fmt.Sprintf(format, args...)}
}

// why is what the library says of an answer that does not hold.
func why(err error) string {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e.Details
	}
	return err.Error()
}

// VerifyVoteTx implements governance.VoteVerifier.
func (s *Store) VerifyVoteTx(ctx context.Context, tx *governance.Tx, st governance.VoteStatement, assertion json.RawMessage) (governance.VoteSignature, error) {
	var none governance.VoteSignature
	site, err := s.Site()
	if err != nil {
		return none, refuse("%v", err)
	}
	if len(assertion) > maxAnswer {
		return none, refuse("it has more than %d bytes", maxAnswer)
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes(assertion)
	if err != nil {
		return none, refuse("it cannot be read")
	}
	row, ok, err := s.useTx(ctx, tx, kindVote, answer.Response.CollectedClientData.Challenge)
	switch {
	case err != nil:
		return none, err
	case !ok:
		return none, refuse("it answers no challenge that is out: it was used, has expired, or is not of this server")
	case row.Person != string(st.Person):
		return none, refuse("it answers a challenge of somebody else")
	case row.Approval != st.Approval.String():
		return none, refuse("it is about another approval")
	case row.Decision != string(st.Decision):
		return none, refuse("it is about another decision")
	case row.Digest != string(st.Digest):
		return none, refuse("it is about another payload")
	}
	st.Nonce = row.Nonce
	keys, err := active(ctx, tx, st.Person, site.RPID)
	if err != nil {
		return none, err
	}
	key, found := keyRow{}, false
	for _, k := range keys {
		if k.Credential == base64.RawURLEncoding.EncodeToString(answer.RawID) {
			key, found = k, true
		}
	}
	if !found {
		return none, refuse("it is by no key of yours, or by one that was revoked")
	}
	cred, err := check(site, st, key, answer, site.Origins)
	if err != nil {
		return none, err
	}
	if cred.Authenticator.CloneWarning {
		return none, &governance.SignatureError{Why: "the counter of the key went backwards, as that of a copy does", Suspect: true}
	}
	// The counter was compared with what was read: where it moved or the key was revoked
	// meanwhile, everything is looked at again.
	res, err := tx.ExecContext(ctx, "UPDATE passkey_key SET sign_count = ?, used_at = ? WHERE id = ? AND revoked_at = 0 AND sign_count = ?", int64(cred.Authenticator.SignCount), s.now(), key.ID, key.SignCount)
	if err != nil {
		return none, fmt.Errorf("key %s: %w", key.ID, err)
	}
	if n, _ := res.RowsAffected(); n != 1 {
		return none, fmt.Errorf("key %s was used or revoked meanwhile: %w", key.ID, governance.ErrRetry)
	}
	raw := answer.Raw.AssertionResponse
	return governance.VoteSignature{Key: key.ID.String(), Credential: key.Credential, PublicKey: cred.PublicKey, RPID: key.RPID, Nonce: st.Nonce,
		AuthenticatorData: raw.AuthenticatorData, ClientData: raw.ClientDataJSON, Signature: raw.Signature}, nil
}

// check holds an answer against the statement and the key.
func check(site Site, st governance.VoteStatement, key keyRow, answer *protocol.ParsedCredentialAssertionData, origins []string) (*webauthn.Credential, error) {
	challenge, err := st.Challenge()
	if err != nil {
		return nil, err
	}
	h, err := holderOf(st.Person, "", []keyRow{key})
	if err != nil {
		return nil, err
	}
	party, err := site.party(origins...)
	if err != nil {
		return nil, err
	}
	if !answer.Response.AuthenticatorData.Flags.HasUserVerified() {
		return nil, refuse("the authenticator did not verify who used it")
	}
	if domain := sha256.Sum256([]byte(key.RPID)); !bytes.Equal(answer.Response.AuthenticatorData.RPIDHash, domain[:]) {
		return nil, refuse("it was made for another domain than %s", key.RPID)
	}
	cred, err := party.ValidateLogin(h, webauthn.SessionData{Challenge: base64.RawURLEncoding.EncodeToString(challenge), RelyingPartyID: key.RPID, UserID: h.WebAuthnID(),
		AllowedCredentialIDs: [][]byte{h.keys[0].ID}, UserVerification: protocol.VerificationRequired}, answer)
	if err != nil {
		return nil, refuse("%s", why(err))
	}
	return cred, nil
}

// Stands implements governance.VoteVerifier.
func (s *Store) Stands(ctx context.Context, st governance.VoteStatement, sig governance.VoteSignature) (bool, error) {
	id, err := uuid.Parse(sig.Key)
	if err != nil {
		return false, nil //nolint:nilerr // it was never one of ours
	}
	var rows []keyRow
	if err := s.db.Read().NewSelect().Model(&rows).Where("id = ?", id).Scan(ctx); err != nil {
		return false, fmt.Errorf("key %s: %w", id, err)
	}
	if len(rows) == 0 || rows[0].Person != string(st.Person) || rows[0].CompromisedAt != 0 || rows[0].Credential != sig.Credential || rows[0].RPID != sig.RPID {
		return false, nil
	}
	key := rows[0]
	cred, err := key.credential()
	if err != nil || !bytes.Equal(cred.PublicKey, sig.PublicKey) {
		return false, err
	}
	answer, err := protocol.CredentialAssertionResponse{
		PublicKeyCredential: protocol.PublicKeyCredential{Credential: protocol.Credential{ID: sig.Credential, Type: string(protocol.PublicKeyCredentialType)}, RawID: cred.ID},
		AssertionResponse: protocol.AuthenticatorAssertionResponse{AuthenticatorResponse: protocol.AuthenticatorResponse{ClientDataJSON: sig.ClientData},
			AuthenticatorData: sig.AuthenticatorData, Signature: sig.Signature},
	}.Parse()
	if err != nil {
		return false, nil //nolint:nilerr // it was changed since it was accepted
	}
	// The address was checked when the vote was cast, and may have moved since; the
	// authenticator's own word on the domain is checked again.
	origin := answer.Response.CollectedClientData.Origin
	_, err = check(Site{RPID: key.RPID}, st, key, answer, []string{origin})
	var bad *governance.SignatureError
	if errors.As(err, &bad) {
		return false, nil
	}
	return err == nil, err
}
