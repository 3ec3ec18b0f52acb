"""``python keep.py SCHEMA [WAY]``: a run that uses its servers, and says what it has and what it has loaded."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
import recorder

from containertest import ContainerManager, Postgres


def upgrade(url: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(Path(sys.argv[1]).read_text(encoding="utf-8"))


def main(schema: str, way: str = "") -> None:
    upgrade.depends_on = [schema]
    migrations = upgrade if way == "callable" else schema
    manager = ContainerManager(Postgres(options=json.loads(os.environ.get("CT_OPTIONS", "{}"))), migrations=migrations)
    with manager:
        docker = sorted({name.partition(".")[0] for name in sys.modules} & {"docker", "testcontainers", "requests"})
        with manager.postgres.connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM work")
            rows = cursor.fetchone()[0]
            cursor.execute("INSERT INTO work (pid) VALUES (%s)", (os.getpid(),))
        keys = len(manager.redis.client.keys())
        settings = manager.redis.client.config_get("maxclients")
        manager.redis.client.set("key", "value")
        manager.redis.client.config_set("maxclients", "77")
        found = {"docker": docker, "template": manager.postgres.template, "rows": rows, "keys": keys, **settings}
        recorder.record(manager, way=way, **found)
        if way == "stay":
            print("ready", flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
