"""Runs beside a site, with its settings: ``write`` adds row after row and says when it was told that one is stored, ``read`` says
which are there."""

import sys
import time

import django
from django.db import DatabaseError, connection

LONGEST = 300  # seconds after which it ends by itself


def ask(statement, *values):
    """Return the database's answer."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def write():
    """Write on whatever happens to the database; a row without an answer may be there or not."""
    ask("CREATE TABLE written (number INT PRIMARY KEY)")
    number, end = 0, time.time() + LONGEST
    while time.time() < end:
        number += 1
        try:
            ask("INSERT INTO written VALUES (%s)", number)
            print("stored", number, time.time(), flush=True)
        except DatabaseError:
            connection.close()
            time.sleep(0.05)


def read():
    """Say which there are."""
    print("stored", *(number for (number,) in ask("SELECT number FROM written")))


django.setup()
{"write": write, "read": read}[sys.argv[1]]()
