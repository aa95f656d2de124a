// Two users meet, talk, and see what the other one does: what any chat program does with the SDK.

import { onceMore, refusal, saw, sees, sharedRoom, tell, until } from "./steps.mjs";

await tell(async (alice, bob) => {
    saw("logged in", { alice: alice.getUserId(), bob: (await bob.whoami()).user_id });

    const roomId = await sharedRoom(alice, bob);
    const members = bob.getRoom(roomId).getJoinedMembers().map((member) => member.userId);
    saw("joined", { roomId, name: bob.getRoom(roomId).name, members: members.sort() });

    for (const [sender, reader] of [[alice, bob], [bob, alice]]) {
        const body = `hello from ${sender.getUserId()}`;
        const { event_id: eventId } = await sender.sendTextMessage(roomId, body);
        const event = await sees(reader, roomId, (each) => each.getId() === eventId, body);
        saw("message", { eventId, sender: event.getSender(), body: event.getContent().body });
    }

    await alice.sendTyping(roomId, true, 30_000);
    await until(bob, () => bob.getRoom(roomId).getMember(alice.getUserId()).typing, "typing");
    await alice.sendTyping(roomId, false, 0);
    await until(bob, () => !bob.getRoom(roomId).getMember(alice.getUserId()).typing, "the end of typing");
    saw("typing", { begun: true, ended: true });

    const { event_id: readId } = await alice.sendTextMessage(roomId, "read this");
    await bob.sendReadReceipt(await sees(bob, roomId, (each) => each.getId() === readId, "a message"));
    const byBob = () => alice.getRoom(roomId).getEventReadUpTo(bob.getUserId(), true) === readId;
    await until(alice, byBob, "a receipt");
    saw("receipt", { eventId: readId });

    await alice.setRoomTopic(roomId, "interoperation");
    const topic = () => bob.getRoom(roomId).currentState.getStateEvents("m.room.topic", "")?.getContent().topic;
    await until(bob, topic, "the topic");
    const refused = await refusal(() => bob.setRoomTopic(roomId, "Bob's"));
    saw("state", { topic: topic(), refused: refused.errcode });

    await alice.setDisplayName("Alice A.");
    const renamed = () => bob.getRoom(roomId).getMember(alice.getUserId()).name === "Alice A.";
    await until(bob, renamed, "the new name");
    saw("profile", await bob.getProfileInfo(alice.getUserId()));

    await alice.redactEvent(roomId, readId);
    const redacted = () => bob.getRoom(roomId).findEventById(readId)?.isRedacted();
    await until(bob, redacted, "the redaction");
    saw("redaction", { eventId: readId, content: bob.getRoom(roomId).findEventById(readId).getContent() });

    for (let number = 0; number < 40; number++) await alice.sendTextMessage(roomId, `message ${number}`);
    const late = await onceMore(bob, { initialSyncLimit: 5 });
    const room = late.getRoom(roomId);
    const before = room.getLiveTimeline().getEvents().length;
    await late.scrollback(room, 100);
    const events = room.getLiveTimeline().getEvents();
    late.stopClient();
    saw("scrollback", {
        before,
        oldest: events[0].getType(),
        numbered: events.map((event) => event.getContent().body).filter((body) => body?.startsWith("message ")),
    });

    await bob.leave(roomId);
    await until(bob, () => bob.getRoom(roomId)?.getMyMembership() === "leave", "its own leave");
    saw("left", { refused: (await refusal(() => bob.sendTextMessage(roomId, "still here?"))).errcode });
    await bob.logout(true);
    saw("logged out", { refused: (await refusal(() => bob.whoami())).errcode });
});
