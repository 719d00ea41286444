//go:build unix && !linux

package child

import "syscall"

const hasParentDeathSignal = false

func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
