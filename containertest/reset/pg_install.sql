-- What tracking needs, in a schema of its own. Run once, in the template database, by pg_prepare.py, which
-- then adds a trigger to each table and generates wipe(), strayed() and unlogged_moved().
--
-- "Fresh" is what was written since the horizon, the transaction id at which everything there was baseline.
-- age() counts from the current transaction backwards, so a row is fresh when age(xmin) <= age(horizon).

CREATE SCHEMA containertest;
GRANT USAGE ON SCHEMA containertest TO PUBLIC;

-- One row for each statement that wrote. 0 is always there: it is lost, with all unlogged data, when the server
-- crashes. 1 stands for DDL. No index: concurrent writers must not wait for each other.
CREATE UNLOGGED TABLE containertest.marks (rel oid NOT NULL);
GRANT INSERT ON containertest.marks TO PUBLIC;
INSERT INTO containertest.marks VALUES (0);

CREATE TABLE containertest.tracked (
    rel oid PRIMARY KEY,
    place int NOT NULL,                    -- the order of deletion: what references others comes first
    name text NOT NULL,                    -- quoted and qualified
    columns text[] NOT NULL,               -- those that can be inserted, quoted
    members oid[] NOT NULL,                -- itself and all tables that inherit from it, partitions included
    care int NOT NULL,                     -- 1: only with triggers and rules off; 2: only by a new clone
    rows bigint NOT NULL DEFAULT 0,        -- of its own, in the current baseline
    template_rows bigint NOT NULL DEFAULT 0,
    copied boolean NOT NULL DEFAULT true,  -- template_lines has all its rows
    in_snapshot boolean NOT NULL DEFAULT false
);
-- The baseline's rows, as text: a column of a user's type would stop the user from dropping that type.
CREATE TABLE containertest.template_lines (rel oid NOT NULL, line text NOT NULL);
CREATE TABLE containertest.snapshot_lines (rel oid NOT NULL, line text NOT NULL);
CREATE INDEX ON containertest.template_lines (rel);
CREATE INDEX ON containertest.snapshot_lines (rel);

CREATE TABLE containertest.sequences (
    rel oid PRIMARY KEY,
    name text NOT NULL,
    caching boolean NOT NULL,              -- sessions take several values at once
    last_value bigint NOT NULL,            -- in the current baseline
    is_called boolean NOT NULL,
    template_value bigint NOT NULL,
    template_called boolean NOT NULL,
    in_snapshot boolean NOT NULL DEFAULT false
);

-- How many there are in the baseline of things that have neither triggers nor event triggers.
CREATE TABLE containertest.counts (
    event_triggers bigint NOT NULL,
    settings bigint NOT NULL,
    comments bigint NOT NULL,
    objects bigint NOT NULL,
    pages bigint NOT NULL
);
INSERT INTO containertest.counts VALUES (0, 0, 0, 0, 0);

CREATE FUNCTION containertest.mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO containertest.marks VALUES (TG_RELID);
    RETURN NULL;
END $$;

-- DDL, but not that on temporary objects, nor IF [NOT] EXISTS with nothing to do.
CREATE FUNCTION containertest.mark_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    permanent boolean;
BEGIN
    IF pg_catalog.current_setting('containertest.resetting', true) = 'on' THEN
        RETURN;
    END IF;
    IF TG_EVENT = 'sql_drop' THEN
        SELECT NOT pg_catalog.bool_and(is_temporary) INTO permanent
        FROM pg_catalog.pg_event_trigger_dropped_objects();
    ELSE
        SELECT pg_catalog.bool_or(schema_name IS DISTINCT FROM 'pg_temp') INTO permanent
        FROM pg_catalog.pg_event_trigger_ddl_commands();
        IF permanent IS NULL THEN
            permanent := TG_TAG = 'DROP OWNED' OR NOT (TG_TAG LIKE 'CREATE %' OR TG_TAG LIKE 'DROP %');
        END IF;
    END IF;
    IF permanent THEN
        INSERT INTO containertest.marks VALUES (1);
    END IF;
END $$;

-- Whether another session of this database is in a transaction or holds a lock. Every transaction holds the lock
-- on its own virtual id, which names no database. The locks cost far less to look at than pg_stat_activity.
CREATE FUNCTION containertest.others_busy(database oid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_catalog.pg_lock_status() l
        WHERE l.pid <> pg_catalog.pg_backend_pid() AND (l.locktype = 'virtualxid' OR l.database = others_busy.database)
    ) AND EXISTS (
        SELECT FROM pg_catalog.pg_stat_activity a
        WHERE a.datid = others_busy.database AND a.pid <> pg_catalog.pg_backend_pid()
            AND a.backend_type = 'client backend'
            AND (a.xact_start IS NOT NULL
                OR EXISTS (SELECT FROM pg_catalog.pg_lock_status() l WHERE l.pid = a.pid AND l.locktype = 'advisory'))
    );
END $$;

-- Users' triggers, foreign keys and rules off until the transaction ends; false without the right to do so.
CREATE FUNCTION containertest.triggers_off() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.set_config('session_replication_role', 'replica', true);
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN false;
END $$;

-- Sequences that are not as in the baseline. pg_sequence_last_value() is the fastest way to read one, but
-- returns NULL for any value that is not called yet: strayed() reads those that are so in the template.
CREATE FUNCTION containertest.moved() RETURNS oid[] LANGUAGE plpgsql AS $$
DECLARE
    result oid[];
    odd oid[];
    strays oid[];
    differs boolean;
    s containertest.sequences;
BEGIN
    SELECT array_agg(rel) FILTER (WHERE is_called), array_agg(rel) FILTER (WHERE NOT is_called) INTO result, odd
    FROM containertest.sequences
    WHERE CASE WHEN is_called THEN pg_sequence_last_value(rel) IS DISTINCT FROM last_value ELSE in_snapshot END;
    strays := containertest.strayed();
    IF strays <> '{}' THEN
        SELECT result || array_agg(rel) INTO result FROM containertest.sequences
        WHERE rel = ANY (strays) AND NOT is_called AND NOT in_snapshot;
    END IF;
    IF odd IS NOT NULL THEN
        FOR s IN SELECT * FROM containertest.sequences WHERE rel = ANY (odd) LOOP
            EXECUTE format('SELECT is_called OR last_value <> $1 FROM %s', s.name) INTO differs USING s.last_value;
            IF differs THEN
                result := result || s.rel;
            END IF;
        END LOOP;
    END IF;
    RETURN result;
END $$;

-- All sessions drop values they have taken ahead when the sequence gets a new file, which ALTER SEQUENCE does.
CREATE FUNCTION containertest.set_back(moved oid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s containertest.sequences;
BEGIN
    FOR s IN SELECT * FROM containertest.sequences WHERE rel = ANY (moved) LOOP
        IF s.caching THEN
            PERFORM set_config('containertest.resetting', 'on', true);
            EXECUTE format('ALTER SEQUENCE %s RESTART', s.name);
            PERFORM set_config('containertest.resetting', 'off', true);
        END IF;
        PERFORM setval(s.rel::regclass, s.last_value, s.is_called);
    END LOOP;
    DISCARD SEQUENCES;  -- or currval() would return what setval() has set
END $$;

-- One table to its baseline. Only with triggers off: others may reference its rows.
CREATE FUNCTION containertest.refill(table_oid oid, fresh int) RETURNS boolean
LANGUAGE plpgsql
SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = '3' SET bytea_output = 'hex'
SET lc_monetary = 'C' SET xmloption = 'content' SET row_security = 'off' AS $$
DECLARE
    t containertest.tracked;
BEGIN
    SELECT * INTO t FROM containertest.tracked WHERE rel = table_oid;
    IF NOT (t.copied OR t.in_snapshot) THEN
        RETURN false;
    END IF;
    EXECUTE format('DELETE FROM ONLY %s WHERE age(xmin) <= $1', t.name) USING fresh;
    PERFORM containertest.insert_missing(t);
    RETURN true;
END $$;

CREATE FUNCTION containertest.insert_missing(t containertest.tracked) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF t.rows > 0 AND t.columns = '{}' THEN
        EXECUTE format('INSERT INTO %1$s SELECT FROM generate_series(1, $1 - (SELECT count(*) FROM ONLY %1$s))', t.name)
        USING t.rows;
    ELSIF t.rows > 0 THEN
        EXECUTE format(
            'INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE SELECT %3$s FROM ('
                'SELECT line::%1$s AS containertest_row FROM ('
                    'SELECT line FROM containertest.%4$s_lines WHERE rel = $1'
                    ' EXCEPT ALL SELECT containertest_row::text FROM ONLY %1$s containertest_row) lines OFFSET 0) lost',
            t.name, array_to_string(t.columns, ', '),
            (SELECT string_agg('(containertest_row).' || c, ', ' ORDER BY i) FROM unnest(t.columns) WITH ORDINALITY u(c, i)),
            CASE WHEN t.in_snapshot THEN 'snapshot' ELSE 'template' END
        ) USING t.rel;
    END IF;
END $$;

-- Copies a table's rows as text and returns their number, or -1 without copying when there are more than most.
CREATE FUNCTION containertest.copy_lines(t containertest.tracked, target text, most bigint) RETURNS bigint
LANGUAGE plpgsql
SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = '3' SET bytea_output = 'hex'
SET lc_monetary = 'C' SET xmloption = 'content' SET row_security = 'off' AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ONLY %s', t.name) INTO found;
    IF found BETWEEN 1 AND most THEN
        EXECUTE format(
            'INSERT INTO containertest.%s SELECT $1, containertest_row::text FROM ONLY %s containertest_row',
            target, t.name
        ) USING t.rel;
    END IF;
    RETURN found;
END $$;

-- What there is besides tables and sequences: '' when as in the baseline, 'objects' for new large objects only,
-- 'settings' for what ALTER DATABASE, GRANT and COMMENT ON DATABASE set, 'clone' for anything worse.
CREATE FUNCTION containertest.besides(database oid, fresh int, settled boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    c containertest.counts;
    kept bigint;
    added bigint;
    pages bigint;
    ok boolean;
    same_settings boolean;
BEGIN
    SELECT * INTO c FROM containertest.counts;
    SELECT
        (SELECT count(*) FILTER (WHERE age(xmin) > fresh) = c.event_triggers AND count(*) = c.event_triggers
            FROM pg_event_trigger),
        settled OR (
            (SELECT age(xmin) > fresh FROM pg_database WHERE oid = database)
            AND (SELECT count(*) FILTER (WHERE age(xmin) > fresh) = c.settings AND count(*) = c.settings
                FROM pg_db_role_setting WHERE setdatabase = database)
            AND (SELECT count(*) FILTER (WHERE age(xmin) > fresh) = c.comments AND count(*) = c.comments
                FROM pg_shdescription WHERE objoid = database AND classoid = 'pg_database'::regclass)),
        (SELECT count(*) FILTER (WHERE age(xmin) > fresh) FROM pg_largeobject_metadata),
        (SELECT count(*) FILTER (WHERE age(xmin) <= fresh) FROM pg_largeobject_metadata)
    INTO ok, same_settings, kept, added;
    IF NOT ok OR kept <> c.objects THEN
        RETURN 'clone';
    END IF;
    IF kept > 0 AND c.pages >= 0 THEN
        SELECT count(*) FILTER (WHERE age(p.xmin) > fresh), count(*) FILTER (WHERE age(m.xmin) > fresh)
        INTO kept, pages FROM pg_largeobject p JOIN pg_largeobject_metadata m ON m.oid = p.loid;
        IF kept <> c.pages OR pages <> c.pages THEN
            RETURN 'clone';
        END IF;
    END IF;
    IF NOT same_settings THEN
        RETURN 'settings';
    END IF;
    RETURN CASE WHEN added > 0 THEN 'objects' ELSE '' END;
END $$;

-- The whole reset, in one call. Returns a word and what Python has to remember or to do:
--   clean XMAX                  nothing to do; nothing is written as long as XMAX is the snapshot's xmax
--   done XMAX HORIZON DELETED   brought back
--   busy, prepared, settings, clone, lost    see postgres.py
CREATE FUNCTION containertest.reset(database oid, seen text, horizon xid, patient boolean, settled boolean)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    alone boolean;
BEGIN
    PERFORM pg_catalog.pg_advisory_unlock_all();
    IF pg_catalog.current_setting('max_prepared_transactions') <> '0'
        AND EXISTS (SELECT FROM pg_catalog.pg_prepared_xact() p WHERE p.dbid = database) THEN
        RETURN 'prepared';
    END IF;
    alone := pg_catalog.pg_stat_get_db_numbackends(database) <= 1;
    IF patient AND NOT alone AND containertest.others_busy(database) THEN
        RETURN 'busy';
    END IF;
    IF pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text = seen
        AND NOT containertest.unlogged_moved() THEN
        RETURN 'clean ' || seen;
    END IF;
    RETURN containertest.bring_back(database, horizon, alone, settled);
END $$;

CREATE FUNCTION containertest.bring_back(database oid, horizon xid, alone boolean, settled boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    fresh int := age(horizon);
    marked oid[];
    moved oid[];
    verdict text;
    own xid8;
    snapshot pg_snapshot;
    off boolean := false;
    deleted bigint := 0;
    n bigint;
    t record;
    member oid;
BEGIN
    SELECT array_agg(DISTINCT rel) INTO marked FROM containertest.marks;
    IF marked IS NULL OR marked[1] <> 0 THEN
        RETURN 'lost';
    ELSIF marked[2] = 1 THEN
        RETURN 'clone';
    END IF;
    verdict := containertest.besides(database, fresh, settled);
    IF verdict IN ('clone', 'settings') THEN
        RETURN verdict;
    END IF;
    moved := containertest.moved();
    IF marked = '{0}' AND moved IS NULL AND verdict = '' AND NOT settled THEN
        snapshot := pg_current_snapshot();
        RETURN 'clean ' || CASE WHEN alone OR pg_snapshot_xmin(snapshot) = pg_snapshot_xmax(snapshot)
            THEN pg_snapshot_xmax(snapshot)::text ELSE '0' END;
    END IF;

    -- From here on a transaction id of our own: what others write later is fresh the next time, and what they
    -- wrote before is seen by the statement that reads the marks.
    own := pg_current_xact_id();
    snapshot := pg_current_snapshot();
    alone := alone OR pg_snapshot_xmin(snapshot) = own;
    SELECT array_agg(DISTINCT rel) INTO marked FROM containertest.marks;
    FOR t IN
        SELECT k.rel, k.place, k.members, k.care, max(k.care) OVER () AS most_care,
            CASE WHEN cardinality(k.members) = 1 THEN k.rows
                ELSE (SELECT sum(m.rows)::bigint FROM containertest.tracked m WHERE m.rel = ANY (k.members)) END AS rows
        FROM containertest.tracked k WHERE k.rel = ANY (marked) ORDER BY k.place
    LOOP
        IF t.most_care = 2 THEN
            RETURN 'clone';
        ELSIF t.most_care = 1 AND NOT off THEN
            off := containertest.triggers_off();
            IF NOT off THEN
                RETURN 'clone';
            END IF;
        END IF;
        n := containertest.wipe(t.place, fresh, t.rows);
        IF n >= 0 THEN
            deleted := deleted + n;
        ELSE
            off := off OR containertest.triggers_off();
            IF NOT off THEN
                RETURN 'clone';
            END IF;
            FOREACH member IN ARRAY t.members LOOP
                IF NOT containertest.refill(member, fresh) THEN
                    RETURN 'clone';
                END IF;
            END LOOP;
        END IF;
    END LOOP;
    IF verdict = 'objects' THEN
        PERFORM lo_unlink(oid) FROM pg_largeobject_metadata WHERE age(xmin) <= fresh;
    END IF;
    IF moved IS NOT NULL THEN
        PERFORM containertest.set_back(moved);
    END IF;
    IF alone THEN
        DELETE FROM containertest.marks WHERE rel <> 0 AND age(xmin) >= age(own::xid);
        RETURN format('done %s %s %s', own::text::bigint + 1, (own::text::bigint + 1) & 4294967295, deleted);
    END IF;
    DELETE FROM containertest.marks
    WHERE rel <> 0 AND (xmin = own::xid OR age(xmin) > age(pg_snapshot_xmin(snapshot)::xid));
    RETURN format('done 0 %s %s', pg_snapshot_xmin(snapshot)::text::bigint & 4294967295, deleted);
END $$;

-- Taken when the clone is new: all there is is the baseline. Returns the horizon, or '' when it is not new. If
-- there is a "since", the horizon before it was cloned, then whatever has been written in it is fresh.
CREATE FUNCTION containertest.begin(database oid, since text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    marked oid[];
BEGIN
    SELECT array_agg(rel) INTO marked FROM containertest.marks;
    IF marked = '{0}' THEN
        RETURN containertest.count_all(database);
    ELSIF since = '' OR 0::oid <> ALL (coalesce(marked, '{}')) THEN
        RETURN '';
    END IF;
    PERFORM containertest.count_all(database);
    RETURN since;
END $$;

CREATE FUNCTION containertest.count_all(database oid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE containertest.counts SET
        event_triggers = (SELECT count(*) FROM pg_catalog.pg_event_trigger),
        settings = (SELECT count(*) FROM pg_catalog.pg_db_role_setting WHERE setdatabase = database),
        comments = (SELECT count(*) FROM pg_catalog.pg_shdescription
            WHERE objoid = database AND classoid = 'pg_catalog.pg_database'::pg_catalog.regclass),
        objects = (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata);
    IF pg_catalog.has_table_privilege('pg_catalog.pg_largeobject', 'SELECT') THEN
        UPDATE containertest.counts SET pages = (SELECT count(*) FROM pg_catalog.pg_largeobject);
    ELSE
        UPDATE containertest.counts SET pages = -1;
    END IF;
    RETURN ((pg_catalog.pg_current_xact_id()::text::bigint + 1) & 4294967295)::text;
END $$;

-- What is there now becomes the baseline. Returns 'done HORIZON', or 'clone' when that takes more than rows and
-- sequences, or 'same' when nothing was written.
CREATE FUNCTION containertest.snapshot(database oid, horizon xid, most bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    marked oid[];
    moved oid[];
    n bigint;
    s containertest.sequences;
    t containertest.tracked;
BEGIN
    SELECT array_agg(DISTINCT rel) INTO marked FROM containertest.marks;
    IF marked IS NULL OR marked[1] <> 0 OR marked[2] = 1
        OR containertest.besides(database, age(horizon), false) <> '' THEN
        RETURN 'clone';
    END IF;
    moved := containertest.moved();
    IF marked = '{0}' AND moved IS NULL THEN
        RETURN 'same';
    END IF;
    FOR t IN
        SELECT m.* FROM containertest.tracked m
        WHERE m.rel IN (SELECT unnest(k.members) FROM containertest.tracked k WHERE k.rel = ANY (marked))
    LOOP
        IF t.care = 2 OR NOT containertest.triggers_off() THEN
            RETURN 'clone';  -- the rows could not be laid over a new clone
        END IF;
        IF t.in_snapshot THEN
            DELETE FROM containertest.snapshot_lines WHERE rel = t.rel;
        END IF;
        n := containertest.copy_lines(t, 'snapshot_lines', most);
        IF n > most THEN
            RETURN 'clone';
        END IF;
        UPDATE containertest.tracked SET rows = n, in_snapshot = true WHERE rel = t.rel;
    END LOOP;
    IF moved IS NOT NULL THEN
        FOR s IN SELECT * FROM containertest.sequences WHERE rel = ANY (moved) LOOP
            EXECUTE format(
                'UPDATE containertest.sequences SET in_snapshot = true,'
                ' (last_value, is_called) = (SELECT last_value, is_called FROM %s) WHERE rel = $1', s.name
            ) USING s.rel;
        END LOOP;
        PERFORM containertest.set_back(moved);
    END IF;
    DELETE FROM containertest.marks WHERE rel <> 0;
    RETURN format('done %s', (pg_current_xact_id()::text::bigint + 1) & 4294967295);
END $$;

-- The baseline is the template's again; what the snapshot changed is marked for the reset that follows.
CREATE FUNCTION containertest.forget_snapshot() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO containertest.marks SELECT rel FROM containertest.tracked WHERE in_snapshot;
    UPDATE containertest.tracked SET rows = template_rows, in_snapshot = false WHERE in_snapshot;
    UPDATE containertest.sequences SET last_value = template_value, is_called = template_called, in_snapshot = false
    WHERE in_snapshot;
    DELETE FROM containertest.snapshot_lines;
END $$;

-- What Python keeps of a snapshot, besides snapshot_lines, to lay it over a new clone.
CREATE FUNCTION containertest.describe_snapshot() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT pg_catalog.json_build_object(
        'tables', (SELECT coalesce(pg_catalog.json_object_agg(rel, rows), '{}') FROM containertest.tracked
            WHERE in_snapshot),
        'values', (SELECT coalesce(pg_catalog.json_object_agg(rel, last_value), '{}') FROM containertest.sequences
            WHERE in_snapshot),
        'called', (SELECT coalesce(pg_catalog.json_object_agg(rel, is_called), '{}') FROM containertest.sequences
            WHERE in_snapshot)
    )::text
$$;

-- Lays a snapshot over a new clone, whose snapshot_lines are filled already. Returns the horizon.
CREATE FUNCTION containertest.lay_snapshot(description json) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = '3' SET bytea_output = 'hex'
SET lc_monetary = 'C' SET xmloption = 'content' SET row_security = 'off' AS $$
DECLARE
    t containertest.tracked;
BEGIN
    PERFORM containertest.triggers_off();
    UPDATE containertest.tracked SET in_snapshot = true, rows = e.value::bigint
    FROM json_each_text(description -> 'tables') e WHERE rel = e.key::oid;
    UPDATE containertest.sequences SET in_snapshot = true, last_value = e.value::bigint,
        is_called = (description -> 'called' ->> e.key)::boolean
    FROM json_each_text(description -> 'values') e WHERE rel = e.key::oid;
    FOR t IN SELECT * FROM containertest.tracked WHERE in_snapshot ORDER BY place LOOP
        EXECUTE format('DELETE FROM ONLY %s', t.name);
    END LOOP;
    FOR t IN SELECT * FROM containertest.tracked WHERE in_snapshot ORDER BY place DESC LOOP
        PERFORM containertest.insert_missing(t);
    END LOOP;
    PERFORM containertest.set_back(ARRAY(SELECT rel FROM containertest.sequences WHERE in_snapshot));
    DELETE FROM containertest.marks WHERE rel <> 0;
    RETURN ((pg_current_xact_id()::text::bigint + 1) & 4294967295)::text;
END $$;

-- Deleted marks leave dead rows behind, which every look at the marks passes.
CREATE FUNCTION containertest.tidy() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    TRUNCATE containertest.marks;
    INSERT INTO containertest.marks VALUES (0);
END $$;
