// What every story needs: users of the SDK, waiting for what they see, and one line of JSON for each step.

import "./quiet.mjs";

import * as sdk from "matrix-js-sdk";

export const { UpdateDelayedEventAction } = sdk;

const PATIENCE_MS = 15_000;

export function saw(step, what) {
    process.stdout.write(`${JSON.stringify({ step, saw: what })}\n`);
}

/** Wait until `look` finds something, looking again whenever the client has synced or told of an event. */
export async function until(client, look, what) {
    const ends = Date.now() + PATIENCE_MS;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > ends) throw new Error(`${client.getUserId()} waited in vain for ${what}`);
        await new Promise((resolve) => {
            const events = [sdk.ClientEvent.Sync, sdk.RoomEvent.Timeline, sdk.RoomEvent.MyMembership];
            const done = () => {
                clearTimeout(timer);
                events.forEach((event) => client.off(event, done));
                resolve();
            };
            const timer = setTimeout(done, 200);
            events.forEach((event) => client.on(event, done));
        });
    }
}

/** The event that fits, once it is in the room's live timeline as the server sent it. */
export function sees(client, roomId, wanted, what) {
    const look = () =>
        client
            .getRoom(roomId)
            ?.getLiveTimeline()
            .getEvents()
            .find((event) => event.status === null && wanted(event));
    return until(client, look, what);
}

/** The error with which a request is refused, as the SDK gives it to its caller. */
export async function refusal(request) {
    try {
        await request();
    } catch (error) {
        return { name: error.name, errcode: error.errcode, status: error.httpStatus, data: error.data };
    }
    throw new Error("the request was not refused");
}

/** Syncing as somebody on a device: a client of the SDK that knows nothing yet. */
async function started(credentials, options) {
    const client = sdk.createClient(credentials);
    await client.startClient(options);
    await until(client, () => client.getSyncState() === sdk.SyncState.Syncing, "the first sync");
    return client;
}

/** The same user and device again, as after a reload of the page, perhaps on another network. */
export function onceMore(client, options, network = {}) {
    return started(
        {
            baseUrl: client.baseUrl,
            userId: client.getUserId(),
            deviceId: client.getDeviceId(),
            accessToken: client.getAccessToken(),
            ...network,
        },
        options,
    );
}

/** A new user: registered, logged in with the password on a device of its own, and syncing. */
export async function user(baseUrl, name, password) {
    const anybody = sdk.createClient({ baseUrl });
    const auth = { type: "m.login.dummy" };
    await anybody.registerRequest({ username: name, password, auth, inhibit_login: true });
    const login = await anybody.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
    });
    const { user_id: userId, device_id: deviceId, access_token: accessToken } = login;
    return started({ baseUrl, userId, deviceId, accessToken }, { initialSyncLimit: 30 });
}

/** A room of `host`'s that `guest` was invited to and joined, as both know. */
export async function sharedRoom(host, guest, options = {}) {
    const { room_id: roomId } = await host.createRoom({
        preset: "private_chat",
        name: "A room",
        invite: [guest.getUserId()],
        ...options,
    });
    await until(guest, () => guest.getRoom(roomId)?.getMyMembership() === "invite", "the invite");
    await guest.joinRoom(roomId);
    await until(guest, () => guest.getRoom(roomId)?.getMyMembership() === "join", "its own join");
    await until(host, () => host.getRoom(roomId)?.getMember(guest.getUserId())?.membership === "join", "the join");
    return roomId;
}

/** Run a story with two users, named after it; everything is stopped whatever happens. */
export async function tell(story) {
    const [baseUrl, suffix, password] = process.argv.slice(2);
    const users = [];
    try {
        for (const name of ["alice", "bob"]) users.push(await user(baseUrl, `${name}-${suffix}`, password));
        await story(...users);
    } catch (error) {
        process.stderr.write(`${error.stack}\n`);
        process.exitCode = 1;
    } finally {
        users.forEach((client) => client.stopClient());
    }
    // The SDK may leave a long poll and timers behind; what was written has to get out first.
    process.stdout.write("", () => process.exit());
}
