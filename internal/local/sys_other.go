//go:build unix && !linux

package local

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

const passesFolder = false

// tellOfParentsDeath does nothing here: the next start stops what a killed parent left running.
func tellOfParentsDeath(*syscall.SysProcAttr, syscall.Signal) {}

// worksIn says whether the process is a server on the data directory, by its command line.
func worksIn(pid int, data string) bool {
	line, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(line), "-D "+data+" ")
}
