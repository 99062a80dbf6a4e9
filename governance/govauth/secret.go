package govauth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// The texts that each kind of secret begins with. The hash covers them, so that a
// secret of one kind is none of another.
const (
	keyPrefix     = "reeve_"   // API keys, sent as a bearer token
	codePrefix    = "reevein_" // sign-in codes, typed into the sign-in page
	linkPrefix    = "l_"
	sessionPrefix = "s_"
)

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return hex.EncodeToString(b[:])
}

// newSecret makes the text that its owner keeps, and the hash that we keep: 256
// random bits need no slow hash, which would only let strangers keep us busy.
func newSecret(prefix, id string) (text, hash string) {
	var b [32]byte
	_, _ = rand.Read(b[:])
	text = prefix + id + "_" + base64.RawURLEncoding.EncodeToString(b[:])
	return text, hashSecret(text)
}

func hashSecret(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// secretID is the id inside a secret's text; ok is false for what cannot be one.
func secretID(prefix, text string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok || len(rest) != 16+1+43 || rest[16] != '_' {
		return "", false
	}
	id = rest[:16]
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return id, true
}

// matches compares a secret with a stored hash; nothing matches an empty one.
func matches(text, hash string) bool {
	return hash != "" && subtle.ConstantTimeCompare([]byte(hashSecret(text)), []byte(hash)) == 1
}
