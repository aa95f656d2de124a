"""`minihs demo`: sets the stage, tells the story, clears up; `--keep` leaves the servers running."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from minihs.demo.client import RequestFailed, Waited
from minihs.demo.evidence import Evidence
from minihs.demo.narration import Narrator, PromiseBroken
from minihs.demo.story import PASSWORD, Story
from minihs.events.versions import DEFAULT_VERSION
from minihs.federation.dev_ca import DevCa
from minihs.processes import ServerDidNotStart, ServerProcess, free_ports

HS2_DIALECTS = "futures.dialects=tokens,merged"
"""hs1 speaks all drafts that go together, hs2 is pinned to two."""


def run_demo(*, keep: bool) -> int:
    """Tell the story; returns the exit code, 0 only if everything held."""
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="minihs-demo-"))
    narrator = Narrator(console)
    servers = _stage(folder)
    story = Story(narrator, *servers, Evidence(servers[0].ca_file, DEFAULT_VERSION))
    finished = False
    try:
        story.tell()
        finished = True
    except (PromiseBroken, RequestFailed, Waited, ServerDidNotStart, OSError) as error:
        console.print(f"\n[bold red]The story did not hold:[/] {escape(str(error))}")
        console.print(f"The servers' logs are in {folder}.", highlight=False)
        return 1
    finally:
        if not (keep and finished):
            for server in servers:
                server.stop()
    console.print(
        f"\n[bold green]All {narrator.checks} promises held[/], in {narrator.seconds:.1f} s.", highlight=False
    )
    if keep:
        _say_how_to_go_on(console, story, folder)
    else:
        shutil.rmtree(folder)
    return 0


def _stage(folder: Path) -> tuple[ServerProcess, ServerProcess]:
    """Two servers that have not been started, with certificates from a CA made for the occasion."""
    authority = DevCa(folder / "ca")
    ports = free_ports(4)
    servers = []
    for label, client_port, federation_port in (("hs1", ports[0], ports[1]), ("hs2", ports[2], ports[3])):
        leaf = authority.issue(label, ["localhost", "127.0.0.1"])
        servers.append(
            ServerProcess(
                label=label,
                folder=folder,
                client_port=client_port,
                federation_port=federation_port,
                ca_file=authority.certificate,
                certificate=leaf.certificate,
                private_key=leaf.private_key,
                settings=(
                    "federation.retry_initial_ms=200",
                    "federation.retry_max_ms=2000",
                    *((HS2_DIALECTS,) if label == "hs2" else ()),
                ),
            )
        )
    return servers[0], servers[1]


def _say_how_to_go_on(console: Console, story: Story, folder: Path) -> None:
    def show(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    show("\nBoth servers go on running.")
    for server, users in ((story.hs1, (story.alice, story.carol)), (story.hs2, (story.bob,))):
        pid = server.process.pid if server.process else "?"
        show(f"  {server.label}  {server.client_url}  (process {pid}, data in {server.data_dir})")
        for user in users:
            show(f"       {user.user_id}  password: {PASSWORD}  token: {user.token}")
    room = story.room_id.replace("!", "%21")
    alice, bob = story.alice, story.bob
    base = f"{story.hs1.client_url}/_matrix/client"
    show("\nTry: schedule a message in ten seconds, hold it with a heartbeat, watch from the other server.")
    show(
        f"  curl -X PUT -H 'Authorization: Bearer {alice.token}' '{base}/v3/rooms/{room}/delayed_event/"
        'm.room.message/t1\' -d \'{"delay_ms": 10000, "content": {"msgtype": "m.text", "body": "later"}}\''
    )
    show(
        f"  curl -X POST -H 'Authorization: Bearer {alice.token}' "
        f"'{base}/v1/delayed_events/DELAY_ID/restart' -d '{{}}'"
    )
    show(
        f"  curl -H 'Authorization: Bearer {bob.token}' "
        f"'{story.hs2.client_url}/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=3'"
    )
    pids = " ".join(str(server.process.pid) for server in (story.hs1, story.hs2) if server.process)
    show(f"\nTo end: kill {pids}; rm -r {folder}")
