-- Keys of other servers, what has been received from them, and what the outbound queues need beyond 0001.

CREATE TABLE server_keys (                  -- every key of another server that was ever proven to be its own
    server_name   TEXT NOT NULL,
    key_id        TEXT NOT NULL,            -- "ed25519:a_XXXX"
    public_key    TEXT NOT NULL,            -- unpadded base64
    valid_until_ms INTEGER NOT NULL,        -- good for what was signed up to here; for an old key, its end
    is_old        INTEGER NOT NULL,         -- 1: listed under old_verify_keys, good for events only
    fetched_ms    INTEGER NOT NULL,
    PRIMARY KEY (server_name, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE server_key_documents (         -- the last good answer of each server, for those who ask us as notary
    server_name    TEXT PRIMARY KEY,
    document       BLOB NOT NULL,           -- JSON, signed by that server
    valid_until_ms INTEGER NOT NULL,
    fetched_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last position of a transaction that was sent and not yet answered: after a restart it is repeated
-- with the same contents and the same transaction ID.
ALTER TABLE destinations ADD COLUMN sending_position INTEGER;

CREATE TABLE destination_set_members (      -- destination_sets the other way round
    server_name     TEXT NOT NULL,
    destination_set INTEGER NOT NULL,
    PRIMARY KEY (server_name, destination_set)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER destination_set_added AFTER INSERT ON destination_sets BEGIN
    INSERT INTO destination_set_members (server_name, destination_set)
    SELECT DISTINCT value, NEW.destination_set FROM json_each(NEW.servers);
END;
CREATE INDEX outbound_events_by_set ON outbound_events (destination_set, position);
