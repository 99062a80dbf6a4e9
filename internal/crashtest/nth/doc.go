// Package nth holds tests that kill a process before its Nth statement, for every N
// until the work is done, and then want every invariant to hold and the work to be
// finished exactly once by whoever comes after.
package nth
