//go:build unix && !linux

package local

// Reserve says whether an address, host:port, is free. Here nothing keeps it so until a server listens on it.
func Reserve(address string) error { return checkFree(address) }
