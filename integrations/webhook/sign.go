package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed message.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// Tolerance is how far the time of an attempt may be from the receiver's clock.
const Tolerance = 5 * time.Minute

var (
	// ErrSignature: the headers are not there, or no signature in them is good.
	ErrSignature = errors.New("webhook: no valid signature")
	// ErrTimestamp: the attempt is too old or from the future.
	ErrTimestamp = errors.New("webhook: timestamp outside the tolerance")
)

// Signer makes one signature, such as "v1,…". [Secret] and [PrivateKey] are signers.
type Signer interface{ sign(content []byte) string }

// Verifier checks one signature. [Secret] and [PublicKey] are verifiers.
type Verifier interface {
	verify(content []byte, version string, signature []byte) bool
}

var (
	_ Signer   = Secret{}
	_ Signer   = PrivateKey{}
	_ Verifier = Secret{}
	_ Verifier = PublicKey{}
)

// Secret is a shared secret; it signs and verifies v1. The zero value signs nothing
// that verifies.
type Secret struct{ key []byte }

const (
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
)

// NewSecret makes a random secret of 32 bytes.
func NewSecret() Secret {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails; the runtime aborts instead
	return Secret{key}
}

// ParseSecret reads "whsec_" and base64 of 24 to 64 bytes; the prefix may be
// missing. The error does not repeat the text.
func ParseSecret(s string) (Secret, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, secretPrefix))
	if err != nil {
		return Secret{}, errors.New("webhook: the secret is not whsec_ and base64")
	}
	if len(key) < 24 || len(key) > 64 {
		return Secret{}, fmt.Errorf("webhook: the secret has %d bytes, want 24 to 64", len(key))
	}
	return Secret{key}, nil
}

// Reveal is the text form that receivers configure. Secret has no String method, so
// that a log line does not print it.
func (s Secret) Reveal() string { return secretPrefix + base64.StdEncoding.EncodeToString(s.key) }

func (s Secret) mac(content []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	_, _ = m.Write(content)
	return m.Sum(nil)
}

func (s Secret) sign(content []byte) string {
	return "v1," + base64.StdEncoding.EncodeToString(s.mac(content))
}

func (s Secret) verify(content []byte, version string, signature []byte) bool {
	return version == "v1" && len(s.key) > 0 && hmac.Equal(signature, s.mac(content))
}

// PrivateKey signs v1a, so that a receiver need not hold a secret.
type PrivateKey struct{ key ed25519.PrivateKey }

// PublicKey verifies v1a.
type PublicKey struct{ key ed25519.PublicKey }

// NewPrivateKey makes a random key.
func NewPrivateKey() PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed)
	return PrivateKey{ed25519.NewKeyFromSeed(seed)}
}

// ParsePrivateKey reads "whsk_" and base64 of the 64 bytes of an Ed25519 key.
func ParsePrivateKey(s string) (PrivateKey, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, privatePrefix))
	if err != nil || len(key) != ed25519.PrivateKeySize {
		return PrivateKey{}, errors.New("webhook: the private key is not whsk_ and base64 of 64 bytes")
	}
	return PrivateKey{key}, nil
}

// ParsePublicKey reads "whpk_" and base64 of the 32 bytes of an Ed25519 key.
func ParsePublicKey(s string) (PublicKey, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, publicPrefix))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("webhook: %q is not whpk_ and base64 of 32 bytes", s)
	}
	return PublicKey{key}, nil
}

// Public is the key that receivers verify with.
func (p PrivateKey) Public() PublicKey { return PublicKey{ed25519.PublicKey(p.key[ed25519.SeedSize:])} }

// Reveal is the text form of the key.
func (p PrivateKey) Reveal() string { return privatePrefix + base64.StdEncoding.EncodeToString(p.key) }

// String is the text form that may be published.
func (p PublicKey) String() string { return publicPrefix + base64.StdEncoding.EncodeToString(p.key) }

func (p PrivateKey) sign(content []byte) string {
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(p.key, content))
}

func (p PublicKey) verify(content []byte, version string, signature []byte) bool {
	return version == "v1a" && len(p.key) == ed25519.PublicKeySize && ed25519.Verify(p.key, content, signature)
}

func content(id, timestamp string, body []byte) []byte {
	return append([]byte(id+"."+timestamp+"."), body...)
}

// Sign gives the headers of one attempt at at. id stays the same over all attempts
// and must not contain a dot, which would let another id and body sign alike.
func Sign(id string, at time.Time, body []byte, keys ...Signer) (http.Header, error) {
	if id == "" || strings.ContainsAny(id, ". \r\n") {
		return nil, fmt.Errorf("webhook: id %q is empty or has a dot or a space", id)
	}
	if len(keys) == 0 {
		return nil, errors.New("webhook: a key is required")
	}
	ts := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(keys))
	for i, k := range keys {
		signatures[i] = k.sign(content(id, ts, body))
	}
	h := http.Header{}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, ts)
	h.Set(HeaderSignature, strings.Join(signatures, " "))
	return h, nil
}

// Verify is nil when h signs body with one of the keys, at a time near now. A
// receiver must give it the bytes it received, never re-encoded JSON.
func Verify(h http.Header, body []byte, now time.Time, keys ...Verifier) error {
	id, ts := h.Get(HeaderID), h.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(ts, 10, 64)
	if id == "" || err != nil {
		return ErrSignature
	}
	if d := now.Sub(time.Unix(seconds, 0)); d > Tolerance || d < -Tolerance {
		return ErrTimestamp
	}
	signed := content(id, ts, body)
	for _, part := range strings.Fields(h.Get(HeaderSignature)) {
		version, text, ok := strings.Cut(part, ",")
		if !ok {
			continue
		}
		signature, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			continue
		}
		for _, k := range keys {
			if k.verify(signed, version, signature) {
				return nil
			}
		}
	}
	return ErrSignature
}
