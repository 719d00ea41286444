package child

import "syscall"

const hasParentDeathSignal = true

// attributes adds ours to a command's own attributes.
func attributes(of *syscall.SysProcAttr) *syscall.SysProcAttr {
	if of == nil {
		of = &syscall.SysProcAttr{}
	}
	of.Setpgid, of.Pdeathsig = true, syscall.SIGKILL
	return of
}
