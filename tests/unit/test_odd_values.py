"""Values that no server or file system takes: each is an error of this library, at once, with what is wrong."""

from __future__ import annotations

import os
import tempfile
import unittest
from pathlib import Path
from typing import Any

from containertest import ConfigError, ContainerTestError, FixtureError, Postgres, Redis, fixtures, redisdata
from containertest.files import locate

LONG = "x" * 5000


class PathTests(unittest.TestCase):
    def test_paths_that_can_not_be_are_not_found(self) -> None:
        for path in (LONG, f"{'a' * 200}/" * 30, f"/{LONG}", Path(LONG), "a\0b", "\ud800", "\udcff", f"{LONG}\0"):
            with self.subTest(path=str(path)[:20]):
                with self.assertRaisesRegex(FixtureError, "fixture not found"):
                    fixtures.find(path, [Path("/tmp"), Path("/")])

    def test_path_below_a_file_is_not_found(self) -> None:
        with self.assertRaisesRegex(ContainerTestError, "it not found"):
            locate(f"{__file__}/below/it", [Path("/")], ContainerTestError, "it")

    @unittest.skipIf(os.geteuid() == 0, "nothing is closed to root")
    def test_path_in_a_folder_that_is_closed_is_not_found(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0)
            self.addCleanup(os.chmod, folder, 0o700)
            with self.assertRaisesRegex(ContainerTestError, "it not found"):
                locate("it", [Path(folder)], ContainerTestError, "it")


class JsonTests(unittest.TestCase):
    def test_deep_nesting_is_told(self) -> None:
        for text in ("[" * 100_000, '{"a":' * 100_000, '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"):
            with self.subTest(text[:9]), self.assertRaisesRegex(FixtureError, "deep.json: nested too deep"):
                redisdata.parse(text, "deep.json")

    def test_half_a_surrogate_pair_is_told_wherever_it_is(self) -> None:
        for text in ('{"\\ud800": 1}', '{"a": "\\udcff"}', '{"a": {"\\ud800": "b"}}', '{"a": {"set": ["\\ud800"]}}'):
            with self.subTest(text), self.assertRaisesRegex(FixtureError, "half a surrogate pair"):
                redisdata.parse(text, "odd.json")


class ServerTests(unittest.TestCase):
    def refused(self, why: str, make: Any, **arguments: Any) -> str:
        with self.subTest(make.__name__, **{name: repr(value)[:40] for name, value in arguments.items()}):
            with self.assertRaisesRegex(ConfigError, why) as raised:
                make(**arguments)
            return str(raised.exception)
        return ""

    def test_names_of_options(self) -> None:
        for name in ("", "a\0b", "a\nb", "a b", "a=b", "\ud800", "-a", "\u00e4", 5, None, b"a"):
            for make in (Postgres, Redis):
                self.refused("has .*, which is no name of a setting", make, options={name: "1"})

    def test_values_of_options(self) -> None:
        for value in (None, b"1", ["60 1"], {"a": 1}, object()):
            for make in (Postgres, Redis):
                self.refused("'maxmemory': .*, but a value must be a text", make, options={"maxmemory": value})
        for value in ("a\0b", "\ud800", "\udcff"):
            for make in (Postgres, Redis):
                self.refused("'maxmemory', has a NUL or half a surrogate", make, options={"maxmemory": value})

    def test_values_that_are_understood(self) -> None:
        for value in ("1", 1, 1.5, True, "", "a\nb", "\u00e4", Path("/tmp")):
            Postgres(options={"work_mem": value, "my.setting": "1"})
            Redis(options={"maxmemory": value, "Save": "60 1", "client-query-buffer-limit": 1})

    def test_texts(self) -> None:
        for text in ("a\0b", "\ud800", "\udcff secret"):
            for make in (Postgres, Redis):
                for name in ("image", "memory", "password"):
                    said = self.refused(rf"{name}=…\) (has a NUL or half|must not)", make, **{name: text})
                    self.assertNotIn("secret", said)
            self.refused(r"username=…\) (has a NUL or half|is)", Postgres, username=text)
            self.refused(r"dbname=…\) (has a NUL or half|is)", Postgres, dbname=text)

    def test_redis_that_would_refuse_every_key(self) -> None:
        for options in ({"cluster-enabled": True}, {"cluster-enabled": "yes"}, {"Cluster-Enabled": 1}):
            self.refused("in cluster mode has no slots", Redis, options=options)
        for name in ("replicaof", "SlaveOf"):
            self.refused("a replica takes no writes", Redis, options={name: "127.0.0.1 6379"})
        for value in ("no", False, "No"):
            Redis(options={"cluster-enabled": value})


if __name__ == "__main__":
    unittest.main()
