-- Accounts of this server: users, devices, access tokens, profiles, filters, account data.

CREATE TABLE users (
    user_id       TEXT PRIMARY KEY,
    password_hash TEXT,                     -- Argon2, in its own encoding; NULL: nobody can log in by password
    is_guest      INTEGER NOT NULL DEFAULT 0,
    is_admin      INTEGER NOT NULL DEFAULT 0,
    is_locked     INTEGER NOT NULL DEFAULT 0,
    is_suspended  INTEGER NOT NULL DEFAULT 0,
    deactivated_ms INTEGER,                 -- when; NULL: active. A deactivated account keeps its name
    created_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    user_id      TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    display_name TEXT,
    created_ms   INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,          -- to within some minutes
    last_seen_ip TEXT NOT NULL,
    last_seen_user_agent TEXT,
    PRIMARY KEY (user_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE access_tokens (
    token_hash BLOB PRIMARY KEY,            -- SHA-256; the tokens have 256 bits of entropy, so no salt
    user_id    TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX access_tokens_by_device ON access_tokens (user_id, device_id);

CREATE TABLE profiles (                     -- of local users; one row for each field that is set
    user_id TEXT NOT NULL,
    field   TEXT NOT NULL,
    value   BLOB NOT NULL,                  -- JSON
    PRIMARY KEY (user_id, field)
) STRICT, WITHOUT ROWID;

CREATE TABLE filters (
    user_id    TEXT NOT NULL,
    filter_id  TEXT NOT NULL,               -- follows from the definition
    definition BLOB NOT NULL,               -- JSON, as it came
    PRIMARY KEY (user_id, filter_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE account_data (                 -- private to a user; push rules and tags too
    user_id  TEXT NOT NULL,
    room_id  TEXT NOT NULL,                 -- '' for what belongs to no room
    type     TEXT NOT NULL,
    content  BLOB NOT NULL,                 -- JSON object
    position INTEGER NOT NULL,              -- in the stream of account data
    PRIMARY KEY (user_id, room_id, type)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_data_by_position ON account_data (user_id, position);
CREATE INDEX account_data_stream ON account_data (position);
