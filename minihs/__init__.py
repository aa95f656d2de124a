"""minihs: a small federating Matrix homeserver and a laboratory for delayed events."""

__version__ = "0.1.0"
