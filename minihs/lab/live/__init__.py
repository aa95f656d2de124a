"""What `minihs serve --lab` adds to a real server: a clock that can be turned, faults, and HTTP for both.

The server itself is the one that `serve` runs; only its seams to the outside are these.
"""
