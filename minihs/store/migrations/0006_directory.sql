-- Aliases of this server, and the rooms it publishes (`rooms.in_directory`).

CREATE TABLE aliases (
    alias      TEXT PRIMARY KEY,
    room_id    TEXT NOT NULL,
    creator    TEXT NOT NULL,               -- may always remove it
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_by_room ON aliases (room_id, alias);

CREATE INDEX rooms_in_directory ON rooms (room_id) WHERE in_directory = 1;
