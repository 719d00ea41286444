package child

import "syscall"

const hasParentDeathSignal = true

// attributes adds ours to those that a command has.
func attributes(of *syscall.SysProcAttr) *syscall.SysProcAttr {
	if of == nil {
		of = &syscall.SysProcAttr{}
	}
	of.Setpgid, of.Pdeathsig = true, syscall.SIGKILL
	return of
}
