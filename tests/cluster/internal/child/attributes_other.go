//go:build unix && !linux

package child

import "syscall"

const hasParentDeathSignal = false

// attributes adds ours to a command's own attributes.
func attributes(of *syscall.SysProcAttr) *syscall.SysProcAttr {
	if of == nil {
		of = &syscall.SysProcAttr{}
	}
	of.Setpgid = true
	return of
}
