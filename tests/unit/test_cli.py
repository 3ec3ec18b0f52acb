"""The command line: arguments, templates, statuses and signals; the manager is a fake."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import unittest
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from containertest import __main__ as cli
from containertest.errors import BackendUnavailable, ConfigError
from tests.support import TOP, clean_environment

POSTGRES = SimpleNamespace(
    host="127.0.0.1", port=5433, username="u", password="s3cret", dbname="db", url="postgresql://x"
)


class FakeManager:
    """Takes what ContainerManager takes, and says what it was given."""

    made: dict[str, Any]
    running = False

    def __init__(self, postgres: Any, redis: Any, **arguments: Any) -> None:
        FakeManager.made = {"postgres": postgres, "redis": redis, **arguments}
        redis = redis and SimpleNamespace(port=6380)
        running = {"postgres": postgres and POSTGRES, "redis": redis}
        self.stack = SimpleNamespace(running=lambda: running, hand_over=mock.Mock())

    def __enter__(self) -> FakeManager:
        FakeManager.running = True
        return self

    def __exit__(self, *error: object) -> None:
        FakeManager.running = False

    def environ(self) -> dict[str, str]:
        assert FakeManager.running
        return {"DATABASE_URL": "postgresql://x", "PGPORT": "5433"}


class CommandCase(unittest.TestCase):
    def setUp(self) -> None:
        FakeManager.running = False
        for patch in (
            mock.patch.object(cli, "ContainerManager", FakeManager),
            mock.patch.object(cli.logging, "basicConfig"),  # type: ignore[attr-defined]
        ):
            patch.start()
            self.addCleanup(patch.stop)

    def main(self, *arguments: str) -> tuple[int, str, str]:
        """Status, standard output and standard error."""
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error:
            try:
                status = cli.main(arguments)
            except SystemExit as ended:
                status = int(ended.code or 0)
        return status, out.getvalue(), error.getvalue()

    @contextmanager
    def executed(self, status: int = 0) -> Iterator[mock.Mock]:
        with mock.patch.object(cli, "_execute", return_value=status) as execute:
            yield execute


class RunTests(CommandCase):
    def test_command_gets_the_variables_and_its_status_is_returned(self) -> None:
        with self.executed(7) as execute:
            self.assertEqual(self.main("run", "--", "pytest", "-x", "--backend", "what")[0], 7)
        execute.assert_called_once_with(
            ["pytest", "-x", "--backend", "what"], {"DATABASE_URL": "postgresql://x", "PGPORT": "5433"}
        )
        self.assertFalse(FakeManager.running)

    def test_status_is_returned_where_there_is_no_standard_output(self) -> None:
        with self.executed(7), mock.patch.object(sys, "stdout", None):
            self.assertEqual(cli.main(["run", "--", "true"]), 7)

    def test_dashes_may_be_left_out_and_later_ones_are_the_commands(self) -> None:
        for arguments, command in (
            (["pytest", "tests"], ["pytest", "tests"]),
            (["--", "env", "--", "x"], ["env", "--", "x"]),
            (["env", "--", "x"], ["env", "--", "x"]),
        ):
            with self.subTest(arguments), self.executed() as execute:
                self.main("run", *arguments)
                self.assertEqual(execute.call_args.args[0], command)

    def test_options_reach_the_manager(self) -> None:
        with self.executed():
            self.main(
                "run", "--backend", "local", "--no-redis", "--migrations", "a.sql", "--migrations", "/b", "--", "x"
            )
        made = FakeManager.made
        self.assertEqual((made["backend"], made["redis"]), ("local", None))
        self.assertIsNotNone(made["postgres"])
        self.assertEqual(made["migrations"], [str(Path("a.sql").absolute()), "/b"])
        with self.executed():
            self.main("run", "--no-postgres", "x")
        self.assertEqual((FakeManager.made["postgres"], FakeManager.made["migrations"]), (None, None))

    def test_without_a_command_it_prints_the_variables_and_waits(self) -> None:
        with (
            mock.patch.object(signal, "signal"),
            mock.patch.object(signal, "pause", side_effect=KeyboardInterrupt) as wait,
        ):
            status, out, _ = self.main("run", "--env", "PORT={redis.port}")
        self.assertEqual(status, 0)
        self.assertEqual(out, "DATABASE_URL=postgresql://x\nPGPORT=5433\nPORT=6380\nPress Ctrl-C to end.\n\n")
        wait.assert_called_once_with()

    def test_interrupt_while_the_servers_start_ends_quietly(self) -> None:
        with mock.patch.object(FakeManager, "__enter__", side_effect=KeyboardInterrupt):
            status, _, error = self.main("run", "x")
        self.assertEqual((status, error), (128 + signal.SIGINT, ""))


class TemplateTests(CommandCase):
    def test_templates_are_filled_in_and_win(self) -> None:
        with self.executed() as execute:
            self.main("run", "--env", "DB={postgres.username}@{postgres.host}", "--env", "PGPORT=1=2", "--", "x")
        self.assertEqual(
            execute.call_args.args[1], {"DATABASE_URL": "postgresql://x", "PGPORT": "1=2", "DB": "u@127.0.0.1"}
        )

    def test_wrong_template_says_what_there_is_before_any_server_starts(self) -> None:
        for pair in (
            "A={postgres.hots}",
            "A={mysql.host}",
            "A={postgres.host",
            "A={}",
            "A={0}",
            "A={postgres.host[x]}",
            "A={postgres.port:zz}",
        ):
            with self.subTest(pair), mock.patch.object(FakeManager, "__enter__") as start:
                status, _, error = self.main("run", "--env", pair, "--", "x")
                self.assertEqual(status, 2)
                self.assertIn(f"containertest: --env {pair} can't be filled in: ", error)
                self.assertIn("There are {postgres.host}, .port", error)
                start.assert_not_called()

    def test_pair_without_a_name_or_a_value_is_refused_before_any_server_starts(self) -> None:
        for pair in ("DB_HOST", "={postgres.host}"):
            with self.subTest(pair), mock.patch.object(FakeManager, "__enter__") as start:
                status, _, error = self.main("run", "--env", pair, "--", "x")
                self.assertEqual(status, 2)
                self.assertIn("must be NAME=TEMPLATE, as in DB_HOST={postgres.host}", error)
                start.assert_not_called()

    def test_template_of_a_server_that_is_not_needed_says_so(self) -> None:
        status, _, error = self.main("run", "--no-redis", "--env", "A={redis.port}", "--", "x")
        self.assertEqual(status, 2)
        self.assertIn("there is no redis (--no-redis)", error)


class UsageTests(CommandCase):
    def test_wrong_usage_is_status_2(self) -> None:
        for arguments in ((), ("nonsense",), ("run", "--nonsense"), ("prune", "x")):
            with self.subTest(arguments):
                status, _, error = self.main(*arguments)
                self.assertEqual(status, 2)
                self.assertIn("usage: containertest", error)

    def test_errors_are_told_without_a_traceback(self) -> None:
        for error, expected in ((BackendUnavailable("no engine"), 1), (ConfigError("no such setting"), 2)):
            with self.subTest(error), mock.patch.object(FakeManager, "__enter__", side_effect=error):
                status, _, said = self.main("run", "x")
                self.assertEqual((status, said), (expected, f"containertest: {error}\n"))

    def test_doctor_and_prune_return_what_they_found(self) -> None:
        for name, target in (("doctor", "containertest.doctor.report"), ("prune", "containertest.prune.everything")):
            with self.subTest(name), mock.patch(target, return_value=1):
                self.assertEqual(self.main(name)[0], 1)

    def test_output_that_can_not_be_written_is_told_in_a_line(self) -> None:
        code = "import sys; from containertest import __main__ as cli; "
        code += "cli._doctor = lambda given: print('x' * 9) or 0; sys.exit(cli.main(['doctor']))"
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=TOP, env=clean_environment(), stdout=full, stderr=-1, text=True
            )
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "containertest: the output can't be written: No space left on device.\n")

    def test_help_names_the_commands(self) -> None:
        status, out, _ = self.main("--help")
        self.assertEqual(status, 0)
        for name in ("run", "doctor", "prune"):
            self.assertIn(f"    {name} ", out)


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


class ExecuteTests(unittest.TestCase):
    """The real thing, in a child that only runs a command."""

    def child(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        code = "import sys; from containertest.__main__ import _execute; sys.exit(_execute(sys.argv[1:], {'CT': 'x'}))"
        return subprocess.Popen(
            [sys.executable, "-c", code, *command],
            env=clean_environment(),
            cwd=TOP,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def test_status_and_environment_are_the_commands(self) -> None:
        with self.child("sh", "-c", "echo $CT; exit 5") as child:
            self.assertEqual(child.communicate(timeout=60), ("x\n", None))
        self.assertEqual(child.returncode, 5)

    def test_status_of_a_killed_command_is_as_a_shell_says_it(self) -> None:
        with self.child("sh", "-c", "kill -9 $$") as child:
            self.assertEqual(child.wait(60), 137)

    def test_signals_are_passed_on(self) -> None:
        script = "trap 'echo got $1; exit 3' $1; echo ready; while :; do sleep 0.05; done"
        for name in ("INT", "TERM", "HUP", "USR1"):
            with self.subTest(name), self.child("sh", "-c", script, "sh", name, start_new_session=True) as child:
                assert child.stdout
                self.assertEqual(child.stdout.readline(), "ready\n")
                child.send_signal(getattr(signal, f"SIG{name}"))
                self.assertEqual(child.stdout.readline(), f"got {name}\n")
                self.assertEqual(child.wait(60), 3)

    def test_command_that_can_not_be_run_has_the_status_of_a_shell_and_handlers_come_back(self) -> None:
        before = {number: signal.getsignal(number) for number in cli.PASSED_ON}
        for command, status, why in (("/no/such/command", 127, "No such file"), ("/", 126, "Permission denied")):
            with self.subTest(command), redirect_stderr(io.StringIO()) as said:
                self.assertEqual(cli._execute([command], {}), status)
                self.assertIn(f"{command} can't be run: {why}", said.getvalue())
        self.assertEqual(before, {number: signal.getsignal(number) for number in cli.PASSED_ON})

    def test_ignored_signals_stay_ignored_as_nohup_wants_it(self) -> None:
        with self.child("sh", "-c", "kill -HUP $PPID $$; echo lives", preexec_fn=_ignore_hangup) as child:
            self.assertEqual(child.communicate(timeout=60), ("lives\n", None))
        self.assertEqual(child.returncode, 0)

    def test_control_c_on_a_terminal_reaches_the_command_once(self) -> None:
        """The terminal sends it to the command too: passed on, it would interrupt the clearing up as well."""
        command = (
            "import signal, time; seen = []; signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
            "print('ready', flush=True)\n"
            "while not seen: time.sleep(0.01)\n"
            "time.sleep(0.5); print('seen', flush=True)"
        )
        # Two signals that come close together are one to their receiver: so the sender is looked at.
        code = (
            "import subprocess, sys; from containertest.__main__ import _execute\n"
            "subprocess.Popen.send_signal = lambda *_: print('passed on', flush=True)\n"
            "sys.exit(_execute(sys.argv[1:], {}))"
        )
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(TOP)
            os.execve(sys.executable, [sys.executable, "-c", code, sys.executable, "-c", command], clean_environment())
        self.addCleanup(os.close, terminal)
        self.assertIn("ready", self.read(terminal, "ready"))
        os.write(terminal, b"\x03")
        self.assertNotIn("passed on", self.read(terminal, "seen"))
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def read(self, terminal: int, wanted: str) -> str:
        text = ""
        while wanted not in text:
            try:
                part = os.read(terminal, 1000)
            except OSError:  # Linux' word for the end of a terminal
                break
            text += part.decode()
        return text


class WaitTests(unittest.TestCase):
    def test_term_and_interrupt_both_end_it_with_status_0(self) -> None:
        code = "from containertest.__main__ import _show\nexit(_show({'PGPORT': '5433'}))"
        for number in (signal.SIGINT, signal.SIGTERM):
            child = subprocess.Popen(
                [sys.executable, "-c", code], env=clean_environment(), stdout=subprocess.PIPE, text=True
            )
            with self.subTest(number), child:
                assert child.stdout
                # As soon as the first line can be read, the signal may come.
                self.assertEqual(child.stdout.readline(), "PGPORT=5433\n")
                child.send_signal(number)
                self.assertEqual(child.wait(60), 0)


if __name__ == "__main__":
    unittest.main()
