package chart

import (
	"encoding/xml"
	"html/template"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// requireWellFormed parses the drawing as XML: the markup is written so that it is.
func requireWellFormed(t require.TestingT, h template.HTML) {
	d := xml.NewDecoder(strings.NewReader(strings.ReplaceAll(string(h), "\u00a0", " ")))
	for {
		tok, err := d.Token()
		if err == io.EOF { //nolint:errorlint // xml returns it bare
			return
		}
		require.NoError(t, err, "%s", h)
		if s, ok := tok.(xml.StartElement); ok {
			for _, a := range s.Attr {
				require.NotEqual(t, "style", a.Name.Local)
				require.False(t, strings.HasPrefix(a.Name.Local, "on"), "%s", a.Name.Local)
				require.NotContains(t, a.Value, "NaN")
				require.NotContains(t, a.Value, "Inf")
			}
		}
	}
}

func TestTicks(t *testing.T) {
	t.Parallel()
	require.Equal(t, []float64{0, 20, 40, 60, 80, 100}, Ticks(0, 97, 5))
	require.Equal(t, []float64{-50, 0, 50, 100}, Ticks(-31, 88, 3))
	require.Equal(t, []float64{0, 0.5, 1}, Ticks(0, 0, 2))
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Float64Range(-1e12, 1e12).Draw(t, "lo")
		hi := lo + rapid.Float64Range(0, 1e12).Draw(t, "span")
		want := rapid.IntRange(2, 8).Draw(t, "want")
		ticks := Ticks(lo, hi, want)
		require.GreaterOrEqual(t, len(ticks), 2)
		require.LessOrEqual(t, len(ticks), want+3)
		step := ticks[1] - ticks[0]
		require.LessOrEqual(t, ticks[0], lo+step*1e-3)
		require.GreaterOrEqual(t, ticks[len(ticks)-1], hi-step*1e-3)
		for i := 1; i < len(ticks); i++ {
			require.InEpsilon(t, step, ticks[i]-ticks[i-1], 1e-3)
		}
	})
}

var barAttr = regexp.MustCompile(`<rect class="bar (s-[a-z0-9]+)" x="[^"]*" y="([0-9.]+)" width="[^"]*" height="([0-9.]+)"`)

func TestBars(t *testing.T) {
	t.Parallel()
	t.Run("every bar lies in the plot, and positive ones above negative ones", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(1, 40).Draw(t, "n")
			up := rapid.SliceOfN(rapid.Float64Range(0, 1e6), n, n).Draw(t, "up")
			down := rapid.SliceOfN(rapid.Float64Range(-1e6, 0), n, n).Draw(t, "down")
			out := Bars(BarSpec{Title: "Movements", Labels: labels(n), Series: []Series{{Name: "New", Values: up, Class: "s-pos"}, {Name: "Churn", Values: down, Class: "s-neg"}}})
			requireWellFormed(t, out)
			lowestUp, highestDown := 0.0, math.Inf(1)
			for _, m := range barAttr.FindAllStringSubmatch(string(out), -1) {
				y, err := strconv.ParseFloat(m[2], 64)
				require.NoError(t, err)
				h, err := strconv.ParseFloat(m[3], 64)
				require.NoError(t, err)
				require.GreaterOrEqual(t, y, 0.0)
				require.LessOrEqual(t, y+h, float64(plotHeight)+1.01)
				if m[1] == "s-pos" {
					lowestUp = max(lowestUp, y+h)
				} else {
					highestDown = min(highestDown, y)
				}
			}
			if lowestUp > 0 && !math.IsInf(highestDown, 1) {
				require.LessOrEqual(t, lowestUp, highestDown+1.01)
			}
		})
	})
	t.Run("nothing to draw says so", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, Bars(BarSpec{Title: "Movements"}), "No data yet")
		require.Contains(t, Line(LineSpec{Title: "MRR", Labels: []string{"Jan"}, Series: []Series{{Name: "MRR", Values: []float64{math.NaN()}}}}), "No data yet")
	})
}

func TestLine(t *testing.T) {
	t.Parallel()
	t.Run("gaps, bands and odd text keep it well-formed", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(1, 60).Draw(t, "n")
			values := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(-1e9, 1e9), rapid.Just(math.NaN())), n, n).Draw(t, "values")
			name := rapid.StringMatching(`[a-z<>&"' ]{0,12}`).Draw(t, "name")
			lo, hi := make([]float64, n), make([]float64, n)
			for i, v := range values {
				lo[i], hi[i] = v-5, v+5
			}
			requireWellFormed(t, Line(LineSpec{Title: name, Labels: labels(n), Area: true, Series: []Series{{Name: name, Values: values}, {Name: "b", Values: values, Dashed: true}},
				Bands: []Band{{Name: name, Lo: lo, Hi: hi}}}))
		})
	})
	t.Run("the table says what the drawing shows", func(t *testing.T) {
		t.Parallel()
		out := string(Line(LineSpec{Title: "MRR", Labels: []string{"Jan", "Feb"}, Series: []Series{{Name: "MRR", Values: []float64{10, 12.5}, Texts: []string{"€10.00", "€12.50"}}},
			Bands: []Band{{Name: "80 %", Lo: []float64{math.NaN(), 11}, Hi: []float64{math.NaN(), 14}}}}))
		require.Contains(t, out, `<tr><th scope="row">Feb</th><td class="num">€12.50</td><td class="num">11 to 14</td></tr>`)
		require.Contains(t, out, "MRR rose from 10 to 12.5 between Jan and Feb")
	})
}

func TestHeat(t *testing.T) {
	t.Parallel()
	out := string(Heat(HeatSpec{Title: "Net revenue", Corner: "Cohort", Size: "Logos", Cols: []string{"M0", "M1", "M2"}, Hi: 1.2,
		Rows: []HeatRow{{Label: "Jan <1>", Size: "12", Values: []float64{1, 1.3}}, {Label: "Feb", Size: "3", Values: []float64{-0.1}}}}))
	requireWellFormed(t, template.HTML(out)) //nolint:gosec // our own
	require.Contains(t, out, `<td class="num h-9">130`, "above the scale is the darkest")
	require.Contains(t, out, `<td class="num h-0">-10`)
	require.Contains(t, out, "Jan &lt;1&gt;")
}

func TestSpark(t *testing.T) {
	t.Parallel()
	require.Empty(t, Spark([]float64{1}, "one"))
	requireWellFormed(t, Spark([]float64{3, 3, 3}, `flat "line"`))
}

func labels(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "m" + strconv.Itoa(i)
	}
	return out
}
