"""What is asked of a Redis without redis-py, by a server that is a fake."""

from __future__ import annotations

import socket
import threading
import unittest
from dataclasses import replace

from containertest.services import redis
from containertest.services.redis_plain import ask
from containertest.spec import Endpoint
from containertest.wait import Refusal


class AskTests(unittest.TestCase):
    def served(self, answer: bytes, username: str | None = None, password: str | None = None) -> Endpoint:
        """A server that reads once and says ``answer``."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        self.asked = b""

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                self.asked = connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        return Endpoint("127.0.0.1", listener.getsockname()[1], username, password, "0")

    def test_log_in_comes_first_and_its_answer_is_left_out(self) -> None:
        endpoint = self.served(b"+OK\r\n+PONG\r\n", password="pass word")
        self.assertEqual(ask(endpoint, ["PING"]), ["PONG"])
        self.assertEqual(self.asked, b"*2\r\n$4\r\nAUTH\r\n$9\r\npass word\r\n*1\r\n$4\r\nPING\r\n")

    def test_user_is_named_where_there_is_one(self) -> None:
        ask(self.served(b"+OK\r\n+PONG\r\n", "me", "s3cret"), ["PING"])
        self.assertTrue(self.asked.startswith(b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\ns3cret\r\n"), self.asked)

    def test_version_is_read_from_a_text_of_several_lines(self) -> None:
        info = b"# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"
        endpoint = self.served(b"+PONG\r\n$%d\r\n%s\r\n" % (len(info), info))
        self.assertEqual(redis.meet(endpoint, None).version, "7.0.15")

    def test_error_is_raised_in_the_servers_words(self) -> None:
        for answer in (b"-NOAUTH Authentication required.\r\n", b"-LOADING Redis is loading\r\n"):
            with self.assertRaisesRegex(OSError, answer[1:-2].decode()):
                redis.probe(self.served(answer))

    def test_what_waiting_can_not_heal_is_told_from_what_passes(self) -> None:
        for answer, final in (
            (b"-NOAUTH Authentication required.\r\n", True),
            (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", True),
            (b"-NOPERM this user has no permissions to run the 'ping' command\r\n", True),
            (b"-DENIED Redis is running in protected mode\r\n", True),
            (b"-ERR invalid password\r\n", True),
            (b"-ERR AUTH <password> called without any password configured for the default user.\r\n", True),
            (b"-LOADING Redis is loading the dataset in memory\r\n", False),
            (b"-BUSY Redis is busy running a script.\r\n", False),
            (b"", False),
        ):
            with self.subTest(answer), self.assertRaises(OSError) as caught:
                redis.probe(self.served(answer, password="s3cret"))
            self.assertEqual(isinstance(caught.exception, Refusal), final, answer)

    def test_server_that_is_not_encrypted_refuses_one_who_wants_it(self) -> None:
        plain = self.served(b"-ERR unknown command\r\n")
        with self.assertRaisesRegex(Refusal, "(?i)wrong.version.number"):
            redis.probe(replace(plain, parameters={"tls": "1"}))

    def test_password_is_in_no_error(self) -> None:
        with self.assertRaises(OSError) as caught:
            redis.probe(self.served(b"-WRONGPASS invalid username-password pair\r\n", password="s3cret"))
        self.assertNotIn("s3cret", repr(caught.exception))

    def test_what_hangs_up_or_is_no_redis_is_an_error(self) -> None:
        for answer, words in ((b"", "closed"), (b"+PON", "closed"), (b"220 smtp ready\r\n", "no answer of a Redis")):
            with self.subTest(answer), self.assertRaisesRegex(OSError, f"{words}|reset by peer"):
                redis.probe(self.served(answer))


if __name__ == "__main__":
    unittest.main()
