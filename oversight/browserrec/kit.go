package browserrec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
)

// Kit is the browser's recorder, read once from the folder into which the operator
// installed it. What changes in the folder afterwards is not served.
type Kit struct {
	Version string            // of the package
	Licence string            // as the package names it
	Hashes  map[string]string // file → sha256:…
	script  []byte
}

const (
	kitPackage = "node_modules/@rrweb/record/package.json"
	kitScript  = "node_modules/@rrweb/record/dist/record.js"
	maxKit     = 4 << 20
)

var plainVersion = regexp.MustCompile(`^2\.\d+\.\d+$`)

// OpenKit reads and hashes the recorder in a folder of npm packages. Only a plain
// release of version 2 is taken: its events are what this package checks.
func OpenKit(dir string) (*Kit, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("browser recorder: %w", err)
	}
	defer func() { _ = root.Close() }()
	k := &Kit{Hashes: map[string]string{}}
	about, err := k.read(root, kitPackage)
	if err != nil {
		return nil, err
	}
	if k.script, err = k.read(root, kitScript); err != nil {
		return nil, err
	}
	var p struct{ Name, Version, License string }
	if err := json.Unmarshal(about, &p); err != nil || p.Name != "@rrweb/record" {
		return nil, fmt.Errorf("browser recorder: %s in %s is not of @rrweb/record", kitPackage, dir)
	}
	if !plainVersion.MatchString(p.Version) {
		return nil, fmt.Errorf("browser recorder: %s in %s is version %.40q, want a release 2.x", kitPackage, dir, p.Version)
	}
	k.Version, k.Licence = p.Version, p.License
	return k, nil
}

func (k *Kit) read(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("browser recorder: %s: %w", root.Name(), err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxKit+1))
	if err == nil && (len(b) == 0 || len(b) > maxKit) {
		err = errors.New("is empty or too large")
	}
	if err != nil {
		return nil, fmt.Errorf("browser recorder: %s in %s: %w", name, root.Name(), err)
	}
	k.Hashes[name] = digest(b)
	return b, nil
}

// data is the kit in a ledger record.
func (k *Kit) data() map[string]any {
	return map[string]any{"package": "@rrweb/record", "version": k.Version, "licence": k.Licence, "files": k.Hashes}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
