package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeyFile reads the signing key in path, or makes one for the log called name when
// there is no file yet. The file is written whole or not at all, readable by its owner
// only; of two programs that start at once both get the same key. Keep a copy: a log
// goes on only under the key it began with.
func KeyFile(path, name string) (string, error) {
	for range 2 {
		b, err := os.ReadFile(path)
		if err == nil {
			return strings.TrimSpace(string(b)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("ledger key: %w", err)
		}
		skey, _, err := GenerateKey(name)
		if err != nil {
			return "", fmt.Errorf("ledger key: %w", err)
		}
		if err := writeNew(path, skey); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("ledger key: %w", err)
		}
	}
	return "", fmt.Errorf("ledger key: %s comes and goes", path)
}

func writeNew(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(text + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}
