package alertroute

import (
	"embed"
	"io/fs"

	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables of routing and delivery. They come after the kernel's own.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "alertroute", FS: files}
	}
	return govdb.Schema{Name: "alertroute", FS: sub}
}
