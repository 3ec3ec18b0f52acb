-- Tables that can be written in this database, with what deleting from them and inserting into them has to mind.
WITH RECURSIVE tables AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, pg_has_role(c.relowner, 'USAGE') AS owned, c.relkind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'containertest')
), trees AS (
    SELECT oid AS root, oid AS member FROM tables
    UNION
    SELECT t.root, i.inhrelid FROM trees t JOIN pg_inherits i ON i.inhparent = t.member
), cares AS (
    SELECT tgrelid AS rel, CASE WHEN tgenabled IN ('A', 'R') THEN 2 WHEN tgtype & 8 <> 0 THEN 1 ELSE 0 END AS care
    FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 12 <> 0
    UNION ALL
    SELECT ev_class, CASE WHEN ev_enabled IN ('A', 'R') THEN 2 WHEN ev_type = '4' THEN 1 ELSE 0 END
    FROM pg_rewrite WHERE ev_type IN ('3', '4') AND ev_enabled <> 'D'
    UNION ALL
    SELECT oid, 2 FROM pg_class WHERE relkind = 'f'
    UNION ALL
    SELECT oid, 2 FROM pg_class WHERE relforcerowsecurity
        AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)
)
SELECT
    t.oid::bigint,
    t.name,
    ARRAY(
        SELECT quote_ident(attname) FROM pg_attribute
        WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
    )::text[],
    ARRAY(SELECT member::bigint FROM trees WHERE root = t.oid),
    coalesce((SELECT max(care) FROM trees JOIN cares ON rel = member WHERE root = t.oid), 0),
    t.owned
FROM tables t
ORDER BY t.name
