package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// MaxSize is the most bytes of a pack.
const MaxSize = 512 << 20

const (
	maxEntries   = math.MaxUint16 - 1
	localSize    = 30
	manifestName = "manifest.json"
	manifestMax  = 32 << 20

	// What a reader shows as the place of a fault in the zip's own directory.
	directoryName = "the zip's directory"
)

type entry struct {
	name string
	data []byte
}

// The fields of a zip entry that could vary are fixed: version 2.0, names in UTF-8,
// stored, 1 January 1980, no extra field, no comment, no attributes.
func commonHeader(b []byte, e entry) []byte {
	b = binary.LittleEndian.AppendUint16(b, 20)
	b = binary.LittleEndian.AppendUint16(b, 0x0800)
	b = append(b, 0, 0, 0, 0, 0x21, 0)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(e.data))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.data)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(e.name)))
	return append(b, 0, 0)
}

func localHeader(e entry) []byte {
	return append(commonHeader([]byte("PK\x03\x04"), e), e.name...)
}

// directory is everything behind the last file.
func directory(es []entry) []byte {
	var b []byte
	offset := 0
	for _, e := range es {
		b = append(b, 'P', 'K', 1, 2, 20, 0)
		b = commonHeader(b, e)
		b = append(b, make([]byte, 10)...)
		b = binary.LittleEndian.AppendUint32(b, uint32(offset))
		b = append(b, e.name...)
		offset += localSize + len(e.name) + len(e.data)
	}
	size := len(b)
	b = append(b, 'P', 'K', 5, 6, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(es)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(es)))
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = binary.LittleEndian.AppendUint32(b, uint32(offset))
	return append(b, 0, 0)
}

func writeZip(w io.Writer, es []entry) error {
	total := 0
	for _, e := range es {
		total += len(e.data) + 2*len(e.name) + 128
	}
	if len(es) > maxEntries || total > MaxSize {
		return fmt.Errorf("a pack has at most %d files and %d bytes, this one would have %d and %d: choose a smaller subject", maxEntries, MaxSize, len(es), total)
	}
	for _, e := range es {
		if _, err := w.Write(append(localHeader(e), e.data...)); err != nil {
			return err
		}
	}
	_, err := w.Write(directory(es))
	return err
}

// readZip takes a pack apart. The manifest comes first and fixes every byte behind
// it, so nothing of the zip's own directory is believed, only compared.
func readZip(b []byte) (Manifest, map[string][]byte, []Problem) {
	bad := func(place, format string, args ...any) []Problem {
		return []Problem{{place, fmt.Sprintf(format, args...)}}
	}
	head := localSize + len(manifestName)
	if len(b) < head {
		return Manifest{}, nil, bad(manifestName, "the file ends before it: this is no evidence pack, or it was cut off")
	}
	size := int(binary.LittleEndian.Uint32(b[18:]))
	if size > manifestMax || size > len(b)-head {
		return Manifest{}, nil, bad(manifestName, "is not complete: the file was cut off, or its length was changed")
	}
	first := entry{manifestName, b[head : head+size]}
	if !bytes.Equal(b[:head], localHeader(first)) {
		return Manifest{}, nil, bad(manifestName, "does not stand first as it must, or was changed")
	}
	m, err := readManifest(first.data)
	if err != nil {
		return Manifest{}, nil, bad(manifestName, "%v", err)
	}
	es, rest := []entry{first}, b[head+size:]
	files := map[string][]byte{}
	var problems []Problem
	for _, f := range m.Files {
		head := localSize + len(f.Name)
		if int64(len(rest)) < int64(head)+f.Size {
			return m, files, append(problems, Problem{f.Name, "is missing or cut off"})
		}
		e := entry{f.Name, rest[head : head+int(f.Size)]}
		switch {
		case Hash(e.data) != f.SHA256:
			problems = append(problems, Problem{f.Name, "is not the file that the manifest lists: it was changed, or one was added, taken out or moved before it"})
			if !bytes.Equal(rest[:head], localHeader(e)) && !bytes.Equal(rest[:4], []byte("PK\x03\x04")) {
				return m, files, problems // the rest stands somewhere else
			}
		case !bytes.Equal(rest[:head], localHeader(e)):
			problems = append(problems, Problem{f.Name, "has a header that a pack does not have"})
		}
		es, files[f.Name] = append(es, e), e.data
		rest = rest[head+int(f.Size):]
	}
	if len(problems) == 0 && !bytes.Equal(rest, directory(es)) {
		problems = bad(directoryName, "is not that of these files: it was changed, or something was added or cut off")
	}
	return m, files, problems
}

func readAll(r io.ReaderAt, size int64) ([]byte, error) {
	if size < 0 || size > MaxSize {
		return nil, fmt.Errorf("evidence pack: %d bytes, want at most %d", size, MaxSize)
	}
	b := make([]byte, size)
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("evidence pack: %w", err)
	}
	return b[:n], nil
}
