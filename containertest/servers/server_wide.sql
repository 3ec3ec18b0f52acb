-- A digest of what belongs to the whole server and migrations may change: roles, who is a member of whom, settings of
-- roles, tablespaces, replication slots and origins. What belongs to one database is not in it.
SELECT md5(concat(
    (SELECT string_agg(a::text, ',' ORDER BY oid) FROM pg_authid a),
    (SELECT string_agg(m::text, ',' ORDER BY m::text) FROM pg_auth_members m),
    (SELECT string_agg(s::text, ',' ORDER BY s::text) FROM pg_db_role_setting s WHERE setdatabase = 0),
    (SELECT string_agg(t::text, ',' ORDER BY oid) FROM pg_tablespace t),
    (SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots),
    (SELECT string_agg(o::text, ',' ORDER BY o::text) FROM pg_replication_origin o)
))
