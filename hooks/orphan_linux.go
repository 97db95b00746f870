package hooks

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent has the kernel end the hook when keepkey dies. That goes for the hook
// alone, and not for what it started.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// holders returns the processes that have a file open, other than this one.
func holders(path string) []int {
	open, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var pids []int
	for _, fd := range open {
		pid, err := strconv.Atoi(strings.Split(fd, "/")[2])
		if err != nil || pid == os.Getpid() || slices.Contains(pids, pid) {
			continue
		}
		if target, err := os.Readlink(fd); err == nil && target == path {
			pids = append(pids, pid)
		}
	}
	return pids
}
