package cli

import "golang.org/x/sys/unix"

// harden keeps keys in this process: they get into no core dump, other processes of the
// same user cannot look into its memory or environment, and what it was started with open
// is not open in hooks. Where a kernel cannot do one of these, all works without it.
func harden() {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
}
