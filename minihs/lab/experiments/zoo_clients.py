"""Animals of `ghost_zoo` that clients meet: answers and parameters that they take for something else."""

from __future__ import annotations

from minihs.lab.experiments.zoo_scene import CALL, Scene, Sighting, scene
from minihs.lab.http_client import in_path


def _seen(here: Scene, *, should_be: bool, besides: str = "") -> Sighting:
    """Whether Alice is in the call as she should be."""
    is_in = here.is_in_call()
    return here.sighting(is_in is not should_be, f"{'in' if is_in else 'not in'} the call{besides}")


def sleeper_cannot_return(seed: int, wrong: bool) -> Sighting:
    """A lid is closed for half an hour; the client does what shipped clients do with the answer it gets."""
    here = scene(seed, futures__unstable_conflict=409 if wrong else 404)
    here.in_call()
    handle = here.leaving(10_000, "delay-query")
    here.say("the lid is closed for half an hour: no heartbeat")
    here.world.advance(minutes=30)
    here.say("it is opened, and the client sends a heartbeat as if nothing had been")
    answer = handle.do("restart")
    if answer.status == 404:
        here.say("it takes 404 for a future that is gone, and joins anew")
        here.in_call()
        here.leaving(10_000, "delay-query")
    else:
        here.say(f"it takes {answer.status} for fatal, and gives the call up")
    return _seen(here, should_be=True, besides=f" after {answer.status}")


def leave_at_join_time(seed: int, wrong: bool) -> Sighting:
    """The server does not serve the dialect in which the leave is scheduled."""
    here = scene(seed, futures__dialects=["merged"])
    here.in_call()
    path = f"/rooms/{in_path(here.room_id)}/state/{CALL}/{in_path(here.alice.user_id)}"
    here.say("Alice's client schedules her leave in a dialect that hs1 does not serve")
    # A server that ignores what it does not know sees the same request as one that has no parameter.
    query = None if wrong else {"org.matrix.msc4140.delay": 10_000}
    answer = here.alice.request("PUT", path, json={}, query=query)
    return _seen(here, should_be=True, besides=f" after {answer.status}")


def own_change_ends_own_leave(seed: int, wrong: bool) -> Sighting:
    """Alice raises her hand, and her client vanishes."""
    here = scene(seed, futures__cancel_rule="any" if wrong else "dialect")
    here.in_call()
    here.leaving(10_000, "delay-query")
    here.waits(2_000)
    here.say("Alice raises her hand, and then her client is heard of no more")
    here.in_call({"call": "on", "hand": "raised"})
    here.waits(20_000)
    return _seen(here, should_be=False, besides=" 20 s later")
