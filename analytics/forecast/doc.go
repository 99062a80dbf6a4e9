// Package forecast extends a short, regular series and says how wrong it was
// when it did the same in the past.
//
// Start with [Auto]: it back-tests several methods from many points of the past
// (rolling origin), takes the one with the lowest mean absolute scaled error,
// refits it to the whole series, and widens its band until it would have held in
// the back-test (split conformal prediction on scaled residuals). The
// [Backtest] that justifies the choice is part of the answer.
//
// The methods are [Naive], [Drift], [SeasonalNaive], [SeasonalDrift], exponential
// smoothing in state-space form ([ETS], [AutoETS], which includes Holt's and the
// additive and multiplicative Holt–Winters methods), [Theta] and [Combine]. A
// method that needs two seasons is never tried on fewer.
//
// Everything here is an estimate and therefore floating point; amounts of money
// stay integers on the other side of the call. The package imports the standard
// library alone, draws no random numbers, and gives the same answer for the same
// input. Errors: [ErrTooShort], [ErrNotFinite]. Functions and models are safe for
// concurrent use.
package forecast
