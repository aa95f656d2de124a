-- Most futures are a group of their own, whose number is their ID: the index holds the other members only, so that
-- scheduling and finalising such a future writes one page less.

DROP INDEX futures_of_group;
CREATE INDEX futures_of_group ON futures (group_id, future_id) WHERE outcome IS NULL AND group_id <> future_id;
