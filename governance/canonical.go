package governance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// maxSafeInteger is the largest integer that RFC 8785 canonicalises exactly.
const maxSafeInteger = 1<<53 - 1

// Digest is a SHA-256 in its text form "sha256:<hex>".
type Digest string

// Canonical gives the RFC 8785 form of v. Numbers must be integers of at most 53
// bits (RFC 8785 numbers are IEEE doubles: a larger one would share its digest
// with its neighbours), text must be UTF-8 without U+0000.
func Canonical(v any) ([]byte, error) {
	if v == nil {
		return []byte("null"), nil
	}
	raw, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return nil, err
		}
	} else if !json.Valid(raw) {
		return nil, Invalid("input", "is not JSON")
	}
	if !utf8.Valid(raw) {
		return nil, Invalid("input", "is not valid UTF-8")
	}
	if bytes.Contains(raw, []byte(`\u0000`)) && hasNUL(raw) {
		return nil, Invalid("input", "contains U+0000")
	}
	out, err := appendCanonical(make([]byte, 0, len(raw)), raw)
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		return nil, err
	}
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
