// The SDK's own API for delayed events, and the part of it that depends on them: membership of a call.

import { refusal, saw, sees, sharedRoom, tell, UpdateDelayedEventAction, until } from "./steps.mjs";

const NOTE = "org.example.note";
const CALL_MEMBER = "org.matrix.msc3401.call.member";
const HOUR_MS = 3_600_000;

const message = (body) => ({ msgtype: "m.text", body });
const withBody = (body) => (event) => event.getContent().body === body;

await tell(async (alice, bob) => {
    saw("support", {
        feature: await alice.doesServerSupportUnstableFeature("org.matrix.msc4140"),
        capability: (await alice.getCapabilities())["org.matrix.msc4140.delayed_events"],
    });

    const roomId = await sharedRoom(alice, bob, {
        power_level_content_override: { events: { [CALL_MEMBER]: 0 } },
    });
    const delayed = (body, delay) =>
        alice._unstable_sendDelayedEvent(roomId, { delay }, null, "m.room.message", message(body));
    const scheduled = async () => (await alice._unstable_getDelayedEvents()).delayed_events;

    const due = await delayed("due", 300);
    const dueEvent = await sees(bob, roomId, withBody("due"), "the message that was due");
    saw("sent when due", { ...due, eventId: dueEvent.getId(), unsigned: dueEvent.getUnsigned() });

    const told = await delayed("told to", HOUR_MS);
    const state = await alice._unstable_sendDelayedStateEvent(roomId, { delay: HOUR_MS }, NOTE, { text: "later" }, "key");
    const never = await delayed("never", HOUR_MS);
    saw("scheduled", { ids: [told.delay_id, state.delay_id, never.delay_id], listed: await scheduled() });

    saw("restarted", {
        before: (await alice._unstable_getDelayedEvent(state.delay_id)).delayed_since_ts,
        reply: await alice._unstable_restartScheduledDelayedEvent(state.delay_id),
        oldReply: await alice._unstable_updateDelayedEvent(state.delay_id, UpdateDelayedEventAction.Restart),
        after: (await alice._unstable_getDelayedEvent(state.delay_id)).delayed_since_ts,
    });

    await alice._unstable_sendScheduledDelayedEvent(told.delay_id);
    await alice._unstable_updateDelayedEvent(state.delay_id, UpdateDelayedEventAction.Send);
    await alice._unstable_cancelScheduledDelayedEvent(never.delay_id);
    await sees(bob, roomId, withBody("told to"), "the message that was sent when told to");
    const note = () => bob.getRoom(roomId).currentState.getStateEvents(NOTE, "key")?.getContent();
    await until(bob, note, "the state");
    saw("sent and cancelled", { note: note(), listed: await scheduled() });

    saw("outcomes", {
        sent: await alice._unstable_getDelayedEvent(told.delay_id),
        cancelled: await alice._unstable_getDelayedEvent(never.delay_id),
        never: bob.getRoom(roomId).getLiveTimeline().getEvents().some(withBody("never")),
    });

    const listed = (...query) => alice._unstable_getDelayedEvents(...query);
    const [one, another] = [await delayed("one", HOUR_MS), await delayed("another", HOUR_MS)];
    saw("listed", {
        ids: [one.delay_id, another.delay_id],
        scheduled: await listed("scheduled"),
        one: await listed(undefined, one.delay_id),
        both: await listed("scheduled", [another.delay_id, one.delay_id]),
        finalised: await listed("finalised"),
        told: await listed("finalised", told.delay_id),
    });
    for (const each of [one, another]) await alice._unstable_cancelScheduledDelayedEvent(each.delay_id);

    const echo = await sees(alice, roomId, withBody("told to"), "its own message");
    saw("own", { delayId: echo.getUnsigned()["org.matrix.msc4140.delay_id"], wanted: told.delay_id });

    const root = dueEvent.getId();
    await alice._unstable_sendDelayedEvent(roomId, { delay: 100 }, root, "m.room.message", message("in a thread"));
    const reply = await sees(bob, roomId, withBody("in a thread"), "the message in a thread");
    saw("in a thread", { root, relation: reply.getWireContent()["m.relates_to"] });

    await alice.setPowerLevel(roomId, bob.getUserId(), 50);
    await until(bob, () => bob.getRoom(roomId).getMember(bob.getUserId()).powerLevel === 50, "power");
    const lost = await bob._unstable_sendDelayedStateEvent(roomId, { delay: HOUR_MS }, NOTE, {}, "lost");
    await alice.setPowerLevel(roomId, bob.getUserId(), 0);
    const atOnce = await refusal(() => bob._unstable_sendScheduledDelayedEvent(lost.delay_id));
    const late = await bob._unstable_sendDelayedStateEvent(roomId, { delay: 100 }, NOTE, {}, "late");
    const failed = async () => (await bob._unstable_getDelayedEvents("finalised", late.delay_id)).finalised?.[0];
    saw("without power", { atOnce, failed: await until(bob, failed, "the failure"), id: late.delay_id });

    saw("refused", {
        restartSent: await refusal(() => alice._unstable_restartScheduledDelayedEvent(told.delay_id)),
        unknown: await refusal(() => alice._unstable_sendScheduledDelayedEvent("unknown")),
        somebodyElses: await refusal(() => bob._unstable_getDelayedEvent(never.delay_id)),
        tooLong: await refusal(() => delayed("too long", 25 * HOUR_MS)),
        zero: await refusal(() => delayed("zero", 0)),
        ofAnother: await refusal(() =>
            alice._unstable_sendDelayedEvent(roomId, { parent_delay_id: never.delay_id }, null, "m.x", {}),
        ),
        sticky: await refusal(() =>
            alice._unstable_sendStickyDelayedEvent(roomId, 1000, { delay: 1000 }, null, "m.x", {}),
        ),
    });

    // A call: the SDK leaves a delayed "I left" behind, restarts it while the call lasts, and has it sent when it
    // hangs up. It asks for a day and an hour, which is too long, and has to do with what the server allows.
    const session = alice.matrixRTC.getRoomSession(alice.getRoom(roomId));
    const membership = () =>
        bob
            .getRoom(roomId)
            .currentState.getStateEvents(CALL_MEMBER)
            .find((event) => event.getSender() === alice.getUserId());
    const transport = { type: "livekit", livekit_service_url: "https://example.org", livekit_alias: "a" };
    session.joinRoomSession([transport], undefined, {
        delayedLeaveEventDelayMs: 25 * HOUR_MS,
        delayedLeaveEventRestartMs: 300,
        manageMediaKeys: false,
    });
    await until(bob, () => membership()?.getContent().application, "the membership");
    const [leave, ...others] = await scheduled();
    const restarted = async () => {
        const [now] = await scheduled();
        return now.running_since > leave.running_since ? now : undefined;
    };
    saw("in a call", {
        application: membership().getContent().application,
        leave,
        others,
        restarted: await until(alice, restarted, "a restart by the SDK"),
    });
    await session.leaveRoomSession(10_000);
    await until(bob, () => membership() && Object.keys(membership().getContent()).length === 0, "the leave");
    saw("hung up", { listed: await scheduled(), leave: await alice._unstable_getDelayedEvent(leave.delay_id) });
});
