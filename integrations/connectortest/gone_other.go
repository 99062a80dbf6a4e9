//go:build !unix

package connectortest

import "testing"

func requireGone(*testing.T, int) {} // no such question here
