package forecast

import (
	"math"
	"sort"
)

// minimise finds a local minimum of f near start by the simplex method of Nelder
// and Mead (1965). f may return +Inf for a point that is not allowed.
func minimise(f func([]float64) float64, start []float64, steps int) []float64 {
	n := len(start)
	if n == 0 {
		return nil
	}
	type vertex struct {
		x []float64
		f float64
	}
	simplex := make([]vertex, n+1)
	for i := range simplex {
		x := append([]float64(nil), start...)
		if i > 0 {
			x[i-1] += 0.8
		}
		simplex[i] = vertex{x, f(x)}
	}
	centre, trial, trial2 := make([]float64, n), make([]float64, n), make([]float64, n)
	along := func(to []float64, k float64) float64 {
		worst := simplex[n].x
		for j := range to {
			to[j] = centre[j] + k*(centre[j]-worst[j])
		}
		return f(to)
	}
	for range steps {
		sort.SliceStable(simplex, func(i, j int) bool { return simplex[i].f < simplex[j].f })
		best, worst := simplex[0].f, simplex[n].f
		if !math.IsInf(worst, 1) && math.Abs(worst-best) <= 1e-9*(math.Abs(best)+1e-9) {
			break
		}
		for j := range centre {
			centre[j] = 0
			for i := range n {
				centre[j] += simplex[i].x[j] / float64(n)
			}
		}
		r := along(trial, 1)
		switch {
		case r < best:
			if e := along(trial2, 2); e < r {
				copy(simplex[n].x, trial2)
				simplex[n].f = e
				continue
			}
			fallthrough
		case r < simplex[n-1].f:
			copy(simplex[n].x, trial)
			simplex[n].f = r
			continue
		}
		k := 0.5
		if r >= worst {
			k = -0.5
		}
		if c := along(trial2, k); c < min(r, worst) {
			copy(simplex[n].x, trial2)
			simplex[n].f = c
			continue
		}
		for i := 1; i <= n; i++ {
			for j := range n {
				simplex[i].x[j] = simplex[0].x[j] + 0.5*(simplex[i].x[j]-simplex[0].x[j])
			}
			simplex[i].f = f(simplex[i].x)
		}
	}
	sort.SliceStable(simplex, func(i, j int) bool { return simplex[i].f < simplex[j].f })
	return simplex[0].x
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func logit(p float64) float64 { return math.Log(p / (1 - p)) }
