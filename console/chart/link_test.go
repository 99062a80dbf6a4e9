package chart

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinks(t *testing.T) {
	t.Parallel()
	s := Series{Name: "New", Values: []float64{3, 4}, Hrefs: []string{"/a?x=1&y=2", ""}}
	h := Bars(BarSpec{Title: "Movements", Labels: []string{"Jan", "Feb"}, Series: []Series{s}})
	requireWellFormed(t, h)
	require.Equal(t, 2, strings.Count(string(h), `<a href="/a?x=1&amp;y=2"`), "the bar and its figure in the table")
	require.Contains(t, string(h), `role="group"`, "what holds links is no image")
	h = Heat(HeatSpec{Title: "Cohorts", Cols: []string{"M0"}, Rows: []HeatRow{{Label: "Jan", Values: []float64{1}, Hrefs: []string{"/c"}}}})
	requireWellFormed(t, h)
	require.Contains(t, string(h), `<a href="/c">`)
	s.Hrefs = nil
	require.Contains(t, string(Bars(BarSpec{Title: "Movements", Labels: []string{"Jan", "Feb"}, Series: []Series{s}})), `role="img"`)
}
