package daemon

import "golang.org/x/sys/unix"

// peerUID returns whose process is at the other end of a Unix socket.
func peerUID(fd int) (uid int, err error) {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(peer.Uid), nil
}
