"""Django's own test classes, in databases that Django's runner makes and clones on our server."""

from __future__ import annotations

import os

import recorder
from django.db import IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase

from shop.models import Item


def check_own_database() -> None:
    name = str(connection.settings_dict["NAME"])
    assert name.startswith("test_"), name
    recorder.add("DJANGO", {"pid": os.getpid(), "database": name, "port": connection.settings_dict["PORT"]})


class ItemTests(TestCase):
    def test_it_is_alone(self) -> None:
        check_own_database()
        Item.objects.create(name="pen")
        self.assertEqual(Item.objects.count(), 1)


class UniqueItemTests(TransactionTestCase):
    def test_name_is_unique(self) -> None:
        check_own_database()
        Item.objects.create(name="pen")
        with self.assertRaises(IntegrityError), transaction.atomic():
            Item.objects.create(name="pen")
