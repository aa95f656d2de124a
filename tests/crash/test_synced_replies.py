"""No reply precedes its sync: a real server with its threads, whose writes, syncs and replies are recorded.

Several clients are at work at once, so that groups of batches are committed while replies are written. Then
the machine loses its power at every moment of the record. Futures specification, 1, promise 4.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minihs.federation.signing_keys import load_or_create
from minihs.platform.entropy import SystemEntropy
from tests.crash.campaign import Campaign
from tests.crash.grounds import PACE_MS, Ground
from tests.crash.ledger import Ledger
from tests.crash.recorded_disk import Replied, Synced, can_record
from tests.crash.recorded_world import DATABASE, Recording
from tests.crash.stories import MORE_ENDINGS, STORIES, Story, Teller, dialects_for, sent_on_command

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not can_record(), reason="this build of Python hides its SQLite"),
]

ANYWHERE = [story for story in STORIES + MORE_ENDINGS if dialects_for(story) is None]
ELSEWHERE = [story for story in STORIES + MORE_ENDINGS if dialects_for(story) is not None]


def recorded(ground: Ground, stories: Sequence[Story]) -> Recording:
    """The record of a server process that lives through these stories, all at the same time."""
    dialects = dialects_for(stories[0])
    ground.reset()
    ground.speak(dialects)
    data = ground.server.data_dir
    start = {DATABASE: (data / DATABASE).read_bytes()}
    keys = load_or_create(data, ground.server.server_name, SystemEntropy())
    record = Path(ground.stage.folder, "record")
    ledger = Ledger()
    pid = ground.nursery.start(ground.server, kind="record", record=str(record))
    assert pid is not None

    def tell(story: Story) -> None:
        hand = ground.hand(story.__name__, ledger)
        story(Teller(hand, lambda ms: time.sleep(ms / 1000), PACE_MS))

    with ThreadPoolExecutor(len(stories)) as pool:
        list(pool.map(tell, stories))
    assert ground.nursery.stop(pid) == 0
    log = pickle.loads(record.read_bytes())
    settings = {} if dialects is None else {"futures__dialects": dialects}
    recording = Recording(
        ledger, ground.token, ground.room_id, start, log, 0, ground.server.server_name, keys, settings
    )
    recording.check_requests(0)
    assert recording.at_its_end().kept()[DATABASE] == (data / DATABASE).read_bytes(), (
        "the record is not whole"
    )
    return recording


@pytest.mark.parametrize("stories", [ANYWHERE, ELSEWHERE], ids=["any server", "future-id"])
def test_no_reply_precedes_its_sync(ground: Ground, stories: Sequence[Story]) -> None:
    """Whatever is acknowledged, in every dialect."""
    recording = recorded(ground, stories)
    campaign = Campaign(recording)
    campaign.run_replies()
    assert campaign.points == len(recording.ledger.requests)


def test_a_reply_that_precedes_its_sync_is_caught(ground: Ground) -> None:
    recording = recorded(ground, (sent_on_command,))
    log = recording.log
    first = next(index for index, (_, entry) in enumerate(log) if isinstance(entry, Replied))
    sync = max(index for index in range(first) if isinstance(log[index][1], Synced))
    log.insert(sync, log.pop(first))
    with pytest.raises(AssertionError):
        Campaign(recording).run_replies()


@pytest.mark.full
def test_no_power_cut_of_a_busy_server_breaks_a_promise(ground: Ground) -> None:
    campaign = Campaign(recorded(ground, ANYWHERE), torn=1)
    campaign.run()
    print(campaign.summary())
    assert campaign.restarts > len(campaign.recording.ledger.requests)
