-- Which events relate to which: reactions, edits, threads, references.

CREATE TABLE relations (
    relates_to TEXT NOT NULL,
    event_id   TEXT NOT NULL,               -- may have lost its relation by a redaction since
    rel_type   TEXT NOT NULL,
    PRIMARY KEY (relates_to, event_id)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO relations (relates_to, event_id, rel_type)
SELECT relates ->> 'event_id', event_id, relates ->> 'rel_type' FROM (
    SELECT event_id, CAST(pdu AS TEXT) -> '$.content."m.relates_to"' AS relates FROM events WHERE standing < 3
) WHERE json_type(relates, '$.event_id') = 'text' AND json_type(relates, '$.rel_type') = 'text';
