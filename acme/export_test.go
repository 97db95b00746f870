package acme

import "testing"

// Watches returns for how many URLs the client keeps headers.
func (c *Client) Watches() int {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	return len(c.guard.watches)
}

var SeenByAll = seenByAll

// SetNameServerPort sets where a zone's name servers listen, until the test ends.
func SetNameServerPort(t testing.TB, port string) {
	before := nameServerPort
	nameServerPort = port
	t.Cleanup(func() { nameServerPort = before })
}
