//go:build unix && !linux

package child

// ReapOrphans does nothing: there are no process namespaces here.
func ReapOrphans() {}
