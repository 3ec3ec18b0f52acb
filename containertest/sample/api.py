"""The service over HTTP, as a WSGI application that speaks JSON.

::

    POST   /users                   {"email": …, "name": …}   201, 400, 409
    GET    /users?limit=&offset=                              200, 400
    GET    /users/<id>                                        200, 404
    PUT    /users/<id>              {"email": …, "name": …}   200, 400, 404, 409
    DELETE /users/<id>                                        204, 404
    POST   /session                 {"email": …}              201, 400, 401   logs in, answers a token
    GET    /session                 Authorization: Bearer …   200, 401        who is logged in
    DELETE /session                 Authorization: Bearer …   204, 401        logs out

Every error is ``{"error": "…"}``. Also: 405 with Allow, 411, 413 and 415 for a body that can't be read, 503
when PostgreSQL or Redis doesn't answer. How to find out that somebody is who he says is left out: a real
service asks for more than an e-mail address before it answers a token.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisError

from containertest.sample.cache import RedisCache
from containertest.sample.dao import DuplicateEmail, UserDAO, UserNotFound
from containertest.sample.database import Database, DatabaseUnavailable
from containertest.sample.models import InvalidUser
from containertest.sample.service import UserService
from containertest.sample.sessions import SessionNotFound, SessionStore
from containertest.sample.wsgi import HTTPError, Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["Application", "create_application"]

#: Users on a page, unless the request says how many, and at most.
PAGE, MAX_PAGE = 20, 100
#: Highest value of PostgreSQL's integer, the type of the ids.
MAX_ID = 2**31 - 1

STATUS: Mapping[type[Exception], HTTPStatus] = {
    InvalidUser: HTTPStatus.BAD_REQUEST,
    UserNotFound: HTTPStatus.NOT_FOUND,
    DuplicateEmail: HTTPStatus.CONFLICT,
}

logger = logging.getLogger(__name__)


def create_application(database: Database, client: Redis) -> Application:
    """Put the service together on a database that has the schema and on a Redis client."""
    return Application(UserService(UserDAO(database), RedisCache(client)), SessionStore(client))


class Application:
    """The WSGI application."""

    def __init__(self, users: UserService, sessions: SessionStore) -> None:
        self._users = users
        self._sessions = sessions
        self._routes: Mapping[str, Mapping[str, Callable[..., Response]]] = {
            r"/users": {"GET": self.list_users, "POST": self.create_user},
            r"/users/([1-9][0-9]{0,9})": {
                "GET": self.get_user,
                "PUT": self.update_user,
                "DELETE": self.delete_user,
            },
            r"/session": {"GET": self.get_session, "POST": self.log_in, "DELETE": self.log_out},
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            response = self._answer(Request.from_environ(environ))
        except Exception as error:
            response = _error_response(error)
        return response.send(start_response, head=environ["REQUEST_METHOD"] == "HEAD")

    def _answer(self, request: Request) -> Response:
        for pattern, handlers in self._routes.items():
            if match := re.fullmatch(pattern, request.path):
                method = "GET" if request.method == "HEAD" else request.method
                if method not in handlers:
                    raise _method_not_allowed(request, handlers)
                return handlers[method](request, *map(int, match.groups()))
        raise HTTPError(HTTPStatus.NOT_FOUND, "there is nothing at this path")

    def create_user(self, request: Request) -> Response:
        user = self._users.create(*_email_and_name(request))
        return Response(HTTPStatus.CREATED, user.to_json(), {"Location": f"/users/{user.id}"})

    def list_users(self, request: Request) -> Response:
        limit = request.number("limit", PAGE, 1, MAX_PAGE)
        offset = request.number("offset", 0, 0, MAX_ID)
        users = [user.to_json() for user in self._users.list(limit, offset)]
        return Response(data={"users": users, "limit": limit, "offset": offset})

    def get_user(self, request: Request, user_id: int) -> Response:
        return Response(data=self._users.get(user_id).to_json())

    def update_user(self, request: Request, user_id: int) -> Response:
        return Response(data=self._users.update(user_id, *_email_and_name(request)).to_json())

    def delete_user(self, request: Request, user_id: int) -> Response:
        self._users.delete(user_id)
        return Response(HTTPStatus.NO_CONTENT)

    def log_in(self, request: Request) -> Response:
        email, _ = _email_and_name(request)
        try:
            user = self._users.get_by_email(email)
        except UserNotFound as error:
            raise _unauthorized("no user with this e-mail address") from error
        return Response(HTTPStatus.CREATED, {"token": self._sessions.create(user.id), "user": user.to_json()})

    def get_session(self, request: Request) -> Response:
        try:
            session = self._sessions.get(_token(request))
            user = self._users.get(session.user_id)
        except (SessionNotFound, UserNotFound) as error:
            raise _unauthorized("not logged in, or no longer") from error
        return Response(data={"user": user.to_json(), "since": session.created_at.isoformat()})

    def log_out(self, request: Request) -> Response:
        self._sessions.delete(_token(request))
        return Response(HTTPStatus.NO_CONTENT)


def _email_and_name(request: Request) -> tuple[Any, Any]:
    """Whatever was sent, None for what was not: the service checks it."""
    data = request.json()
    return data.get("email"), data.get("name")


def _token(request: Request) -> str:
    scheme, _, token = request.authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized("send the token, as Authorization: Bearer <token>")
    return token.strip()


def _unauthorized(message: str) -> HTTPError:
    return HTTPError(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": "Bearer"})


def _method_not_allowed(request: Request, handlers: Iterable[str]) -> HTTPError:
    allowed = ", ".join(sorted({*handlers, "HEAD"}))
    return HTTPError(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not allowed here", {"Allow": allowed})


def _error_response(error: Exception) -> Response:
    if isinstance(error, HTTPError):
        return Response(error.status, {"error": str(error)}, error.headers)
    if type(error) in STATUS:
        return Response(STATUS[type(error)], {"error": str(error)})
    if isinstance(error, (DatabaseUnavailable, RedisError)):
        logger.warning("a server does not answer: %s", error)
        return Response(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "try again later"})
    logger.error("unexpected error", exc_info=error)
    return Response(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "something went wrong here"})
