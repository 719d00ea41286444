//go:build !linux

package node

import (
	"context"
	"errors"
	"net"
	"os/exec"
)

var errLinux = errors.New("a cluster with a node needs Linux")

// Reservation cannot be had here.
type Reservation struct{}

// Inside is never entered here.
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

// Pid changes nothing.
func (*Inside) Pid(pid int) int { return pid }

// Dial fails.
func (*Inside) Dial(context.Context, string, string) (net.Conn, error) { return nil, errLinux }

// Share fails.
func (*Inside) Share(int) error { return errLinux }
