package governance

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/gowebpki/jcs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestCanonical_SameAsLibrary compares with the published library on documents with
// every kind of escape, unsorted and non-ASCII names.
func TestCanonical_SameAsLibrary(t *testing.T) {
	t.Parallel()
	text := rapid.StringOf(rapid.OneOf(rapid.RuneFrom([]rune("abzAZ09 \"\\/\b\t\n\f\r\x01\x1f<>&é€\u2028\uffff😀ﬁ")), rapid.Rune())).
		Filter(func(s string) bool { return !bytes.ContainsRune([]byte(s), 0) })
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		flat := rapid.OneOf(rapid.Map(text, func(s string) any { return s }), rapid.Map(rapid.Int64Range(-maxSafeInteger, maxSafeInteger), func(n int64) any { return n }),
			rapid.Map(rapid.Bool(), func(b bool) any { return b }), rapid.Just[any](nil))
		if depth == 0 {
			return flat
		}
		return rapid.OneOf(flat, rapid.Map(rapid.SliceOfN(value(depth-1), 0, 4), func(s []any) any { return append([]any{}, s...) }),
			rapid.Map(rapid.MapOfN(text, value(depth-1), 0, 15), func(m map[string]any) any { return m }))
	}
	rapid.Check(t, func(t *rapid.T) {
		raw, err := json.Marshal(value(3).Draw(t, "value"))
		require.NoError(t, err)
		var pretty bytes.Buffer
		require.NoError(t, json.Indent(&pretty, raw, "", " \t"))
		want, err := jcs.Transform(raw)
		require.NoError(t, err)
		for _, in := range [][]byte{raw, pretty.Bytes()} {
			got, err := Canonical(json.RawMessage(in))
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		}
	})
}

func TestCanonical_Refuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{`1.5`, `1e3`, `9007199254740993`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `"\ud800"`, `"\udc00\ud800"`, `"\ud83d\u0041"`, `"a\u0000"`, `{"a":`, ``, `[1,]`, `tru`, "\"\xff\"", `1 2`} {
		_, err := Canonical(json.RawMessage(in))
		require.Error(t, err, in)
	}
	for in, want := range map[string]string{`"\ud83d\ude00\u0041"`: `"😀A"`, `{"b":1,"a":[ ]}`: `{"a":[],"b":1}`, `-0`: `0`, `"\\ud800"`: `"\\ud800"`} {
		got, err := Canonical(json.RawMessage(in))
		require.NoError(t, err, in)
		require.Equal(t, want, string(got))
	}
}

// FuzzCanonical: what is accepted is what the library makes of it, and stays itself.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"z":1,"a":["\u00e9",true,null]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Canonical(json.RawMessage(in))
		if err != nil {
			return
		}
		again, err := Canonical(json.RawMessage(got))
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
		if want, err := jcs.Transform(in); err == nil {
			require.Equal(t, string(want), string(got))
		}
	})
}
