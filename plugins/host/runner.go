package host

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

// process is one run of a program, in the form go-plugin wants. It reaps the process
// itself and ends whatever the process leaves behind.
type process struct {
	cmd   *exec.Cmd
	spawn func(func())
	lines *lines // takes stderr

	stdin          *os.File // our end: closing it asks the plugin to end
	stdout, stderr *os.File // our ends
	done           chan struct{}

	mu     sync.Mutex
	alive  bool
	killed bool
}

var _ runner.Runner = (*process)(nil)

func (p *process) Start(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pipes [6]*os.File // read and write end of stdin, stdout, stderr
	closeAll := func(files ...*os.File) {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
	}
	for i := 0; i < len(pipes); i += 2 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(pipes[:]...)
			return err
		}
		pipes[i], pipes[i+1] = r, w
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = pipes[0], pipes[3], pipes[5]
	p.stdin, p.stdout, p.stderr = pipes[1], pipes[2], pipes[4]
	p.cmd.SysProcAttr = procAttr()

	err := errors.New("stopped before it started")
	if !p.killed {
		p.spawn(func() { err = p.start() })
	}
	closeAll(pipes[0], pipes[3], pipes[5])
	if err != nil {
		closeAll(p.stdin, p.stdout, p.stderr)
		return err
	}
	p.alive = true
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		p.lines.copy(p.stderr)
	}()
	go p.reap(drained)
	return nil
}

// start executes. A copy that was just written may still look busy, while another
// fork of ours, between its fork and its exec, holds the descriptor it was written by.
func (p *process) start() error {
	for try := 0; ; try++ {
		err := p.cmd.Start()
		if err == nil || try == 20 || !errors.Is(err, syscall.ETXTBSY) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
		p.cmd = &exec.Cmd{Path: p.cmd.Path, Args: p.cmd.Args, Env: p.cmd.Env, Dir: p.cmd.Dir, Stdin: p.cmd.Stdin, Stdout: p.cmd.Stdout, Stderr: p.cmd.Stderr, SysProcAttr: p.cmd.SysProcAttr}
	}
}

func (p *process) reap(drained <-chan struct{}) {
	awaitExit(p.cmd.Process)
	p.mu.Lock()
	killGroup(p.cmd.Process) // before Wait gives the pid back
	_ = p.cmd.Wait()
	p.alive = false
	p.mu.Unlock()
	select { // last words; unless somebody who left the group still holds the pipe
	case <-drained:
	case <-time.After(time.Second):
	}
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		_ = f.Close()
	}
	close(p.done)
}

// release asks the plugin to end.
func (p *process) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}

// Kill ends the whole group at once; it does not wait.
func (p *process) Kill(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	if p.alive {
		killGroup(p.cmd.Process)
	}
	return nil
}

func (p *process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		if s := p.cmd.ProcessState; s != nil && !s.Success() {
			return errors.New(s.String())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *process) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

func (p *process) Name() string                    { return p.cmd.Path }
func (p *process) Stdout() io.ReadCloser           { return p.stdout }
func (p *process) Stderr() io.ReadCloser           { return io.NopCloser(strings.NewReader("")) } // lines takes it
func (p *process) Diagnose(context.Context) string { return "" }

func (p *process) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

func (p *process) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
