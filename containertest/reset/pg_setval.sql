-- Lets setval() with three arguments leave a trace. It alone can change a sequence in a way that reading it fast doesn't
-- show (see astray() in pg_install.sql), and nothing else in PostgreSQL tells that it was called: it fires no trigger
-- and outlasts a rollback, as the count kept here does. The function gets another name, in this database only, and one
-- that counts gets its own; PostgreSQL puts that one's two calls right into the statement that calls it. No dump has
-- functions of pg_catalog. An object that was made before, and stands for the function itself, would get round it:
-- then nothing is done.
DO $$
BEGIN
    IF to_regprocedure('pg_catalog.containertest_setval(regclass, bigint, boolean)') IS NULL THEN
        ALTER FUNCTION pg_catalog.setval(regclass, bigint, boolean) RENAME TO containertest_setval;
    END IF;
    CREATE OR REPLACE FUNCTION pg_catalog.setval(regclass, bigint, boolean) RETURNS bigint LANGUAGE sql AS $sql$
        SELECT CASE WHEN pg_catalog.nextval('containertest.setvals') > 0 THEN containertest.set_value($1, $2, $3) END
    $sql$;
    GRANT EXECUTE ON FUNCTION pg_catalog.setval(regclass, bigint, boolean) TO PUBLIC;
    IF NOT EXISTS (SELECT FROM pg_rewrite WHERE oid >= 16384 AND ev_action::text LIKE '%:funcid 1765 %')
        AND NOT EXISTS (SELECT FROM pg_attrdef WHERE adbin::text LIKE '%:funcid 1765 %')
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgqual::text LIKE '%:funcid 1765 %')
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conbin::text LIKE '%:funcid 1765 %')
        AND NOT EXISTS (
            SELECT FROM pg_proc p WHERE oid >= 16384 AND pronamespace <> 'containertest'::regnamespace
                AND (prosrc = 'setval3_oid' OR to_jsonb(p) ->> 'prosqlbody' LIKE '%:funcid 1765 %')
        )
    THEN
        PERFORM containertest.set_value('containertest.setvals', 1, false);
    END IF;
END $$;
