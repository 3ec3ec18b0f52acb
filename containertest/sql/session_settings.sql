-- The settings of this session that differ from those it began with; role and session user are not in the view.
SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session'
UNION ALL SELECT 'role', pg_catalog.current_setting('role')
UNION ALL SELECT 'session_authorization', session_user::text
