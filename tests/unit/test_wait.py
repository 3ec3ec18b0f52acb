"""When a server counts as ready, and what is said when it never does; the servers are fakes."""

from __future__ import annotations

import socket
import unittest
from collections.abc import Callable
from unittest import mock

from containertest.errors import BackendUnavailable, ConfigError, ServerDied, StartupTimeout
from containertest.spec import Endpoint
from containertest.wait import Connection, ListeningPort, LogLine, Refusal, WaitStrategy, poll, until_ready

LONG = 60.0


class FakeServer:
    """Lives for so many looks at it, and has a log."""

    backend = "local"

    def __init__(self, port: int = 1, lives: float = float("inf"), log: str = "") -> None:
        self.endpoint = Endpoint("127.0.0.1", port, "user", "s3cret")
        self.lives = lives
        self.log = log

    def alive(self) -> bool:
        self.lives -= 1
        return self.lives >= 0

    def logs(self, tail: int | None = None) -> str:
        return self.log


class Probe:
    """A connection that fails the first ``failures`` times."""

    def __init__(
        self, failures: float = float("inf"), text: str = "connection\n  refused", kind: type[Exception] = OSError
    ) -> None:
        self.failures = failures
        self.text = text
        self.kind = kind
        self.calls = 0

    def __call__(self, endpoint: Endpoint) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.kind(self.text)


class WaitCase(unittest.TestCase):
    def wait(
        self,
        server: FakeServer,
        strategy: WaitStrategy | None = None,
        probe: Callable[[Endpoint], None] | None = None,
        timeout: float = LONG,
    ) -> None:
        until_ready(server, "PostgreSQL", strategy or Connection(), probe or Probe(), timeout)


class ReadyTests(WaitCase):
    def test_connection_is_tried_until_it_succeeds(self) -> None:
        probe = Probe(failures=3)
        self.wait(FakeServer(), probe=probe)
        self.assertEqual(probe.calls, 4)

    def test_log_line_is_counted(self) -> None:
        server = FakeServer(log="ready to accept\nshutting down\n")
        strategy = LogLine("ready to accept", occurrences=2, timeout=0.05)
        with self.assertRaisesRegex(StartupTimeout, "LogLine: 'ready to accept' was logged 1 times, not 2"):
            self.wait(server, strategy)
        server.log += "ready to accept\n"
        self.wait(server, strategy)

    def test_text_twice_in_one_line_counts_once(self) -> None:
        with self.assertRaises(StartupTimeout):
            self.wait(FakeServer(log="ready, ready\n"), LogLine("ready", occurrences=2, timeout=0.05))

    def test_port_counts_as_soon_as_somebody_listens(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            server = FakeServer(port=listener.getsockname()[1])
            with self.assertRaisesRegex(StartupTimeout, "ListeningPort: .*refused"):
                self.wait(server, ListeningPort(timeout=0.05))
            listener.listen()
            self.wait(server, ListeningPort())

    def test_log_line_and_port_need_no_connection(self) -> None:
        probe = Probe()
        self.wait(FakeServer(log="ready"), LogLine("ready"), probe)
        self.assertEqual(probe.calls, 0)


class DeathTests(WaitCase):
    def test_dead_server_is_reported_at_once_with_its_last_log_lines(self) -> None:
        log = "".join(f"line {number}\n" for number in range(1, 100))
        for strategy in (Connection(), LogLine("never"), ListeningPort()):
            with self.subTest(strategy):
                with self.assertRaises(ServerDied) as caught:
                    self.wait(FakeServer(lives=2, log=log), strategy)
                message = str(caught.exception)
                self.assertIn("PostgreSQL ended while it was starting", message)
                self.assertTrue(message.endswith("  | line 98\n  | line 99"), message)
                self.assertIn("  | line 70\n", message)
                self.assertNotIn("  | line 69\n", message)

    def test_death_is_looked_for_all_the_time_but_not_at_each_look_at_the_port(self) -> None:
        probe = Probe()
        with self.assertRaises(ServerDied):
            self.wait(FakeServer(lives=2), probe=probe)
        self.assertGreater(probe.calls, 3)

    def test_cause_is_what_the_check_met(self) -> None:
        with self.assertRaises(ServerDied) as caught:
            self.wait(FakeServer(lives=0))
        self.assertIsInstance(caught.exception.__cause__, OSError)

    def test_empty_log_is_said_to_be_empty(self) -> None:
        with self.assertRaisesRegex(ServerDied, r"\(the log is empty\)"):
            self.wait(FakeServer(lives=0))


class RefusalTests(WaitCase):
    """A server that answers, but does not let us in."""

    def setUp(self) -> None:
        patience = mock.patch("containertest.wait.PATIENCE", 0.05)
        patience.start()
        self.addCleanup(patience.stop)

    def refusals(self, failures: float = float("inf")) -> Probe:
        return Probe(failures, 'FATAL:  password authentication failed for user "x"', Refusal)

    def test_one_of_somebody_else_is_final_at_the_first_time(self) -> None:
        server, probe = FakeServer(port=7), self.refusals()
        server.backend = "external"
        with self.assertRaises(BackendUnavailable) as caught:
            self.wait(server, probe=probe)
        self.assertEqual(probe.calls, 1)
        for words in ("PostgreSQL at 127.0.0.1:7", "password authentication failed", "of its URL"):
            self.assertIn(words, str(caught.exception))

    def test_one_of_ours_is_told_after_a_moment_as_what_it_is(self) -> None:
        with self.assertRaises(StartupTimeout) as caught:
            self.wait(FakeServer(log="no role"), probe=self.refusals())
        message = str(caught.exception)
        self.assertIn("has refused us for 0.05 s: FATAL: password authentication failed", message)
        self.assertNotIn("only slow", message)
        self.assertTrue(message.endswith("  | no role"))

    def test_it_is_told_as_what_it_is_when_the_time_is_up_before(self) -> None:
        with self.assertRaisesRegex(StartupTimeout, "has refused us for 0.01 s"):
            self.wait(FakeServer(), probe=self.refusals(), timeout=0.01)

    def test_role_that_an_image_makes_meanwhile_is_waited_for(self) -> None:
        probe = self.refusals(failures=3)
        self.wait(FakeServer(), probe=probe)
        self.assertEqual(probe.calls, 4)

    def test_refusals_of_an_images_first_server_don_t_count_for_the_second(self) -> None:
        looks = iter([*[Refusal("no role")] * 3, *[OSError("connection refused")] * 30, Refusal("no role"), None])

        def probe(endpoint: Endpoint) -> None:
            if error := next(looks):
                raise error

        self.wait(FakeServer(), probe=probe)

    def test_one_of_ours_that_has_ended_is_dead(self) -> None:
        with self.assertRaises(ServerDied):
            self.wait(FakeServer(lives=0), probe=self.refusals())


class TimeoutTests(WaitCase):
    def test_message_has_time_reason_remedy_and_log(self) -> None:
        with self.assertRaises(StartupTimeout) as caught:
            self.wait(FakeServer(log="still thinking"), timeout=0.05)
        message = str(caught.exception)
        self.assertIn("PostgreSQL was not ready after 0.05 s (Connection: connection refused)", message)
        self.assertIn("CONTAINERTEST_STARTUP_TIMEOUT=120", message)
        self.assertTrue(message.endswith("  | still thinking"))
        self.assertNotIn("s3cret", message)

    def test_remedy_for_a_strategy_with_a_time_of_its_own_is_that_time(self) -> None:
        with self.assertRaises(StartupTimeout) as caught:
            until_ready(FakeServer(log="Ready"), "Redis", LogLine("ready", timeout=0.01), Probe(), timeout=LONG)
        message = str(caught.exception)
        self.assertIn("more time: LogLine(…, timeout=0.02), which counts instead of the setting.", message)
        self.assertIn("'ready' was logged 0 times, not 1; case counts", message)
        self.assertNotIn("CONTAINERTEST_STARTUP_TIMEOUT", message)

    def test_own_timeout_of_a_strategy_wins(self) -> None:
        with self.assertRaisesRegex(StartupTimeout, r"after 0\.02 s"):
            self.wait(FakeServer(), Connection(timeout=0.02), timeout=LONG)

    def test_base_class_is_refused_at_once(self) -> None:
        with self.assertRaisesRegex(ConfigError, "use Connection, LogLine or ListeningPort"):
            self.wait(FakeServer(), WaitStrategy())


class PollTests(unittest.TestCase):
    def test_ends_with_the_first_success(self) -> None:
        answers = iter([False, False, True])
        self.assertTrue(poll(lambda: next(answers), LONG, interval=0))

    def test_looks_at_least_once(self) -> None:
        self.assertTrue(poll(lambda: True, timeout=0))
        self.assertFalse(poll(lambda: False, timeout=0))

    def test_time_is_up_also_where_tests_have_stopped_pythons_clocks(self) -> None:
        with mock.patch("time.monotonic", return_value=0.0), mock.patch("time.time", return_value=0.0):
            self.assertFalse(poll(lambda: False, timeout=0.01))


if __name__ == "__main__":
    unittest.main()
