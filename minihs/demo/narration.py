"""How the story looks in the terminal: acts, sentences, assertions with a tick, and times."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape


class PromiseBroken(Exception):
    """Something that the story asserts was not so."""


@dataclass
class Narrator:
    """Tells the story; `check` ends it when what is told is not true."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    checks: int = 0

    def act(self, title: str) -> None:
        """A new part of the story."""
        self.console.print()
        self.console.rule(f"[bold]{escape(title)}", align="left", style="cyan")

    def say(self, sentence: str) -> None:
        """What happens now."""
        self.console.print(f"[dim]{self._clock()}[/]  {escape(sentence)}", highlight=False)

    def check(self, held: bool, promise: str) -> None:
        """State a promise, and stop if it was not kept."""
        if not held:
            self.console.print(f"[dim]{self._clock()}[/]  [bold red]✗ {escape(promise)}", highlight=False)
            raise PromiseBroken(promise)
        self.checks += 1
        self.console.print(f"[dim]{self._clock()}[/]  [green]✓[/] {escape(promise)}", highlight=False)

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return time.monotonic() - self.started

    def _clock(self) -> str:
        return f"{self.seconds:6.2f} s"
