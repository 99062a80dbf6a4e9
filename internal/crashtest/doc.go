// Package crashtest kills the real server under load, again and again, and looks
// whether anything that it had acknowledged is lost, done twice or half done.
//
// It has tests only. Each prints one line that begins with KILLS; a run in which no
// kill hit work in flight fails, because it would prove nothing.
package crashtest
