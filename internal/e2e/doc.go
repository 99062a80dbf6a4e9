// Package e2e drives the built reference server from outside, as scripts and people
// do: it starts the demo on a folder of its own, walks the journeys of docs/design.md
// over HTTP and in a browser, and stops it by a signal.
//
// The browser part runs when REEVE_TEST_BROWSER names a Chromium and `npm install`
// was run here; REEVE_TEST_SCREENSHOTS names a folder for its pictures.
package e2e
