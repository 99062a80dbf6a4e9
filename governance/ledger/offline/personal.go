package offline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Disclosure is a personal value whose salted digest stands in a record's body.
type Disclosure struct {
	Field string `json:"field"`
	Value string `json:"value"`
	Salt  []byte `json:"salt"`
	// Subject is whom the value is about: destroying the subject's key erases it. Empty
	// means the record itself. It is not part of the digest.
	Subject string `json:"-"`
}

// Digest is what the body carries in the value's place.
func (d Disclosure) Digest() string {
	h := sha256.New()
	_, _ = h.Write(d.Salt)
	_, _ = h.Write([]byte(d.Field + "\x00" + d.Value))
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// PersonalDigests are the fields of a body that stand in it by their digests only.
func PersonalDigests(body []byte) map[string]string {
	var b struct {
		Personal map[string]string `json:"personal"`
	}
	if json.Unmarshal(body, &b) != nil {
		return nil
	}
	return b.Personal
}

// ErasureAction is the action of a record that says what was erased.
const ErasureAction = "ledger.erased"

// ErasedDigests are the values that a record says were erased.
func ErasedDigests(body []byte) []string {
	var b struct {
		Action string `json:"action"`
		Data   struct {
			Erased []string `json:"erased"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &b) != nil || b.Action != ErasureAction {
		return nil
	}
	return b.Data.Erased
}

// Opened is a proof with what is known of the record's personal values.
type Opened struct {
	Proof

	Disclosures []Disclosure `json:"disclosures,omitempty"`
	Erasures    []Proof      `json:"erasures,omitempty"`
}

// Field is what a checked proof says of a personal value.
type Field struct {
	Name     string
	Value    string // when it is disclosed
	Known    bool
	ErasedBy int64 // the leaf of the record by which it was erased, -1 when none is shown
}

// VerifyOpened checks a proof, every disclosed value against its digest in the record,
// and the records of erasures. Every failure is ErrBadProof.
func VerifyOpened(vkey string, o Opened) ([]Field, error) {
	if err := VerifyProof(vkey, o.Proof); err != nil {
		return nil, err
	}
	digests := PersonalDigests([]byte(o.Body))
	fields := map[string]Field{}
	for name := range digests {
		fields[name] = Field{Name: name, ErasedBy: -1}
	}
	for _, d := range o.Disclosures {
		if digests[d.Field] == "" || d.Digest() != digests[d.Field] {
			return nil, fmt.Errorf("%w: the value shown for %q is not what the record speaks of", ErrBadProof, d.Field)
		}
		fields[d.Field] = Field{d.Field, d.Value, true, -1}
	}
	for i, e := range o.Erasures {
		if err := VerifyProof(vkey, e); err != nil {
			return nil, fmt.Errorf("erasure %d: %w", i+1, err)
		}
		erased := ErasedDigests([]byte(e.Body))
		for name, f := range fields {
			if !f.Known && slices.Contains(erased, digests[name]) {
				f.ErasedBy = e.N
				fields[name] = f
			}
		}
	}
	out := make([]Field, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, fields[name])
	}
	return out, nil
}
