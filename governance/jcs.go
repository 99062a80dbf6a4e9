package governance

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// appendCanonical appends the RFC 8785 form of valid JSON whose numbers are integers
// of at most 53 bits. It is a third of the cost of the general library, which a
// property test compares it with; an action is canonicalised five times.
func appendCanonical(dst, src []byte) ([]byte, error) {
	w := canonicaliser{src: src}
	dst, err := w.value(dst, 0)
	if err != nil {
		return nil, err
	}
	if w.space(); w.at != len(src) {
		return nil, errors.New("more than one JSON value")
	}
	return dst, nil
}

type canonicaliser struct {
	src []byte
	at  int
}

var (
	errTruncated = errors.New("it ends too early")
	errTwice     = errors.New("a name is given twice")
)

func (w *canonicaliser) space() byte {
	for w.at < len(w.src) {
		switch c := w.src[w.at]; c {
		case ' ', '\t', '\n', '\r':
			w.at++
		default:
			return c
		}
	}
	return 0
}

func (w *canonicaliser) value(dst []byte, depth int) ([]byte, error) {
	if depth > 1000 {
		return nil, errors.New("it is nested too deeply")
	}
	switch c := w.space(); {
	case c == '{':
		return w.object(dst, depth)
	case c == '[':
		return w.array(dst, depth)
	case c == '"':
		return w.text(dst)
	case c == '-' || c >= '0' && c <= '9':
		return w.number(dst)
	default:
		for _, word := range []string{"true", "false", "null"} {
			if bytes.HasPrefix(w.src[w.at:], []byte(word)) {
				w.at += len(word)
				return append(dst, word...), nil
			}
		}
		return nil, errTruncated
	}
}

func (w *canonicaliser) number(dst []byte) ([]byte, error) {
	start := w.at
	for w.at < len(w.src) && (w.src[w.at] == '-' || w.src[w.at] == '+' || w.src[w.at] == '.' || w.src[w.at]|0x20 == 'e' || w.src[w.at] >= '0' && w.src[w.at] <= '9') {
		w.at++
	}
	text := string(w.src[start:w.at])
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > maxSafeInteger || n < -maxSafeInteger {
		return nil, Invalid("input", "number %s is not an integer of at most 53 bits; write it as a string", text)
	}
	return strconv.AppendInt(dst, n, 10), nil // -0 becomes 0
}

func (w *canonicaliser) array(dst []byte, depth int) ([]byte, error) {
	w.at++
	dst = append(dst, '[')
	for first := true; ; first = false {
		if c := w.space(); c == ']' && first {
			break
		}
		var err error
		if dst, err = w.value(dst, depth+1); err != nil {
			return nil, err
		}
		c := w.space()
		if c == ']' {
			break
		}
		if c != ',' {
			return nil, errTruncated
		}
		w.at++
		dst = append(dst, ',')
	}
	w.at++
	return append(dst, ']'), nil
}

type member struct {
	name     []byte // with its quotes, canonical
	from, to int    // of name and value in the scratch
	plain    bool   // ASCII without an escape: its bytes sort as its UTF-16 does
}

func (w *canonicaliser) object(dst []byte, depth int) ([]byte, error) {
	w.at++
	base := len(dst)
	dst = append(dst, '{')
	var room [12]member
	members := room[:0]
	sorted := true
	for first := true; ; first = false {
		c := w.space()
		if c == '}' && first {
			break
		}
		if c != '"' {
			return nil, errTruncated
		}
		m := member{from: len(dst)}
		var err error
		if dst, err = w.text(dst); err != nil {
			return nil, err
		}
		nameEnd := len(dst)
		if w.space() != ':' {
			return nil, errTruncated
		}
		w.at++
		dst = append(dst, ':')
		if dst, err = w.value(dst, depth+1); err != nil {
			return nil, err
		}
		m.to = len(dst)
		m.name = dst[m.from:nameEnd]
		m.plain = isPlain(m.name)
		members = append(members, m)
		c = w.space()
		if c == '}' {
			break
		}
		if c != ',' {
			return nil, errTruncated
		}
		w.at++
		dst = append(dst, ',')
	}
	w.at++
	// dst may have moved while values were appended: names are cut again.
	for i := range members {
		members[i].name = dst[members[i].from : members[i].from+len(members[i].name)]
		if i > 0 && compareNames(members[i-1], members[i]) >= 0 {
			sorted = false
		}
	}
	if !sorted {
		scratch := slices.Clone(dst[base:])
		for i := range members {
			m := &members[i]
			m.name = scratch[m.from-base : m.from-base+len(m.name)]
		}
		slices.SortFunc(members, compareNames)
		dst = append(dst[:base], '{')
		for i, m := range members {
			if i > 0 {
				if compareNames(members[i-1], m) == 0 {
					return nil, errTwice
				}
				dst = append(dst, ',')
			}
			dst = append(dst, scratch[m.from-base:m.to-base]...)
		}
	}
	return append(dst, '}'), nil
}

func isPlain(name []byte) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf || c == '\\' {
			return false
		}
	}
	return true
}

// compareNames orders by UTF-16 code units, RFC 8785 section 3.2.3.
func compareNames(a, b member) int {
	if a.plain && b.plain {
		return bytes.Compare(a.name[1:len(a.name)-1], b.name[1:len(b.name)-1])
	}
	return slices.Compare(units(a.name), units(b.name))
}

func units(quoted []byte) []uint16 {
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return nil
	}
	return utf16.Encode([]rune(s))
}

// text copies a string; one with an escape is decoded and written again.
func (w *canonicaliser) text(dst []byte) ([]byte, error) {
	start := w.at
	escaped := false
	for w.at++; ; w.at++ {
		if w.at >= len(w.src) {
			return nil, errTruncated
		}
		if c := w.src[w.at]; c == '\\' {
			escaped = true
			w.at++
		} else if c == '"' {
			break
		}
	}
	w.at++
	quoted := w.src[start:w.at]
	if !escaped {
		return append(dst, quoted...), nil
	}
	if err := checkSurrogates(quoted); err != nil {
		return nil, err
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return nil, err
	}
	dst = append(dst, '"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		default:
			const hexDigits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, '"'), nil
}

// checkSurrogates refuses half of a surrogate pair, which decoding would replace: two
// texts would get one digest.
func checkSurrogates(quoted []byte) error {
	for i := 0; i+5 < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		if quoted[i+1] != 'u' {
			i++
			continue
		}
		u, err := strconv.ParseUint(string(quoted[i+2:i+6]), 16, 16)
		if err != nil {
			return errTruncated
		}
		i += 5
		if !utf16.IsSurrogate(rune(u)) {
			continue
		}
		if i+6 >= len(quoted) || quoted[i+1] != '\\' || quoted[i+2] != 'u' {
			return errors.New("it holds half a surrogate pair")
		}
		low, err := strconv.ParseUint(string(quoted[i+3:i+7]), 16, 16)
		if err != nil || utf16.DecodeRune(rune(u), rune(low)) == utf8.RuneError {
			return errors.New("it holds half a surrogate pair")
		}
		i += 6
	}
	return nil
}
