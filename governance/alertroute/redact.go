package alertroute

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// What a text may not carry outside, and what stands there instead. The text in the
// console stays whole: who reads it there has the right to.
var (
	mailLike    = regexp.MustCompile(`[\p{L}\p{N}._%+'-]+@[\p{L}\p{N}-]+(\.[\p{L}\p{N}-]+)*`)
	ibanLike    = regexp.MustCompile(`\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b`)
	addressLike = regexp.MustCompile(`\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b`)
	bearerLike  = regexp.MustCompile(`(?i)\b(?:(?:token|secret|password|authorization|api[_-]?key)["']?\s*[:=]\s*(?:bearer\s+|basic\s+)?|bearer\s+)["']?[^\s"',;]{6,}`)
	keyLike     = regexp.MustCompile(`\b(?:sk|pk|rk|whsec|ghp|xox[a-z]|eyJ)[A-Za-z0-9]*[_.-][A-Za-z0-9_.-]{8,}`)
	phoneLike   = regexp.MustCompile(`(?:\+|\b00)[0-9][0-9 ()/.-]{6,}[0-9]`)
	uuidLike    = regexp.MustCompile(`\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b`)
	digitsLike  = regexp.MustCompile(`\b[0-9]{9,}\b|\b[0-9](?:[ -]?[0-9]){12,}\b`)
)

// Redact takes out of a text what looks like an e-mail address, an account, a card, a
// telephone number, an IP address or a secret. It is the last fence: alerts are not
// to quote a payload in the first place.
func Redact(s string) string {
	s = mailLike.ReplaceAllString(s, "[e-mail]")
	s = bearerLike.ReplaceAllString(s, "[secret]")
	s = keyLike.ReplaceAllString(s, "[secret]")
	// Ids are no numbers of anybody, and links need them.
	var out strings.Builder
	last := 0
	for _, at := range uuidLike.FindAllStringIndex(s, -1) {
		out.WriteString(numbers(s[last:at[0]]))
		out.WriteString(s[at[0]:at[1]])
		last = at[1]
	}
	out.WriteString(numbers(s[last:]))
	return out.String()
}

// OutwardKey is a key as it may leave: itself, or where something in it may not, its
// kind and a digest, which is the same every time.
func OutwardKey(key string) string {
	if Redact(key) == key {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return Redact(Prefix(key)) + ":" + hex.EncodeToString(sum[:16])
}

func numbers(s string) string {
	s = ibanLike.ReplaceAllString(s, "[account]")
	s = addressLike.ReplaceAllString(s, "[address]")
	s = phoneLike.ReplaceAllString(s, "[number]")
	return digitsLike.ReplaceAllString(s, "[number]")
}
