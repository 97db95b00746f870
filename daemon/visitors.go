package daemon

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// visitors bounds how many connections there are: the oldest makes room for a new one. So
// whoever holds connections open, and neither asks nor reads, keeps nobody out.
type visitors struct {
	mu  sync.Mutex
	all []net.Conn // the oldest first
}

// state is told of every connection: see [http.Server.ConnState].
func (v *visitors) state(conn net.Conn, s http.ConnState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch s {
	case http.StateNew:
		if len(v.all) >= maxVisitors {
			v.all[0].Close()
			v.all = slices.Delete(v.all, 0, 1)
		}
		v.all = append(v.all, conn)
	case http.StateClosed, http.StateHijacked:
		v.all = slices.DeleteFunc(v.all, func(c net.Conn) bool { return c == conn })
	}
}
