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
    watched boolean NOT NULL DEFAULT false,  -- UPDATE, DELETE and TRUNCATE are noted too: see watch()
    level int NOT NULL DEFAULT 0,          -- the highest that has rows of it; what follows is of that level
    rows bigint NOT NULL DEFAULT 0,        -- of its own
    copied boolean NOT NULL DEFAULT true   -- lines has all of them
);

CREATE TABLE containertest.sequences (
    rel oid PRIMARY KEY,
    name text NOT NULL,
    caching boolean NOT NULL,              -- sessions take several values at once
    level int NOT NULL DEFAULT 0,          -- the highest that has a value of it; what follows is of that level
    last_value bigint NOT NULL,
    is_called boolean NOT NULL
);

-- The levels of the baseline. Level 0 is what the template has, of all tables and sequences; a higher level has an entry for
-- each table and sequence that it changed. The highest entry counts: tracked and sequences have it too, to be read fast.
CREATE TABLE containertest.table_levels (
    rel oid, level int, rows bigint NOT NULL, copied boolean NOT NULL, PRIMARY KEY (rel, level)
);
CREATE TABLE containertest.sequence_levels (
    rel oid, level int, last_value bigint NOT NULL, is_called boolean NOT NULL, PRIMARY KEY (rel, level)
);
-- The rows of a level, as text: a column of a user's type would stop the user from dropping that type.
CREATE TABLE containertest.lines (rel oid NOT NULL, level int NOT NULL, line text NOT NULL);
CREATE INDEX ON containertest.lines (rel, level);

-- How many there are in the baseline of things that have neither triggers nor event triggers.
CREATE TABLE containertest.counts (
    event_triggers bigint NOT NULL,
    settings bigint NOT NULL,
    comments bigint NOT NULL,
    objects bigint NOT NULL,
    pages bigint NOT NULL,
    things bigint NOT NULL,                -- those that bring_back() counts; -1 when counting them is not enough
    level int NOT NULL                     -- the highest level of the baseline
);
INSERT INTO containertest.counts VALUES (0, 0, 0, 0, 0, -1, 0);

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
        UPDATE containertest.tracked k SET watched = NOT watched
        WHERE watched <> (care = 2 OR EXISTS (
            SELECT FROM containertest.tracked m WHERE m.rel = ANY (k.members) AND m.rows > 0
        )) RETURNING *
    LOOP
        PERFORM containertest.triggers_off();  -- event triggers of the user's are not for us
        EXECUTE format('ALTER TABLE %s %s TRIGGER containertest_mark_too', t.name,
            CASE WHEN t.watched THEN 'ENABLE ALWAYS' ELSE 'DISABLE' END);
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

-- Of the sequences that are not called yet in the baseline, those that are not as they were. pg_sequence_last_value() is
-- the fastest way to read a sequence, but returns NULL for any value that is not called yet, also for one that setval()
-- with three arguments has set. strayed() reads those that are not called in the template.
CREATE FUNCTION containertest.astray(level int) RETURNS oid[] LANGUAGE plpgsql AS $$
DECLARE
    result oid[] := containertest.strayed();
    differs boolean;
    s containertest.sequences;
BEGIN
    IF level = 0 THEN
        RETURN result;
    END IF;
    result := ARRAY(
        SELECT rel FROM containertest.sequences k WHERE rel = ANY (result) AND NOT is_called AND k.level = 0
    );
    FOR s IN SELECT * FROM containertest.sequences k WHERE k.level > 0 AND NOT is_called LOOP
        EXECUTE format('SELECT is_called OR last_value <> $1 FROM %s', s.name) INTO differs USING s.last_value;
        IF differs THEN
            result := result || s.rel;
        END IF;
    END LOOP;
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
    RETURN pg_catalog.setval(s.rel::regclass, s.last_value, s.is_called) IS NOT NULL AND s.is_called;
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
    IF NOT t.copied THEN
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
                    'SELECT line FROM containertest.lines WHERE rel = $1 AND level = $2'
                    ' EXCEPT ALL SELECT (containertest_row.*)::text FROM ONLY %1$s containertest_row) lines OFFSET 0) lost',
            t.name, array_to_string(t.columns, ', '),
            (SELECT string_agg('(containertest_row).' || c, ', ' ORDER BY i) FROM unnest(t.columns) WITH ORDINALITY u(c, i))
        ) USING t.rel, t.level;
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

-- Enters a table's rows in a level, as text if there are no more than "most"; returns their number.
CREATE FUNCTION containertest.enter_rows(t containertest.tracked, level int, most bigint) RETURNS bigint
LANGUAGE plpgsql
SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = '3' SET bytea_output = 'hex'
SET lc_monetary = 'C' SET xmloption = 'content' SET row_security = 'off' AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ONLY %s', t.name) INTO found;
    DELETE FROM containertest.lines k WHERE k.rel = t.rel AND k.level = enter_rows.level;
    IF found BETWEEN 1 AND most THEN
        EXECUTE format(
            'INSERT INTO containertest.lines SELECT $1, $2, (containertest_row.*)::text FROM ONLY %s containertest_row',
            t.name
        ) USING t.rel, level;
    END IF;
    INSERT INTO containertest.table_levels VALUES (t.rel, level, found, found <= most)
    ON CONFLICT ON CONSTRAINT table_levels_pkey DO UPDATE SET rows = excluded.rows, copied = excluded.copied;
    RETURN found;
END $$;

-- Has the highest entries of these tables and sequences count, all of those that a level from "above" on has changed.
CREATE FUNCTION containertest.take_highest(above int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE containertest.tracked t SET level = top.level, rows = top.rows, copied = top.copied
    FROM (SELECT DISTINCT ON (rel) * FROM containertest.table_levels ORDER BY rel, level DESC) top
    WHERE top.rel = t.rel AND greatest(t.level, top.level) >= above;
    UPDATE containertest.sequences s SET level = top.level, last_value = top.last_value, is_called = top.is_called
    FROM (SELECT DISTINCT ON (rel) * FROM containertest.sequence_levels ORDER BY rel, level DESC) top
    WHERE top.rel = s.rel AND greatest(s.level, top.level) >= above;
    PERFORM containertest.watch();
END $$;

-- What there is besides tables and sequences: '' when as in the baseline, 'objects' for new large objects only, 'clone' for
-- anything worse, such as what ALTER DATABASE, GRANT and COMMENT ON DATABASE set.
CREATE FUNCTION containertest.besides(database oid, fresh int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    c containertest.counts;
    kept bigint;
    added bigint;
    pages bigint;
    ok boolean;
BEGIN
    SELECT * INTO c FROM containertest.counts;
    SELECT
        (SELECT count(*) FILTER (WHERE age(xmin) > fresh) = c.event_triggers AND count(*) = c.event_triggers
            FROM pg_event_trigger)
        AND (SELECT age(xmin) > fresh FROM pg_database WHERE oid = database)
        AND (SELECT count(*) FILTER (WHERE age(xmin) > fresh) = c.settings AND count(*) = c.settings
            FROM pg_db_role_setting WHERE setdatabase = database)
        AND (SELECT count(*) FILTER (WHERE age(xmin) > fresh) = c.comments AND count(*) = c.comments
            FROM pg_shdescription WHERE objoid = database AND classoid = 'pg_database'::regclass),
        (SELECT count(*) FILTER (WHERE age(xmin) > fresh) FROM pg_largeobject_metadata),
        (SELECT count(*) FILTER (WHERE age(xmin) <= fresh) FROM pg_largeobject_metadata)
    INTO ok, kept, added;
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
--   busy, prepared, clone, lost    see postgres.py
CREATE FUNCTION containertest.reset(
    database oid, seen text, horizon xid8, noted bigint, patient boolean
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    -- Before we look who is there: whoever comes later writes ids that are none of this.
    snapshot pg_catalog.pg_snapshot := pg_catalog.pg_current_snapshot();
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
    IF pg_catalog.pg_snapshot_xmax(snapshot)::text = seen
        AND NOT containertest.unlogged_moved() THEN
        RETURN 'clean ' || seen;
    END IF;
    -- Looked at alone, since all else is slow in a session that is new, as it is where each test has DDL.
    IF EXISTS (SELECT FROM containertest.marks m WHERE m.mark = -1 AND pg_catalog.age(m.xmin) <= pg_catalog.age(horizon::xid)) THEN
        RETURN 'clone';
    END IF;
    RETURN containertest.bring_back(database, horizon, noted, snapshot, alone);
END $$;

-- The first look at everything is one query: each query costs ten microseconds, whatever it does.
--
-- A note tells the last writer only, and he need not be the one that commits last: one with a lower transaction id may
-- have written over the note of one that is still under way. So "noted" moves on only where nobody else is: all with
-- lower ids have ended then, and what they wrote is seen by the statements that follow; all that come write higher ids.
CREATE FUNCTION containertest.bring_back(
    database oid, horizon xid8, noted bigint, snapshot pg_snapshot, alone boolean
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    fresh int := age(horizon::xid);
    places int[];
    moved containertest.sequences[];
    strays oid[];
    verdict text := '';
    same boolean;
    top int;
    any_moved boolean;
    own xid8;
    quiet boolean;
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
        (SELECT array_agg(s) FROM containertest.sequences s
            WHERE is_called AND pg_sequence_last_value(rel) IS DISTINCT FROM last_value),
        t.found = c.things AND t.kept = c.things,
        c.level
    INTO places, moved, same, top
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
    IF NOT same THEN
        verdict := containertest.read_marks(fresh);
        IF verdict = '' THEN
            verdict := containertest.besides(database, fresh);
        END IF;
        IF verdict NOT IN ('', 'objects') THEN
            RETURN verdict;
        END IF;
    END IF;
    strays := containertest.astray(top);
    any_moved := containertest.set_back(moved, strays);
    IF places = '{}' AND NOT any_moved AND verdict = '' THEN
        RETURN 'clean ' || CASE WHEN alone OR pg_snapshot_xmin(snapshot) = pg_snapshot_xmax(snapshot)
            THEN pg_snapshot_xmax(snapshot)::text ELSE '0' END;
    END IF;

    -- From here on a transaction id of our own: what others write later is fresh the next time, and what they
    -- wrote before is noted.
    own := pg_current_xact_id();
    -- With nobody else at the beginning, and no id given out since by any database, nobody has come.
    quiet := alone AND pg_snapshot_xmin(snapshot) = own;
    IF NOT quiet THEN
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
        n := containertest.wipe(at, fresh, top > 0);
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
    following := (own::text::bigint + 1)::text;
    -- Sequences were read before: who has come since may have moved them, and the next reset must look again.
    RETURN format('done %1$s %2$s %2$s %3$s', CASE WHEN quiet THEN following ELSE '0' END, following, deleted);
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

-- What is there now becomes the level "at": the highest there is, or one above it. Returns 'done HORIZON', or 'clone' when
-- that takes more than rows and sequences, or 'same' when nothing was written, or 'busy' when somebody else is writing.
CREATE FUNCTION containertest.push(at int, database oid, horizon xid8, noted bigint, most bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    own xid8 := pg_current_xact_id();  -- first: what others write later is fresh
    fresh int := age(horizon::xid);
    places int[];
    moved oid[];
    same boolean;
    s containertest.sequences;
    t containertest.tracked;
BEGIN
    IF NOT containertest.nobody_below(own, database) THEN
        RETURN 'busy';
    END IF;
    places := containertest.noted_since(noted);
    IF containertest.read_marks(fresh) <> '' OR containertest.besides(database, fresh) <> '' THEN
        RETURN 'clone';
    END IF;
    moved := containertest.astray((SELECT level FROM containertest.counts))
        || ARRAY(
            SELECT rel FROM containertest.sequences WHERE is_called AND pg_sequence_last_value(rel) IS DISTINCT FROM last_value
        );
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
        -- Rows that could not be laid over a new clone need one of their own.
        IF t.care = 2 OR NOT (containertest.can_be_laid(t.rel) AND containertest.triggers_off())
            OR containertest.enter_rows(t, at, most) > most THEN
            RETURN 'clone';
        END IF;
    END LOOP;
    FOR s IN SELECT * FROM containertest.sequences WHERE rel = ANY (moved) LOOP
        EXECUTE format(
            'INSERT INTO containertest.sequence_levels SELECT $1, $2, last_value, is_called FROM %s'
            ' ON CONFLICT (rel, level) DO UPDATE SET last_value = excluded.last_value, is_called = excluded.is_called', s.name
        ) USING s.rel, at;
    END LOOP;
    PERFORM containertest.take_highest(at);
    -- Each once more, for the values that sessions took ahead.
    PERFORM containertest.set_one_back(k) FROM containertest.sequences k WHERE rel = ANY (moved);
    UPDATE containertest.counts SET level = at;
    RETURN format('done %s', containertest.next_horizon());
END $$;

-- The levels above "depth" are no part of the baseline any more; what they changed is noted for the reset that follows.
CREATE FUNCTION containertest.pop(depth int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '10s' AS $$
BEGIN
    PERFORM pg_catalog.setval(n.seq, pg_catalog.txid_current()) FROM containertest.notes n
    WHERE EXISTS (SELECT FROM containertest.tracked WHERE level > depth AND place BETWEEN n.first AND n.last);
    DELETE FROM containertest.lines WHERE level > depth;
    DELETE FROM containertest.table_levels WHERE level > depth;
    DELETE FROM containertest.sequence_levels WHERE level > depth;
    PERFORM containertest.take_highest(depth + 1);
    UPDATE containertest.counts SET level = depth;
END $$;

-- All levels above the template's, for lay() to make them in another clone of it.
CREATE FUNCTION containertest.levels() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT pg_catalog.json_build_object(
        'tables', (SELECT coalesce(pg_catalog.json_agg(t), '[]') FROM containertest.table_levels t WHERE level > 0),
        'sequences', (SELECT coalesce(pg_catalog.json_agg(s), '[]') FROM containertest.sequence_levels s WHERE level > 0),
        'lines', (SELECT coalesce(pg_catalog.json_agg(l), '[]') FROM containertest.lines l WHERE level > 0)
    )::text
$$;

-- Lays what levels() has said over the template's rows; what others have written besides is undone. Returns the horizon,
-- or '' when somebody else is writing: then the database is not what it should be.
CREATE FUNCTION containertest.lay(levels json, depth int, database oid, horizon xid8, noted bigint) RETURNS text
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
        RETURN '';
    END IF;
    PERFORM containertest.triggers_off();
    FOREACH at IN ARRAY containertest.noted_since(noted) LOOP
        n := containertest.wipe(at, fresh, false);
        IF n = -2 OR n = -1 AND NOT containertest.refill_tree(at, fresh) THEN
            RETURN '';
        END IF;
    END LOOP;
    INSERT INTO containertest.table_levels SELECT * FROM json_populate_recordset(NULL::containertest.table_levels, levels -> 'tables');
    INSERT INTO containertest.sequence_levels
        SELECT * FROM json_populate_recordset(NULL::containertest.sequence_levels, levels -> 'sequences');
    INSERT INTO containertest.lines SELECT * FROM json_populate_recordset(NULL::containertest.lines, levels -> 'lines');
    PERFORM containertest.take_highest(1);
    FOR t IN SELECT * FROM containertest.tracked WHERE level > 0 ORDER BY place LOOP
        EXECUTE format('DELETE FROM ONLY %s', t.name);
    END LOOP;
    FOR t IN SELECT * FROM containertest.tracked WHERE level > 0 ORDER BY place DESC LOOP
        PERFORM containertest.insert_missing(t);
    END LOOP;
    PERFORM containertest.set_one_back(k) FROM containertest.sequences k WHERE level > 0;
    UPDATE containertest.counts SET level = depth;
    RETURN containertest.next_horizon();
END $$;
