package forecast_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/reevehq/reeve/analytics/forecast"
)

// Annual flow of the Nile 1871–1970 and monthly airline passengers 1949–1960: the
// two best known series of the field.
var nile = []float64{
	1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958, 1140,
	1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020, 1050, 969,
	831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759,
	781, 865, 845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890,
	744, 749, 838, 1050, 918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
}

var passengers = []float64{
	112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115, 126, 141, 135, 125, 149, 170, 170, 158, 133, 114, 140,
	145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166, 171, 180, 193, 181, 183, 218, 230, 242, 209, 191, 172, 194,
	196, 196, 236, 235, 229, 243, 264, 272, 237, 211, 180, 201, 204, 188, 235, 227, 234, 264, 302, 293, 259, 229, 203, 229,
	242, 233, 267, 269, 270, 315, 364, 347, 312, 274, 237, 278, 284, 277, 317, 313, 318, 374, 413, 405, 355, 306, 271, 306,
	315, 301, 356, 348, 355, 422, 465, 467, 404, 347, 305, 336, 340, 318, 362, 348, 363, 435, 491, 505, 404, 359, 310, 337,
	360, 342, 406, 396, 420, 472, 548, 559, 463, 407, 362, 405, 417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432,
}

// The reference is R 4: HoltWinters(Nile, beta = FALSE, gamma = FALSE) has level
// 805.0389; it starts the level at the first point, this package estimates it.
func TestETS_NileLevel(t *testing.T) {
	t.Parallel()
	f, err := forecast.ETS{}.Fit(nile, 1)
	require.NoError(t, err)
	mean, sd := f.Forecast(2)
	require.InDelta(t, 805.04, mean[0], 4)
	require.Equal(t, mean[0], mean[1], "no trend: flat")
	require.Greater(t, sd[1], sd[0])
	require.InDelta(t, 143, sd[0], 3) // the standard deviation of its one-step error
}

// The last year is held back: Holt-Winters with a multiplicative season must come
// close to what happened, and much closer than repeating the year before.
func TestETS_AirPassengersHoldout(t *testing.T) {
	t.Parallel()
	apart := func(m forecast.Model) float64 {
		sum := 0.0
		f, err := m.Fit(passengers[:132], 12)
		require.NoError(t, err)
		mean, _ := f.Forecast(12)
		for i, v := range passengers[132:] {
			sum += math.Abs(mean[i]-v) / v / 12
		}
		return sum
	}
	hw := apart(forecast.ETS{Trend: forecast.Additive, Season: forecast.MultiplicativeSeason})
	require.Less(t, hw, 0.05)
	require.Less(t, hw, 0.5*apart(forecast.SeasonalNaive()))
}

// A series that follows the form exactly is continued exactly.
func TestModels_ExactOnTheirOwnForm(t *testing.T) {
	t.Parallel()
	season := []float64{-6, -4, -3, 0, 2, 3, 7, 8, 1, -1, -2, -5}
	build := func(at func(t int) float64, n int) (y, next []float64) {
		for i := range n + 24 {
			if i < n {
				y = append(y, at(i))
			} else {
				next = append(next, at(i))
			}
		}
		return y, next
	}
	line := func(i int) float64 { return 100 + 2.5*float64(i) }
	for _, c := range []struct {
		name  string
		model forecast.Model
		at    func(int) float64
		n     int
		tol   float64
	}{
		{"naive on a constant", forecast.Naive(), func(int) float64 { return 7 }, 5, 1e-12},
		{"drift on a line", forecast.Drift(), line, 8, 1e-9},
		{"seasonal naive", forecast.SeasonalNaive(), func(i int) float64 { return season[i%12] }, 13, 1e-12},
		{"seasonal drift", forecast.SeasonalDrift(), func(i int) float64 { return line(i) + season[i%12] }, 20, 1e-9},
		{"Holt on a line", forecast.ETS{Trend: forecast.Additive}, line, 24, 1e-3},
		{"Holt-Winters additive", forecast.ETS{Trend: forecast.Additive, Season: forecast.AdditiveSeason},
			func(i int) float64 { return line(i) + season[i%12] }, 48, 0.05},
		{"Holt-Winters multiplicative", forecast.ETS{Trend: forecast.Additive, Season: forecast.MultiplicativeSeason},
			func(i int) float64 { return line(i) * (1 + season[i%12]/20) }, 60, 4},
		{"auto ETS finds the season", forecast.AutoETS(), func(i int) float64 { return line(i) + season[i%12] }, 48, 0.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			y, next := build(c.at, c.n)
			f, err := c.model.Fit(y, 12)
			require.NoError(t, err)
			mean, sd := f.Forecast(len(next))
			for i := range next {
				require.InDelta(t, next[i], mean[i], c.tol, "step %d", i+1)
				require.False(t, math.IsNaN(sd[i]) || sd[i] < 0)
			}
			require.NotEmpty(t, f.Describe())
		})
	}
}

func TestAuto_Growth(t *testing.T) {
	t.Parallel()
	r, err := forecast.Auto(passengers[:120], &forecast.Options{NonNegative: true})
	require.NoError(t, err)
	require.Len(t, r.Points, 12)
	b := r.Backtest
	require.Equal(t, "seasonal naive", b.Naive)
	require.Equal(t, 24, b.Origins)
	require.Equal(t, 24*12, b.Pairs)
	require.Equal(t, r.Method, b.Scores[0].Method)
	require.Less(t, b.Scores[0].VsNaive, 0.6)
	var mape float64
	for i, p := range r.Points {
		mape += math.Abs(p.Mean-passengers[120+i]) / passengers[120+i] / 12
	}
	require.Less(t, mape, 0.06, "mean error of the next year")
}

func TestAuto_ShortSeries(t *testing.T) {
	t.Parallel()
	for n := 0; n < 3; n++ {
		_, err := forecast.Auto(make([]float64, n), nil)
		require.ErrorIs(t, err, forecast.ErrTooShort)
	}
	_, err := forecast.Auto([]float64{1, 2, math.NaN(), 4}, nil)
	require.ErrorIs(t, err, forecast.ErrNotFinite)

	r, err := forecast.Auto([]float64{100, 110, 120, 131}, nil)
	require.NoError(t, err)
	require.Equal(t, "naive", r.Backtest.Naive)
	for _, s := range r.Backtest.Scores {
		require.NotContains(t, s.Method, "seasonal", "no season can be known from 4 points")
	}
	require.Greater(t, r.Points[11].Hi[1]-r.Points[11].Lo[1], r.Points[0].Hi[1]-r.Points[0].Lo[1])

	// A year and a half: the season is known once, so a seasonal method takes part.
	r, err = forecast.Auto(passengers[:18], nil)
	require.NoError(t, err)
	require.Equal(t, "seasonal naive", r.Backtest.Naive)
	// Two years, the usual length of a demonstration.
	r, err = forecast.Auto(passengers[:24], nil)
	require.NoError(t, err)
	require.Equal(t, 10, r.Backtest.Origins)
}

func TestAuto_Options(t *testing.T) {
	t.Parallel()
	for _, bad := range []forecast.Options{
		{Period: -1}, {Horizon: -1}, {Origins: -2}, {Levels: []float64{0.9, 0.8}}, {Levels: []float64{0}}, {Levels: []float64{1}},
	} {
		_, err := forecast.Auto(nile, &bad)
		require.Error(t, err)
	}
	r, err := forecast.Auto(nile, &forecast.Options{Period: 1, Horizon: 3, Levels: []float64{0.5}, Models: []forecast.Model{forecast.Drift()}})
	require.NoError(t, err)
	require.Len(t, r.Points, 3)
	require.Len(t, r.Backtest.Scores, 2, "the yardstick takes part, asked or not")
}

// Whatever the series: finite, ordered, nested, repeatable, never below zero when
// that was asked for.
func TestAuto_Properties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 50).Draw(t, "n")
		y := make([]float64, n)
		kind := rapid.IntRange(0, 3).Draw(t, "kind")
		for i := range y {
			v := float64(rapid.Int64Range(0, 1e12).Draw(t, "v"))
			switch kind {
			case 1:
				v = math.Floor(v / 1e11) // small counts, many ties
			case 2:
				v = 5 // constant
			case 3:
				v = float64(i) * 1e9 // exact line
			}
			y[i] = v
		}
		o := &forecast.Options{NonNegative: true, Origins: 6}
		r, err := forecast.Auto(y, o)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := forecast.Auto(y, o)
		for i, p := range r.Points {
			if p.Lo[1] > p.Lo[0] || p.Lo[0] > p.Mean || p.Mean > p.Hi[0] || p.Hi[0] > p.Hi[1] || p.Lo[1] < 0 {
				t.Fatalf("step %d: %+v", i, p)
			}
			if math.IsNaN(p.Mean) || math.IsInf(p.Hi[1], 0) || p.Mean != again.Points[i].Mean {
				t.Fatalf("step %d: %+v then %+v", i, p, again.Points[i])
			}
		}
		for _, s := range r.Backtest.Scores {
			if math.IsNaN(s.MASE) || math.IsNaN(s.VsNaive) || s.Coverage[0] > s.Coverage[1] || s.Coverage[1] > 1 {
				t.Fatalf("%+v", s)
			}
		}
	})
}

func BenchmarkAuto(b *testing.B) {
	for _, n := range []int{24, 36, 60} {
		b.Run(string(rune('0'+n/12))+"y", func(b *testing.B) {
			for b.Loop() {
				if _, err := forecast.Auto(passengers[:n], nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
