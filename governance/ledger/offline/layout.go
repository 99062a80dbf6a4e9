package offline

import (
	"fmt"
	"strconv"
	"strings"
)

// Width is how many hashes a full tile has, and how many entries a full bundle.
const Width = 256

// CheckpointFile is where a log's newest signed head is.
const CheckpointFile = "checkpoint"

// EntriesLevel is the level of [TilePath] that stands for bundles of entries.
const EntriesLevel = -1

// TilePath is where C2SP tlog-tiles puts the n-th tile of a level with the given
// number of hashes, or with [EntriesLevel] the n-th bundle of entries.
func TilePath(level int, n int64, width int) string {
	kind := "entries"
	if level != EntriesLevel {
		kind = strconv.Itoa(level)
	}
	p := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		p = fmt.Sprintf("x%03d/%s", n%1000, p)
	}
	p = "tile/" + kind + "/" + p
	if width != Width {
		p += ".p/" + strconv.Itoa(width)
	}
	return p
}

// ParseTilePath is the reverse of [TilePath]; ok is false for every other spelling.
func ParseTilePath(path string) (level int, n int64, width int, ok bool) {
	rest, found := strings.CutPrefix(path, "tile/")
	if !found {
		return 0, 0, 0, false
	}
	kind, rest, found := strings.Cut(rest, "/")
	if !found {
		return 0, 0, 0, false
	}
	level, width = EntriesLevel, Width
	if kind != "entries" {
		l, err := strconv.Atoi(kind)
		if err != nil || l < 0 || l > 7 {
			return 0, 0, 0, false
		}
		level = l
	}
	if number, w, partial := strings.Cut(rest, ".p/"); partial {
		v, err := strconv.Atoi(w)
		if err != nil || v < 1 || v >= Width {
			return 0, 0, 0, false
		}
		rest, width = number, v
	}
	for _, part := range strings.Split(rest, "/") {
		v, err := strconv.Atoi(strings.TrimPrefix(part, "x"))
		if err != nil || v < 0 || v > 999 || n > 1<<44 {
			return 0, 0, 0, false
		}
		n = n*1000 + int64(v)
	}
	return level, n, width, TilePath(level, n, width) == path
}

// Edge calls visit for the incomplete tiles of a tree of size leaves, from the
// highest level down, which is also from left to right.
func Edge(size int64, visit func(level int, n int64, width int)) {
	for level := 7; level >= 0; level-- {
		count := size >> (8 * level)
		if w := int(count % Width); w > 0 {
			visit(level, count/Width, w)
		}
	}
}
