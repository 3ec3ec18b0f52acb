"""What PostgreSQL keeps of a password; that it lets one in is seen in the tests with servers."""

from __future__ import annotations

import base64
import unittest
from unittest import mock

from containertest.services import scram

#: Of PostgreSQL 18: SET scram_iterations = 1; CREATE ROLE x PASSWORD 'secret'; SELECT rolpassword FROM pg_authid …
SALT = "kdqxCSsb8K2yz2YwDYWNqQ=="
KEYS = "836uB49DBrbY1p4qfud/Lo9zAtj3/e3y8rGdQDq7kw0=:VaV/sozfx3lCBxx5E3Xh1OuAkpWio9Fo1+Ekakpz/Pk="


class VerifierTests(unittest.TestCase):
    def test_it_is_what_postgresql_makes_with_one_iteration(self) -> None:
        with mock.patch("secrets.token_bytes", return_value=base64.b64decode(SALT)):
            self.assertEqual(scram.verifier("secret"), f"SCRAM-SHA-256$1:{SALT}${KEYS}")

    def test_no_two_are_the_same(self) -> None:
        self.assertNotEqual(scram.verifier("secret"), scram.verifier("secret"))


if __name__ == "__main__":
    unittest.main()
