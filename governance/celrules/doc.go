// Package celrules evaluates conditions written in CEL: those of policies, and
// through [NewEnv] those of playbooks, retention rules and webhook filters.
//
// Start with [New] for a kernel's policies, or with [NewEnv] for variables of your
// own. An expression is checked when it is compiled: it must be a bool, and a name
// or field that does not exist is an error, so a misspelt condition never loads.
// An evaluation is bounded by a cost limit, and ends in an answer or in an error.
// An error is never false: a key that a map lacks, a number where text was expected
// or an exhausted limit come back as an error, and the caller fails closed.
//
// The numbers in a Dyn value that came from JSON are doubles; comparing them with
// integers works, adding needs int(x). A key that may be absent is tested first:
// "rows" in action.measures && action.measures["rows"] > 100.
//
// Errors: *[CompileError]. No tables, no metrics. Safe for concurrent use.
package celrules
