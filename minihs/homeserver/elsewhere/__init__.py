"""Rooms and users of other servers: what they send us, what we serve them, what we ask them for."""
