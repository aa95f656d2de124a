-- Finding a room's event nearest to a moment.

CREATE INDEX events_by_time ON events (room_id, origin_server_ts) WHERE standing = 0;
