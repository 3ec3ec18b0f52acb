"""``python -m containertest.sample``: the sample application on throwaway servers, as a user starts it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import unittest
from urllib.request import Request, urlopen

from tests.support import clean_environment, start


class SampleServerTests(unittest.TestCase):
    def start(self, *arguments: str) -> subprocess.Popen[str]:
        # Variables for another server must not reach it.
        environment = clean_environment(PGSERVICE="undefined", PGHOSTADDR="127.0.0.9", PGTZ="Nowhere")
        return start(self, [sys.executable, "-m", "containertest.sample", *arguments], env=environment)

    def serving(self) -> tuple[subprocess.Popen[str], str]:
        """Start it on a free port; return the process and its URL, which it prints once it listens."""
        process = self.start("--port", "0")
        line = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        self.assertIsNotNone(url, line or process.stderr.read())
        return process, url.group()

    def test_it_serves_the_api(self) -> None:
        _, url = self.serving()
        body = json.dumps({"email": "ada@example.com", "name": "Ada"}).encode()
        with urlopen(Request(f"{url}/users", body, {"Content-Type": "application/json"}), timeout=60) as reply:
            self.assertEqual((reply.status, reply.headers["Location"]), (201, "/users/1"))
        with urlopen(f"{url}/users/1", timeout=60) as reply:
            self.assertEqual(json.load(reply)["name"], "Ada")

    def test_ctrl_c_and_sigterm_end_it_cleanly(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                process, _ = self.serving()
                process.send_signal(number)
                output, errors = process.communicate(timeout=60)
                self.assertIn("The servers are gone", output)
                self.assertNotIn("Traceback", errors)
                self.assertEqual(process.returncode, 0)

    def test_taken_port_is_reported_before_any_server_starts(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            process = self.start("--port", str(taken.getsockname()[1]))
            output, errors = process.communicate(timeout=60)
        self.assertEqual((process.returncode, output), (1, ""))
        self.assertRegex(
            errors, r"\APort \d+ can't be used \(Address already in use\); --port 0 takes a free one\.\n\Z"
        )

    def test_port_that_is_none_is_refused(self) -> None:
        process = self.start("--port", "70000")
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 2)
        self.assertIn("'70000' is not a number from 0 to 65535", errors)
