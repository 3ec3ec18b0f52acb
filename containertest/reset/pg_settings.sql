-- What CREATE DATABASE ... TEMPLATE does not copy, of the current database.
SELECT
    d.datacl::text[],
    d.datconnlimit,
    d.datistemplate,
    shobj_description(d.oid, 'pg_database'),
    pg_get_userbyid(d.datdba),
    ARRAY(
        SELECT json_build_array(
            CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END,
            split_part(item, '=', 1),
            substr(item, strpos(item, '=') + 1)
        )::text
        FROM pg_db_role_setting s, unnest(s.setconfig) item WHERE s.setdatabase = d.oid ORDER BY s.setrole, item
    ),
    ARRAY(
        SELECT json_build_array(
            CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END, privilege_type, is_grantable
        )::text
        FROM aclexplode(d.datacl) ORDER BY grantee, privilege_type
    )
FROM pg_database d
WHERE d.datname = %s
