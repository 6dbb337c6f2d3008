#!/usr/bin/env python
"""Django's command line. Nothing has to be set for any of its commands."""

import os
import sys


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line
    from django.core.management.utils import get_random_secret_key

    if sys.argv[1:2] == ["runserver"]:
        # A developer's server, never reached by gunicorn: debugging on, readable logs, a key that lives as long as it.
        os.environ.setdefault("DEBUG", "true")
        os.environ.setdefault("LOG_FORMAT", "console")
        if "SECRET_KEY_FILE" not in os.environ:
            os.environ.setdefault("SECRET_KEY", get_random_secret_key())
    else:
        # A migration may take as long as it takes: cut off, it would leave half of itself in MySQL.
        os.environ["DATABASE_READ_TIMEOUT"] = "0"

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
