"""minihs: a small federating Matrix homeserver and a laboratory for delayed events."""
