-- The horizon of a clone that was made ahead and has its name now; nothing if somebody has written since "noted".
-- That the snapshot ends with our own transaction id says that nobody has got one in between.
SELECT pg_current_xact_id()::text::bigint + 1
WHERE pg_snapshot_xmax(pg_current_snapshot()) = pg_current_xact_id()
    AND (SELECT count(*) = 1 FROM containertest.marks)
    AND NOT EXISTS (SELECT FROM containertest.notes n WHERE pg_sequence_last_value(n.seq) >= %(noted)s)
