"""Faster starts of PostgreSQL's image on Docker: without the temporary server, and from a prepared image."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from docker.errors import ImageNotFound

from containertest.backends import docker_prepared
from containertest.backends.base import Server
from containertest.backends.docker import DockerBackend, prune
from containertest.backends.docker_labels import labels
from containertest.backends.docker_prepared import Recipe
from containertest.errors import BackendUnavailable
from containertest.services import postgres
from containertest.settings import Settings
from containertest.spec import ServerSpec
from containertest.wait import LogLine
from tests.integration.test_docker_backend import PASSWORD, DockerCase
from tests.support import eventually, run_python

READY = "database system is ready to accept connections"
INITDB = "running bootstrap script"


class PostgresCase(DockerCase):
    """Each class has a cache folder of its own; the images whose passwords are there are removed at its end."""

    cache: Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cache = tempfile.TemporaryDirectory(prefix="containertest-cache-")
        cls.addClassCleanup(cache.cleanup)
        cls.cache = Path(cache.name) / "containertest"
        patch = mock.patch.dict(os.environ, {"XDG_CACHE_HOME": cache.name})
        patch.start()
        cls.addClassCleanup(patch.stop)
        cls.addClassCleanup(cls.remove_images)

    def spec(self, image: str | None = None, **changes: Any) -> ServerSpec:
        spec = postgres.spec(postgres.Postgres(**changes), Settings.load(), PASSWORD)
        return replace(spec, container=replace(spec.container, image=image)) if image else spec

    def image_with(self, *lines: str) -> str:
        """The name of a new image: the one under test, and these lines of a Dockerfile."""
        name = f"containertest-derived:{self.folder.name[-8:].lower().strip('_')}"
        dockerfile = "\n".join([f"FROM {self.spec().container.image}", *lines]).encode()
        self.engine.images.build(fileobj=io.BytesIO(dockerfile), tag=name, rm=True, forcerm=True)
        self.addCleanup(self.engine.images.remove, name, force=True)
        return name

    def output(self, image: str, entrypoint: Sequence[str], *arguments: str) -> str:
        """What a container prints; gone at the end with its volumes, which ``containers.run(remove=True)`` leaves."""
        container = self.engine.containers.create(image, arguments, entrypoint=list(entrypoint))
        self.addCleanup(container.remove, v=True, force=True)
        container.start()
        container.wait()
        return str(container.logs().decode())

    def query(self, server: Server, text: str, password: str | None = None) -> Any:
        endpoint = replace(server.endpoint, password=password or server.endpoint.password)
        with closing(postgres.connect(endpoint)) as connection, connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchone()

    @classmethod
    def tags(cls) -> list[str]:
        """The prepared images whose password is in the cache folder."""
        notes = [json.loads(file.read_text()) for file in cls.cache.glob("prepared-*.json")]
        ids = {note["image"] for note in notes}
        images = cls.engine.images.list(docker_prepared.REPOSITORY)
        return [tag for image in images if image.id in ids for tag in image.tags]

    @classmethod
    def remove_images(cls) -> None:
        for tag in cls.tags():
            cls.engine.images.remove(tag, force=True)
        for file in cls.cache.glob("prepared-*.json"):
            file.unlink()

    @property
    def note(self) -> Path:
        """The file with the password of the only prepared image."""
        (file,) = self.cache.glob("prepared-*.json")
        return file

    def run_once(self, spec: ServerSpec | None = None) -> None:
        """A whole run, as its guard ends it."""
        self.ready(spec or self.spec())
        self.backend.remove(self.session, self.recorded)
        self.recorded.clear()


class EntryPointTests(PostgresCase):
    def test_official_image_starts_its_server_once(self) -> None:
        log = self.ready(self.spec()).logs()
        self.assertEqual(log.count(READY), 1, log)
        self.assertIn("PostgreSQL init process complete", log)

    def test_nobody_is_trusted_who_comes_by_tcp(self) -> None:
        rules = "SELECT count(*) FROM pg_hba_file_rules WHERE type <> 'local' AND auth_method <> 'scram-sha-256'"
        self.assertEqual(self.query(self.ready(self.spec()), rules), (0,))

    def test_who_waits_for_the_second_line_of_the_log_gets_it(self) -> None:
        log = self.ready(self.spec(wait=LogLine(READY, occurrences=2))).logs()
        self.assertEqual(log.count(READY), 2, log)

    def test_scripts_of_a_derived_image_are_run_as_always(self) -> None:
        image = self.image_with(
            "RUN echo 'CREATE TABLE made_by_a_script (id int)' > /docker-entrypoint-initdb.d/one.sql"
            " && echo 'touch /tmp/made-by-a-shell-script' > /docker-entrypoint-initdb.d/two.sh"
        )
        server = self.ready(self.spec(image))
        self.assertEqual(server.logs().count(READY), 2)
        self.assertEqual(self.query(server, "SELECT count(*) FROM made_by_a_script"), (0,))
        self.assertEqual(self.query(server, "SELECT size FROM pg_stat_file('/tmp/made-by-a-shell-script')"), (0,))

    def test_other_entry_point_is_kept(self) -> None:
        image = self.image_with('ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]')
        self.assertEqual(self.ready(self.spec(image)).logs().count(READY), 2)

    def test_entry_point_that_does_more_is_run_as_it_is(self) -> None:
        image = self.image_with(
            r"RUN sed -i 's/docker_temp_server_stop$/docker_process_sql <<< \"CREATE TABLE more ()\"; &/'"
            " /usr/local/bin/docker-entrypoint.sh && grep -q 'CREATE TABLE more' /usr/local/bin/docker-entrypoint.sh"
        )
        server = self.ready(self.spec(image))
        self.assertEqual(server.logs().count(READY), 2)
        self.assertEqual(self.query(server, "SELECT count(*) FROM more"), (0,))

    def test_entry_point_without_functions_is_run_as_it_is(self) -> None:
        image = self.image_with(
            "RUN mv /usr/local/bin/docker-entrypoint.sh /usr/local/bin/original"
            " && printf '#!/bin/sh\\nexec original \"$@\"\\n' > /usr/local/bin/docker-entrypoint.sh"
            " && chmod 755 /usr/local/bin/docker-entrypoint.sh"
        )
        self.run_once(self.spec(image))
        self.assertEqual(self.tags(), [])
        self.assertEqual(self.ready(self.spec(image)).logs().count(READY), 2)

    def test_image_without_bash_is_left_to_its_own_entry_point(self) -> None:
        image = self.image_with(
            "RUN printf '#!/bin/sh\\necho plain \"$@\"\\n' > /usr/local/bin/docker-entrypoint.sh"
            " && rm /bin/bash && chmod 755 /usr/local/bin/docker-entrypoint.sh"
        )
        entrypoint: Any = self.spec().container.entrypoint
        self.assertEqual(self.output(image, entrypoint.command, "-c", "fsync=off"), "plain -c fsync=off\n")


class PreparedTests(PostgresCase):
    """After one run, which has prepared an image."""

    def setUp(self) -> None:
        super().setUp()
        if not self.tags():
            self.run_once()

    def test_second_run_starts_on_the_data_that_the_first_has_prepared(self) -> None:
        server = self.ready(self.spec())
        self.assertNotIn(INITDB, server.logs())
        self.assertNotEqual(server.endpoint.password, PASSWORD)
        secret = server.endpoint.password
        settled = postgres.meet(server.endpoint, PASSWORD)
        settled.connection.close()
        self.assertEqual(settled.endpoint.password, PASSWORD)
        self.assertEqual(self.query(server, "SELECT current_user::text", PASSWORD), ("testuser",))
        with self.assertRaisesRegex(Exception, "password authentication failed"):
            self.query(server, "SELECT 1", secret)

    def test_nobody_is_trusted_who_comes_by_tcp(self) -> None:
        rules = "SELECT count(*) FROM pg_hba_file_rules WHERE type <> 'local' AND auth_method <> 'scram-sha-256'"
        self.assertEqual(self.query(self.ready(self.spec()), rules), (0,))

    def test_prepared_data_are_in_memory_too(self) -> None:
        server = self.ready(self.spec())
        self.assertEqual(self.query(server, "SHOW data_directory"), (self.spec().container.environment["PGDATA"],))
        container = self.containers()[0]
        self.assertIn("/var/lib/postgresql/data", container.attrs["HostConfig"]["Tmpfs"])
        self.assertEqual(container.attrs["Mounts"], [])

    def test_first_run_leaves_an_image_and_a_private_file_and_no_container(self) -> None:
        self.assertEqual(self.containers(), [])
        (tag,) = self.tags()
        labels = self.engine.images.get(tag).labels
        self.assertEqual((labels["containertest"], labels["containertest.uid"]), ("1", str(os.getuid())))
        file = self.note
        self.assertEqual((file.stat().st_mode & 0o777, self.cache.stat().st_mode & 0o777), (0o600, 0o700))

    def test_image_tells_no_password(self) -> None:
        file = self.note
        image = self.engine.images.get(json.loads(file.read_text())["image"])
        told = str([image.attrs, image.history()])
        self.assertIn("PGDATA", told)
        self.assertNotIn("POSTGRES_PASSWORD", str(image.attrs["Config"]["Env"]))
        for password in (PASSWORD, json.loads(file.read_text())["password"]):
            self.assertNotIn(password, told)
        left = self.output(image.id, ["sh", "-c"], "ls /containertest")
        self.assertEqual(left, "data\n")


class PreparingTests(PostgresCase):
    """Each test begins without a prepared image."""

    def setUp(self) -> None:
        super().setUp()
        self.remove_images()

    def test_nothing_is_prepared_for_who_waits_for_a_line_of_the_log(self) -> None:
        self.run_once(self.spec(wait=LogLine(READY, occurrences=2)))
        self.assertEqual(list(self.cache.glob("prepared-*")), [])

    def test_other_user_name_has_an_image_of_its_own(self) -> None:
        self.run_once()
        self.assertIn(INITDB, self.ready(self.spec(username="somebody")).logs())
        self.backend.remove(self.session, self.recorded)
        self.assertEqual(len(self.tags()), 2)
        self.assertNotIn(INITDB, self.ready(self.spec(username="somebody")).logs())

    def test_missing_image_is_made_again(self) -> None:
        self.run_once()
        self.engine.images.remove(self.tags()[0])
        self.run_once()
        self.assertEqual(len(self.tags()), 1)
        self.assertNotIn(INITDB, self.ready(self.spec()).logs())

    def test_missing_or_broken_password_is_as_no_image(self) -> None:
        self.run_once()
        file = self.note
        for content in ("", "[]", '{"image": 1, "password": "x"}', None):
            with self.subTest(content=content):
                file.unlink() if content is None else file.write_text(content)
                self.assertIn(INITDB, self.ready(self.spec()).logs())
                self.backend.remove(self.session, {})
        self.run_once()
        self.assertNotIn(INITDB, self.ready(self.spec()).logs())

    def note_image(self, image: str) -> None:
        """Put ``image`` in the place of the prepared one."""
        file = self.note
        file.write_text(json.dumps({**json.loads(file.read_text()), "image": image}))

    def test_image_that_does_not_start_is_given_up_at_once(self) -> None:
        self.run_once()
        self.note_image(self.image_with("ENV PATH=/nowhere"))
        self.assertIn(INITDB, self.ready(self.spec()).logs())
        self.assertEqual(len(self.containers()), 1)

    def test_data_that_do_not_work_are_not_used_again(self) -> None:
        self.run_once()
        self.note_image(self.image_with("RUN mkdir -p /containertest/data && echo 1 > /containertest/data/PG_VERSION"))
        server = self.backend.start(self.spec(), self.owner)
        if server.handle["prepared"]:  # else it has ended before its address was known, and this is another one
            self.assertTrue(eventually(lambda: not server.alive()))
        server.stop()
        self.assertIn(INITDB, self.ready(self.spec()).logs())

    def test_image_that_cannot_be_prepared_is_tried_once(self) -> None:
        spec = self.spec(self.image_with("RUN echo 'SELECT 1' > /docker-entrypoint-initdb.d/one.sql"))
        self.run_once(spec)
        self.assertEqual(self.tags(), [])
        with mock.patch.object(docker_prepared, "_made", side_effect=AssertionError("tried again")):
            self.run_once(spec)

    def test_image_of_an_older_version_is_removed_by_the_next_one(self) -> None:
        with mock.patch.object(docker_prepared, "VERSION", 0):
            self.run_once()
            (old,) = self.tags()
        self.run_once()
        self.assertEqual(len(self.tags()), 1)
        self.assertNotIn(old, self.tags())
        self.assertEqual(len(list(self.cache.glob("prepared-*.json"))), 1)

    def test_prune_removes_images_and_passwords(self) -> None:
        self.run_once()
        (tag,) = self.tags()
        self.assertIn(f"removed: image {tag}", prune())
        self.assertEqual(self.engine.images.list(tag), [])
        self.assertEqual(list(self.cache.glob("prepared-*.json")), [])

    def test_prune_removes_what_has_lost_its_name(self) -> None:
        made = {**labels(self.session, "postgres", str(self.folder)), docker_prepared._GENERATION: "any"}
        container = self.engine.containers.create(self.spec().container.image, labels=made)
        nameless = container.commit()
        container.remove(v=True)
        self.assertEqual(nameless.tags, [])
        self.assertIn(f"removed: image {nameless.id}", prune())
        with self.assertRaises(ImageNotFound):
            self.engine.images.get(nameless.id)

    def test_preparation_that_fails_keeps_no_run_from_ending(self) -> None:
        self.ready(self.spec())
        with mock.patch.object(docker_prepared, "_made", side_effect=BackendUnavailable("no room")):
            with self.assertLogs("containertest", "WARNING") as logged:
                self.backend.remove(self.session, self.recorded)
        self.assertIn("no room", logged.output[0])
        self.assertEqual(self.containers(), [])

    def test_nothing_is_prepared_from_an_image_that_has_never_got_ready(self) -> None:
        self.backend.start(self.spec(), self.owner)
        self.backend.remove(self.session, self.recorded)
        self.assertEqual(self.tags(), [])

    def test_image_whose_password_was_lost_goes_when_it_is_made_again(self) -> None:
        self.run_once()
        lost = json.loads(self.note.read_text())["image"]
        self.note.unlink()
        self.run_once()
        self.assertNotEqual(json.loads(self.note.read_text())["image"], lost)
        self.assertEqual(len(self.tags()), 1)
        with self.assertRaises(ImageNotFound):
            self.engine.images.get(lost)

    def test_image_of_another_cache_folder_keeps_its_name(self) -> None:
        self.run_once()
        (tag,) = self.tags()
        with tempfile.TemporaryDirectory(prefix="containertest-cache-") as other:
            with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": other}):
                self.run_once()
                (file,) = Path(other, "containertest").glob("prepared-*.json")
                self.engine.images.remove(json.loads(file.read_text())["image"], force=True)
        self.assertEqual(self.tags(), [tag])

    def test_docker_s_library_makes_and_uses_one_too(self) -> None:
        self.without_the_plain_way()
        self.backend = DockerBackend()
        self.run_once()
        self.assertEqual(len(self.tags()), 1)
        self.assertNotIn(INITDB, self.ready(self.spec()).logs())

    def test_only_one_run_at_a_time_prepares(self) -> None:
        self.ready(self.spec())
        with docker_prepared._alone(wait=True) as alone:
            self.assertTrue(alone)
            self.backend.remove(self.session, self.recorded)
        self.assertEqual(self.tags(), [])

    def test_what_a_killed_guard_has_left_is_removed_and_made_again(self) -> None:
        self.ready(self.spec())
        code = """
            import json, os, sys
            from containertest.backends import docker, docker_prepared
            docker_prepared.Recipe.keep = lambda *arguments: os._exit(9)
            docker.DockerBackend().remove(sys.argv[1], json.loads(sys.argv[2]))
        """
        handles = json.dumps(self.recorded)
        self.assertEqual(run_python(code, self.session, handles).returncode, 9)
        self.assertEqual(len(self.containers()), 1)
        DockerBackend().remove(self.session, json.loads(handles))
        self.assertEqual(self.containers(), [])
        self.assertEqual(len(self.tags()), 1)

    def test_recipe_is_the_same_after_its_way_to_the_guard(self) -> None:
        self.ready(self.spec())
        (handle,) = self.recorded.values()
        self.assertEqual(Recipe(**json.loads(json.dumps(handle["recipe"]))).key, Recipe(**handle["recipe"]).key)
