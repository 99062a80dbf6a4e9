package governance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gowebpki/jcs"
)

// maxSafeInteger is the largest integer that RFC 8785 canonicalises exactly.
const maxSafeInteger = 1<<53 - 1

// Digest is a SHA-256 in its text form "sha256:<hex>".
type Digest string

// Canonical gives the RFC 8785 form of v. Numbers must be integers of at most 53
// bits (RFC 8785 numbers are IEEE doubles: a larger one would share its digest
// with its neighbours), text must be UTF-8 without U+0000.
func Canonical(v any) ([]byte, error) {
	raw, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	if !utf8.Valid(raw) {
		return nil, Invalid("input", "is not valid UTF-8")
	}
	if bytes.Contains(raw, []byte(`\u0000`)) && hasNUL(raw) {
		return nil, Invalid("input", "contains U+0000")
	}
	if err := checkNumbers(raw); err != nil {
		return nil, err
	}
	out, err := jcs.Transform(raw)
	if err != nil {
		return nil, Invalid("input", "has no canonical form: %v", err)
	}
	return out, nil
}

func hasNUL(raw []byte) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		if s, ok := t.(string); ok && strings.ContainsRune(s, 0) {
			return true
		}
	}
}

func checkNumbers(raw []byte) error {
	inString, escaped := false, false
	start := -1
	for i := 0; i <= len(raw); i++ {
		var c byte
		if i < len(raw) {
			c = raw[i]
		}
		if inString {
			switch {
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				inString = false
			}
			continue
		}
		number := c == '-' || c == '+' || c == '.' || c == 'e' && start >= 0 || c == 'E' && start >= 0 || c >= '0' && c <= '9'
		if number && start < 0 {
			start = i
		}
		if !number && start >= 0 {
			text := string(raw[start:i])
			start = -1
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n > maxSafeInteger || n < -maxSafeInteger {
				return Invalid("input", "number %s is not an integer of at most 53 bits; write it as a string", text)
			}
		}
		inString = c == '"'
	}
	return nil
}

// DigestOf is the digest of domain, a newline and the canonical form of v. The
// domain keeps digests of different kinds of thing apart.
func DigestOf(domain string, v any) (Digest, error) {
	c, err := Canonical(v)
	if err != nil {
		return "", err
	}
	return digestBytes(domain, c), nil
}

func digestBytes(domain string, b []byte) Digest {
	h := sha256.New()
	_, _ = io.WriteString(h, domain+"\n")
	_, _ = h.Write(b)
	return Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

// decodeStrict reads one JSON value into v and refuses unknown fields and what
// follows the value.
func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
