package integrations

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Sealer encrypts secrets before they reach the database. bound says where the
// secret belongs; opening it anywhere else fails. [NewSealer] is the one for a key
// in memory, a host with a key service brings its own.
type Sealer interface {
	Seal(plain, bound []byte) ([]byte, error)
	Open(sealed, bound []byte) ([]byte, error)
}

// KeySize is the size of a key for [NewSealer].
const KeySize = 32

type aesSealer struct {
	aead  cipher.AEAD
	nonce []byte // key of the nonces
}

var _ Sealer = (*aesSealer)(nil)

// NewSealer seals with AES-256-GCM. The nonce is a keyed hash of what is sealed, so
// that the same request made twice is the same action: equal secrets in one place are
// seen to be equal, and nothing more.
func NewSealer(key []byte) (Sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("integrations: the key has %d bytes, want %d", len(key), KeySize)
	}
	derive := func(label string) []byte {
		m := hmac.New(sha256.New, key)
		_, _ = m.Write([]byte("reeve/integrations/" + label))
		return m.Sum(nil)
	}
	block, err := aes.NewCipher(derive("seal"))
	if err != nil {
		return nil, fmt.Errorf("integrations: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("integrations: %w", err)
	}
	return &aesSealer{aead, derive("nonce")}, nil
}

// Seal implements Sealer.
func (s *aesSealer) Seal(plain, bound []byte) ([]byte, error) {
	place := sha256.Sum256(bound) // of fixed length: no other place and text hash alike
	m := hmac.New(sha256.New, s.nonce)
	_, _ = m.Write(place[:])
	_, _ = m.Write(plain)
	nonce := m.Sum(nil)[:s.aead.NonceSize()]
	return s.aead.Seal(nonce, nonce, plain, bound), nil
}

// Open implements Sealer.
func (s *aesSealer) Open(sealed, bound []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("integrations: a sealed secret is cut off")
	}
	plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], bound)
	if err != nil {
		return nil, errors.New("integrations: a secret cannot be opened: another key, or it was moved")
	}
	return plain, nil
}
