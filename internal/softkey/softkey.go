// Package softkey is an authenticator of WebAuthn in software, for tests: it answers as
// a browser with a security key does, and as one that cheats.
package softkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// The algorithms, by their COSE numbers.
const (
	ES256 = -7
	EdDSA = -8
	RS256 = -257
)

// Key is an authenticator with one key. Its fields change how it answers.
type Key struct {
	ID      []byte
	Origin  string // of the page that it believes to be on
	RPID    string // it signs for; default the one it was asked for
	NoUser  bool   // it did not verify who used it
	Counter uint32

	alg    int
	signer crypto.Signer
}

// New makes a key.
func New(t testing.TB, alg int, origin string) *Key {
	t.Helper()
	k := &Key{ID: make([]byte, 32), Origin: origin, alg: alg}
	_, _ = rand.Read(k.ID)
	var err error
	switch alg {
	case ES256:
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, k.signer, err = ed25519.GenerateKey(rand.Reader)
	case RS256:
		k.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		t.Fatalf("algorithm %d", alg)
	}
	require.NoError(t, err)
	return k
}

func head(major byte, n int) []byte {
	switch {
	case n < 24:
		return []byte{major<<5 | byte(n)}
	case n < 256:
		return []byte{major<<5 | 24, byte(n)}
	}
	return []byte{major<<5 | 25, byte(n >> 8), byte(n)}
}

func integer(n int) []byte {
	if n < 0 {
		return head(1, -1-n)
	}
	return head(0, n)
}

func data(b []byte) []byte { return append(head(2, len(b)), b...) }
func text(s string) []byte { return append(head(3, len(s)), s...) }
func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// COSE is the public key.
func (k *Key) COSE() []byte {
	switch pub := k.signer.Public().(type) {
	case *ecdsa.PublicKey:
		raw, _ := pub.Bytes() // 4, x, y
		return join(head(5, 5), integer(1), integer(2), integer(3), integer(ES256), integer(-1), integer(1), integer(-2), data(raw[1:33]), integer(-3), data(raw[33:]))
	case ed25519.PublicKey:
		return join(head(5, 4), integer(1), integer(1), integer(3), integer(EdDSA), integer(-1), integer(6), integer(-2), data(pub))
	case *rsa.PublicKey:
		return join(head(5, 4), integer(1), integer(3), integer(3), integer(RS256), integer(-1), data(pub.N.Bytes()), integer(-2), data([]byte{1, 0, 1}))
	}
	return nil
}

func (k *Key) authData(rpID string, flags byte) []byte {
	if k.RPID != "" {
		rpID = k.RPID
	}
	sum := sha256.Sum256([]byte(rpID))
	if k.NoUser {
		flags &^= 4
	}
	return binary.BigEndian.AppendUint32(append(sum[:], flags), k.Counter)
}

func (k *Key) clientData(t testing.TB, typ, challenge string) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"type": typ, "challenge": challenge, "origin": k.Origin, "crossOrigin": false})
	require.NoError(t, err)
	return b
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Create answers navigator.credentials.create.
func (k *Key) Create(t testing.TB, options json.RawMessage) json.RawMessage {
	t.Helper()
	var o struct {
		Challenge string
		RP        struct{ ID string }
	}
	require.NoError(t, json.Unmarshal(options, &o))
	attested := join(make([]byte, 16), []byte{byte(len(k.ID) >> 8), byte(len(k.ID))}, k.ID, k.COSE())
	auth := join(k.authData(o.RP.ID, 1|4|64), attested)
	object := join(head(5, 3), text("fmt"), text("none"), text("attStmt"), head(5, 0), text("authData"), data(auth))
	out, err := json.Marshal(map[string]any{"id": b64(k.ID), "rawId": b64(k.ID), "type": "public-key", "clientExtensionResults": map[string]any{},
		"response": map[string]any{"clientDataJSON": b64(k.clientData(t, "webauthn.create", o.Challenge)), "attestationObject": b64(object), "transports": []string{"usb", "<script>"}}})
	require.NoError(t, err)
	return out
}

// Get answers navigator.credentials.get.
func (k *Key) Get(t testing.TB, options json.RawMessage) json.RawMessage {
	t.Helper()
	var o struct {
		Challenge string
		RPID      string `json:"rpId"`
	}
	require.NoError(t, json.Unmarshal(options, &o))
	k.Counter++
	auth, client := k.authData(o.RPID, 1|4), k.clientData(t, "webauthn.get", o.Challenge)
	out, err := json.Marshal(map[string]any{"id": b64(k.ID), "rawId": b64(k.ID), "type": "public-key", "clientExtensionResults": map[string]any{},
		"response": map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(auth), "signature": b64(k.sign(t, auth, client))}})
	require.NoError(t, err)
	return out
}

func (k *Key) sign(t testing.TB, auth, client []byte) []byte {
	t.Helper()
	hash := sha256.Sum256(client)
	msg := join(auth, hash[:])
	opts, over := crypto.SignerOpts(crypto.Hash(0)), msg
	if k.alg != EdDSA {
		sum := sha256.Sum256(msg)
		opts, over = crypto.SHA256, sum[:]
	}
	sig, err := k.signer.Sign(rand.Reader, over, opts)
	require.NoError(t, err)
	return sig
}
