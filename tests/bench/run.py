"""One run of the benchmarks: what they are given, and how each is kept within its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.bench.results import Results
from tests.bench.servers import Measured, Stage


@dataclass
class Run:
    """What a benchmark may use."""

    stage: Stage
    quick: bool
    with_synapse: bool
    results: Results = field(default_factory=Results)

    @property
    def seconds(self) -> float:
        """How long a rate is measured."""
        return 3.0 if self.quick else 8.0

    def servers(self, stack: ExitStack) -> tuple[Measured, Measured | None]:
        """One of each; no Synapse when there is none or it is not wanted."""
        ours = stack.enter_context(self.stage.minihs())
        theirs = stack.enter_context(self.stage.synapse()) if self.with_synapse else None
        return ours, theirs


@dataclass(frozen=True)
class Benchmark:
    """A part of the run: `limit_s` is several times what it takes on a quiet machine of two cores."""

    call: Callable[[Run], Awaitable[None]]
    limit_s: float

    @property
    def name(self) -> str:
        return self.call.__name__

    @property
    def about(self) -> str:
        return (self.call.__doc__ or "").strip().split("\n")[0]

    def perform(self, run: Run) -> None:
        """Run it to its end or its limit. What goes wrong is one benchmark's failure and not the run's."""
        run.results.benchmark = self.name

        async def bounded() -> None:
            async with asyncio.timeout(self.limit_s):
                await self.call(run)

        try:
            asyncio.run(bounded())
        except TimeoutError:
            run.results.fail(run.stage.what_crashed() or f"stopped after {self.limit_s:.0f} s")
        except Exception as error:  # noqa: BLE001 - the others are still of interest
            run.results.fail(run.stage.what_crashed() or f"{type(error).__name__}: {error}")
        finally:
            run.stage.crashed.clear()
