"""Redis is after a reset what it was before, whatever a test did to it."""

from __future__ import annotations

import contextlib
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

import redis

from containertest.errors import ResetError
from containertest.reset.redis import RedisReset
from containertest.reset.redis_commands import EVERYTHING, changed, parse_calls
from containertest.reset.redis_wire import BeyondRepair, Wire
from tests.support import eventually

from . import private_servers

DEADLINE = 30.0
HAS_FUNCTIONS = private_servers.redis_version() >= 7


def poll(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE:g} s: {what}")
        time.sleep(0.01)


class ServerCase(unittest.TestCase):
    """A shared client as the library hands out, and an observer of its own that sees what is there."""

    def setUp(self) -> None:
        self.observer = self.new_client()
        self.wiped()
        self.client = self.new_client()
        self.addCleanup(self.wiped)

    def new_client(self, **changed: Any) -> redis.Redis:
        client = private_servers.redis_client(**changed)
        self.addCleanup(client.close)
        return client

    def wiped(self) -> None:
        self.observer.flushall()
        if HAS_FUNCTIONS:
            self.observer.function_flush()
        self.observer.script_flush()

    def picture(self) -> dict[str, Any]:
        """Return all that a reset brings back."""
        observer = self.observer
        clients = [c for c in observer.client_list() if c["cmd"] not in ("client|list", "client|setinfo")]
        info = observer.info("memory")
        return {
            "keys": {db: self.keys(db) for db in range(16)},
            "config": observer.config_get("*"),
            "acl": [line.replace(" sanitize-payload", "") for line in observer.acl_list()],
            "functions": observer.execute_command("FUNCTION", "LIST", "WITHCODE") if HAS_FUNCTIONS else None,
            "scripts": info["number_of_cached_scripts"],
            "role": observer.info("replication")["role"],
            "busy": sorted(c["flags"] + c["multi"] + c["sub"] + c["psub"] for c in clients if c["flags"] != "N"),
        }

    def keys(self, db: int) -> dict[bytes, Any]:
        client = self.new_client(db=db)
        with contextlib.closing(client):
            return {key: (client.dump(key), client.ttl(key)) for key in client.scan_iter()}

    def round_trips(self, action: Callable[[], object]) -> int:
        with mock.patch.object(Wire, "_round_trip", autospec=True, side_effect=Wire._round_trip) as sent:
            action()
        return sent.call_count


def _data(client: redis.Redis) -> None:
    client.mset({"kept": "changed", "new": "x"})
    client.rpush("list", "x")
    client.delete("gone")


def _read_only(client: redis.Redis) -> None:
    client.get("kept")
    client.hgetall("hash")
    client.info()
    client.publish("channel", "nobody")


def _other_database(client: redis.Redis) -> None:
    client.execute_command("SELECT", 5)
    client.set("there", "x")


def _moved(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.move("kept", 3)


def _transaction(client: redis.Redis) -> None:
    with client.pipeline() as pipeline:
        pipeline.set("a", 1)
        pipeline.incr("a")
        pipeline.execute()


def _function(client: redis.Redis) -> None:
    client.function_load("#!lua name=made\nredis.register_function('f', function(k, a) return 1 end)", replace=True)


def _function_deleted(client: redis.Redis) -> None:
    client.function_flush()


def _function_call(client: redis.Redis) -> None:
    body = "function(k, a) return redis.call('SET', k[1], 'x') end"
    client.function_load(f"#!lua name=made\nredis.register_function('f', {body})", replace=True)
    client.fcall("f", 1, "kept")


def _script(client: redis.Redis) -> None:
    client.eval("return redis.call('SET', KEYS[1], 'x')", 1, "kept")
    client.script_load("return 2")


def _config(client: redis.Redis) -> None:
    client.config_set("notify-keyspace-events", "KEA")
    client.config_set("slowlog-max-len", "1")
    client.config_set("save", "900 1")


def _evicted(client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", 1)
    client.get("kept")  # reading evicts too


def _out_of_memory(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)


def _users(client: redis.Redis) -> None:
    client.acl_setuser("made", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all"])
    client.acl_setuser("default", enabled=True, reset_channels=True)


def _password(client: redis.Redis) -> None:
    client.config_set("requirepass", "another")


def _fewer_rights(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.acl_setuser("default", enabled=True, commands=["-config", "-info", "-client", "-flushall", "-restore"])


def _hardly_a_right(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.execute_command("ACL", "SETUSER", "default", "off", "nopass", "resetkeys", "-@all", "+acl")


def _paused(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.client_pause(3_600_000, all=False)


def _open_transaction(client: redis.Redis) -> None:
    client.execute_command("MULTI")
    client.execute_command("SET", "never", "x")


def _watching(client: redis.Redis) -> None:
    client.execute_command("WATCH", "kept")


def _named(client: redis.Redis) -> None:
    client.client_setname("somebody")


def _subscribed(client: redis.Redis) -> None:
    pubsub = client.pubsub()
    pubsub.subscribe("channel")
    pubsub.get_message(timeout=5)


def _switched(client: redis.Redis) -> None:
    client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    client.execute_command("DEBUG", "POPULATE", "50")


def _replica(client: redis.Redis) -> None:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")


def _swapped(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.swapdb(0, 1)


def _reset_statistics(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.config_set("notify-keyspace-events", "KEA")
    client.config_resetstat()


def _counted_again(client: redis.Redis) -> None:
    client.config_resetstat()
    client.flushall()


def _disconnected(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.connection_pool.disconnect()


def _killed(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.client_kill_filter(_type="normal", skipme=False)


def _closed(client: redis.Redis) -> None:
    client.set("kept", "x")
    client.close()


def _other_client(client: redis.Redis) -> None:
    other = private_servers.redis_client(db=7)
    with contextlib.closing(other):
        other.set("there", "x")


def _expiring(client: redis.Redis) -> None:
    client.set("short", "x", px=1)
    client.expire("with ttl", 1)
    client.persist("with ttl")


DIRT = [value for name, value in list(globals().items()) if name.startswith("_") and callable(value)]
DIRT = [value for value in DIRT if getattr(value, "__module__", "") == __name__]
if not HAS_FUNCTIONS:
    DIRT = [value for value in DIRT if not value.__name__.startswith("_function")]


class BaselineTests(ServerCase):
    def filled(self) -> None:
        """Write what a class's setUpTestData may write."""
        client = self.client
        client.set("kept", "baseline")
        client.set("gone", "baseline")
        client.hset("hash", mapping={"a": 1, "b": 2})
        client.zadd("zset", {"a": 1.5})
        client.xadd("stream", {"a": 1})
        client.xgroup_create("stream", "group", "0")
        client.set(b"\xff\x00 bytes", b"\x00\xfe")
        client.set("with ttl", "x", ex=5000)
        other = self.new_client(db=3)
        other.set("elsewhere", "x", ex=5000)
        client.config_set("notify-keyspace-events", "Ex")
        self.addCleanup(self.observer.config_set, "notify-keyspace-events", "")
        client.acl_setuser("of the class".replace(" ", "_"), enabled=True, passwords=["+pw"], commands=["+get"])
        self.addCleanup(self.observer.acl_deluser, "of_the_class")
        if HAS_FUNCTIONS:
            client.function_load("#!lua name=class\nredis.register_function('g', function(k, a) return 1 end)")

    def check(self, dirt: Callable[[redis.Redis], None], reset: RedisReset, before: dict[str, Any]) -> None:
        dirt(self.client)
        reset.reset()
        after = self.picture()
        different = {part: (after[part], before[part]) for part in before if after[part] != before[part]}
        self.assertEqual(different, {})
        self.assertEqual(self.client.get("kept"), b"baseline" if before["keys"][0] else None)
        self.assertEqual(self.client.client_info()["db"], 0)
        self.assertEqual(self.client.client_getname(), None)

    def test_empty_baseline_is_brought_back(self) -> None:
        reset = RedisReset(self.client)
        before = self.picture()
        for dirt in DIRT:
            with self.subTest(dirt.__name__):
                self.check(dirt, reset, before)

    def test_baseline_with_keys_is_brought_back(self) -> None:
        reset = RedisReset(self.client)
        self.filled()
        reset.push(1)
        before = self.picture()
        for dirt in DIRT:
            with self.subTest(dirt.__name__):
                self.check(dirt, reset, before)

    def keys(self, db: int) -> dict[bytes, Any]:
        """Time goes on between a reset and a look: a TTL is whole within some seconds."""
        found = super().keys(db)
        return {key: (dump, ttl if ttl < 4900 else 5000) for key, (dump, ttl) in found.items()}

    def test_restore_goes_back_to_before_the_first_snapshot(self) -> None:
        reset = RedisReset(self.client)
        before = self.picture()
        self.filled()
        reset.push(1)
        self.client.set("second", "x")
        reset.push(1)
        reset.pop(0)
        self.assertEqual(self.picture(), before)
        _data(self.client)
        reset.reset()
        self.assertEqual(self.picture(), before)

    def test_process_that_takes_over_brings_back_what_one_that_died_has_left(self) -> None:
        first = RedisReset(self.client).first_settings
        before = self.picture()
        for dirt in (_data, _config, _users, _fewer_rights, _out_of_memory, _replica):
            with self.subTest(dirt.__name__):
                dirt(self.client)
                RedisReset(self.new_client(), first=first).restore()
                self.assertEqual(self.picture(), before)

    def test_process_that_takes_over_a_server_which_refuses_to_say_anything_is_told(self) -> None:
        first = RedisReset(self.client).first_settings
        self.observer.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-info", "-acl")
        self.addCleanup(self.observer.acl_deluser, "limited")
        with self.assertRaisesRegex(BeyondRepair, "refused INFO commandstats"):
            RedisReset(self.new_client(username="limited", password="pw"), first=first)

    def test_second_snapshot_is_the_baseline_then(self) -> None:
        reset = RedisReset(self.client)
        self.client.set("a", 1)
        reset.push(1)
        self.client.set("b", 2)
        reset.push(1)
        self.client.flushall()
        reset.reset()
        self.assertEqual(sorted(self.client.keys()), [b"a", b"b"])

    def test_logs_have_nothing_that_only_settings_of_a_test_have_put_there(self) -> None:
        self.observer.acl_log_reset()
        self.observer.latency_reset()
        reset = RedisReset(self.client)
        self.client.config_set("slowlog-log-slower-than", 0)
        self.client.config_set("latency-monitor-threshold", 1)
        self.client.get("marker")
        self.client.execute_command("DEBUG", "SLEEP", "0.05")
        self.client.acl_setuser("made", enabled=True, nopass=True, commands=["+ping"])
        with self.assertRaises(redis.ResponseError):
            self.new_client(username="made", password="").get("marker")
        self.assertIn("marker", str(self.observer.slowlog_get(128)))
        self.assertTrue(self.observer.latency_latest() and self.observer.acl_log())
        reset.reset()
        self.assertNotIn("marker", str(self.observer.slowlog_get(128)))
        self.assertEqual((self.observer.latency_latest(), self.observer.acl_log()), ([], []))

    def test_keys_expire_again_after_a_test_has_switched_that_off(self) -> None:
        reset = RedisReset(self.client)
        for switch in ("SET-ACTIVE-EXPIRE 0", "PAUSE-CRON 1"):
            with self.subTest(switch):
                with contextlib.suppress(redis.ResponseError):  # one that this version doesn't know
                    self.client.execute_command("DEBUG", *switch.split())
                reset.reset()
                self.client.set("short", "x", px=1)
                poll(lambda: self.observer.dbsize() == 0, "the key has expired")

    def test_test_can_save_though_the_last_one_was_saving(self) -> None:
        self.client.config_set("rdb-key-save-delay", 1000)  # microseconds: 100 keys take 0.1 s
        self.addCleanup(self.observer.config_set, "rdb-key-save-delay", 0)
        reset = RedisReset(self.client)
        for save in (self.client.bgsave, self.client.bgrewriteaof):
            with self.subTest(save.__name__):
                self.client.execute_command("DEBUG", "POPULATE", "100")
                save()
                reset.reset()
                self.assertTrue(self.client.save())

    def test_time_to_live_starts_anew(self) -> None:
        reset = RedisReset(self.client)
        self.client.set("short", "x", px=1500)
        reset.push(1)
        poll(lambda: self.client.exists("short") == 0, "the key has expired")
        reset.reset()
        self.assertGreater(self.client.pttl("short"), 0)

    def test_keys_that_a_setting_evicted_come_back(self) -> None:
        """No command that writes was run, and no key of the baseline is written in any case."""
        reset = RedisReset(self.client)
        self.client.set("kept", "x")
        reset.push(1)
        _evicted(self.client)
        poll(lambda: self.observer.dbsize() == 0, "the key is evicted")
        reset.reset()
        self.assertEqual(self.client.get("kept"), b"x")

    def test_many_keys_come_back(self) -> None:
        reset = RedisReset(self.client)
        with self.client.pipeline() as pipeline:
            for number in range(2500):
                pipeline.set(f"key:{number}", number)
            pipeline.execute()
        reset.push(1)
        self.client.flushall()
        reset.reset()
        self.assertEqual(self.client.dbsize(), 2500)
        self.assertEqual(self.client.get("key:2499"), b"2499")

    def test_scripts_of_the_baseline_stay(self) -> None:
        reset = RedisReset(self.client)
        known = self.client.script_load("return 'baseline'")
        reset.push(1)
        self.client.eval("return 'test'", 0)
        reset.reset()
        self.assertEqual(self.client.evalsha(known, 0), b"baseline")
        self.client.script_flush()
        with self.assertWarnsRegex(ResourceWarning, "SCRIPT FLUSH"):
            reset.reset()


class ClientTests(ServerCase):
    def test_watch_left_on_the_shared_client_does_not_fail_the_next_transaction(self) -> None:
        reset = RedisReset(self.client)
        self.client.execute_command("WATCH", "a")
        reset.reset()
        self.observer.set("a", "x")
        self.client.execute_command("MULTI")
        self.client.execute_command("SET", "b", "x")
        self.assertEqual(self.client.execute_command("EXEC"), [b"OK"])

    def test_subscriber_that_a_test_left_does_not_hear_the_next(self) -> None:
        reset = RedisReset(self.client)
        pubsub = self.new_client().pubsub()
        pubsub.subscribe("channel")
        self.assertIsNotNone(pubsub.get_message(timeout=5))
        reset.reset()
        poll(lambda: self.observer.publish("channel", "x") == 0, "the subscriber is gone")

    def test_client_that_waits_for_a_key_does_not_take_the_next_tests(self) -> None:
        reset = RedisReset(self.client)
        waiting = self.new_client(retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0), socket_timeout=DEADLINE)

        def wait() -> None:
            with contextlib.suppress(redis.ConnectionError):
                waiting.blpop("queue")

        thread = threading.Thread(target=wait)
        thread.start()
        self.addCleanup(thread.join, DEADLINE)
        poll(lambda: any("b" in c["flags"] for c in self.observer.client_list()), "the client waits")
        reset.reset()
        thread.join(DEADLINE)
        self.assertFalse(thread.is_alive())
        self.client.rpush("queue", "x")
        self.assertEqual(self.client.llen("queue"), 1)

    def test_subscriber_of_the_baseline_stays(self) -> None:
        pubsub = self.new_client().pubsub()
        pubsub.subscribe("channel")
        self.assertIsNotNone(pubsub.get_message(timeout=5))
        reset = RedisReset(self.client)
        reset.push(1)
        self.client.set("a", 1)
        reset.reset()
        self.assertEqual(self.client.publish("channel", "x"), 1)

    def test_other_peoples_idle_connections_stay(self) -> None:
        reset = RedisReset(self.client)
        other = self.new_client(client_name="application", db=2)
        before = other.client_id()
        self.client.client_setname("odd")
        reset.reset()
        self.assertEqual(other.client_id(), before)

    @unittest.skipUnless(HAS_FUNCTIONS, "Redis 6 does not list these states")
    def test_state_of_the_shared_client_that_no_command_shows_is_gone(self) -> None:
        before = self.state()
        reset = RedisReset(self.client)
        for command in (("CLIENT", "NO-EVICT", "ON"), ("HELLO", 5 - int(before["resp"]))):
            with self.subTest(command):
                with contextlib.suppress(redis.RedisError):  # its parser knows one protocol
                    self.client.execute_command(*command)
                reset.reset()
                self.assertEqual(self.state(), before)

    def state(self) -> dict[str, Any]:
        info = self.client.client_info()
        return {name: info.get(name) for name in ("flags", "resp", "db", "user", "name")}

    def test_script_that_a_test_left_running_is_ended(self) -> None:
        self.client.config_set("lua-time-limit", 50)
        self.addCleanup(self.observer.config_set, "lua-time-limit", 5000)
        reset = RedisReset(self.client)

        def run() -> None:
            with contextlib.suppress(redis.RedisError), contextlib.closing(private_servers.redis_client()) as other:
                other.eval("while true do end", 0)

        threading.Thread(target=run, daemon=True).start()
        self.addCleanup(self.end_script)
        self.assertTrue(eventually(self.is_busy))
        reset.reset()
        self.assertFalse(self.is_busy())

    def end_script(self) -> None:
        with contextlib.suppress(redis.ResponseError):
            self.observer.script_kill()

    def is_busy(self) -> bool:
        try:
            self.observer.ping()
        except redis.ResponseError:
            return True
        return False

    def test_client_with_one_connection_is_made_anew_too(self) -> None:
        client = self.new_client(single_connection_client=True)
        reset = RedisReset(client)
        client.execute_command("SELECT", 5)
        reset.reset()
        self.assertEqual(client.client_info()["db"], 0)

    def test_client_with_settings_of_its_own_keeps_them(self) -> None:
        client = self.new_client(client_name="shared", decode_responses=True)
        reset = RedisReset(client)
        client.set("a", "é")
        client.client_setname("odd")
        reset.reset()
        self.assertEqual((client.client_getname(), client.get("a")), ("shared", None))


class CostTests(ServerCase):
    def test_nothing_written_takes_one_round_trip_whatever_the_baseline(self) -> None:
        reset = RedisReset(self.client)
        for baseline in ("empty", "with keys"):
            with self.subTest(baseline):
                reset.reset()
                for _ in range(3):
                    _read_only(self.client)
                    self.assertEqual(self.round_trips(reset.reset), 1)
                self.client.set("kept", "x")
                self.client.set("with ttl", "x", ex=100)
                reset.push(1)

    def test_keys_written_on_an_empty_baseline_take_one_round_trip(self) -> None:
        reset = RedisReset(self.client)
        for _ in range(3):
            _data(self.client)
            self.assertEqual(self.round_trips(reset.reset), 1)
            self.assertEqual(self.client.dbsize(), 0)

    def test_keys_written_on_a_baseline_with_keys_take_two_round_trips(self) -> None:
        reset = RedisReset(self.client)
        self.client.set("kept", "x")
        reset.push(1)
        for _ in range(3):
            _data(self.client)
            self.assertEqual(self.round_trips(reset.reset), 2)

    def test_shared_connection_stays_open_over_resets(self) -> None:
        reset = RedisReset(self.client)
        before = self.client.client_id()
        for _ in range(3):
            _data(self.client)
            _transaction(self.client)
            reset.reset()
        self.assertEqual(self.client.client_id(), before)


class NothingMissedTests(ServerCase):
    def commands(self) -> dict[str, set[str]]:
        """Return the flags of all commands of this server, subcommands as ``container|sub``."""
        flags = {}
        for entry in self.raw("COMMAND"):
            flags[entry[0].decode()] = {flag.decode().strip("@") for flag in [*entry[2], *entry[6]]}
            for sub in entry[9] if len(entry) > 9 else ():
                flags[sub[0].decode()] = {flag.decode().strip("@") for flag in [*sub[2], *sub[6]]}
        return flags

    def raw(self, *command: str) -> Any:
        (reply,) = Wire(self.client, DEADLINE).send([command])
        return reply

    def test_no_command_that_writes_counts_as_changing_nothing(self) -> None:
        commands = self.commands()
        self.assertGreater(len(commands), 150)
        for name, flags in commands.items():
            if "write" in flags:
                self.assertTrue(changed({}, {name: 1}), name)

    def test_no_command_for_administrators_counts_as_changing_nothing_by_chance(self) -> None:
        harmless = {name for name, flags in self.commands().items() if "admin" in flags and not changed({}, {name: 1})}
        shown = {name for name in harmless if name.split("|")[0] not in ("slowlog", "latency", "client")}
        self.assertEqual(
            shown - {"monitor", "role", "lastsave"},
            {name for name in shown if name.split("|")[-1] in _LOOKS},
        )

    def test_command_that_nobody_knows_may_have_changed_anything(self) -> None:
        self.assertEqual(changed({}, {"new.command": 1}), EVERYTHING)
        self.assertEqual(changed({}, {"config|new": 1}), EVERYTHING)

    def test_counts_that_fell_may_hide_anything(self) -> None:
        self.assertEqual(changed({"get": 2}, {"get": 1}), EVERYTHING)
        self.assertEqual(changed({"get": 2}, {}), EVERYTHING)

    def test_counts_show_commands_of_scripts_and_transactions(self) -> None:
        before = parse_calls(self.raw("INFO", "commandstats"))
        _script(self.client)
        _transaction(self.client)
        after = parse_calls(self.raw("INFO", "commandstats"))
        self.assertEqual(after["set"] - before.get("set", 0), 2)

    def test_command_that_was_refused_is_not_counted(self) -> None:
        self.client.rpush("list", "x")
        before = parse_calls(self.raw("INFO", "commandstats"))
        with self.assertRaises(redis.ResponseError):
            self.client.execute_command("SET", "a")
        self.assertEqual(parse_calls(self.raw("INFO", "commandstats")).get("set"), before.get("set"))


_LOOKS = ("get", "list", "users", "getuser", "whoami", "cat", "genpass", "dryrun", "log", "help", "resetstat")


class LeasedDatabaseTests(ServerCase):
    """On a server that is not ours, nothing beyond the one database is touched."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.new_client(db=4)
        self.observer.set("foreign", "x")
        self.observer.config_set("notify-keyspace-events", "Ex")
        self.addCleanup(self.observer.config_set, "notify-keyspace-events", "")
        self.reset = RedisReset(self.client, whole_server=False)

    def test_only_its_own_database_is_emptied(self) -> None:
        self.client.set("mine", "x")
        self.client.eval("return 1", 0)
        before = self.picture()
        self.reset.reset()
        before["keys"][4] = {}
        self.assertEqual(self.picture(), before)

    def test_baseline_of_its_database_is_brought_back_in_one_round_trip(self) -> None:
        self.client.set("kept", "baseline", ex=5000)
        self.reset.push(1)
        self.client.set("kept", "changed")
        self.client.set("new", "x")
        self.assertEqual(self.round_trips(self.reset.reset), 1)
        self.assertEqual((self.client.keys(), self.client.get("kept")), ([b"kept"], b"baseline"))
        self.assertGreater(self.client.ttl("kept"), 4900)
        self.reset.pop(0)
        self.assertEqual(self.client.keys(), [])

    def test_server_wide_commands_are_never_sent(self) -> None:
        with mock.patch.object(Wire, "_round_trip", autospec=True, side_effect=Wire._round_trip) as sent:
            self.client.set("kept", "x", ex=5000)
            self.reset.push(1)
            _config(self.client)
            _subscribed(self.client)
            self.reset.reset()
            self.reset.pop(0)
        names = {" ".join(map(str, command[:2])) for call in sent.call_args_list for command in call.args[1]}
        allowed = {"INFO commandstats", "CLIENT LIST", "FLUSHDB", "SELECT 4"}
        self.assertEqual(
            {name for name in names if name.split()[0] not in ("SCAN", "DUMP", "PTTL", "RESTORE")}, allowed
        )

    def test_shared_connection_in_another_database_comes_back(self) -> None:
        for odd in (_other_database, _open_transaction, _named, _watching):
            with self.subTest(odd.__name__):
                odd(self.client)
                self.reset.reset()
                self.assertEqual(self.client.client_info()["db"], 4)
                self.assertIsNone(self.client.client_getname())
        self.assertEqual(self.observer.get("foreign"), b"x")

    def test_user_that_may_not_look_at_the_server_can_reset(self) -> None:
        self.observer.execute_command(
            "ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "&*",
            "+@all", "-@admin", "-@dangerous", "+flushdb",
        )  # fmt: skip
        self.addCleanup(self.observer.acl_deluser, "limited")
        client = self.new_client(db=4, username="limited", password="pw")
        reset = RedisReset(client, whole_server=False)
        client.set("mine", "x")
        client.execute_command("SELECT", 5)
        reset.reset()
        self.assertEqual(client.dbsize(), 0)
        self.assertIsNone(client.get("mine"))
        client.set("in its own", "x")
        self.assertEqual(self.new_client(db=4).keys(), [b"in its own"])


class FailureTests(ServerCase):
    def test_server_that_can_not_be_reached_is_a_reset_error(self) -> None:
        with self.assertRaisesRegex(ResetError, "can't be reached"):
            RedisReset(self.new_client(port=1))

    def test_paused_server_is_given_up_on_and_says_so(self) -> None:
        reset = RedisReset(self.client, timeout=0.2)
        self.client.client_pause(1500, all=True)
        with self.assertRaisesRegex(ResetError, "CLIENT PAUSE"):
            reset.reset()
        poll(lambda: self.answers(reset), "the pause is over")

    def answers(self, reset: RedisReset) -> bool:
        try:
            reset.reset()
        except ResetError:
            return False
        return True

    def test_refused_command_names_itself_but_no_secret(self) -> None:
        self.observer.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-flushdb")
        self.addCleanup(self.observer.acl_deluser, "limited")
        reset = RedisReset(self.new_client(username="limited", password="pw"), whole_server=False)
        with self.assertRaises(ResetError) as caught:
            reset.reset()
        self.assertIn("FLUSHDB", str(caught.exception))
        self.assertNotIn(private_servers.redis_server()["password"], str(caught.exception))

    def test_writer_that_does_not_stop_is_an_error_not_a_hang(self) -> None:
        reset = RedisReset(self.client)
        stop = threading.Event()

        def write() -> None:
            """Without waiting for answers, so that Redis has always some at hand, however busy the machine is."""
            with contextlib.closing(private_servers.redis_client()) as other:
                connection = other.connection_pool.get_connection()
                connection.send_command("CLIENT", "SETNAME", "writer")
                connection.read_response()
                connection.send_command("CLIENT", "REPLY", "OFF")
                commands = b"".join(connection.pack_command("CONFIG", "SET", "notify-keyspace-events", "KEA")) * 500
                while not stop.is_set():
                    connection.send_packed_command([commands])
                connection.disconnect()

        thread = threading.Thread(target=write)
        thread.start()
        self.addCleanup(self.observer.config_set, "notify-keyspace-events", "")
        self.addCleanup(poll, lambda: "writer" not in str(self.observer.client_list()), "all is read")
        self.addCleanup(thread.join, DEADLINE)
        self.addCleanup(stop.set)
        poll(lambda: self.observer.config_get("notify-keyspace-events")["notify-keyspace-events"] != "", "it writes")
        with self.assertRaisesRegex(ResetError, "keeps changing"):
            for _ in range(50):
                reset.reset()


if __name__ == "__main__":
    unittest.main()
