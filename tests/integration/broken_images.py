"""Docker images that are no servers, made from the images of the tests."""

from __future__ import annotations

import io
import json
import unittest

from containertest.services import redis
from containertest.settings import Settings


def build(test: unittest.TestCase, shell: str) -> str:
    """Build an image whose containers run the command ``shell`` whatever they are told; removed after ``test``.

    :return: its name.
    """
    import docker

    base = Settings.load().redis_image or redis.DEFAULT_IMAGE
    entry = json.dumps(["sh", "-c", shell])
    name = f"containertest-broken:{test.id().rpartition('.')[2].lower()[:80]}"
    client = docker.from_env()
    test.addCleanup(client.close)
    client.images.build(fileobj=io.BytesIO(f"FROM {base}\nENTRYPOINT {entry}\nCMD []\n".encode()), tag=name, rm=True)
    test.addCleanup(client.images.remove, name, force=True)
    return name
