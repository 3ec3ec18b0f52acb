"""Whatever a test does to a PostgreSQL database, the reset brings its whole dump back to the baseline's."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import unittest

from tests.integration.reset_case import SCHEMA, ResetCase
from tests.integration.reset_dump import can_dump, dump

# name: statements, each of which dirties the database in a way of its own. Names that start with "clone" are those
# that may cost a new clone of the database; all others may not.
DIRT = {
    # rows
    "insert": "INSERT INTO author (email) VALUES ('x@example.com')",
    "insert with a child": """
        INSERT INTO author (email) VALUES ('x@example.com'); INSERT INTO book (author_id, title) VALUES (3, 'b');
        INSERT INTO review (book_id, stars, words) VALUES (1, 5, 'good');
        INSERT INTO shop."order" (author_id) VALUES (3)
    """,
    "child of a baseline row": "INSERT INTO book (author_id, title) VALUES (1, 'b')",
    "update": "UPDATE author SET email = 'new@example.com' WHERE id = 1",
    "update of all kinds of columns": """
        UPDATE odd SET "two words" = 'x', seen = '1 year', raw = 'x', ratio = 2, tags = '{z}', doc = '{}', whole = NULL
    """,
    "update of a key that cascades": "UPDATE country SET code = 'xx' WHERE code = 'at'",
    "update that swaps unique values": "UPDATE late SET place = 3 - place",
    "update that changes nothing": "UPDATE author SET email = email",
    "delete": "DELETE FROM node WHERE id = 3",
    "delete that cascades": """
        INSERT INTO book (author_id, title) VALUES (1, 'b'), (2, 'c'); DELETE FROM author WHERE id = 1
    """,
    "delete that sets null": "DELETE FROM country WHERE code = 'at'",
    "delete and insert the same": """
        DELETE FROM country WHERE code = 'ch'; INSERT INTO country VALUES ('ch', 'Switzerland')
    """,
    "truncate": "TRUNCATE no_key",
    "truncate cascade": "TRUNCATE country CASCADE",
    "truncate restart identity": "TRUNCATE author RESTART IDENTITY CASCADE",
    "rows that are alike": "INSERT INTO no_key VALUES (1, 'one'); DELETE FROM no_key WHERE n = 2",
    "one of two rows that are alike": "DELETE FROM no_key WHERE ctid = (SELECT min(ctid) FROM no_key)",
    "table without columns": "INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES",
    "since 15: merge": """
        MERGE INTO country c USING (VALUES ('at', 'x'), ('fr', 'France')) v (code, name) ON c.code = v.code
        WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT VALUES (v.code, v.name)
    """,
    "since 15: merge that deletes": """
        MERGE INTO node n USING (VALUES (3)) v (id) ON n.id = v.id WHEN MATCHED THEN DELETE
    """,
    "locked rows": "BEGIN; SELECT * FROM author FOR UPDATE; COMMIT; UPDATE author SET feels = 'sad'",
    "on conflict": """
        INSERT INTO country VALUES ('at', 'x'), ('fr', 'France') ON CONFLICT (code) DO UPDATE SET name = 'y'
    """,
    "writable cte": """
        WITH gone AS (DELETE FROM no_key RETURNING *) INSERT INTO audit (line) SELECT t FROM gone
    """,
    "function": "SELECT write_a_lot()",
    "do block": "DO $$ BEGIN FOR i IN 1..30 LOOP INSERT INTO audit (line) VALUES (i); END LOOP; END $$",
    "view": "INSERT INTO author_view (email) VALUES ('v@example.com'); UPDATE author_view SET email = id::text",
    "view with a trigger": "INSERT INTO with_trigger VALUES (1, 'v')",
    "self reference": """
        INSERT INTO node (parent, name) VALUES (3, 'leaf'), (4, 'below'); UPDATE node SET parent = 5 WHERE id = 2
    """,
    "circle": """
        INSERT INTO egg VALUES (3, NULL); INSERT INTO hen VALUES (3, 3); UPDATE egg SET hen = 3;
        UPDATE hen SET egg = 3; DELETE FROM egg WHERE id < 3
    """,
    "circle, new rows": """
        INSERT INTO egg VALUES (3, NULL); INSERT INTO hen VALUES (3, 3); UPDATE egg SET hen = 3 WHERE id = 3
    """,
    "rule, new rows": "INSERT INTO ruled VALUES (2, 'n')",
    "deferred": "BEGIN; INSERT INTO late VALUES (3, 4, 3), (4, 3, 4); UPDATE late SET up = 3; COMMIT",
    "deferred, rows gone": "BEGIN; DELETE FROM late; INSERT INTO late VALUES (9, 9, 9); COMMIT",
    "partitions": """
        INSERT INTO event (at, what, country) VALUES ('2000-01-01', 'n', 'at'), ('2022-01-01', 'a', 'de')
    """,
    "partition moves": "UPDATE event SET at = '2022-01-01', what = 'a'",
    "partition directly": "INSERT INTO event_new_a (at, what) VALUES ('2022-01-01', 'a'); DELETE FROM event_old",
    "partitions, truncate": "TRUNCATE event",
    "inheritance": "INSERT INTO dog (name, tricks) VALUES ('fido', 1); UPDATE animal SET name = 'x'",
    "inheritance, only parent": "DELETE FROM ONLY animal; INSERT INTO animal (name) VALUES ('cow')",
    "inheritance, child": "UPDATE dog SET tricks = 0",
    "unlogged": "INSERT INTO cache (body) VALUES ('hot'); DELETE FROM cache WHERE id = 1",
    "generated always": """
        INSERT INTO book (author_id, title) VALUES (1, 'b');
        INSERT INTO review (id, book_id, words) OVERRIDING SYSTEM VALUE SELECT 99, id, 'loud' FROM book;
        UPDATE review SET words = 'quiet'
    """,
    "identity": """
        INSERT INTO odd ("two words") VALUES ('n'); DELETE FROM odd WHERE "Select" = 7
    """,
    "trigger": "INSERT INTO watched (body) VALUES ('n'); UPDATE watched SET body = 'm'; DELETE FROM watched",
    "trigger that refuses": "INSERT INTO guarded DEFAULT VALUES; UPDATE guarded SET id = id + 10",
    "trigger that refuses, truncate": "TRUNCATE guarded",
    "rule": "INSERT INTO ruled VALUES (2, 'n'); UPDATE ruled SET body = 'm'; TRUNCATE ruled",
    "row level security": "INSERT INTO secret (owner) VALUES ('nobody'); DELETE FROM secret WHERE id = 1",
    "other schema": """INSERT INTO shop."order" DEFAULT VALUES""",
    "much": "INSERT INTO audit (line) SELECT i FROM generate_series(1, 20000) i",
    "large table, insert": "INSERT INTO shop.big (body) VALUES ('n')",
    "clone: large table, update": "UPDATE shop.big SET body = 'n' WHERE id = 5",
    "clone: trigger that always fires": "INSERT INTO always DEFAULT VALUES",
    "replica role": """
        SET session_replication_role = replica; DELETE FROM author; INSERT INTO book (author_id, title) VALUES (99, 'b')
    """,
    "clone: triggers disabled": "ALTER TABLE author DISABLE TRIGGER ALL; INSERT INTO author (email) VALUES ('x')",
    "another role": """
        SET ROLE app; INSERT INTO country VALUES ('xx', 'x'); UPDATE country SET name = 'y'
    """,
    # sequences
    "nextval": "SELECT nextval('ticket'), nextval('called'), nextval('ready'), nextval('down')",
    "sequence of an unlogged table": "SELECT nextval('cache_id_seq')",
    "setval": "SELECT setval('ticket', 5000), setval('called', 1, false), setval('ready', 7)",
    "setval, not called": "SELECT setval('ticket', 5000, false)",
    "setval, not called, on a table's": "SELECT setval('book_id_seq', 77, false)",
    "setval to what it was": "SELECT setval('called', 2)",
    "insert rolled back": "BEGIN; INSERT INTO author (email) VALUES ('x'); ROLLBACK",
    "insert that fails": "DO $$ BEGIN INSERT INTO author (email) VALUES (NULL); EXCEPTION WHEN OTHERS THEN END $$",
    "savepoint": """
        BEGIN; SAVEPOINT a; INSERT INTO author (email) VALUES ('x'); ROLLBACK TO a;
        INSERT INTO no_key VALUES (5, 'five'); RELEASE a; COMMIT
    """,
    "cached sequence": "SELECT nextval('cached')",
    "identity's sequence": "SELECT nextval('review_id_seq'), nextval('\"odd_Select_seq\"')",
    # large objects
    "large object": "SELECT lo_from_bytea(0, 'new')",
    "large objects": "SELECT lo_create(0) FROM generate_series(1, 5)",
    "clone: large object changed": "SELECT lo_put(54711, 0, 'X')",
    "clone: large object extended": "SELECT lo_put(54711, 100000, 'X')",
    "clone: large object gone": "SELECT lo_unlink(54711)",
    "clone: large object's comment": "COMMENT ON LARGE OBJECT 54711 IS 'new'",
    "clone: large object's rights": "GRANT SELECT ON LARGE OBJECT 54711 TO app",
    # DDL
    "clone: create table": "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES",
    "clone: create table as": "CREATE TABLE t AS SELECT * FROM author",
    "clone: select into": "SELECT * INTO t FROM author",
    "clone: drop table": "DROP TABLE review",
    "clone: drop and create the same": "DROP TABLE review; CREATE TABLE review (id int)",
    "clone: add a column": "ALTER TABLE author ADD note text DEFAULT 'x'",
    "clone: change a type": "ALTER TABLE book ALTER price TYPE float8",
    "clone: rename": "ALTER TABLE author RENAME TO writer; INSERT INTO writer (email) VALUES ('x')",
    "clone: move": "ALTER TABLE audit SET SCHEMA shop",
    "clone: index": "CREATE INDEX ON book (title)",
    "clone: constraint": "ALTER TABLE country ADD CHECK (code <> '')",
    "clone: trigger": "CREATE TRIGGER t AFTER INSERT ON book FOR EACH ROW EXECUTE FUNCTION note()",
    "clone: type": "ALTER TYPE mood ADD VALUE 'furious'",
    "clone: create a type": "CREATE TYPE size AS ENUM ('s', 'm'); CREATE TYPE pair AS (a int, b int)",
    "clone: procedure": "CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'",
    "clone: alter a function": "ALTER FUNCTION write_a_lot() SECURITY DEFINER",
    "clone: alter a schema": "ALTER SCHEMA shop RENAME TO store",
    "clone: owner": "ALTER TABLE author OWNER TO app",
    "clone: unlogged": "ALTER TABLE no_key SET UNLOGGED",
    "clone: row level security off": "ALTER TABLE secret DISABLE ROW LEVEL SECURITY; DELETE FROM secret",
    "clone: do block": "DO $$ BEGIN EXECUTE 'CREATE TABLE t (i int)'; END $$",
    "clone: ddl in a savepoint": "BEGIN; SAVEPOINT a; CREATE TABLE t (i int); RELEASE a; COMMIT",
    "clone: rights on a schema": "GRANT USAGE ON SCHEMA shop TO app",
    "clone: sequence dropped": "DROP SEQUENCE ticket",
    "clone: constraint not valid": "ALTER TABLE book ADD CHECK (title <> '') NOT VALID",
    "clone: cluster on": "ALTER TABLE book CLUSTER ON book_pkey",
    "clone: partition detached": "ALTER TABLE event DETACH PARTITION event_old",
    "clone: drop a type": "DROP TYPE mood CASCADE",
    "clone: domain": "ALTER DOMAIN positive DROP CONSTRAINT positive_check",
    "clone: function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "clone: replace a function": """
        CREATE OR REPLACE FUNCTION write_a_lot() RETURNS void LANGUAGE sql AS 'SELECT 1'
    """,
    "clone: drop a function": "DROP FUNCTION note CASCADE",
    "clone: schema": "CREATE SCHEMA s CREATE TABLE t (i int)",
    "clone: drop a schema": "DROP SCHEMA shop CASCADE",
    "clone: drop all schemas": "DROP SCHEMA shop, public, containertest CASCADE; CREATE SCHEMA public",
    # Any that is there: not every PostgreSQL comes with those of "contrib".
    "clone: extension": """
        DO $$ BEGIN
            EXECUTE (
                SELECT format('CREATE EXTENSION %I', name) FROM pg_available_extensions
                WHERE installed_version IS NULL ORDER BY name <> 'pg_trgm', name LIMIT 1
            );
        END $$
    """,
    "clone: drop an extension": "DROP EXTENSION plpgsql CASCADE",
    "clone: view": "CREATE VIEW v AS SELECT 1 AS one; DROP VIEW author_view",
    "clone: refresh": "INSERT INTO author (email) VALUES ('x'); REFRESH MATERIALIZED VIEW authors_by_country",
    "clone: materialized view": "CREATE MATERIALIZED VIEW m AS SELECT 1 AS one",
    "clone: sequence": "ALTER SEQUENCE ticket RESTART WITH 5 INCREMENT 2",
    "clone: comment": "COMMENT ON TABLE author IS 'writers'",
    "clone: grant": "GRANT SELECT ON author TO PUBLIC",
    "clone: default rights": "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "clone: policy": "CREATE POLICY p ON author; ALTER TABLE author ENABLE ROW LEVEL SECURITY",
    "clone: rule": "CREATE RULE r AS ON DELETE TO author DO INSTEAD NOTHING",
    "clone: partition": "CREATE TABLE event_b PARTITION OF event_new FOR VALUES IN ('c')",
    "clone: statistics": "CREATE STATISTICS st ON id, email FROM author",
    "clone: collation": "CREATE COLLATION c (locale = 'C')",
    "clone: operator": "CREATE OPERATOR ### (leftarg = int, rightarg = int, function = int4pl)",
    "clone: operator class": """
        CREATE OPERATOR CLASS oc FOR TYPE int USING hash AS OPERATOR 1 =, FUNCTION 1 hashint4(int4)
    """,
    "clone: cast": "CREATE CAST (mood AS int) WITH INOUT",
    "clone: aggregate": "CREATE AGGREGATE ag (int) (sfunc = int4pl, stype = int)",
    "clone: text search": """
        CREATE TEXT SEARCH CONFIGURATION c (COPY = simple);
        ALTER TEXT SEARCH CONFIGURATION c DROP MAPPING FOR word
    """,
    "clone: foreign": """
        CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
        CREATE FOREIGN TABLE f (i int) SERVER s
    """,
    "clone: publication": "CREATE PUBLICATION p FOR ALL TABLES",
    "clone: subscription": """
        CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)
    """,
    "clone: event trigger": """
        CREATE FUNCTION ev() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER ev ON ddl_command_end EXECUTE FUNCTION ev()
    """,
    "clone: event triggers off": "ALTER EVENT TRIGGER containertest_ddl DISABLE; CREATE TABLE t (i int)",
    "clone: event triggers gone": "DROP EVENT TRIGGER containertest_ddl; CREATE TABLE t (i int)",
    "clone: ddl as a replica": "SET session_replication_role = replica; CREATE TABLE t (i int)",
    "clone: drop owned": "DROP OWNED BY app",
    "clone: analyze is none, index is": "ANALYZE author; REINDEX TABLE author; CREATE INDEX i ON author (country)",
    # the database as a whole
    "setting": "ALTER DATABASE {name} SET search_path = shop, public; ALTER DATABASE {name} SET work_mem = '1MB'",
    "setting of a role": "ALTER ROLE app IN DATABASE {name} SET work_mem = '2MB'",
    "comment on the database": "COMMENT ON DATABASE {name} IS 'mine'",
    "rights on the database": "REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; GRANT CREATE ON DATABASE {name} TO app",
    "connection limit": "ALTER DATABASE {name} CONNECTION LIMIT 7",
    "template": "ALTER DATABASE {name} IS_TEMPLATE true",
    "clone: template and DDL": "ALTER DATABASE {name} IS_TEMPLATE true; CREATE TABLE t (i int)",
    "clone: settings and DDL": "ALTER DATABASE {name} SET work_mem = '1MB'; CREATE TABLE t (i int)",
    # prepared transactions
    "prepared": "BEGIN; INSERT INTO author (email) VALUES ('x'); PREPARE TRANSACTION 'x'",
    "prepared, nothing written": "BEGIN; LOCK TABLE author; PREPARE TRANSACTION 'x'",
    "prepared ddl": "BEGIN; DROP TABLE review; PREPARE TRANSACTION 'x'",
    # nothing of the database
    "temporary table": "CREATE TEMP TABLE t (id serial PRIMARY KEY, s text UNIQUE); INSERT INTO t (s) VALUES ('x')",
    "temporary table, dropped": "CREATE TEMP TABLE t (id serial PRIMARY KEY, s text); DROP TABLE t",
    "temporary objects": """
        CREATE TEMP VIEW v AS SELECT * FROM author; CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE TEMP SEQUENCE s; CREATE TYPE pg_temp.e AS ENUM ('a'); CREATE TEMP TABLE t AS SELECT 1 AS one;
        ALTER TABLE t ADD two int; CREATE INDEX ON t (two); COMMENT ON TABLE t IS 't'
    """,
    "if not exists": """
        CREATE TABLE IF NOT EXISTS author (i int); DROP TABLE IF EXISTS missing; CREATE SCHEMA IF NOT EXISTS shop
    """,
    "ddl rolled back": """
        BEGIN; CREATE TABLE t (i int); DROP TABLE review; INSERT INTO author (email) VALUES ('x'); ROLLBACK
    """,
    "aborted": "BEGIN; INSERT INTO author (email) VALUES ('x'); SAVEPOINT a",
    "nothing": "SELECT count(*) FROM author",
}  # fmt: skip


def copy(text, what="country", how=""):
    """COPY FROM STDIN on the shared connection."""

    def run(case):
        with case.database.connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {what} FROM STDIN {how}", io.StringIO(text))

    return run


def other(*statements, role=None, autocommit=True, close=False):
    """Run statements on another connection."""

    def run(case):
        connection = case.connect(user=role or case.role, autocommit=autocommit)
        for statement in statements:
            case.execute(statement, connection)
        if close:
            connection.close()

    return run


def process(statement):
    """Run a statement in a process of its own."""

    def run(case):
        code = "import sys, psycopg2; c = psycopg2.connect(sys.argv[1]); c.cursor().execute(sys.argv[2]); c.commit()"
        url = case.database.server.url(dbname=case.database.name)
        subprocess.run([sys.executable, "-c", code, url, statement], check=True, timeout=60)

    return run


INSERT = "INSERT INTO author (email) VALUES ('o@example.com')"

#: Statements that can't be in a message with others, and those of other connections.
DIRT_ALONE = {
    "copy": [copy("fr\tFrance\n"), copy("x\n", "audit (line)")],
    "copy with freeze": ["BEGIN", "TRUNCATE no_key", copy("7\tseven\n", "no_key", "WITH (FREEZE)"), "COMMIT"],
    "another connection": [other(INSERT)],
    "another connection, closed": [other(INSERT, "DELETE FROM no_key", close=True)],
    "another connection, in a transaction": [other(INSERT, "DELETE FROM no_key", "COMMIT", autocommit=False)],
    "another connection, rolled back": [other(INSERT, "ROLLBACK", autocommit=False)],
    "another connection, session settings": [
        other("SET session_replication_role = replica", "DELETE FROM author", "SELECT nextval('ticket')")
    ],
    "clone: another connection, ddl": [other("CREATE TABLE t (i int)")],
    "clone: another connection, ddl in a transaction": [other("ALTER TABLE odd ADD i int", "COMMIT", autocommit=False)],
    "another connection, values taken ahead": [other("SELECT nextval('cached')"), "SELECT nextval('cached')"],
    "another role's connection": [other("UPDATE country SET name = 'y'", role="app")],
    "another process": [process(INSERT)],
    "clone: another process, ddl": [process("DROP TABLE review")],
    "call with commit": [
        "CALL pay()",
    ],
    "locks": ["BEGIN; LOCK TABLE author, book, country IN ACCESS EXCLUSIVE MODE"],
    "cluster": ["INSERT INTO author (email) VALUES ('x')", "DELETE FROM author WHERE id = 1", "CLUSTER author"],
    "clone: index concurrently": ["CREATE INDEX CONCURRENTLY ON book (title)"],
    "vacuum full": ["INSERT INTO author (email) VALUES ('x')", "DELETE FROM author WHERE id = 1", "VACUUM FULL author"],
    "vacuum": ["VACUUM (FREEZE, ANALYZE)"],
    "prepared, committed": [
        "BEGIN; INSERT INTO author (email) VALUES ('x'); PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
    ],
    "prepared, rolled back": [
        "BEGIN; INSERT INTO author (email) VALUES ('x'); PREPARE TRANSACTION 'x'",
        "ROLLBACK PREPARED 'x'",
    ],
}


#: What leaves the database as it was.
HARMLESS = {
    *("update that changes nothing", "delete and insert the same", "setval to what it was", "prepared, rolled back"),
    *("temporary table", "temporary table, dropped", "temporary objects", "if not exists", "ddl rolled back"),
    *("aborted", "nothing", "vacuum"),
}

#: What holds locks on what a dump reads.
LOCKING = {"prepared, nothing written", "prepared ddl", "aborted", "locks"}


class DirtTests(ResetCase):
    """One for each entry of DIRT and DIRT_ALONE; made below."""

    schema = SCHEMA

    def check(self, name, statements):
        self.dirty(statements)
        if name not in LOCKING | HARMLESS:
            self.assertTrue(self.baseline.difference(), "this has changed nothing")
        self.reset(name)
        self.assert_baseline()

    def dirty(self, statements):
        for statement in statements:
            if callable(statement):
                statement(self)
            else:
                self.execute(statement.replace("{name}", self.database.name))

    def reset(self, name):
        if name.startswith("clone"):
            self.resetter.reset(name)
        else:
            with self.assertNoLogs("containertest"):
                self.resetter.reset(name)

    def test_pg_dump_tells_no_difference_after_all_that_is_brought_back_in_place(self):
        if not can_dump(self.database):
            return  # the catalogs tell more
        before = dump(self.database)
        for name, statements in ALL.items():
            if not name.startswith("clone") and self.is_for_this_server(name):
                self.dirty(statements)
                self.reset(name)
        self.assertEqual(dump(self.database), before)

    def is_for_this_server(self, name):
        minimum = re.search(r"since (\d+)", name)
        return minimum is None or self.database.connection.server_version >= int(minimum[1]) * 10000


def _add_test(name, statements):
    def test(self):
        if self.is_for_this_server(name):
            self.check(name, statements)

    setattr(DirtTests, "test_" + re.sub(r"\W+", "_", name), test)


ALL = {**{name: [text] for name, text in DIRT.items()}, **DIRT_ALONE}
for _name, _statements in ALL.items():
    _add_test(_name, _statements)

if __name__ == "__main__":
    unittest.main()
