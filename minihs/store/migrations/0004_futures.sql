-- Futures: what is scheduled, what became of it, tokens, and the secrets that tokens derive from.

CREATE TABLE futures (
    future_id   INTEGER PRIMARY KEY,        -- in order of scheduling; never reused
    id_hash     BLOB NOT NULL UNIQUE,       -- of delay_id, which is looked up by it alone
    delay_id    TEXT NOT NULL,
    group_id    INTEGER NOT NULL,           -- the future_id of the group's first member
    group_name  TEXT,                       -- as its owner chose it
    owner       TEXT NOT NULL,
    room_id     TEXT NOT NULL,
    type        TEXT NOT NULL,
    state_key   TEXT,
    timeout_ms  INTEGER,                    -- NULL: an action future
    started_ms  INTEGER NOT NULL,           -- steady clock; while a timer runs, future_timers is newer
    since_ts    INTEGER NOT NULL,           -- the same by the wall clock, for showing
    cancel_rule INTEGER NOT NULL,           -- 0 never, 1 other sender, 2 any
    slot_hash   INTEGER,                    -- of room, type and state key, when newer state may end it
    dialect     TEXT NOT NULL,
    reveals_id  INTEGER NOT NULL,           -- whether the sender reads delay_id in `unsigned`
    part        TEXT,                       -- what its dialect calls it within the group
    bound_type  TEXT,                       -- the state event that it came with: a newer one ends it
    bound_key   TEXT,
    bound_hash  INTEGER,                    -- like slot_hash, of room, bound_type and bound_key
    payload     BLOB NOT NULL,              -- JSON: content and what else goes into the event or a listing
    outcome     INTEGER,                    -- NULL: scheduled; 1 sent, 2 cancelled, 3 failed
    cause       TEXT,                       -- delay, action, group, state or account
    finalised_ts INTEGER,                   -- wall clock
    event_id    TEXT,                       -- when sent
    error       BLOB,                       -- JSON, when failed
    finalised_position INTEGER              -- in the stream of outcomes, for /sync
) STRICT;
CREATE INDEX futures_of_group ON futures (group_id, future_id) WHERE outcome IS NULL;
CREATE INDEX futures_by_name ON futures (group_name) WHERE outcome IS NULL AND group_name IS NOT NULL;
CREATE INDEX futures_scheduled ON futures (owner, future_id) WHERE outcome IS NULL;
CREATE INDEX futures_finalised ON futures (owner, finalised_ts, future_id) WHERE outcome IS NOT NULL;
CREATE INDEX futures_by_end ON futures (finalised_ts, future_id) WHERE outcome IS NOT NULL;
CREATE INDEX futures_by_slot ON futures (slot_hash, group_id) WHERE outcome IS NULL AND slot_hash IS NOT NULL;
CREATE INDEX futures_by_bond ON futures (bound_hash, group_id)
    WHERE outcome IS NULL AND bound_hash IS NOT NULL;
CREATE INDEX futures_news ON futures (owner, finalised_position) WHERE finalised_position IS NOT NULL;
CREATE INDEX futures_by_position ON futures (finalised_position) WHERE finalised_position IS NOT NULL;

CREATE TABLE future_timers (                -- apart, so that a heartbeat writes a few integers and no content
    future_id  INTEGER PRIMARY KEY,
    started_ms INTEGER NOT NULL,
    since_ts   INTEGER NOT NULL,
    due_ms     INTEGER NOT NULL             -- steady clock
) STRICT;
CREATE INDEX future_timers_by_due ON future_timers (due_ms, future_id);

CREATE TABLE future_counts (                -- scheduled futures of each user
    owner     TEXT PRIMARY KEY,
    scheduled INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER future_scheduled AFTER INSERT ON futures WHEN NEW.outcome IS NULL BEGIN
    INSERT INTO future_counts (owner, scheduled) VALUES (NEW.owner, 1)
        ON CONFLICT (owner) DO UPDATE SET scheduled = scheduled + 1;
END;
CREATE TRIGGER future_finalised AFTER UPDATE OF outcome ON futures
    WHEN OLD.outcome IS NULL AND NEW.outcome IS NOT NULL BEGIN
    UPDATE future_counts SET scheduled = scheduled - 1 WHERE owner = NEW.owner;
END;

-- Whatever else may go wrong: a batch that would send a finalised future is not stored, its event included.
CREATE TRIGGER future_has_one_outcome BEFORE UPDATE OF outcome ON futures WHEN OLD.outcome IS NOT NULL BEGIN
    SELECT RAISE(ABORT, 'a future has one outcome');
END;

CREATE TABLE future_tokens (                -- what a token does, found by its hash; tokens are not stored
    token_hash BLOB PRIMARY KEY,
    future_id  INTEGER NOT NULL,
    purpose    TEXT NOT NULL                -- send, cancel, refresh, or of a whole group: batch, expiration
) STRICT, WITHOUT ROWID;
CREATE INDEX future_tokens_of ON future_tokens (future_id, token_hash);

CREATE TABLE steady_clock (                 -- what carries the steady clock over a restart; one row
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    offset_ms INTEGER NOT NULL,             -- wall time minus steady time, never less than it was
    seen_ms   INTEGER NOT NULL              -- steady time that has certainly passed
) STRICT;

CREATE TABLE IF NOT EXISTS secrets (        -- keys of this server that nobody else ever sees
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
