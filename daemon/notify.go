package daemon

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Systemd is the service manager that a process tells how it is (sd_notify(3)).
type Systemd struct {
	Socket   string        // $NOTIFY_SOCKET; "" when it is not told
	Watchdog time.Duration // within which it wants to hear of us; 0 for never
}

// SystemdOf reads the environment in which systemd starts a service.
func SystemdOf(getenv func(string) string) Systemd {
	s := Systemd{Socket: getenv("NOTIFY_SOCKET")}
	if usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
		s.Watchdog = time.Duration(usec) * time.Microsecond
	}
	return s
}

// Tell sends states such as "READY=1". That nobody hears it is no concern of ours.
func (s Systemd) Tell(states ...string) {
	if s.Socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.Socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(strings.Join(states, "\n")))
}

// Reloading says since when a configuration is being read, by the clock that systemd
// compares.
func Reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}
