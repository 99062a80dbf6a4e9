// Command reeve-verify checks what a Reeve ledger handed out, with nothing but the
// log's verification key: no database, no server, no trust in either.
//
//	reeve-verify log    -key KEY FOLDER|ZIP|URL   every byte of an exported or served log
//	reeve-verify growth -key KEY FILE         an export of what the log grew by
//	reeve-verify proof  -key KEY FILE         one record's proof, as JSON or C2SP tlog-proof
//	reeve-verify pack   -key KEY FILE         an evidence pack
//	reeve-verify tenant -key KEY FILE         that the records of a tenant are all there are
//	reeve-verify receipts -key KEY -receipts FILE FOLDER|ZIP|URL   that every receipt has its record there
//
// KEY is the verification key, or @FILE that holds it. It exits with 0 when everything
// holds, 1 when it could not look, 2 when it was called wrongly, 3 when something does
// not hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// The exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitProblems = 3
)

var (
	errUsage    = errors.New("called wrongly")
	errProblems = errors.New("something does not hold")
)

// command is one thing that can be checked.
type command struct {
	name, args, does string
	run              func(ctx context.Context, c *call) error
}

func commands() []command {
	return []command{
		{"log", "FOLDER|ZIP|URL", "check every byte of an exported or served log", checkLog},
		{"growth", "FILE", "check an export of what the log grew by", checkGrowth},
		{"proof", "FILE", "check one record's proof", checkProof},
		{"pack", "FILE", "check an evidence pack", checkPack},
		{"tenant", "FILE", "check that the records of a tenant are all there are", checkTenant},
		{"receipts", "FOLDER|ZIP|URL", "check that every receipt has its record in an exported or served log", checkReceipts},
	}
}

// call is what a command was called with.
type call struct {
	key, body string
	witnesses list
	earlier   list
	receipts  list
	headers   list
	entries   bool
	quorum    int
	arg       string
	out       io.Writer
}

// list is a flag that may be given several times.
type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, ", ") }

// Set implements flag.Value.
func (l *list) Set(v string) error {
	*l = append(*l, v)
	return nil
}

func (c *call) witnessFlags(flags *flag.FlagSet) {
	flags.Var(&c.witnesses, "witness", "a witness's key, or @FILE with one in each line; may be given several times")
	flags.IntVar(&c.quorum, "quorum", 0, "how many of the witnesses must have signed the checkpoint")
}

// readWitnesses puts the keys of a file in the place of its name.
func (c *call) readWitnesses() error {
	var keys list
	for _, w := range c.witnesses {
		path, ok := strings.CutPrefix(w, "@")
		if !ok {
			keys = append(keys, w)
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
	}
	c.witnesses = keys
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := execute(ctx, args, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errProblems):
		return exitProblems
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintf(stderr, "reeve-verify: error: %v\n", err)
		return exitUsage
	}
	_, _ = fmt.Fprintf(stderr, "reeve-verify: error: %v\n", err)
	return exitFailed
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		for _, c := range commands() {
			_, _ = fmt.Fprintf(stdout, "reeve-verify %-8s -key KEY %-14s %s\n", c.name, c.args, c.does)
		}
		if len(args) == 0 {
			return fmt.Errorf("%w: a command is missing", errUsage)
		}
		return nil
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		in := &call{out: stdout}
		flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
		flags.SetOutput(stderr)
		flags.StringVar(&in.key, "key", "", "the log's verification key, or @FILE (required)")
		switch c.name {
		case "receipts":
			flags.Var(&in.receipts, "receipts", "a file of receipts as they were published (required); may be given several times")
			flags.Var(&in.headers, "header", "a header for a URL, as 'Name: value'; may be given several times")
		case "log":
			in.witnessFlags(flags)
			flags.Var(&in.earlier, "earlier", "a file with a checkpoint kept from before, which must be part of the log; may be given several times")
			flags.Var(&in.headers, "header", "a header for a URL, as 'Name: value'; may be given several times")
			flags.BoolVar(&in.entries, "entries", false, "print every record")
		case "growth":
			in.witnessFlags(flags)
			flags.Var(&in.earlier, "earlier", "a file with a checkpoint kept from before, of the size that the export begins at; may be given several times")
		case "pack":
			in.witnessFlags(flags)
		case "proof":
			flags.StringVar(&in.body, "body", "", "the file with the record, for a proof in the form of C2SP tlog-proof")
		}
		if err := flags.Parse(args[1:]); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if flags.NArg() != 1 || in.key == "" {
			return fmt.Errorf("%w: want -key KEY and one %s", errUsage, c.args)
		}
		if c.name == "receipts" && len(in.receipts) == 0 {
			return fmt.Errorf("%w: want -receipts FILE", errUsage)
		}
		in.arg = flags.Arg(0)
		if err := in.readWitnesses(); err != nil {
			return err
		}
		if path, ok := strings.CutPrefix(in.key, "@"); ok {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			in.key = string(b)
		}
		in.key = strings.TrimSpace(in.key)
		return c.run(ctx, in)
	}
	return fmt.Errorf("%w: unknown command %q", errUsage, args[0])
}
