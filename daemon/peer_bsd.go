//go:build darwin || freebsd

package daemon

import "golang.org/x/sys/unix"

// peerUID returns whose process is at the other end of a Unix socket.
func peerUID(fd int) (uid int, err error) {
	peer, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(peer.Uid), nil
}
