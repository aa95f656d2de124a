"""`python -m minihs`: the same as the command `minihs`."""

from __future__ import annotations

from minihs.cli import main

main(prog_name="minihs")
