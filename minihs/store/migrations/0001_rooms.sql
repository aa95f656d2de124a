-- Rooms, events, state, memberships and the outbound federation log.

CREATE TABLE rooms (
    room_id     TEXT PRIMARY KEY,
    version     TEXT NOT NULL,
    state_group INTEGER NOT NULL,           -- the resolved current state
    in_directory INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    position     INTEGER PRIMARY KEY,       -- order of arrival; negative: history fetched later
    event_id     TEXT NOT NULL UNIQUE,
    room_id      TEXT NOT NULL,
    type         TEXT NOT NULL,
    state_key    TEXT,
    sender       TEXT NOT NULL,
    depth        INTEGER NOT NULL,
    origin_server_ts INTEGER NOT NULL,
    standing     INTEGER NOT NULL,          -- 0 accepted, 1 soft-failed, 2 rejected, 3 outlier, 4 rejected outlier
    refusal      TEXT,                      -- why it was soft-failed or rejected, with the rule's number
    before_group INTEGER,                   -- state before the event; NULL for outliers
    after_group  INTEGER,                   -- state after it
    redacted_by  TEXT,                      -- the accepted redaction that applies to it
    device_id    TEXT,                      -- the sending device and its transaction ID, for its `unsigned`
    txn_id       TEXT,
    delay_id     TEXT,                      -- the future it once was, for its sender's `unsigned`
    pdu          BLOB NOT NULL              -- the PDU as JSON, as signed
) STRICT;
CREATE INDEX events_by_room ON events (room_id, position) WHERE standing = 0;
CREATE INDEX events_by_depth ON events (room_id, depth, position) WHERE standing = 0;

CREATE TABLE event_edges (
    prev_event_id TEXT NOT NULL,
    event_id      TEXT NOT NULL,
    PRIMARY KEY (prev_event_id, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE redactions (                   -- which event each redaction names
    redacts  TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (redacts, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE forward_extremities (
    room_id  TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (room_id, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE state_groups (
    state_group  INTEGER PRIMARY KEY,
    prev_group   INTEGER,                   -- NULL: a snapshot
    chain_length INTEGER NOT NULL           -- how many deltas up to the snapshot
) STRICT;

CREATE TABLE state_group_entries (
    state_group INTEGER NOT NULL,
    type        TEXT NOT NULL,
    state_key   TEXT NOT NULL,
    event_id    TEXT,                       -- NULL: removed by a resolution
    PRIMARY KEY (state_group, type, state_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE state_changes (                -- the stream of changes to rooms' current state
    position  INTEGER NOT NULL,             -- of the event with which the change came
    room_id   TEXT NOT NULL,
    type      TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_id  TEXT,                         -- NULL: no longer set
    prev_event_id TEXT,
    PRIMARY KEY (room_id, position, type, state_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE memberships (                  -- current membership of everybody, local and remote
    user_id    TEXT NOT NULL,
    room_id    TEXT NOT NULL,
    membership TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    sender     TEXT NOT NULL,
    position   INTEGER NOT NULL,            -- event stream position of the last change
    forgotten  INTEGER NOT NULL DEFAULT 0,
    invite_state BLOB,                      -- stripped state (JSON list) of an invite or knock from afar
    PRIMARY KEY (user_id, room_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_by_room ON memberships (room_id, membership, user_id);

CREATE TABLE destination_sets (
    destination_set INTEGER PRIMARY KEY,
    servers         TEXT NOT NULL UNIQUE    -- JSON list, sorted
) STRICT;

CREATE TABLE outbound_events (              -- one row for each local event that other servers must get
    position        INTEGER PRIMARY KEY,    -- events.position
    destination_set INTEGER NOT NULL
) STRICT;

CREATE TABLE destinations (                 -- the cursor and the back-off of each remote server
    server_name      TEXT PRIMARY KEY,
    sent_position    INTEGER NOT NULL,      -- everything up to here is delivered
    failing_since_ms INTEGER,
    retry_at_ms      INTEGER,
    retry_interval_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE transactions (                 -- replies to client requests that carried a transaction ID
    user_id    TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    scope      TEXT NOT NULL,               -- the path without the transaction ID, in one spelling
    txn_id     TEXT NOT NULL,
    reply      BLOB NOT NULL,               -- JSON
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, scope, txn_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX transactions_by_age ON transactions (created_ms);
