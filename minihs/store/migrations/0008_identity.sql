-- Whose database this is. Every ID in it ends in this name, so it can never become another server's.

CREATE TABLE identity (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    server_name TEXT NOT NULL
) STRICT;
