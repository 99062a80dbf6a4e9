// Command server is the reference server of Reeve, made only of the library.
//
//	server demo                 a console with two years of made-up history
//	server serve                the same server, empty
//	server migrate [sql]        bring the tables up to date, or print the SQL
//	server ledger verify        recompute the ledger and compare
//	server evidence build       put everything about a session or an action into a file
//	server evidence verify      check such a file with the ledger's key alone
//	server ledger export DIR    write it as C2SP tiles; also tenant, rotate, renew
//	server plugin list          the connectors and their processes
//	server config check|print   the settings and where each came from
//
// Data goes to stdout, talk to stderr. It exits with 0 when all went well, 1 when it
// failed, 2 when it was called wrongly, 3 when a check found problems.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
	"github.com/reevehq/reeve/oversight/evidence"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

// The exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitProblems = 3
)

// usageError is a call that cannot be meant; hint says what would be right.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errProblems says that a check ran and found something.
var errProblems = errors.New("problems were found")

type commandLine struct {
	Config string            `help:"Settings in YAML." type:"path" placeholder:"FILE"`
	Set    map[string]string `help:"A setting, as key=value." placeholder:"KEY=VALUE"`
	Data   string            `help:"Folder of the embedded database, keys and files. Of the demo: one to keep; default a new one that is removed at the end." placeholder:"DIR"`

	Demo struct {
		Listen string `help:"Address to listen on." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
		JSON   bool   `name:"json" help:"Print one line of JSON with addresses and keys once ready."`
		Seed   uint64 `help:"Seed of the made-up data." default:"7"`
	} `cmd:"" help:"Run with made-up data: tenants, two years of billing, a host database, approvals waiting."`
	Serve struct {
		Listen string `help:"Address to listen on." placeholder:"HOST:PORT"`
	} `cmd:"" help:"Run the server."`
	Migrate struct {
		Up  struct{} `cmd:"" default:"1" help:"Bring the tables up to date."`
		SQL struct {
			Postgres bool `help:"For PostgreSQL; default SQLite."`
		} `cmd:"" name:"sql" help:"Print the migrations."`
	} `cmd:"" help:"Work on the tables."`
	Ledger struct {
		Verify struct{} `cmd:"" help:"Recompute the ledger and compare."`
		Export struct {
			Dir       string `arg:"" help:"Folder to write to, new or empty." type:"path"`
			Witnesses int    `help:"Export the newest checkpoint that so many witnesses signed." default:"0"`
		} `cmd:"" help:"Write the ledger as C2SP tiles, for reeve-verify and any other client."`
		Tenant struct {
			Tenant string `arg:"" help:"The tenant; an empty one is the platform itself."`
			From   int64  `help:"After the checkpoint of this size; default from the beginning."`
		} `cmd:"" help:"Print the proof that a tenant's records are all there are."`
		Rotate struct{} `cmd:"" help:"Hand the ledger over to a new signing key. Stop every server first."`
		Renew  struct {
			Origin string `help:"Name of the log that goes on." required:""`
			Lost   string `help:"File with the published checkpoint that is not here." required:"" type:"existingfile"`
		} `cmd:"" help:"After a restore: go on as a new log that commits to the checkpoint which was lost."`
	} `cmd:"" help:"Work on the ledger."`
	Evidence struct {
		Build struct {
			Kind        string `arg:"" enum:"session,action" help:"What it is about: session or action (an approval is an action)."`
			ID          string `arg:"" help:"Id of the session or action."`
			Reason      string `required:"" help:"Why it is built; stands in the pack and in the ledger." placeholder:"TEXT"`
			Out         string `help:"File to write; default KIND-ID.evidence.zip here." type:"path" placeholder:"FILE"`
			Disclose    bool   `help:"Put personal values in."`
			NoRecording bool   `help:"Leave the recording out; its hashes are in the pack anyway."`
		} `cmd:"" help:"Put everything about a session or an action into a file."`
		Verify struct {
			File string `arg:"" help:"The pack." type:"path"`
			Key  string `help:"Verification key of the log; default that of this installation." placeholder:"KEY"`
			JSON bool   `name:"json" help:"Print the whole report as JSON."`

			Witness []string `help:"Verification key of a witness; may be given several times." sep:"none" placeholder:"KEY"`
			Quorum  int      `help:"How many of the witnesses must have signed." placeholder:"N"`
		} `cmd:"" help:"Check a pack with the ledger's key alone."`
	} `cmd:"" help:"Work on packs of evidence."`
	Plugin struct {
		List struct{} `cmd:"" help:"List the connectors."`
	} `cmd:"" help:"Work on the connectors."`
	Conf struct {
		Check struct{} `cmd:"" help:"Check the settings."`
		Print struct{} `cmd:"" help:"Print the settings and where each came from; secrets are masked."`
	} `cmd:"" name:"config" help:"Work on the settings."`
	Version struct{} `cmd:"" help:"Print the version."`
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	if code, done := servePlugin(args); done {
		return code
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := execute(ctx, args, environ, stdout, stderr)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errProblems):
		return exitProblems
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(stderr, "server: error: %v\n", usage.err)
		if usage.hint != "" {
			_, _ = fmt.Fprintf(stderr, "server: hint: %s\n", usage.hint)
		}
		return exitUsage
	}
	_, _ = fmt.Fprintf(stderr, "server: error: %v\n", err)
	if hint := hintFor(err); hint != "" {
		_, _ = fmt.Fprintf(stderr, "server: hint: %s\n", hint)
	}
	return exitFailed
}

// helpExit carries kong's wish to end after it printed the help.
type helpExit int

func execute(ctx context.Context, args, environ []string, stdout, stderr io.Writer) (err error) {
	var cl commandLine
	parser, err := kong.New(&cl, kong.Name("server"), kong.Description("The reference server of Reeve."), kong.Writers(stdout, stderr), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Exit(func(code int) { panic(helpExit(code)) }))
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	defer func() {
		if p := recover(); p != nil {
			if _, help := p.(helpExit); !help {
				panic(p)
			}
			err = nil
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		return &usageError{err, "server --help lists the commands"}
	}
	flags := map[string]string{}
	for k, v := range cl.Set {
		flags[k] = v
	}
	if cl.Serve.Listen != "" {
		flags["listen"] = cl.Serve.Listen
	}
	if cl.Data != "" {
		flags["data"] = cl.Data
	}
	command := kctx.Command()
	if command == "version" {
		return printVersion(stdout)
	}
	if command == "demo" {
		flags["listen"] = cl.Demo.Listen
	}
	cfg, err := loadConfig(cl.Config, environ, flags)
	if command == "config check" {
		return checkConfig(err, stdout)
	}
	if err != nil {
		return &usageError{err, "server config print shows the settings; known keys are " + fmt.Sprint(settingKeys())}
	}
	switch command {
	case "demo":
		return demo(ctx, cfg, demoOptions{JSON: cl.Demo.JSON, Seed: cl.Demo.Seed, Keep: cl.Data != ""}, stdout, stderr)
	case "serve":
		return runServer(ctx, cfg, stdout, stderr)
	case "migrate up":
		return migrateUp(ctx, cfg, stdout)
	case "migrate sql":
		return migrateSQL(cfg, cl.Migrate.SQL.Postgres, stdout)
	case "ledger verify":
		return verifyLedger(ctx, cfg, stdout)
	case "evidence build <kind> <id>":
		b := cl.Evidence.Build
		return buildEvidence(ctx, cfg, evidence.Request{Kind: b.Kind, Reason: b.Reason, Disclose: b.Disclose, NoRecording: b.NoRecording}, b.ID, b.Out, stdout)
	case "evidence verify <file>":
		v := cl.Evidence.Verify
		return verifyEvidence(ctx, cfg, v.File, v.Key, cosign.Policy{Witnesses: v.Witness, Quorum: v.Quorum}, v.JSON, stdout)
	case "ledger export <dir>":
		return exportLedger(ctx, cfg, cl.Ledger.Export.Dir, cl.Ledger.Export.Witnesses, stdout)
	case "ledger tenant <tenant>":
		return proveTenant(ctx, cfg, cl.Ledger.Tenant.Tenant, cl.Ledger.Tenant.From, stdout)
	case "ledger rotate":
		return succeedLedger(ctx, cfg, "", "", stdout, stderr)
	case "ledger renew":
		return succeedLedger(ctx, cfg, cl.Ledger.Renew.Origin, cl.Ledger.Renew.Lost, stdout, stderr)
	case "plugin list":
		return listPlugins(ctx, cfg, stdout)
	case "config print":
		cfg.print(stdout)
		return nil
	}
	return &usageError{fmt.Errorf("unknown command %q", command), "server --help lists the commands"}
}

func checkConfig(problem error, stdout io.Writer) error {
	if problem == nil {
		_, err := fmt.Fprintln(stdout, "The settings are valid.")
		return err
	}
	_, _ = fmt.Fprintln(stdout, problem)
	return errProblems
}

// programVersion is the version of the module that this program was built from.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func printVersion(stdout io.Writer) error {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(stdout, "reeve server %s%s\n", programVersion(), revision)
	return err
}
