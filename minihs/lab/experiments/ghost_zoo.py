"""Experiment: failures of futures that were seen in the field, looked for here, and bred with a wrong policy.

Each animal is one small world, played twice: as minihs is, where it must not show, and with the decision
that lets it live, where it must, or the experiment could not have seen it. They live in `zoo_crashes`,
`zoo_limits` and `zoo_clients`.
"""

from __future__ import annotations

from msgspec.structs import replace

from minihs.lab.experiments import Size
from minihs.lab.experiments.zoo_clients import (
    leave_at_join_time,
    own_change_ends_own_leave,
    sleeper_cannot_return,
)
from minihs.lab.experiments.zoo_crashes import lost_on_restart, sent_early, sent_twice
from minihs.lab.experiments.zoo_limits import (
    disarmed_by_another,
    dropped_by_limits,
    starved_behind_one_address,
)
from minihs.lab.experiments.zoo_scene import Animal, Sighting
from minihs.lab.report import Report

QUESTION = "Do the failures that users of delayed events reported show here, and would they if they were?"
METHOD = (
    "Each failure is a small world, played as minihs is and with the decision that causes the failure: a "
    "policy, a setting, or a wrong step around the server. It must be absent in the first and present in the "
    "second."
)

ZOO = (
    Animal(
        "lost on restart",
        "the server was updated, and everybody who was in a call then stayed in it",
        "futures live in memory only",
        lost_on_restart,
    ),
    Animal(
        "sent twice after a crash",
        "a scheduled message came twice",
        "the outcome is stored after the event, in a transaction of its own",
        sent_twice,
    ),
    Animal(
        "sent early after a crash",
        "people were thrown out of a call when the server came back",
        "heartbeats are in memory only",
        sent_early,
    ),
    Animal(
        "dropped by a rate limit",
        "of many messages scheduled for one moment only some came",
        "due sends are charged to a budget that is smaller than what may be scheduled",
        dropped_by_limits,
    ),
    Animal(
        "disarmed by another's cancel",
        "a redundant cancel, and the next scheduled event did not come",
        "one timer for all, cancelled with any of them",
        disarmed_by_another,
    ),
    Animal(
        "starved behind one address",
        "an office of 60 was thrown out of its call",
        "heartbeats are limited by address",
        starved_behind_one_address,
    ),
    Animal(
        "the sleeper cannot return",
        "a laptop that had slept past its leave never came back into the call",
        "the action on a finalised future is answered 409, which shipped clients take for fatal",
        sleeper_cannot_return,
    ),
    Animal(
        "left at join time",
        "everybody left the call the moment they joined it",
        "the delay is a parameter that is ignored where it is not known",
        leave_at_join_time,
    ),
    Animal(
        "own change ends own leave",
        "who had raised a hand and then lost the network stayed in the call",
        "any newer state event ends the future, also one's own",
        own_change_ends_own_leave,
    ),
)


def run(seed: int, size: Size) -> Report:  # noqa: ARG001 - the zoo has one size
    """Visit every cage."""
    report = Report(name="ghost-zoo", question=QUESTION, method=METHOD, seed=seed)
    table = report.table(
        "The zoo", "failure", "what was reported", "here", "the cause that is switched on", "with that cause"
    )
    for animal in ZOO:
        here, bred = animal.look(seed, False), animal.look(seed, True)
        _show(report, animal, "as minihs is", here)
        _show(report, animal, f"with its cause: {animal.cause}", bred)
        table.add(animal.name, animal.reported, here.seen, animal.cause, bred.seen)
        report.check(
            f"{animal.name}: absent here ({here.seen}), and seen where its cause is ({bred.seen})",
            not here.shows and bred.shows,
        )
    return report


def _show(report: Report, animal: Animal, how: str, sighting: Sighting) -> None:
    chapter = f"{animal.name}: {animal.reported}"
    for case in sighting.cases:
        report.show_case(replace(case, chapter=chapter, title=how + case.title))
