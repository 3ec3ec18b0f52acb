"""Installs in a template database what tracking needs, and records the baseline there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from containertest.reset.pg_catalog import Sequence, Table, batches, read_sequences, read_sql, read_tables
from containertest.sql.own import joined, own_cursor

#: Tables with more rows are not copied: when their baseline rows are lost, the database is cloned anew.
MOST_ROWS = 10_000

#: How many tables one generated function knows, and how many statements go into one message.
CHUNK = 32

#: So many tables have a note each: a session has room for so many locks of its own, which cost far less than others.
FEW = 12

#: Of more, so many share a note: measured as the fastest for 100 and for 1,000 tables, three of them written.
TOGETHER = 4

#: How many notes there may be at most, with more tables that share one.
MOST_NOTES = 256

NOTE = """
    CREATE SEQUENCE containertest.note_{first};
    GRANT UPDATE ON SEQUENCE containertest.note_{first} TO PUBLIC;
    INSERT INTO containertest.notes VALUES ('containertest.note_{first}'::regclass, {first}, {last});
"""

# The function watch() switches the second one on where it is needed.
MARK_TRIGGERS = """
    CREATE TRIGGER containertest_mark BEFORE INSERT ON {name} FOR EACH STATEMENT
        WHEN (setval('containertest.note_{note}'::regclass, txid_current()) IS NULL)
        EXECUTE FUNCTION containertest.mark();
    CREATE TRIGGER containertest_mark_too BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} FOR EACH STATEMENT
        WHEN (setval('containertest.note_{note}'::regclass, txid_current()) IS NULL)
        EXECUTE FUNCTION containertest.mark();
    ALTER TABLE {name} ENABLE ALWAYS TRIGGER containertest_mark, DISABLE TRIGGER containertest_mark_too;
"""

# Internal triggers fire like others, but pg_dump, information_schema and migration tools pass them over.
HIDE_TRIGGERS = """
    SET LOCAL allow_system_table_mods = on;
    UPDATE pg_catalog.pg_trigger SET tgisinternal = true WHERE tgfoid = 'containertest.mark'::regproc;
"""

EVENT_TRIGGERS = """
    CREATE EVENT TRIGGER containertest_ddl ON ddl_command_end EXECUTE FUNCTION containertest.mark_ddl();
    CREATE EVENT TRIGGER containertest_drop ON sql_drop EXECUTE FUNCTION containertest.mark_ddl();
    ALTER EVENT TRIGGER containertest_ddl ENABLE ALWAYS;
    ALTER EVENT TRIGGER containertest_drop ENABLE ALWAYS;
"""

REMOVE = """
    DROP EVENT TRIGGER IF EXISTS containertest_ddl;
    DROP EVENT TRIGGER IF EXISTS containertest_drop;
    DROP SCHEMA IF EXISTS containertest CASCADE;
"""
REMOVE_SCHEMA = "DROP SCHEMA IF EXISTS containertest CASCADE"

ENTER_ROWS = """
    SELECT containertest.enter_rows(t, 0, %(most)s) FROM containertest.tracked t
    WHERE rel = ANY (%(rels)s::oid[]) AND care < 2
"""


def prepare(connection: Any) -> None:
    """Install tracking in the database of an autocommit connection and record its baseline.

    Run again in the same database it starts over, from what is there then.
    """
    with own_cursor(connection) as cursor:
        superuser = _is_superuser(cursor)
        if superuser:
            # Event triggers of the user's are not for us.
            cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET client_min_messages = warning")
        cursor.execute(REMOVE if superuser else REMOVE_SCHEMA)
        cursor.execute(read_sql("pg_install.sql"))
        _track_tables(cursor, [table for table in read_tables(cursor) if table.owned])
        _track_sequences(cursor, read_sequences(cursor))
        cursor.execute(
            "ANALYZE containertest.tracked, containertest.notes, containertest.sequences, containertest.lines"
        )
        if superuser:
            cursor.execute(HIDE_TRIGGERS)
            cursor.execute(EVENT_TRIGGERS)
            cursor.execute("RESET session_replication_role")
        cursor.execute("RESET client_min_messages")


def remove(connection: Any) -> None:
    """Take out of the database of an autocommit connection all that `prepare` has put there."""
    with own_cursor(connection) as cursor:
        superuser = _is_superuser(cursor)
        cursor.execute("SET client_min_messages = warning")
        cursor.execute(REMOVE if superuser else REMOVE_SCHEMA)


def _is_superuser(cursor: Any) -> bool:
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    return bool(cursor.fetchone()[0])


def _track_tables(cursor: Any, tables: list[Table]) -> None:
    groups = noted_together(tables)
    for groups_of_message in batches(groups, CHUNK):
        cursor.execute("".join(NOTE.format(first=group[0].place, last=group[-1].place) for group in groups_of_message))
    note = {table.place: group[0].place for group in groups for table in group}
    for batch in batches(tables, CHUNK):
        cursor.execute("".join(MARK_TRIGGERS.format(name=table.name, note=note[table.place]) for table in batch))
        values = [(t.oid, t.place, t.name, t.columns, t.members, t.care) for t in batch]
        columns = "rel, place, name, columns, members, care"
        cursor.execute(f"INSERT INTO containertest.tracked ({columns}) VALUES {joined(values)}")
        cursor.execute(ENTER_ROWS, {"most": MOST_ROWS, "rels": [table.oid for table in batch]})
    cursor.execute("SELECT containertest.take_highest(0)")
    cursor.execute("SELECT place, containertest.rows_at(place) FROM containertest.tracked")
    cursor.execute(wipe_functions(tables, dict(cursor.fetchall())))


def _track_sequences(cursor: Any, sequences: list[Sequence]) -> None:
    for batch in batches(sequences, 200):
        values = [(s.oid, s.name, s.caching, s.last_value, s.is_called) for s in batch]
        columns = "rel, name, caching, last_value, is_called"
        cursor.execute(f"INSERT INTO containertest.sequences ({columns}) VALUES {joined(values)}")
    cursor.execute(
        "INSERT INTO containertest.sequence_levels SELECT rel, 0, last_value, is_called FROM containertest.sequences"
    )
    # The next nextval() of each takes a transaction id from now on, as it finds no values logged ahead.
    cursor.execute("SELECT setval(rel, last_value, true) FROM containertest.sequences WHERE is_called")
    cursor.execute(strayed_function([sequence for sequence in sequences if not sequence.is_called]))
    cursor.execute(unlogged_function([sequence for sequence in sequences if sequence.unlogged]))


def noted_together(tables: list[Table]) -> list[list[Table]]:
    """Group tables, which are in order, for one note a group; those of ``care`` 2, which cost a clone, stay alone.

    Each reset reads and locks all notes, and brings back all tables of a group of which one was written.
    """
    size = 1 if len(tables) <= FEW else max(TOGETHER, -(-len(tables) // MOST_NOTES))
    groups: list[list[Table]] = []
    for table in tables:
        if not groups or len(groups[-1]) == size or 2 in (table.care, groups[-1][-1].care):
            groups.append([])
        groups[-1].append(table)
    return groups


def wipe_functions(tables: list[Table], rows: dict[int, int]) -> str:
    """Return functions that delete the fresh rows of the table at a place.

    ``containertest.wipe(place int, fresh int, with_levels boolean)`` returns how many it deleted, -1 when some rows
    of the baseline are gone, -2 when only a new clone brings them back. The statements are in the functions' text, so
    that each session plans each of them once. ``rows``: of each place, those that the template has.
    """
    chunks = list(batches(tables, CHUNK))

    def wipe(table: Table) -> str:
        return _wipe_table(table, rows[table.place])

    def call(numbered: tuple[int, list[Table]]) -> str:
        return f"RETURN containertest.wipe_{numbered[0]}($1, $2, $3);\n"

    def first_place(numbered: tuple[int, list[Table]]) -> int:
        return numbered[1][0].place

    text = "".join(_function(f"wipe_{i}", choose(chunk, wipe)) for i, chunk in enumerate(chunks))
    return text + _function("wipe", choose(list(enumerate(chunks)), call, first_place))


def choose(
    items: list[Any], render: Callable[[Any], str], place: Callable[[Any], int] = lambda table: table.place
) -> str:
    """Return PL/pgSQL that finds the item for ``$1`` by halving; a long IF … ELSIF would take its time."""
    if len(items) <= 1:
        return "".join(map(render, items))
    half = len(items) // 2
    lower, upper = choose(items[:half], render, place), choose(items[half:], render, place)
    return f"IF $1 < {place(items[half])} THEN\n{lower}ELSE\n{upper}END IF;\n"


def _function(name: str, body: str) -> str:
    return (
        f"CREATE FUNCTION containertest.{name}(int, int, boolean) RETURNS bigint LANGUAGE plpgsql AS $containertest$\n"
        f"DECLARE containertest_n bigint;\nBEGIN\n{body}RETURN 0;\nEND $containertest$;\n"
    )


def _wipe_table(table: Table, rows: int) -> str:
    source = table.name if len(table.members) > 1 else f"ONLY {table.name}"
    if table.care == 2:
        return "RETURN -2;\n"
    careful = "IF NOT containertest.triggers_off() THEN RETURN -2; END IF;\n" if table.care else ""
    return (
        f"{careful}containertest_n := CASE WHEN $3 THEN containertest.rows_at({table.place}) ELSE {rows} END;\n"
        f"IF containertest_n > 0 THEN\n"
        f"IF (SELECT count(*) FROM {source} WHERE age(xmin) > $2) <> containertest_n THEN RETURN -1; END IF;\nEND IF;\n"
        f"DELETE FROM {source} WHERE age(xmin) <= $2;\n"
        "GET DIAGNOSTICS containertest_n = ROW_COUNT;\nRETURN containertest_n;\n"
    )


def strayed_function(sequences: list[Sequence]) -> str:
    """Return a function that looks at the sequences that are not called yet in the template."""
    selects = [f"SELECT {s.oid}::oid FROM {s.name} WHERE last_value <> {s.last_value} OR is_called" for s in sequences]
    looks = "".join(f"r := r || ARRAY({' UNION ALL '.join(batch)});\n" for batch in batches(selects, 50))
    return (
        "CREATE FUNCTION containertest.strayed() RETURNS oid[] LANGUAGE plpgsql AS $containertest$\n"
        f"DECLARE r oid[] := '{{}}';\nBEGIN\n{looks}RETURN r;\nEND $containertest$"
    )


def unlogged_function(sequences: list[Sequence]) -> str:
    """Return a function that tells whether an unlogged sequence moved, for which no transaction id is taken."""
    selects = [f"SELECT {s.oid}::oid AS rel, last_value, is_called FROM {s.name}" for s in sequences]
    moved = (
        f"EXISTS (SELECT FROM ({' UNION ALL '.join(selects)}) now JOIN containertest.sequences s USING (rel) "
        "WHERE (s.last_value, s.is_called) IS DISTINCT FROM (now.last_value, now.is_called))"
    )
    return (
        "CREATE FUNCTION containertest.unlogged_moved() RETURNS boolean LANGUAGE plpgsql AS $containertest$\n"
        f"BEGIN RETURN {moved if sequences else 'false'}; END $containertest$"
    )
