"""The schema in numbered steps, `NNNN_name.sql`: run in order by `store.database`, never changed again."""
