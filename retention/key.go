package retention

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// A key in its canonical text form is one JSON value: 42, "abc", or ["abc",42] for
// several columns.

// EncodeKey gives the canonical text of a key's parts, each an int64 or a string.
func EncodeKey(parts []any) (string, error) {
	for i, p := range parts {
		switch p.(type) {
		case int64, string:
		default:
			return "", fmt.Errorf("part %d of the key is %T, want an integer or text", i, p)
		}
	}
	var v any = parts
	if len(parts) == 1 {
		v = parts[0]
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return string(bytes.TrimRight(b.Bytes(), "\n")), nil
}

// DecodeKey gives the parts of a canonical key.
func DecodeKey(key string) ([]any, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(key)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("key %q is not in canonical form", key)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("key %q is not in canonical form", key)
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for i, p := range list {
		switch x := p.(type) {
		case string:
		case json.Number:
			n, err := strconv.ParseInt(x.String(), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("key %q: %s is not an integer", key, x)
			}
			list[i] = n
		default:
			return nil, fmt.Errorf("key %q: part %d is neither an integer nor text", key, i)
		}
	}
	return list, nil
}

// CanonicalKey reads what a person typed: a canonical key, or plain text for a key
// of one text column.
func CanonicalKey(s string) (string, error) {
	if len(s) > 500 {
		return "", errors.New("a key has at most 500 bytes")
	}
	parts, err := DecodeKey(s)
	if err != nil {
		parts = []any{s}
	}
	return EncodeKey(parts)
}

// KeyDigest is the salted digest under which a row stands in the evidence.
func KeyDigest(salt []byte, source, key string, o Outcome) [32]byte {
	m := hmac.New(sha256.New, salt)
	_, _ = fmt.Fprintf(m, "%s\n%s\n%s", source, key, o)
	return [32]byte(m.Sum(nil))
}

// MerkleRoot is the root of the RFC 6962 tree over leaves, as hexadecimal text.
func MerkleRoot(leaves [][32]byte) string {
	root := merkle(leaves)
	return hex.EncodeToString(root[:])
}

func merkle(leaves [][32]byte) [32]byte {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0][:]...))
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	l, r := merkle(leaves[:k]), merkle(leaves[k:])
	return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
}
