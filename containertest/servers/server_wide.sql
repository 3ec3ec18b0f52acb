-- A digest of what belongs to the whole server and migrations may change: roles, who is a member of whom, settings of
-- roles and of ALTER SYSTEM, comments, tablespaces, replication slots and origins, and the databases that are always
-- there. What belongs to one of ours is not in it: they come and go.
SELECT md5(concat(
    (SELECT string_agg(a::text, ',' ORDER BY oid) FROM pg_authid a),
    (SELECT string_agg(m::text, ',' ORDER BY m::text) FROM pg_auth_members m),
    (SELECT string_agg(s::text, ',' ORDER BY s::text) FROM pg_db_role_setting s WHERE setdatabase = 0),
    (SELECT string_agg(t::text, ',' ORDER BY oid) FROM pg_tablespace t),
    (SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots),
    (SELECT string_agg(f.name || f.setting, ',' ORDER BY seqno)
        FROM pg_file_settings f WHERE sourcefile ~ 'postgresql\.auto\.conf$'),
    (SELECT string_agg(c::text, ',' ORDER BY c::text) FROM pg_shdescription c WHERE classoid <> 'pg_database'::regclass),
    (SELECT string_agg(concat(datacl, datconnlimit, (
        SELECT string_agg(s::text, ',' ORDER BY s::text) FROM pg_db_role_setting s WHERE setdatabase = d.oid
    )), ',' ORDER BY oid) FROM pg_database d WHERE datname IN ('postgres', 'template1')),
    (SELECT string_agg(o::text, ',' ORDER BY o::text) FROM pg_replication_origin o)
))
