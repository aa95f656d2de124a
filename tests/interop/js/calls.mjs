// Two users in a call, as the SDK makes it of state events: one hangs up, comes back, and vanishes from the network.

import { onceMore, saw, sharedRoom, tell, until } from "./steps.mjs";

const CALL_MEMBER = "org.matrix.msc3401.call.member";
const TRANSPORT = { type: "livekit", livekit_service_url: "https://example.org", livekit_alias: "a" };

await tell(async (alice, bob) => {
    const roomId = await sharedRoom(alice, bob, {
        power_level_content_override: { events: { [CALL_MEMBER]: 0 } },
    });
    const session = (client) => client.matrixRTC.getRoomSession(client.getRoom(roomId));
    const join = (client) =>
        session(client).joinRoomSession([TRANSPORT], undefined, {
            delayedLeaveEventDelayMs: 2_000,
            delayedLeaveEventRestartMs: 400,
            manageMediaKeys: false,
        });
    const inCall = () =>
        session(bob)
            .memberships.map((membership) => membership.sender ?? membership.userId)
            .sort();
    const becomes = (names, what) =>
        until(bob, () => JSON.stringify(inCall()) === JSON.stringify(names.slice().sort()), what);
    const [both, bobAlone] = [[alice.getUserId(), bob.getUserId()], [bob.getUserId()]];
    const scheduled = async (client) => (await client._unstable_getDelayedEvents("scheduled")).scheduled;

    join(bob);
    join(alice);
    await becomes(both, "both in the call");
    await session(alice).leaveRoomSession(10_000);
    await becomes(bobAlone, "the one who hung up to be gone");
    saw("hung up", { left: inCall(), scheduled: await scheduled(alice) });

    // A device of the same user whose network goes away: its heartbeats no longer arrive.
    let vanished = false;
    const fetchFn = (...request) => (vanished ? Promise.reject(new TypeError("no network")) : fetch(...request));
    const phone = await onceMore(alice, {}, { fetchFn });
    join(phone);
    await becomes(both, "the one who came back");
    const began = Date.now();
    await until(bob, () => Date.now() - began > 2_500, "longer than the leave is delayed");
    saw("held by heartbeats", { members: inCall() });
    vanished = true;
    const lastBeat = Date.now();
    await becomes(bobAlone, "the one who vanished to be gone");
    saw("vanished", { members: inCall(), afterMs: Date.now() - lastBeat, scheduled: await scheduled(alice) });
    phone.stopClient();
    await session(bob).leaveRoomSession(10_000);
});
