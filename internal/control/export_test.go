package control

// Waiting is how many requests and calls of Sync the client holds.
func Waiting(c *Client) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.requests) + len(c.syncs)
}
