// Package reeve wires the parts of Reeve together: the kernel, whichever of the five
// capabilities an application wants, their HTTP operations, their console pages and
// the bridges between them. It decides nothing itself; everything it does can be done
// by hand with the packages below it.
//
// Start with [Migrate], then [New], [Reeve.Register] on the huma.API the application
// has, [Reeve.Sections] for the console, and [Reeve.Run] for the background work. An
// application that wants one capability imports that package alone instead.
//
// Errors are those of the parts. A [Reeve] is safe for concurrent use once made.
package reeve
