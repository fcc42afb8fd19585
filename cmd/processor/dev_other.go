//go:build !linux

package main

import "syscall"

// dieWithParent does nothing here: replicas of a killed dev find neither NATS nor database, and have to be killed by hand.
func dieWithParent(*syscall.SysProcAttr) {}
