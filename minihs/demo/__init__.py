"""The demonstration: two real servers on loopback, and a story about futures, asserted as it is told."""
