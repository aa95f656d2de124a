-- What /sync keeps of its own: receipts, and indexes for visibility and membership history.

CREATE TABLE receipts (
    room_id        TEXT NOT NULL,
    receipt_type   TEXT NOT NULL,           -- m.read, m.read.private
    user_id        TEXT NOT NULL,
    thread_id      TEXT NOT NULL,           -- '' for unthreaded, 'main', or the thread's root
    event_id       TEXT NOT NULL,
    event_position INTEGER,                 -- NULL: an event that is not here (yet)
    ts             INTEGER NOT NULL,
    position       INTEGER NOT NULL,        -- in the stream of receipts
    PRIMARY KEY (room_id, receipt_type, user_id, thread_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_by_position ON receipts (room_id, position);
CREATE INDEX receipts_stream ON receipts (position);

CREATE INDEX events_of_visibility ON events (room_id, position) WHERE type = 'm.room.history_visibility';
CREATE INDEX events_of_membership ON events (room_id, state_key, position) WHERE type = 'm.room.member';
CREATE INDEX state_changes_by_key ON state_changes (room_id, type, state_key, position);
