// Command pause does nothing until SIGINT or SIGTERM ends it. It is the program
// of the container that keeps a pod's namespaces open, and the smallest
// application that a test can run. As the first process of its container it
// also reaps orphaned processes. It opens no file and no connection.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
