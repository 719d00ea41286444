//go:build unix && !linux

package child

import "syscall"

const hasParentDeathSignal = false

// attributes adds ours to those that a command has.
func attributes(of *syscall.SysProcAttr) *syscall.SysProcAttr {
	if of == nil {
		of = &syscall.SysProcAttr{}
	}
	of.Setpgid = true
	return of
}
