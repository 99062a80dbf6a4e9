package governance

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// VoteStatement is what a voter signs: these words about this payload of this approval,
// by this person, and nothing else.
type VoteStatement struct {
	Approval uuid.UUID    `json:"approval"`
	Digest   Digest       `json:"digest"`
	Decision VoteDecision `json:"decision"`
	Person   PersonID     `json:"person"`
	Nonce    string       `json:"nonce"` // of the server, so that a signature is used once
}

// Challenge is the 32 bytes that the authenticator is given: the SHA-256 of the
// statement's canonical form behind a domain tag.
func (s VoteStatement) Challenge() ([]byte, error) {
	d, err := DigestOf("reeve/vote/v1", s)
	if err != nil {
		return nil, fmt.Errorf("statement of a vote: %w", err)
	}
	b, err := hex.DecodeString(strings.TrimPrefix(string(d), "sha256:"))
	if err != nil {
		return nil, fmt.Errorf("statement of a vote: %w", err)
	}
	return b, nil
}

// VoteSignature is what an authenticator signed for one vote, byte for byte, with what
// anybody needs to check it later. The vote's record in the ledger commits to it.
type VoteSignature struct {
	Key               string `json:"key"`        // id of the registered key, whose records say whose it is
	Credential        string `json:"credential"` // the authenticator's own id of it, base64url
	PublicKey         []byte `json:"public_key"` // COSE
	RPID              string `json:"rp_id"`
	Nonce             string `json:"nonce"`
	AuthenticatorData []byte `json:"authenticator_data"`
	ClientData        []byte `json:"client_data"`
	Signature         []byte `json:"signature"`
}

// Hash is what the ledger keeps of the signature.
func (s VoteSignature) Hash() (Digest, error) { return DigestOf("reeve/assertion/v1", s) }

// VoteVerifier checks what voters signed. Package passkey has the one for WebAuthn.
// Without one no policy can ask for signed votes.
type VoteVerifier interface {
	// VerifyVoteTx checks an answer of an authenticator to a challenge that the statement,
	// with the nonce that was given out, has. It uses up the challenge in tx, so that an
	// answer counts once. What does not hold is a *SignatureError.
	VerifyVoteTx(ctx context.Context, tx *Tx, s VoteStatement, assertion json.RawMessage) (VoteSignature, error)
	// Stands tells whether a signature that was accepted before still holds: it is checked
	// again, and its key was not revoked as compromised.
	Stands(ctx context.Context, s VoteStatement, sig VoteSignature) (bool, error)
	// Signers tells which of the people have a key to sign with.
	Signers(ctx context.Context, people []PersonID) ([]PersonID, error)
}

// SignatureError says why a signature does not count.
type SignatureError struct {
	Why     string
	Suspect bool // it looks like a copy of somebody's key: an alert is raised
}

func (e *SignatureError) Error() string { return "signature: " + e.Why }

// Signed tells whether a vote for the approval must be signed. A vote against it need
// not be: whoever lost their key can still stop it.
func (a Approval) Signed() bool { return signed(a.Decision.Require) }

func signed(rs []Require) bool {
	return slices.ContainsFunc(rs, func(r Require) bool { return r.Signed })
}

// CanSign tells whether the person has a key to sign votes with.
func (k *Kernel) CanSign(ctx context.Context, p PersonID) (bool, error) {
	if k.opts.Votes == nil || p == "" {
		return false, nil
	}
	have, err := k.opts.Votes.Signers(ctx, []PersonID{p})
	if err != nil {
		return false, fmt.Errorf("keys of %s: %w", p, err)
	}
	return slices.Contains(have, p), nil
}

const (
	whyNoVerifier = "the policy wants your vote signed, and this server checks no signatures"
	whyNoKey      = "the policy wants your vote signed, and you have no security key registered"
	whyUnsigned   = "the policy wants your vote signed by your security key"
)

// whyNotSigned says why a person cannot sign what the approval asks to be signed. They
// may vote against it all the same.
func (k *Kernel) whyNotSigned(ctx context.Context, a Approval, p PersonID) (string, error) {
	if !a.Signed() {
		return "", nil
	}
	if k.opts.Votes == nil {
		return whyNoVerifier, nil
	}
	yes, err := k.CanSign(ctx, p)
	if err != nil || yes {
		return "", err
	}
	return whyNoKey, nil
}

// CanApprove reports whether the caller may vote for it now, and if not why. It is
// [Kernel.CanVote] and, where votes are signed, the key to sign with.
func (k *Kernel) CanApprove(ctx context.Context, id Identity, a Approval) (bool, string) {
	if yes, why := k.CanVote(ctx, id, a); !yes {
		return false, why
	}
	why, err := k.whyNotSigned(ctx, a, id.Actor.Person)
	if err != nil {
		return false, "your security keys cannot be looked up"
	}
	return why == "", why
}

// unsigned says why a vote lacks the signature that is asked for, or is empty. It does
// not look at the signature.
func (k *Kernel) unsigned(a Approval, v Vote) string {
	switch {
	case len(v.Assertion) > 0 && k.opts.Votes == nil:
		return "this server checks no signatures of votes"
	case len(v.Assertion) > 0 || v.Decision != Approve || !a.Signed():
		return ""
	case k.opts.Votes == nil:
		return whyNoVerifier
	}
	return whyUnsigned
}

// signTx checks the vote's signature in the commit of the vote. It gives the text to
// store and what the record says, both empty for a vote without one.
func (k *Kernel) signTx(ctx context.Context, tx *Tx, id Identity, a Approval, v Vote) (string, map[string]any, error) {
	if len(v.Assertion) == 0 {
		return "", nil, nil
	}
	sig, err := k.opts.Votes.VerifyVoteTx(ctx, tx, VoteStatement{Approval: a.ID, Digest: a.Digest, Decision: v.Decision, Person: id.Actor.Person}, v.Assertion)
	if err != nil {
		return "", nil, err
	}
	hash, err := sig.Hash()
	if err != nil {
		return "", nil, fmt.Errorf("signature: %w", err)
	}
	b, err := Canonical(sig)
	if err != nil {
		return "", nil, fmt.Errorf("signature: %w", err)
	}
	return string(b), map[string]any{"key": sig.Key, "credential": sig.Credential, "assertion": hash, "public_key": PublicKeyDigest(sig.PublicKey)}, nil
}

// PublicKeyDigest is what the ledger keeps of a public key.
func PublicKeyDigest(cose []byte) Digest { return digestBytes("reeve/public-key/v1", cose) }

// refuseSignature writes down that a signature did not count, after the vote's own
// transaction was undone.
func (k *Kernel) refuseSignature(ctx context.Context, id Identity, a Approval, bad *SignatureError) error {
	err := k.refuseVote(ctx, id, a, "your signature does not count: "+bad.Why)
	if !bad.Suspect {
		return err
	}
	alert := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := k.AlertTx(ctx, tx, Alert{Key: "approval.signature:" + string(id.Actor.Person), Severity: Critical, Title: "A security key may have been copied", Tenant: a.Tenant,
			Body: "A vote of " + id.Actor.ID + " was refused: " + bad.Why + ".", Links: []Link{{Title: "Approval", Kind: "approval", ID: a.ID.String()}}})
		return err
	})
	return errors.Join(err, alert)
}

// holds tells whether a stored vote still counts as far as its signature goes.
func (k *Kernel) holds(ctx context.Context, a Approval, v CastVote) (bool, error) {
	if !a.Signed() {
		return true, nil
	}
	if v.Signature == nil || k.opts.Votes == nil {
		return false, nil
	}
	yes, err := k.opts.Votes.Stands(ctx, VoteStatement{Approval: a.ID, Digest: v.Digest, Decision: v.Decision, Person: v.Person, Nonce: v.Signature.Nonce}, *v.Signature)
	if err != nil {
		return false, fmt.Errorf("signature of %s: %w", v.Person, err)
	}
	return yes, nil
}

// signers leaves those of the voters who have a key.
func (k *Kernel) signers(ctx context.Context, voters map[PersonID][]GroupID) error {
	if k.opts.Votes == nil {
		clear(voters)
		return nil
	}
	var people []PersonID
	for p := range voters {
		people = append(people, p)
	}
	have, err := k.opts.Votes.Signers(ctx, people)
	if err != nil {
		return fmt.Errorf("who can sign: %w", err)
	}
	for _, p := range people {
		if !slices.Contains(have, p) {
			delete(voters, p)
		}
	}
	return nil
}

// signable refuses a policy that asks for what nobody here could check.
func (k *Kernel) signable(p Policy) error {
	if p.Require != nil && p.Require.Signed && k.opts.Votes == nil {
		return Invalid("require.signed", "this server checks no signatures of votes")
	}
	return nil
}
