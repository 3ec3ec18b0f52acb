-- Undoes pg_setval.sql. What was made meanwhile may stand for the function that counts: then it stays, and counts no
-- more.
DO $$
BEGIN
    IF to_regprocedure('pg_catalog.containertest_setval(regclass, bigint, boolean)') IS NULL THEN
        RETURN;
    END IF;
    DROP FUNCTION pg_catalog.setval(regclass, bigint, boolean);
    ALTER FUNCTION pg_catalog.containertest_setval(regclass, bigint, boolean) RENAME TO setval;
EXCEPTION WHEN dependent_objects_still_exist THEN
    CREATE OR REPLACE FUNCTION pg_catalog.setval(regclass, bigint, boolean) RETURNS bigint LANGUAGE sql AS $sql$
        SELECT pg_catalog.containertest_setval($1, $2, $3)
    $sql$;
END $$;
