"""A small user service, as a project under test would have it: PostgreSQL, with Redis as its cache.

::

    api (HTTP)  →  service (rules, caching)  →  dao (SQL)  →  database (connections)
               ↘  sessions (who is logged in)  ↘  cache (JSON in Redis)

It uses nothing else of ``containertest``. Only its tests (``tests/sample``) do, and ``python -m
containertest.sample``, which serves it on throwaway servers.
"""
