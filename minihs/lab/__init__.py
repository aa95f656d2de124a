"""Several servers in one process, on a virtual clock and a network that exists only in memory."""
