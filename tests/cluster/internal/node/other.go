//go:build !linux

package node

import (
	"context"
	"errors"
	"net"
	"os/exec"
)

var errLinux = errors.New("a cluster with a node needs Linux")

// Reservation does not exist on this system.
type Reservation struct{}

// Inside does not exist on this system.
type Inside struct{}

// Reserve fails.
func Reserve(string) (*Reservation, error) { return nil, errLinux }

// Release does nothing.
func (*Reservation) Release() error { return nil }

// Confine fails.
func (*Reservation) Confine(*exec.Cmd) error { return errLinux }

// CheckFolder fails.
func CheckFolder(string) error { return errLinux }

// Enter fails.
func Enter(string) (*Inside, error) { return nil, errLinux }

// Pid returns the id unchanged.
func (*Inside) Pid(pid int) int { return pid }

// Dial fails.
func (*Inside) Dial(context.Context, string, string) (net.Conn, error) { return nil, errLinux }

// Share fails.
func (*Inside) Share(int) error { return errLinux }
