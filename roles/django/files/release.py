"""Runs once for each new version, before it serves: migrates the database and makes the superuser where there is none.

A version that gunicorn cannot load changes nothing. Works with any project: it takes the settings from DJANGO_SETTINGS_MODULE
and the superuser from DJANGO_SUPERUSER_USERNAME, DJANGO_SUPERUSER_EMAIL and DJANGO_SUPERUSER_PASSWORD_FILE. An existing user of
that name is left as it is.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import django
from django.apps import apps
from django.core.management import call_command
from django.db import OperationalError, connection

PATIENCE = 240  # seconds for a database that comes up beside it, as it does where a chart is installed
NOT_THERE = (2002, 2003, 2005)  # what MySQL's client calls a server that cannot be reached, or whose name is not known yet
CHECK = [sys.executable, "-m", "gunicorn", "--check-config", "--config", "/etc/tandem/gunicorn.conf.py"]

if subprocess.run(CHECK, check=False).returncode:
    sys.exit("gunicorn cannot load the site, so its database is left as it is.")

sys.path.insert(0, os.getcwd())
django.setup()

end = time.monotonic() + PATIENCE
while True:
    try:
        connection.ensure_connection()
        break
    except OperationalError as error:
        if error.args[0] not in NOT_THERE or time.monotonic() > end:
            raise
        time.sleep(1)

call_command("migrate", interactive=False)

if apps.is_installed("django.contrib.auth"):
    from django.contrib.auth import get_user_model

    users = get_user_model()
    name = os.environ["DJANGO_SUPERUSER_USERNAME"]
    if users._default_manager.filter(**{users.USERNAME_FIELD: name}).exists():
        print(f"The superuser {name} exists.")
    else:
        users._default_manager.create_superuser(
            **{users.USERNAME_FIELD: name, users.EMAIL_FIELD: os.environ["DJANGO_SUPERUSER_EMAIL"]},
            password=Path(os.environ["DJANGO_SUPERUSER_PASSWORD_FILE"]).read_text().strip(),
        )
        print(f"Made the superuser {name}.")
