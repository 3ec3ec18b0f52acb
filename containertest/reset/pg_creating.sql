-- Ends the sessions whose statement begins with one of "begins"; their number.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND state = 'active'
    AND EXISTS (SELECT FROM unnest(%(begins)s::text[]) AS begin WHERE starts_with(query, begin))
