package cli

import "golang.org/x/sys/unix"

// keepRights lets this thread keep its capabilities when root becomes another user.
func keepRights() { _ = unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0) }

// dropRights leaves this thread, and the program that it runs next, the right to listen on
// ports under 1024, if it had that, and no other.
func dropRights() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var rights [2]unix.CapUserData
	if err := unix.Capget(&header, &rights[0]); err != nil {
		return err
	}
	bind := rights[0].Permitted & (1 << unix.CAP_NET_BIND_SERVICE)
	rights = [2]unix.CapUserData{{Effective: bind, Permitted: bind, Inheritable: bind}}
	if err := unix.Capset(&header, &rights[0]); err != nil {
		return err
	}
	// Where that is not possible, listening on such a port says what it needs.
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_BIND_SERVICE, 0, 0)
	return nil
}
