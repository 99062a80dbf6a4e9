package pack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
)

var errKey = errors.New("the public key is of a kind that this program cannot check")

// coseMap reads a COSE key: a CBOR map from small integers to integers and byte
// strings. Any other form is no key here.
type coseMap struct {
	ints  map[int64]int64
	bytes map[int64][]byte
}

type cborReader struct{ b []byte }

// head reads the head of an item: its major type and its number. Indefinite lengths and
// numbers above 32 bits are refused.
func (r *cborReader) head() (major byte, n uint64, err error) {
	if len(r.b) == 0 {
		return 0, 0, errKey
	}
	major, n = r.b[0]>>5, uint64(r.b[0]&31)
	r.b = r.b[1:]
	size := 0
	switch {
	case n < 24:
		return major, n, nil
	case n == 24:
		size = 1
	case n == 25:
		size = 2
	case n == 26:
		size = 4
	default:
		return 0, 0, errKey
	}
	if len(r.b) < size {
		return 0, 0, errKey
	}
	var wide [8]byte
	copy(wide[8-size:], r.b[:size])
	r.b = r.b[size:]
	return major, binary.BigEndian.Uint64(wide[:]), nil
}

// signedInt is an integer of major type 0 or 1; head keeps it within 32 bits.
func signedInt(major byte, n uint64) (int64, bool) {
	switch major {
	case 0:
		return int64(n), true //nolint:gosec // at most 32 bits
	case 1:
		return -1 - int64(n), true //nolint:gosec // at most 32 bits
	}
	return 0, false
}

func readCOSE(b []byte) (coseMap, error) {
	m := coseMap{map[int64]int64{}, map[int64][]byte{}}
	r := &cborReader{b}
	major, pairs, err := r.head()
	if err != nil || major != 5 || pairs > 16 {
		return m, errKey
	}
	seen := map[int64]bool{}
	for range pairs {
		major, n, err := r.head()
		label, ok := signedInt(major, n)
		if err != nil || !ok || seen[label] {
			return m, errKey
		}
		seen[label] = true
		major, n, err = r.head()
		if err != nil {
			return m, errKey
		}
		if v, ok := signedInt(major, n); ok {
			m.ints[label] = v
			continue
		}
		if major != 2 || n > uint64(len(r.b)) {
			return m, errKey
		}
		m.bytes[label] = r.b[:n]
		r.b = r.b[n:]
	}
	if len(r.b) > 0 {
		return m, errKey
	}
	return m, nil
}

// checkCOSE checks a signature by a COSE key of ES256, EdDSA or RS256 over a message.
func checkCOSE(key, message, signature []byte) (bool, error) {
	m, err := readCOSE(key)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(message)
	kty, alg := m.ints[1], m.ints[3]
	switch {
	case kty == 2 && alg == -7 && m.ints[-1] == 1 && len(m.bytes[-2]) == 32 && len(m.bytes[-3]) == 32:
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, m.bytes[-2]...), m.bytes[-3]...))
		if err != nil {
			return false, errKey
		}
		return ecdsa.VerifyASN1(pub, sum[:], signature), nil
	case kty == 1 && alg == -8 && m.ints[-1] == 6 && len(m.bytes[-2]) == ed25519.PublicKeySize:
		return ed25519.Verify(m.bytes[-2], message, signature), nil
	case kty == 3 && alg == -257 && len(m.bytes[-1]) >= 256 && len(m.bytes[-1]) <= 1024 && len(m.bytes[-2]) > 0 && len(m.bytes[-2]) <= 4:
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(m.bytes[-1]), E: int(new(big.Int).SetBytes(m.bytes[-2]).Int64())}
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], signature) == nil, nil
	}
	return false, errKey
}
