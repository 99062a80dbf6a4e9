package pack

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Forgery is a pack taken apart by somebody who can write a new manifest but has no
// key.
type Forgery struct {
	M     Manifest
	Files map[string][]byte
}

// Take takes a pack apart.
func Take(b []byte) *Forgery {
	m, files, problems := readZip(b)
	if len(problems) > 0 {
		panic(problems[0].String())
	}
	f := &Forgery{M: m, Files: map[string][]byte{}}
	for n, b := range files {
		f.Files[n] = slices.Clone(b)
	}
	return f
}

// Zip puts it together again, every hash and the content digest made to fit.
func (f *Forgery) Zip() []byte {
	var es []entry
	for n, b := range f.Files {
		es = append(es, entry{n, b})
	}
	f.M.Files = list(es)
	var err error
	if f.M.Content, err = f.M.contentDigest(); err != nil {
		panic(err)
	}
	var buf bytes.Buffer
	if err := writePack(&buf, f.M, es); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// Edit decodes a JSON file, changes it and encodes it canonically.
func Edit[T any](f *Forgery, name string, change func(v *T)) {
	var v T
	if err := json.Unmarshal(f.Files[name], &v); err != nil {
		panic(err)
	}
	change(&v)
	b, err := encode(v)
	if err != nil {
		panic(err)
	}
	f.Files[name] = b
}

// RawZip writes entries with no manifest of their own making.
func RawZip(names []string, data [][]byte) []byte {
	var es []entry
	for i, n := range names {
		es = append(es, entry{n, data[i]})
	}
	var buf bytes.Buffer
	if err := writeZip(&buf, es); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// Unfilled is the matching of quorums.
func Unfilled(groups []string, approvals []int, voters map[string][]string) string {
	var qs []quorum
	for i, g := range groups {
		qs = append(qs, quorum{Group: g, Approvals: approvals[i]})
	}
	return unfilled(qs, voters)
}

// Unmet is the matching of two requirements that hold one act.
func Unmet(all, any map[string]int, voters map[string][]string) string {
	list := func(m map[string]int) (qs []quorum) {
		for g, n := range m {
			qs = append(qs, quorum{Group: g, Approvals: n})
		}
		return qs
	}
	return unmet([]requirement{{AllOf: list(all)}, {AnyOf: list(any)}}, voters)
}
