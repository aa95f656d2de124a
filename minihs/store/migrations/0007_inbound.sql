-- Transactions from other servers: replies already given, and PDUs that were taken but not yet judged.

CREATE TABLE inbound_transactions (
    origin      TEXT NOT NULL,
    txn_id      TEXT NOT NULL,
    reply       BLOB NOT NULL,              -- JSON
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (origin, txn_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbound_transactions_by_age ON inbound_transactions (received_ms);

CREATE TABLE inbound_pdus (                 -- acknowledged before they were judged, because that took too long
    position    INTEGER PRIMARY KEY,        -- order of arrival
    origin      TEXT NOT NULL,
    room_id     TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    pdu         BLOB NOT NULL,              -- JSON
    received_ms INTEGER NOT NULL,
    UNIQUE (room_id, event_id)
) STRICT;

CREATE TABLE distant_rooms (                -- rooms of which we know no more than an invite or a knock tells
    room_id TEXT PRIMARY KEY,
    version TEXT NOT NULL
) STRICT, WITHOUT ROWID;
