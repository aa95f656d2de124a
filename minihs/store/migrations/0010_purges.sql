-- Removing what is stored of rooms that everybody here has forgotten, in slices that a restart carries on.

CREATE TABLE purges (
    room_id       TEXT PRIMARY KEY,
    due_ms        INTEGER NOT NULL,         -- wall clock: not before
    upto_position INTEGER,                  -- NULL: not begun; what came later belongs to a new life of the room
    state_group   INTEGER                   -- the room's last state, which no event may have
) STRICT, WITHOUT ROWID;
CREATE INDEX purges_by_due ON purges (due_ms, room_id) WHERE upto_position IS NULL;

CREATE TABLE number_floors (                -- numbers up to these were given out, though their rows are gone
    counter TEXT PRIMARY KEY,               -- events, receipts, account_data, state_groups
    number  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX events_beside ON events (room_id, position) WHERE standing > 0;
