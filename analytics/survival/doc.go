// Package survival estimates how long customers stay, from lifetimes of which
// many have not ended yet.
//
// Start with [KaplanMeier]. It takes one [Observation] for each customer and
// gives a [Curve] that can be asked for the share still there after any time,
// with Greenwood's standard error and a confidence interval.
//
// A customer who has not left is censored, not lost and not loyal: dropping such
// customers, or counting them as having left, are the two usual ways to get
// retention wrong. A customer who was already there when observation began has
// an Entry after zero (left truncation).
//
// The package depends on the standard library alone; every function is pure and
// safe for concurrent use.
package survival
