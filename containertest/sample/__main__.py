"""``python -m containertest.sample [--port N]``: the sample application on throwaway servers."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from containertest import ContainerManager, ContainerTestError
from containertest.sample.api import create_application
from containertest.sample.database import SCHEMA, Database
from containertest.sample.wsgi import Server

HELP = """\
The sample application answers at {url}, until Ctrl-C. Try:

  json='Content-Type: application/json'
  curl -i {url}/users -H "$json" -d '{{"email": "ada@example.com", "name": "Ada"}}'
  curl -i {url}/users/1
  curl -i '{url}/users?limit=5&offset=0'
  curl -i {url}/users/1 -X PUT -H "$json" -d '{{"email": "ada@example.com", "name": "Ada L."}}'
  curl -i {url}/users/1 -X DELETE
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m containertest.sample",
        description="Serve the sample application on throwaway servers.",
    )
    parser.add_argument("--port", type=_port, default=8000, help="0 takes a free one (default: %(default)s)")
    port = parser.parse_args(arguments).port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(port)
    except KeyboardInterrupt:
        print("\nThe servers are gone, and their data with them.", flush=True)
    except ContainerTestError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Port {port} can't be used ({error.strerror}); --port 0 takes a free one.", file=sys.stderr)
        return 1
    return 0


def serve(port: int) -> None:
    """Start PostgreSQL and Redis and serve until an exception, such as KeyboardInterrupt, ends it."""
    with Server(port) as server, ContainerManager(migrations=SCHEMA) as containers:
        # So that libpq's variables for other servers, such as PGSERVICE, are out of force.
        os.environ.update(containers.environ())
        database = Database(containers.postgres.url)
        server.set_app(create_application(database, containers.redis.client))
        print(HELP.format(url=server.url), flush=True)
        try:
            server.serve_forever()
        finally:
            database.close()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
