package console

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPreview(t *testing.T) {
	t.Parallel()
	t.Run("single values are lines, lists of objects are tables", func(t *testing.T) {
		t.Parallel()
		got := preview(json.RawMessage(`{"as_of":"2026-11-24T16:17:19Z","amount":{"amount":"1200.00","currency":"EUR"},"rows":12480,"none":null,
			"counts":[{"country":"DE","rows":4100},{"country":"FR","rows":2260,"keys":[[1,2],[3,4]]}],"source":{"name":"crm","tables":["a","b"]}}`))
		require.Equal(t, []Fact{{Label: "Amount", Value: "EUR 1,200.00"}, {Label: "As of", Value: "24 Nov 2026, 16:17 UTC"}, {Label: "Rows", Value: "12,480"}}, got[0].Facts)
		require.Equal(t, "Counts", got[1].Title)
		require.Equal(t, []previewCol{{"Country", false}, {"Keys", false}, {"Rows", true}}, got[1].Cols)
		require.Equal(t, [][]string{{"DE", "", "4,100"}, {"FR", "[[1,2],[3,4]]", "2,260"}}, got[1].Rows)
		require.Equal(t, previewBlock{Title: "Source", Facts: []Fact{{Label: "Name", Value: "crm"}, {Label: "Tables", Value: "a, b"}}}, got[2])
	})
	t.Run("long lists say how much is left out", func(t *testing.T) {
		t.Parallel()
		rows := strings.TrimSuffix(strings.Repeat(`{"n":9007199254740993},`, 30), ",")
		got := preview(json.RawMessage(`{"rows":[` + rows + `],"few":[1,2,3,4,5,6,7,8]}`))
		require.Equal(t, "1, 2, 3, 4, 5, 6, and 2 more", got[0].Facts[0].Value)
		require.Len(t, got[1].Rows, previewRows)
		require.Equal(t, 30-previewRows, got[1].More)
		require.Equal(t, "9,007,199,254,740,993", got[1].Rows[0][0], "a number is not rounded on the way")
	})
	t.Run("nothing shows nothing", func(t *testing.T) {
		t.Parallel()
		for _, raw := range []string{"", "null", "{}", "{", `{"a":null}`} {
			require.Empty(t, preview(json.RawMessage(raw)), "%s", raw)
		}
	})
	t.Run("any JSON is taken", func(t *testing.T) {
		t.Parallel()
		var value func(depth int) *rapid.Generator[any]
		value = func(depth int) *rapid.Generator[any] {
			leaves := []*rapid.Generator[any]{rapid.String().AsAny(), rapid.Int64().AsAny(), rapid.Bool().AsAny(), rapid.Just[any](nil)}
			if depth > 0 {
				leaves = append(leaves, rapid.SliceOfN(value(depth-1), 0, 15).AsAny(), rapid.MapOfN(rapid.StringN(0, 6, -1), value(depth-1), 0, 5).AsAny())
			}
			return rapid.OneOf(leaves...)
		}
		rapid.Check(t, func(t *rapid.T) {
			raw, err := json.Marshal(value(3).Draw(t, "value"))
			require.NoError(t, err)
			for _, b := range preview(raw) {
				for _, r := range b.Rows {
					require.Len(t, r, len(b.Cols), fmt.Sprint(b))
				}
			}
			d := diffJSON(json.RawMessage(raw), json.RawMessage(raw))
			require.Empty(t, d.Changes, "nothing differs from itself")
		})
	})
}
