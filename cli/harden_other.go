//go:build !linux

package cli

import "golang.org/x/sys/unix"

// harden keeps keys out of core dumps.
func harden() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
