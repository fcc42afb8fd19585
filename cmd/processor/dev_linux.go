package main

import "syscall"

// dieWithParent has the kernel kill the child when dev dies, however it dies.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
