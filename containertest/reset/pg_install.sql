-- What tracking needs, in a schema of its own. Run once, in the template database, by pg_prepare.py, which
-- then adds triggers to the tables and generates wipe(), strayed() and unlogged_moved().
--
-- "Fresh" is what was written since the horizon, the transaction id at which everything there was baseline.
-- age() counts from the current transaction backwards, so a row is fresh when age(xmin) <= age(horizon).

CREATE SCHEMA containertest;
GRANT USAGE ON SCHEMA containertest TO PUBLIC;

-- 0 is always there: it is lost, with all unlogged data, when the server crashes. -1 stands for DDL. No index: concurrent
-- writers must not wait for each other.
CREATE UNLOGGED TABLE containertest.marks (mark int NOT NULL);
GRANT INSERT ON containertest.marks TO PUBLIC;
INSERT INTO containertest.marks VALUES (0);

-- One sequence for each table, or for some that follow each other. Whoever writes there sets it to his transaction id,
-- in the condition of a trigger, which costs far less than a trigger that fires, and lastval() doesn't show it. The last
-- one that wrote is enough: see bring_back().
CREATE TABLE containertest.notes (
    seq oid NOT NULL,
    first int NOT NULL,                    -- the tables' places
    last int NOT NULL
);

CREATE TABLE containertest.tracked (
    rel oid PRIMARY KEY,
    place int NOT NULL UNIQUE,             -- the order of deletion: what references others comes first
    name text NOT NULL,                    -- quoted and qualified
    columns text[] NOT NULL,               -- those that can be inserted, quoted
    members oid[] NOT NULL,                -- itself and all tables that inherit from it, partitions included
    care int NOT NULL,                     -- 1: only with triggers and rules off; 2: only by a new clone
    watched boolean NOT NULL DEFAULT false,          -- UPDATE, DELETE and TRUNCATE are noted too: see watch()
    template_watched boolean NOT NULL DEFAULT false,
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
    in_snapshot boolean NOT NULL DEFAULT false,
    shown bigint GENERATED ALWAYS AS (CASE WHEN is_called THEN last_value END) STORED
);
-- Counts the calls of setval() with three arguments, where pg_setval.sql is in use; -1 where it isn't.
CREATE SEQUENCE containertest.setvals MINVALUE -1 START 1;
SELECT setval('containertest.setvals', -1);
GRANT USAGE ON SEQUENCE containertest.setvals TO PUBLIC;

-- How many there are in the baseline of things that have neither triggers nor event triggers.
CREATE TABLE containertest.counts (
    event_triggers bigint NOT NULL,
    settings bigint NOT NULL,
    comments bigint NOT NULL,
    objects bigint NOT NULL,
    pages bigint NOT NULL,
    things bigint NOT NULL,                -- those that things() sees; -1 when looking at them is not enough
    odd boolean NOT NULL,                  -- whether strayed() has always something to look at
    in_snapshot boolean NOT NULL           -- whether tables or sequences are in_snapshot
);
INSERT INTO containertest.counts VALUES (0, 0, 0, 0, 0, -1, true, false);

-- Never called: all is done in the triggers' conditions, which never hold.
CREATE FUNCTION containertest.mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END $$;

-- The places of the tables that may have been written by a transaction of this id or a later one.
CREATE FUNCTION containertest.noted_since(noted bigint) RETURNS int[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT place FROM containertest.notes n, pg_catalog.generate_series(n.first, n.last) place
        WHERE pg_catalog.pg_sequence_last_value(n.seq) >= noted ORDER BY place
    );
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
        -- Before PostgreSQL 15 a default value of a temporary table is not temporary by itself.
        SELECT NOT pg_catalog.bool_and(is_temporary OR address_names[1] = 'pg_temp') INTO permanent
        FROM pg_catalog.pg_event_trigger_dropped_objects();
    ELSE
        SELECT pg_catalog.bool_or(schema_name IS DISTINCT FROM 'pg_temp') INTO permanent
        FROM pg_catalog.pg_event_trigger_ddl_commands();
        IF permanent IS NULL THEN
            permanent := TG_TAG = 'DROP OWNED' OR NOT (TG_TAG LIKE 'CREATE %' OR TG_TAG LIKE 'DROP %');
        END IF;
    END IF;
    IF permanent THEN
        INSERT INTO containertest.marks VALUES (-1);
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

-- Has UPDATE, DELETE and TRUNCATE noted, of tables that have rows in the baseline or are inherited by such. In others
-- they can only hit rows whose INSERT was noted, and needn't pay for it.
CREATE FUNCTION containertest.watch() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t containertest.tracked;
BEGIN
    PERFORM set_config('containertest.resetting', 'on', true);
    FOR t IN
        UPDATE containertest.tracked k SET watched = true
        WHERE NOT watched AND (care = 2 OR EXISTS (
            SELECT FROM containertest.tracked m WHERE m.rel = ANY (k.members) AND m.rows > 0
        )) RETURNING *
    LOOP
        PERFORM containertest.triggers_off();  -- event triggers of the user's are not for us
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER containertest_mark_too', t.name);
    END LOOP;
    PERFORM set_config('containertest.resetting', 'off', true);
END $$;

CREATE FUNCTION containertest.unwatch() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t containertest.tracked;
BEGIN
    PERFORM set_config('containertest.resetting', 'on', true);
    FOR t IN UPDATE containertest.tracked SET watched = false WHERE watched AND NOT template_watched RETURNING * LOOP
        PERFORM containertest.triggers_off();
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER containertest_mark_too', t.name);
    END LOOP;
    PERFORM set_config('containertest.resetting', 'off', true);
END $$;

-- Users' triggers, foreign keys and rules off until the transaction ends; false without the right to do so.
CREATE FUNCTION containertest.triggers_off() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.set_config('session_replication_role', 'replica', true);
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN false;
END $$;

-- Sequences whose values, not called yet, are not those of the baseline. pg_sequence_last_value() is by far the fastest
-- way to read a sequence, but returns NULL for any such value. Only setval() with three arguments and TRUNCATE ...
-- RESTART IDENTITY leave one behind. So when setval() was called, strayed() reads the sequences that are so in the
-- template; the few among them that don't begin at their start it reads each time.
CREATE FUNCTION containertest.astray(setvals boolean, with_snapshot boolean) RETURNS oid[] LANGUAGE plpgsql AS $$
DECLARE
    result oid[] := containertest.strayed(setvals);
    differs boolean;
    s containertest.sequences;
BEGIN
    IF result <> '{}' THEN
        result := ARRAY(
            SELECT rel FROM containertest.sequences WHERE rel = ANY (result) AND NOT is_called AND NOT in_snapshot
        );
    END IF;
    IF with_snapshot THEN
        FOR s IN SELECT * FROM containertest.sequences WHERE in_snapshot AND NOT is_called LOOP
            EXECUTE format('SELECT is_called OR last_value <> $1 FROM %s', s.name) INTO differs USING s.last_value;
            IF differs THEN
                result := result || s.rel;
            END IF;
        END LOOP;
    END IF;
    RETURN result;
END $$;

-- Sequences to the baseline, those that "moved" and those astray; whether there was one.
CREATE FUNCTION containertest.set_back(moved containertest.sequences[], strays oid[]) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    s containertest.sequences;
    known boolean := false;
BEGIN
    IF strays <> '{}' THEN
        moved := moved || ARRAY(SELECT k FROM containertest.sequences k WHERE rel = ANY (strays));
    END IF;
    IF moved IS NULL THEN
        RETURN false;
    END IF;
    FOREACH s IN ARRAY moved LOOP
        known := containertest.set_one_back(s) OR known;
    END LOOP;
    IF known THEN
        DISCARD SEQUENCES;  -- or currval() would return what setval() has set
    END IF;
    RETURN true;
END $$;

-- All sessions drop values they have taken ahead when the sequence gets a new file, which ALTER SEQUENCE does. Returns
-- whether currval() knows it now.
CREATE FUNCTION containertest.set_one_back(s containertest.sequences) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF s.caching THEN
        PERFORM containertest.triggers_off();  -- event triggers of the user's are not for us
        PERFORM set_config('containertest.resetting', 'on', true);
        EXECUTE format('ALTER SEQUENCE %s RESTART', s.name);
        PERFORM set_config('containertest.resetting', 'off', true);
    END IF;
    RETURN containertest.set_value(s.rel::regclass, s.last_value, s.is_called) IS NOT NULL AND s.is_called;
END $$;

-- A table and those that inherit from it to the baseline. Only with triggers off: others may reference their rows.
CREATE FUNCTION containertest.refill_tree(at int, fresh int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    member oid;
BEGIN
    FOREACH member IN ARRAY (SELECT members FROM containertest.tracked WHERE place = at) LOOP
        IF NOT containertest.refill(member, fresh) THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
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

-- How many rows a table and those that inherit from it have in the current baseline.
CREATE FUNCTION containertest.rows_at(at int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT sum(m.rows) FROM containertest.tracked t JOIN containertest.tracked m ON m.rel = ANY (t.members)
        WHERE t.place = at
    );
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
                    ' EXCEPT ALL SELECT (containertest_row.*)::text FROM ONLY %1$s containertest_row) lines OFFSET 0) lost',
            t.name, array_to_string(t.columns, ', '),
            (SELECT string_agg('(containertest_row).' || c, ', ' ORDER BY i) FROM unnest(t.columns) WITH ORDINALITY u(c, i)),
            CASE WHEN t.in_snapshot THEN 'snapshot' ELSE 'template' END
        ) USING t.rel;
    END IF;
END $$;

-- Whether a table's rows can be inserted again as they are. Not where a constraint that is not valid lets older ones be,
-- nor where their text may not be read back: regproc and regoper say less than which overload it is.
CREATE FUNCTION containertest.can_be_laid(table_oid oid) RETURNS boolean LANGUAGE sql AS $$
    SELECT NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint WHERE conrelid = table_oid AND contype = 'c' AND NOT convalidated
    ) AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute WHERE attrelid = table_oid
            AND atttypid IN ('pg_catalog.regproc'::pg_catalog.regtype, 'pg_catalog.regoper'::pg_catalog.regtype)
    )
$$;

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
            'INSERT INTO containertest.%s SELECT $1, (containertest_row.*)::text FROM ONLY %s containertest_row',
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

-- What the marks say: '' for nothing, 'clone' for DDL, 'lost' when unlogged data are.
CREATE FUNCTION containertest.read_marks(fresh int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    marked int[];
BEGIN
    marked := ARRAY(SELECT mark FROM containertest.marks WHERE mark = 0 OR pg_catalog.age(xmin) <= fresh);
    RETURN CASE WHEN -1 = ANY (marked) THEN 'clone' WHEN 0 = ANY (marked) THEN '' ELSE 'lost' END;
END $$;

-- Whether another session of this database is in a transaction, or one is prepared, right now: PostgreSQL keeps what it
-- has once read of its sessions until the transaction ends.
CREATE FUNCTION containertest.others_write(database oid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_stat_clear_snapshot();
    RETURN EXISTS (
        SELECT FROM pg_catalog.pg_lock_status() l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'virtualxid' AND a.datid = others_write.database AND a.pid <> pg_catalog.pg_backend_pid()
    ) OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xact() p WHERE p.dbid = others_write.database);
END $$;

-- Whether nobody else may still commit what he writes in this database under a transaction id below "own", ours.
CREATE FUNCTION containertest.nobody_below(own xid8, database oid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) = own
        OR NOT containertest.others_write(database);
END $$;

-- The whole reset, in one call. "horizon" is that of the rows, "noted" that of the notes on who wrote where. Returns a
-- word and what Python has to remember or to do:
--   clean XMAX                  nothing to do; nothing is written as long as XMAX is the snapshot's xmax
--   done XMAX HORIZON NOTED DELETED   brought back; so many rows were deleted
--   busy, prepared, settings, clone, lost    see postgres.py
CREATE FUNCTION containertest.reset(
    database oid, seen text, horizon xid8, noted bigint, patient boolean, settled boolean
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    alone boolean;
BEGIN
    -- Two things in one query; what the function returns is never null.
    IF pg_catalog.pg_advisory_unlock_all() IS NULL
        OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xact() p WHERE p.dbid = database) THEN
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
    RETURN containertest.bring_back(database, horizon, noted, alone, settled);
END $$;

-- The first look at everything is one query: each query costs ten microseconds, whatever it does.
--
-- A note tells the last writer only, and he need not be the one that commits last: one with a lower transaction id may
-- have written over the note of one that is still under way. So "noted" moves on only where nobody else is: all with
-- lower ids have ended then, and what they wrote is seen by the statements that follow; all that come write higher ids.
CREATE FUNCTION containertest.bring_back(
    database oid, horizon xid8, noted bigint, alone boolean, settled boolean
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    fresh int := age(horizon::xid);
    snapshot pg_snapshot := pg_current_snapshot();
    setvals bigint := pg_sequence_last_value('containertest.setvals'::regclass);
    places int[];
    moved containertest.sequences[];
    strays oid[];
    verdict text := '';
    same boolean;
    with_snapshot boolean;
    odd boolean;
    any_moved boolean;
    own xid8;
    following text;
    deleted bigint := 0;
    n bigint;
    at int;
BEGIN
    SELECT
        ARRAY(
            SELECT place FROM containertest.notes k, generate_series(k.first, k.last) place
            WHERE pg_sequence_last_value(k.seq) >= noted ORDER BY place
        ),
        (SELECT array_agg(s) FROM containertest.sequences s WHERE pg_sequence_last_value(rel) IS DISTINCT FROM shown),
        t.found = c.things AND t.kept = c.things,
        c.in_snapshot,
        c.odd
    INTO places, moved, same, with_snapshot, odd
    FROM containertest.counts c, (
        SELECT count(*) AS found, count(*) FILTER (WHERE age(a.xmin) > fresh) AS kept
        FROM (
            SELECT xmin FROM containertest.marks
            UNION ALL SELECT xmin FROM pg_event_trigger
            UNION ALL SELECT xmin FROM pg_largeobject_metadata
            UNION ALL SELECT xmin FROM pg_database WHERE oid = database
            UNION ALL SELECT xmin FROM pg_db_role_setting WHERE setdatabase = database
            UNION ALL SELECT xmin FROM pg_shdescription
                WHERE objoid = database AND classoid = 'pg_database'::regclass
        ) a
    ) t;
    IF settled OR NOT same THEN
        verdict := containertest.read_marks(fresh);
        IF verdict = '' THEN
            verdict := containertest.besides(database, fresh, settled);
        END IF;
        IF verdict NOT IN ('', 'objects') THEN
            RETURN verdict;
        END IF;
    END IF;
    IF setvals IS NOT NULL OR odd OR with_snapshot THEN
        strays := containertest.astray(setvals IS NOT NULL, with_snapshot);
    END IF;
    any_moved := containertest.set_back(moved, strays);
    IF places = '{}' AND NOT any_moved AND verdict = '' AND NOT settled THEN
        IF setvals > 0 AND alone THEN
            PERFORM containertest.set_value('containertest.setvals', 1, false);
        END IF;
        RETURN 'clean ' || CASE WHEN alone OR pg_snapshot_xmin(snapshot) = pg_snapshot_xmax(snapshot)
            THEN pg_snapshot_xmax(snapshot)::text ELSE '0' END;
    END IF;

    -- From here on a transaction id of our own: what others write later is fresh the next time, and what they
    -- wrote before is noted.
    own := pg_current_xact_id();
    -- With nobody else at the beginning, and no id given out since by any database, nobody has come.
    IF NOT alone OR pg_snapshot_xmin(snapshot) <> own THEN
        IF alone THEN
            PERFORM pg_stat_clear_snapshot();
            alone := pg_stat_get_db_numbackends(database) <= 1;
        END IF;
        IF NOT alone THEN
            snapshot := pg_current_snapshot();
            alone := pg_snapshot_xmin(snapshot) = own OR NOT containertest.others_write(database);
        END IF;
        places := containertest.noted_since(noted);
    END IF;
    FOREACH at IN ARRAY places LOOP
        n := containertest.wipe(at, fresh, with_snapshot);
        IF n = -1 THEN
            IF NOT (containertest.triggers_off() AND containertest.refill_tree(at, fresh)) THEN
                RETURN 'clone';
            END IF;
        ELSIF n = -2 THEN
            RETURN 'clone';
        ELSE
            deleted := deleted + n;
        END IF;
    END LOOP;
    IF verdict = 'objects' THEN
        PERFORM lo_unlink(oid) FROM pg_largeobject_metadata WHERE age(xmin) <= fresh;
    END IF;
    IF NOT alone THEN
        RETURN format('done 0 %s %s %s', greatest(horizon, pg_snapshot_xmin(snapshot)), noted, deleted);
    END IF;
    IF setvals > 0 AND setvals = pg_sequence_last_value('containertest.setvals'::regclass) THEN
        PERFORM containertest.set_value('containertest.setvals', 1, false);
    END IF;
    following := (own::text::bigint + 1)::text;
    RETURN format('done %1$s %1$s %1$s %2$s', following, deleted);
END $$;

-- Taken when the clone is new: all there is is the baseline. Returns the horizon, or '' when it is not new. If
-- there is a "since", the horizon before it was cloned, then whatever has been written in it is fresh.
CREATE FUNCTION containertest.begin(database oid, since text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    own xid8 := pg_catalog.pg_current_xact_id();  -- first: what others write later is fresh
    marked int[] := ARRAY(SELECT mark FROM containertest.marks);
BEGIN
    IF marked = '{0}' AND containertest.noted_since(0) = '{}' THEN
        RETURN containertest.count_all(database);
    ELSIF since = '' OR 0 <> ALL (marked) THEN
        RETURN '';
    END IF;
    PERFORM containertest.count_all(database);
    RETURN since;
END $$;

-- What is written after this transaction is fresh.
CREATE FUNCTION containertest.next_horizon() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (pg_catalog.pg_current_xact_id()::text::bigint + 1)::text;
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
    -- The two are the database itself and the one mark.
    UPDATE containertest.counts SET things = CASE WHEN objects = 0 THEN event_triggers + settings + comments + 2 ELSE -1 END;
    RETURN containertest.next_horizon();
END $$;

-- What is there now becomes the baseline. Returns 'done HORIZON', or 'clone' when that takes more than rows and
-- sequences, or 'same' when nothing was written, or 'busy' when somebody else is writing.
CREATE FUNCTION containertest.snapshot(database oid, horizon xid8, noted bigint, most bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    own xid8 := pg_current_xact_id();  -- first: what others write later is fresh
    fresh int := age(horizon::xid);
    places int[];
    setvals boolean := pg_sequence_last_value('containertest.setvals'::regclass) IS NOT NULL;
    moved oid[];
    same boolean;
    n bigint;
    s containertest.sequences;
    t containertest.tracked;
BEGIN
    IF NOT containertest.nobody_below(own, database) THEN
        RETURN 'busy';
    END IF;
    places := containertest.noted_since(noted);
    IF containertest.read_marks(fresh) <> '' OR containertest.besides(database, fresh, false) <> '' THEN
        RETURN 'clone';
    END IF;
    moved := containertest.astray(setvals, (SELECT in_snapshot FROM containertest.counts))
        || ARRAY(SELECT rel FROM containertest.sequences WHERE pg_sequence_last_value(rel) IS DISTINCT FROM shown);
    IF places = '{}' AND moved = '{}' THEN
        RETURN 'same';
    END IF;
    FOR t IN
        SELECT m.* FROM containertest.tracked m
        WHERE m.rel IN (SELECT unnest(k.members) FROM containertest.tracked k WHERE k.place = ANY (places))
    LOOP
        EXECUTE format(
            'SELECT count(*) FILTER (WHERE age(xmin) > $1) = $2 AND count(*) = $2 FROM ONLY %s', t.name
        ) INTO same USING fresh, t.rows;
        CONTINUE WHEN same;
        IF t.care = 2 OR NOT (containertest.can_be_laid(t.rel) AND containertest.triggers_off()) THEN
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
    IF moved <> '{}' THEN
        FOR s IN SELECT * FROM containertest.sequences WHERE rel = ANY (moved) LOOP
            EXECUTE format(
                'UPDATE containertest.sequences SET in_snapshot = true,'
                ' (last_value, is_called) = (SELECT last_value, is_called FROM %s) WHERE rel = $1', s.name
            ) USING s.rel;
        END LOOP;
        -- Each once more, for the values that sessions took ahead.
        PERFORM containertest.set_one_back(k) FROM containertest.sequences k WHERE rel = ANY (moved);
    END IF;
    PERFORM containertest.watch();
    UPDATE containertest.counts SET in_snapshot = true;
    RETURN format('done %s', containertest.next_horizon());
END $$;

-- The baseline is the template's again; what the snapshot changed is noted for the reset that follows.
CREATE FUNCTION containertest.forget_snapshot() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '10s' AS $$
BEGIN
    PERFORM pg_catalog.setval(n.seq, pg_catalog.txid_current()) FROM containertest.notes n
    WHERE EXISTS (SELECT FROM containertest.tracked WHERE in_snapshot AND place BETWEEN n.first AND n.last);
    UPDATE containertest.counts SET in_snapshot = false;
    UPDATE containertest.tracked SET rows = template_rows, in_snapshot = false WHERE in_snapshot;
    UPDATE containertest.sequences SET last_value = template_value, is_called = template_called, in_snapshot = false
    WHERE in_snapshot;
    DELETE FROM containertest.snapshot_lines;
    PERFORM containertest.unwatch();
    -- So that values not called yet are looked at too.
    PERFORM nextval('containertest.setvals') WHERE pg_sequence_last_value('containertest.setvals') IS DISTINCT FROM -1;
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

-- Lays a snapshot over the template's rows; what others have written besides is undone. snapshot_lines are filled already.
-- Returns the horizon, or '' when somebody else is writing: then the database is not what it should be.
CREATE FUNCTION containertest.lay_snapshot(description json, database oid, horizon xid8, noted bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = '3' SET bytea_output = 'hex'
SET lc_monetary = 'C' SET xmloption = 'content' SET row_security = 'off' AS $$
DECLARE
    own xid8 := pg_current_xact_id();  -- first: what others write later is fresh
    fresh int := age(horizon::xid);
    t containertest.tracked;
    n bigint;
    at int;
BEGIN
    IF NOT containertest.nobody_below(own, database) THEN
        DELETE FROM containertest.snapshot_lines;
        RETURN '';
    END IF;
    PERFORM containertest.triggers_off();
    FOREACH at IN ARRAY containertest.noted_since(noted) LOOP
        n := containertest.wipe(at, fresh, false);
        IF n = -2 OR n = -1 AND NOT containertest.refill_tree(at, fresh) THEN
            DELETE FROM containertest.snapshot_lines;
            RETURN '';
        END IF;
    END LOOP;
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
    PERFORM containertest.set_one_back(k) FROM containertest.sequences k WHERE in_snapshot;
    PERFORM containertest.watch();
    UPDATE containertest.counts SET in_snapshot = true;
    RETURN containertest.next_horizon();
END $$;
