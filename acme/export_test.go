package acme

// Watches returns for how many URLs the client keeps headers.
func (c *Client) Watches() int {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	return len(c.guard.watches)
}
