"""The API, through real HTTP: a server in a thread, requests by ``http.client``."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from wsgiref.validate import validator

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from containertest import IntegrationTestCase
from containertest.sample.api import create_application
from containertest.sample.database import Database
from containertest.sample.wsgi import Server
from tests.sample.support import containers, pool_of, wait_until

setUpModule, tearDownModule = containers.start, containers.stop

JSON = {"Content-Type": "application/json"}
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class ApiTestCase(IntegrationTestCase):
    """Serves the application on the tests' database and Redis."""

    containers = containers
    pool_size = 10
    database: Database

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.database = pool_of(cls, pool_size=cls.pool_size, timeout=60)

    def setUp(self) -> None:
        self.serve(self.database, self.redis)

    def serve(self, database: Database, client: Redis) -> None:
        server = Server()
        server.set_app(validator(create_application(database, client)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        self.port = server.server_port
        for cleanup in (thread.join, server.server_close, server.shutdown):
            self.addCleanup(cleanup)  # the last one is called first

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Send ``body``, as JSON unless it is bytes, and return the answer."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, sent, {**({} if body is None else JSON), **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def create(self, email: str = "ada@example.com", name: str = "Ada") -> Any:
        reply = self.request("POST", "/users", {"email": email, "name": name})
        self.assertEqual(reply.status, 201, reply.body)
        return reply.data

    def assertError(self, status: int, reply: Reply) -> None:
        self.assertEqual(reply.status, status, reply.body)
        self.assertTrue(reply.data["error"], "an error has a message")


class UserResourceTests(ApiTestCase):
    def test_post_creates_a_user_and_says_where(self) -> None:
        reply = self.request("POST", "/users", {"email": "ada@example.com", "name": "Ada"})
        self.assertEqual((reply.status, reply.headers["Location"]), (201, "/users/1"))
        self.assertEqual(reply.headers["Content-Type"], "application/json")
        self.assertRowExists("users", id=1, email="ada@example.com", name="Ada")

    def test_get_returns_what_post_returned(self) -> None:
        user = self.create()
        reply = self.request("GET", f"/users/{user['id']}")
        self.assertEqual((reply.status, reply.data), (200, user))
        self.assertEqual(set(user), {"id", "email", "name", "created_at", "updated_at"})

    def test_head_is_get_without_a_body(self) -> None:
        self.create()
        headers = self.request("HEAD", "/users/1").headers
        self.assertEqual(headers["Content-Length"], self.request("GET", "/users/1").headers["Content-Length"])
        with socket.create_connection(("127.0.0.1", self.port)) as client:  # http.client would not read a body
            client.sendall(b"HEAD /users/1 HTTP/1.0\r\n\r\n")
            self.assertTrue(client.makefile("rb").read().endswith(b"\r\n\r\n"))

    def test_put_changes_both_fields_and_updated_at(self) -> None:
        user = self.create()
        reply = self.request("PUT", "/users/1", {"email": "countess@example.com", "name": "Ada Lovelace"})
        self.assertEqual((reply.status, reply.data["name"]), (200, "Ada Lovelace"))
        self.assertGreater(reply.data["updated_at"], user["updated_at"])
        self.assertRowExists("users", id=1, email="countess@example.com", name="Ada Lovelace")

    def test_delete_removes_the_user(self) -> None:
        self.create()
        reply = self.request("DELETE", "/users/1")
        self.assertEqual((reply.status, reply.body), (204, b""))
        self.assertError(404, self.request("GET", "/users/1"))
        self.assertRowCount("users", 0)

    def test_any_script_survives_the_round_trip(self) -> None:
        self.assertEqual(self.create(name="Zoë 松本 😀")["name"], "Zoë 松本 😀")

    def test_list_of_no_users_is_empty(self) -> None:
        self.assertEqual(self.request("GET", "/users").data["users"], [])

    def test_list_has_the_asked_page(self) -> None:
        for number in range(1, 11):
            self.create(f"{number}@example.com")
        reply = self.request("GET", "/users?limit=5&offset=3")
        self.assertEqual([user["id"] for user in reply.data["users"]], [4, 5, 6, 7, 8])
        self.assertEqual((reply.data["limit"], reply.data["offset"]), (5, 3))


class CacheAsideTests(ApiTestCase):
    def test_miss_queries_and_stores_and_the_hit_does_no_sql(self) -> None:
        user = self.create()
        self.assertNoKey("user:1")
        with self.assertNumQueries(1):
            self.assertEqual(self.request("GET", "/users/1").data, user)
        self.assertKeyExpires("user:1")
        with self.assertNumQueries(0):
            self.assertEqual(self.request("GET", "/users/1").data, user)

    def test_hit_is_served_while_the_table_is_locked(self) -> None:
        user = self.create()
        self.request("GET", "/users/1")
        with self.connect() as blocker, blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            self.assertEqual(self.request("GET", "/users/1").data, user)

    def test_update_invalidates_and_the_next_read_is_fresh(self) -> None:
        self.create()
        self.request("GET", "/users/1")
        self.request("PUT", "/users/1", {"email": "ada@example.com", "name": "Ada Lovelace"})
        self.assertNoKey("user:1")
        self.assertEqual(self.request("GET", "/users/1").data["name"], "Ada Lovelace")

    def test_delete_invalidates(self) -> None:
        self.create()
        self.request("GET", "/users/1")
        self.request("DELETE", "/users/1")
        self.assertNoKey("user:1")


class ConcurrencyTests(ApiTestCase):
    def waiting(self) -> int:
        """How many connections to this test's database wait for a lock."""
        with self.db.cursor() as cursor:
            cursor.execute(WAITING)
            return cursor.fetchone()[0]

    def test_ten_inserts_at_once_run_on_ten_connections(self) -> None:
        blocker = self.connect()
        with ThreadPoolExecutor(10) as clients:
            with blocker, blocker.cursor() as cursor:
                cursor.execute("LOCK TABLE users IN SHARE MODE")
                created = [clients.submit(self.create, f"{number}@example.com") for number in range(10)]
                wait_until(lambda: self.waiting() == 10)
            ids = [future.result()["id"] for future in created]
        self.assertEqual(sorted(ids), list(range(1, 11)))
        self.assertRowCount("users", 10)

    def test_ten_inserts_of_one_email_make_one_user(self) -> None:
        body = {"email": "ada@example.com", "name": "Ada"}
        with ThreadPoolExecutor(10) as clients:
            replies = list(clients.map(lambda _: self.request("POST", "/users", body), range(10)))
        self.assertEqual(sorted(reply.status for reply in replies), [201] + [409] * 9)
        self.assertRowCount("users", 1)


class SmallPoolTests(ApiTestCase):
    pool_size = 2

    def test_more_requests_than_connections_wait_instead_of_failing(self) -> None:
        with ThreadPoolExecutor(10) as clients:
            list(clients.map(lambda number: self.create(f"{number}@example.com"), range(10)))
        self.assertRowCount("users", 10)


class RollbackTests(ApiTestCase):
    def test_refused_create_leaves_no_row(self) -> None:
        self.create()
        self.assertError(409, self.request("POST", "/users", {"email": "ada@example.com", "name": "Other"}))
        self.assertRowCount("users", 1)
        self.assertNoRow("users", name="Other")

    def test_refused_update_is_rolled_back(self) -> None:
        self.create()
        bob = self.create("bob@example.com", "Bob")
        self.assertError(409, self.request("PUT", "/users/2", {"email": "ada@example.com", "name": "Bobby"}))
        self.assertEqual(self.request("GET", "/users/2").data, bob)

    def test_uncommitted_user_is_not_served_and_a_rollback_removes_it(self) -> None:
        writer = self.connect()
        writer.cursor().execute("INSERT INTO users (email, name) VALUES ('ada@example.com', 'Ada')")
        self.assertEqual(self.request("GET", "/users").data["users"], [])
        writer.rollback()
        self.assertEqual(self.request("GET", "/users").data["users"], [])
        self.assertRowCount("users", 0)

    def test_connection_is_usable_after_a_refused_request(self) -> None:
        self.create()
        for _ in range(self.pool_size + 1):
            self.assertError(409, self.request("POST", "/users", {"email": "ada@example.com", "name": "Ada"}))
        self.create("bob@example.com")


class SessionTests(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.user = self.create()
        self.token = self.request("POST", "/session", {"email": "ada@example.com"}).data["token"]

    def session(self, method: str = "GET", token: str | None = None) -> Reply:
        return self.request(method, "/session", headers={"Authorization": f"Bearer {token or self.token}"})

    def test_login_stores_a_hash_that_expires(self) -> None:
        key = f"session:{self.token}"
        self.assertEqual(self.redis.hget(key, "user_id"), str(self.user["id"]).encode())
        self.assertKeyExpires(key, within=1800)

    def test_session_knows_its_user(self) -> None:
        self.assertEqual(self.session().data["user"], self.user)

    def test_logout_removes_the_session(self) -> None:
        self.assertEqual(self.session("DELETE").status, 204)
        self.assertNoKey(f"session:{self.token}")
        self.assertError(401, self.session())

    def test_expired_session_is_unauthorized(self) -> None:
        self.redis.pexpire(f"session:{self.token}", 1)
        wait_until(lambda: not self.redis.exists(f"session:{self.token}"))
        self.assertError(401, self.session())

    def test_session_of_a_deleted_user_is_unauthorized(self) -> None:
        self.request("DELETE", f"/users/{self.user['id']}")
        self.assertError(401, self.session())

    def test_request_without_a_token_is_told_how_to_send_it(self) -> None:
        reply = self.request("GET", "/session")
        self.assertError(401, reply)
        self.assertEqual(reply.headers["WWW-Authenticate"], "Bearer")

    def test_login_of_an_unknown_user_is_unauthorized(self) -> None:
        self.assertError(401, self.request("POST", "/session", {"email": "nobody@example.com"}))


class WrongRequestTests(ApiTestCase):
    """Nothing that a client sends may end as 500."""

    def test_body_that_is_not_a_json_object_is_400(self) -> None:
        bodies = [
            *(b"", b"{", b"[]", b"null", b'"text"', b"1", b"\xff\xfe", b'{"email": "\xe9@example.com"}'),
            *(b"[" * 60_000, b"1" * 5_000, b'{"email": NaN, "name": Infinity}', b"\xef\xbb\xbf{}"),
        ]
        for body in bodies:
            with self.subTest(body=body[:40]):
                self.assertError(400, self.request("POST", "/users", body))

    def test_user_that_cannot_be_stored_is_400(self) -> None:
        email, name = "ada@example.com", "Ada"
        bodies = [
            *({}, {"email": email}, {"name": name}, {"email": None, "name": name}, {"email": email, "name": 1}),
            *({"email": [], "name": name}, {"email": "no address", "name": name}, {"email": email, "name": ""}),
            *({"email": "a\0@example.com", "name": name}, {"email": email, "name": "A\0"}),
            *({"email": email, "name": "\ud800"}, {"email": email, "name": "A" * 256}),
            {"email": "a" * 256 + "@example.com", "name": name},
        ]
        self.create("first@example.com")
        for body in bodies:
            with self.subTest(body=body):
                self.assertError(400, self.request("POST", "/users", body))
                self.assertError(400, self.request("PUT", "/users/1", body))
        self.assertRowCount("users", 1)

    def test_email_that_is_no_address_cannot_log_in(self) -> None:
        for body in ({}, {"email": "\0"}, {"email": {}}):
            with self.subTest(body=body):
                self.assertError(400, self.request("POST", "/session", body))

    def test_unknown_user_is_404(self) -> None:
        body = {"email": "ada@example.com", "name": "Ada"}
        for user_id in ("1", str(2**31), "9" * 10):
            with self.subTest(user_id=user_id):
                self.assertError(404, self.request("GET", f"/users/{user_id}"))
                self.assertError(404, self.request("PUT", f"/users/{user_id}", body))
                self.assertError(404, self.request("DELETE", f"/users/{user_id}"))

    def test_path_that_is_none_of_ours_is_404(self) -> None:
        for path in ("/", "/user", "/users/", "/users/0", "/users/-1", "/users/abc", "/users/1/x", "/users/%00"):
            with self.subTest(path=path):
                self.assertError(404, self.request("GET", path))
        self.assertError(404, self.request("GET", "/users/" + "9" * 5_000))
        self.assertError(404, self.request("GET", "/users/%D9%A1"))  # a digit, but not one of ours

    def test_page_out_of_bounds_is_400(self) -> None:
        wrong = ["limit=0", "limit=-1", "limit=101", "limit=", "limit=ten", "limit=1.5", "limit=1_0", "limit=%00"]
        wrong += ["offset=-1", f"offset={2**31}", "offset=" + "9" * 5_000, "offset=%D9%A1", "limit=%2B5"]
        for query in wrong:
            with self.subTest(query=query[:40]):
                self.assertError(400, self.request("GET", f"/users?{query}"))

    def test_taken_email_is_409(self) -> None:
        self.create()
        self.assertError(409, self.request("POST", "/users", {"email": "ada@example.com", "name": "Ada"}))

    def test_wrong_method_is_405_with_the_right_ones(self) -> None:
        reply = self.request("PATCH", "/users/1", {})
        self.assertError(405, reply)
        self.assertEqual(reply.headers["Allow"], "DELETE, GET, HEAD, PUT")
        self.assertEqual(self.request("DELETE", "/users").headers["Allow"], "GET, HEAD, POST")

    def test_body_of_another_type_is_415(self) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        self.assertError(415, self.request("POST", "/users", b"email=ada@example.com", form))

    def test_charset_after_the_type_is_accepted(self) -> None:
        body = {"email": "ada@example.com", "name": "Ada"}
        headers = {"Content-Type": "Application/JSON; charset=utf-8"}
        self.assertEqual(self.request("POST", "/users", body, headers).status, 201)

    def test_body_that_is_too_long_is_413(self) -> None:
        for length in (str(64 * 1024 + 1), "9" * 30):
            with self.subTest(length=length):
                self.assertError(413, self.request("POST", "/users", None, {**JSON, "Content-Length": length}))

    def test_body_without_a_length_is_411(self) -> None:
        headers = {**JSON, "Transfer-Encoding": "chunked"}
        self.assertError(411, self.request("POST", "/users", None, headers))


class UnavailableTests(ApiTestCase):
    def test_database_that_does_not_answer_is_503(self) -> None:
        self.serve(Database("postgresql://127.0.0.1:1/testdb"), self.redis)
        with self.assertLogs("containertest.sample.api", "WARNING"):
            self.assertError(503, self.request("GET", "/users"))

    def test_redis_that_does_not_answer_is_503(self) -> None:
        self.create()
        self.serve(Database(containers.postgres.url), Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)))
        with self.assertLogs("containertest.sample.api", "WARNING"):
            self.assertError(503, self.request("GET", "/users/1"))
