//go:build !linux

package host

import (
	"os"
	"syscall"
)

func procAttr() *syscall.SysProcAttr { return nil }

func awaitExit(*os.Process) {}

func killGroup(p *os.Process) { _ = p.Kill() }

func residentBytes(int) int64 { return 0 }

func gone(int) bool { return false }
