// Package sharedtest finds the published vectors and real input that tests read in
// place. They are no part of the repository: a test skips, and says so, where they
// are absent.
package sharedtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Env names the folder of the shared data; the default is ../shared/data beside the
// repository.
const Env = "REEVE_SHARED_DATA"

// Path is the path of a file or folder of the shared data; the test is skipped when
// it is not there.
func Path(t testing.TB, elem ...string) string {
	t.Helper()
	root := os.Getenv(Env)
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for dir != filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			dir = filepath.Dir(dir)
		}
		root = filepath.Join(dir, "..", "shared", "data")
	}
	p := filepath.Join(append([]string{root}, elem...)...)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("SKIP shared data: not verified, %s is absent", filepath.Join(elem...))
	}
	return p
}
