//go:build unix && !linux

package child

// ReapOrphans does nothing, because this system has no process namespaces.
func ReapOrphans() {}
