// Package cosign checks what witnesses signed below a log's checkpoint: cosignature/v1
// of C2SP tlog-cosignature, with Ed25519.
//
// Start with [Policy.Open]. A signature by a key that was not given is [Found.Unknown];
// one by a given key that does not hold is an error that names the witness. It links
// neither network nor database. Safe for concurrent use.
package cosign

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Policy says whose cosignatures are looked at, and how many a checkpoint must bear. The
// zero value asks for none.
type Policy struct {
	Witnesses []string // their verification keys
	Quorum    int      // distinct witnesses that must have signed
}

// Signature is a witness's word that it saw a checkpoint.
type Signature struct {
	Witness string `json:"witness"`
	Time    int64  `json:"time"` // Unix seconds, by the witness's clock
}

// Found is what stands below a checkpoint beside the log's own signature.
type Found struct {
	Cosigned []Signature
	Unknown  []string // names of signatures that no given key checks
}

// Verifiers reads the witnesses' keys; a quorum that they cannot reach is an error.
func (p Policy) Verifiers() ([]note.Verifier, error) {
	var out []note.Verifier
	seen := map[string]bool{}
	for _, w := range p.Witnesses {
		v, err := NewVerifier(w)
		if err != nil {
			return nil, err
		}
		c := v.(*cosigner)       //nolint:errcheck,forcetypeassert // NewVerifier makes nothing else
		if seen[string(c.key)] { // one witness under two names would fill two places
			return nil, fmt.Errorf("the key of the witness %s stands twice", c.name)
		}
		seen[string(c.key)] = true
		out = append(out, v)
	}
	if p.Quorum < 0 || p.Quorum > len(out) {
		return nil, fmt.Errorf("a quorum of %d cannot be reached by %d witnesses", p.Quorum, len(out))
	}
	return out, nil
}

// Open checks a checkpoint's signatures: that of the log, and those of the witnesses,
// of which there must be a quorum.
func (p Policy) Open(checkpoint []byte, log note.Verifier) (*note.Note, Found, error) {
	var f Found
	witnesses, err := p.Verifiers()
	if err != nil {
		return nil, f, err
	}
	n, err := OpenNote(checkpoint, append([]note.Verifier{log}, witnesses...)...)
	if err != nil {
		return nil, f, err
	}
	signed := false
	for _, s := range n.Sigs {
		if s.Name == log.Name() && s.Hash == log.KeyHash() {
			signed = true
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 4+8 {
			return nil, f, errors.New("a cosignature is malformed")
		}
		f.Cosigned = append(f.Cosigned, Signature{s.Name, int64(binary.BigEndian.Uint64(raw[4:12]))})
	}
	if !signed {
		return nil, f, errors.New("the checkpoint is not signed by this key")
	}
	for _, s := range n.UnverifiedSigs {
		f.Unknown = append(f.Unknown, s.Name)
	}
	if len(f.Cosigned) < p.Quorum {
		return nil, f, fmt.Errorf("it bears cosignatures of %d known witnesses, %d are wanted", len(f.Cosigned), p.Quorum)
	}
	return n, f, nil
}

// OpenNote is note.Open that refuses a second spelling of the same signature, and names
// whose signature does not hold.
func OpenNote(text []byte, known ...note.Verifier) (*note.Note, error) {
	n, err := note.Open(text, note.VerifierList(known...))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		var invalid *note.InvalidSignatureError
		switch {
		case errors.As(err, &unverified):
			return nil, errors.New("it is not signed by this key")
		case errors.As(err, &invalid):
			return nil, fmt.Errorf("the signature of %s does not hold", invalid.Name)
		}
		return nil, errors.New("its signature does not hold")
	}
	again := n.Text + "\n"
	for _, s := range append(append([]note.Signature{}, n.Sigs...), n.UnverifiedSigs...) {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != s.Base64 {
			return nil, errors.New("a signature is not in its canonical form")
		}
		again += "\u2014 " + s.Name + " " + s.Base64 + "\n"
	}
	if len(again) != len(text) {
		return nil, errors.New("it has signatures twice")
	}
	return n, nil
}

// NewVerifier reads the key of a witness: algorithm 4, cosignature/v1.
func NewVerifier(vkey string) (note.Verifier, error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(vkey), "+")
	id, key64, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.DecodeString(key64)
	if err != nil || name == "" || strings.ContainsAny(name, " \n\t") || len(key) != 1+ed25519.PublicKeySize || key[0] != cosignatureV1 {
		return nil, errors.New("the key of the witness does not parse: want name+id+key of an Ed25519 cosigner")
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	v := &cosigner{name: name, hash: binary.BigEndian.Uint32(sum[:4]), key: ed25519.PublicKey(key[1:])}
	if id != fmt.Sprintf("%08x", v.hash) {
		return nil, fmt.Errorf("the key of the witness %s does not have the id it states", name)
	}
	return v, nil
}

const cosignatureV1 = 4

type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// Name implements note.Verifier.
func (c *cosigner) Name() string { return c.name }

// KeyHash implements note.Verifier.
func (c *cosigner) KeyHash() uint32 { return c.hash }

// Verify implements note.Verifier.
func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	text := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig[:8]), msg)
	return ed25519.Verify(c.key, text, sig[8:])
}
