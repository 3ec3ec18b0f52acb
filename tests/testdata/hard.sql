-- What a splitter gets wrong: test_fixtures loads this file here and with psql, and compares the databases.
/* a comment; /* in a comment; */ it's still one */
\set ON_ERROR_STOP on
SET standard_conforming_strings = on;
CREATE SCHEMA "odd; schema";
CREATE TABLE "odd; schema"."t;""x" (id serial PRIMARY KEY, "a;b" text DEFAULT ';', c$d$ int, e text);
INSERT INTO "odd; schema"."t;""x" ("a;b", c$d$, e) VALUES
    ('100%', 1, 'back\slash'),          -- it's; a comment
    ('%s %(name)s %%', 2, E'it\'s; \\'),
    ('split'
     ';on', 3, U&'d\0061t\+000061;'),
    ($$dollar; ' $ $$, 4, $x$ $$ ; $y$ ; $x$), ('é€😀;', 5, e'\\');
SET standard_conforming_strings = off;
SET escape_string_warning = off;
INSERT INTO "odd; schema"."t;""x" (e) VALUES ('with\';'), (E'\\');
SET standard_conforming_strings = on;
COPY "odd; schema"."t;""x" ("a;b", e) FROM stdin; -- rows
tab;	it's $$ /* --
\N	back\\slash
é	\tx
\.
COPY "odd; schema"."t;""x" ("a;b", e) FROM STDIN WITH (FORMAT csv, HEADER);
a;b,e
"two
lines;",'
\.
CREATE FUNCTION plain(a int) RETURNS int LANGUAGE plpgsql AS $body$
BEGIN
    IF a > 0 THEN RETURN 1; END IF; -- '
    RETURN $q$2$q$;
END;
$body$;
CREATE FUNCTION atomic(a int) RETURNS int LANGUAGE sql
BEGIN ATOMIC
    SELECT 1;
    SELECT CASE WHEN a > 0 THEN CASE a WHEN 1 THEN 2 ELSE 3 END END;
END;
CREATE PROCEDURE doubled() LANGUAGE sql BEGIN ATOMIC; SELECT ';'::text AS x; END;
CREATE TABLE log (what text); CREATE TABLE log2 (what text); CREATE RULE two AS ON INSERT TO log
    WHERE new.what = ';' DO ALSO (INSERT INTO log2 VALUES ('a;'); INSERT INTO log2 VALUES ('b'));
INSERT INTO log VALUES (';')
;
BEGIN;
INSERT INTO log VALUES ('kept');
SAVEPOINT inner_one;
INSERT INTO log VALUES ('not kept');
ROLLBACK TO SAVEPOINT inner_one;
COMMIT;
START TRANSACTION; INSERT INTO log VALUES ('not kept'); ROLLBACK;
BEGIN; INSERT INTO log VALUES ('kept'); COMMIT AND CHAIN; INSERT INTO log VALUES ('not kept'); ABORT;
COMMIT;
DO $$ BEGIN PERFORM set_config('search_path', '', false); END $$;
INSERT INTO public.log SELECT 5 % 3 || '%' WHERE 'a' LIKE '%a%';
COPY (SELECT 1) TO STDOUT;
INSERT INTO public.log VALUES ('the last one has no semicolon')
