"""Which errors of a connection waiting can't heal; with real texts of PostgreSQL and libpq."""

from __future__ import annotations

import unittest
from unittest import mock

import psycopg2

from containertest.services import postgres
from containertest.spec import Endpoint
from containertest.wait import Refusal

THERE = Endpoint("127.0.0.1", 1, "u", "s3cret", "postgres")
FATAL = 'connection to server at "127.0.0.1", port 5432 failed: FATAL:  '
FAILED = 'connection to server at "127.0.0.1", port 5432 failed: '

FINAL = (
    FATAL + 'password authentication failed for user "u"',
    FATAL + 'Peer authentication failed for user "u"',
    FATAL + 'no pg_hba.conf entry for host "172.17.0.1", user "u", database "d", no encryption',
    FATAL + 'pg_hba.conf rejects connection for host "172.17.0.1", user "u", database "d", no encryption',
    FATAL + 'database "d" does not exist',
    FATAL + 'role "u" does not exist',
    FATAL + 'role "u" is not permitted to log in',
    FATAL + 'permission denied for database "d"',
    FATAL + 'database "d" is not currently accepting connections',
    FATAL + 'unrecognized configuration parameter "nosuch"',
    FATAL + 'invalid value for parameter "TimeZone": "Nowhere"',
    FATAL + 'parameter "geqo" requires a Boolean value',
    FAILED + "server does not support SSL, but SSL was required",
    FAILED + "SSL error: certificate verify failed",
    FAILED + 'server certificate for "a" does not match host name "b"',
    FAILED + "channel binding required, but SSL not in use",
    FAILED + 'authentication method requirement "none" failed: server requested SASL authentication',
    FAILED + "session is read-only",
    'root certificate file "/ca" does not exist',
    'invalid sslmode value: "on"',
    'definition of service "prod" not found',
    'service file "/nosuch" not found',
)
PASSING = (
    FATAL + "the database system is starting up",
    FATAL + "the database system is shutting down",
    FATAL + "the database system is not yet accepting connections\nDETAIL:  Recovery goes on.",
    FATAL + "the database system is in recovery mode",
    FATAL + "sorry, too many clients already",
    FAILED + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
    FAILED + "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally",
    FAILED + "timeout expired",
    FAILED + "could not receive data from server: Connection reset by peer",
    FAILED + "SSL SYSCALL error: EOF detected",
)


class RefusalTests(unittest.TestCase):
    def probed(self, error: Exception) -> Exception:
        with mock.patch("psycopg2.connect", side_effect=error), self.assertRaises(Exception) as caught:
            postgres.probe(THERE)
        return caught.exception

    def test_what_waiting_can_not_heal(self) -> None:
        for text in FINAL:
            with self.subTest(text):
                found = self.probed(psycopg2.OperationalError(text))
                self.assertIsInstance(found, Refusal)
                self.assertEqual(str(found), text)

    def test_what_passes(self) -> None:
        for text in PASSING:
            with self.subTest(text):
                self.assertIsInstance(self.probed(psycopg2.OperationalError(text)), psycopg2.OperationalError)

    def test_parameter_that_libpq_does_not_know(self) -> None:
        with self.assertRaisesRegex(Refusal, 'invalid connection option "nosuch"'):
            postgres.probe(Endpoint("127.0.0.1", 1, parameters={"nosuch": "1"}))

    def test_nobody_who_listens(self) -> None:
        with self.assertRaises(psycopg2.OperationalError):
            postgres.probe(THERE)


if __name__ == "__main__":
    unittest.main()
