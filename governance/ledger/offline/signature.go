package offline

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	flog "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Head is a checkpoint whose signature was checked.
type Head struct {
	Origin    string
	Size      int64
	Root      tlog.Hash
	Extension []string // lines after the root
	Cosigned  []Cosignature
	Unchecked []string // names of signatures that no given key checks
}

// Cosignature is a witness's word that it saw a head.
type Cosignature struct {
	Witness string
	Time    int64 // Unix seconds, by the witness's clock
}

// ParseHead checks a signed checkpoint against the log's key, and its cosignatures
// against the keys of witnesses, which are cosignature/v1 of Ed25519.
func ParseHead(checkpoint []byte, vkey string, witnesses ...string) (Head, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return Head{}, errors.New("the verification key does not parse")
	}
	known := []note.Verifier{verifier}
	for _, w := range witnesses {
		v, err := NewCosignatureVerifier(w)
		if err != nil {
			return Head{}, err
		}
		known = append(known, v)
	}
	n, err := openNote(checkpoint, known...)
	if err != nil {
		return Head{}, err
	}
	var c flog.Checkpoint
	rest, err := c.Unmarshal([]byte(n.Text))
	if err != nil || len(c.Hash) != tlog.HashSize || c.Size > 1<<55 {
		return Head{}, errors.New("the checkpoint is malformed")
	}
	if c.Origin != verifier.Name() {
		return Head{}, fmt.Errorf("the checkpoint is of %q, the key of %q", c.Origin, verifier.Name())
	}
	h := Head{Origin: c.Origin, Size: int64(c.Size), Root: tlog.Hash(c.Hash)}
	if len(rest) > 0 {
		h.Extension = strings.Split(strings.TrimSuffix(string(rest), "\n"), "\n")
	}
	signed := false
	for _, s := range n.Sigs {
		if s.Name == verifier.Name() && s.Hash == verifier.KeyHash() {
			signed = true
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 4+8 {
			return Head{}, errors.New("a cosignature is malformed")
		}
		h.Cosigned = append(h.Cosigned, Cosignature{s.Name, int64(binary.BigEndian.Uint64(raw[4:12]))})
	}
	if !signed {
		return Head{}, errors.New("the checkpoint is not signed by this key")
	}
	for _, s := range n.UnverifiedSigs {
		h.Unchecked = append(h.Unchecked, s.Name)
	}
	return h, nil
}

// openNote is note.Open that refuses a second spelling of the same signature.
func openNote(text []byte, known ...note.Verifier) (*note.Note, error) {
	n, err := note.Open(text, note.VerifierList(known...))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		if errors.As(err, &unverified) {
			return nil, errors.New("it is not signed by this key")
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

// NewCosignatureVerifier reads the key of a witness: algorithm 4, cosignature/v1.
func NewCosignatureVerifier(vkey string) (note.Verifier, error) {
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
