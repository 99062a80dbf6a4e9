// Command sandbox is the plugin with the three sandbox connectors. A host that adds it
// from its own program, with host.Spec{Self: true, Serve: "crm"}, does not need it.
package main

import (
	"fmt"
	"os"

	"github.com/reevehq/reeve/plugins/sandboxconnector"
	"github.com/reevehq/reeve/plugins/serve"
)

func main() {
	if !serve.IfPlugin(sandboxconnector.All()) {
		fmt.Fprintln(os.Stderr, "sandbox: error: this is a plugin; Reeve starts it")
		os.Exit(2)
	}
}
