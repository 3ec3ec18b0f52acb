-- Sessions of this database in a transaction, or with advisory locks, which can outlive a transaction.
SELECT a.pid, a.backend_start, a.xact_start, a.usename, a.application_name, a.state, a.query,
    extract(epoch FROM clock_timestamp() - coalesce(a.state_change, a.backend_start))::float8 AS seconds,
    EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory') AS advisory
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
    AND (a.xact_start IS NOT NULL OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory'))
