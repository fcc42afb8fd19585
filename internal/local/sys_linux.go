package local

import (
	"fmt"
	"os"
	"syscall"
)

// passesFolder: a child reaches a folder that it was given open, whatever the modes of the folders above it.
const passesFolder = true

// tellOfParentsDeath makes the kernel send sig to the child when this process dies, however it dies.
func tellOfParentsDeath(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// worksIn says whether the process is a server on the data directory: a postmaster's working directory is its data.
func worksIn(pid int, data string) bool {
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	ours, err := os.Stat(data)
	return err == nil && os.SameFile(theirs, ours)
}
