"""Runs once for each new version, before it serves: migrates the database and makes the superuser where there is none.

A version that gunicorn cannot load changes nothing. Works with any project: it takes the settings from DJANGO_SETTINGS_MODULE
and the superuser from DJANGO_SUPERUSER_USERNAME, DJANGO_SUPERUSER_EMAIL and DJANGO_SUPERUSER_PASSWORD_FILE. An existing user of
that name is left as it is.
"""

import os
import subprocess
import sys
from pathlib import Path

import django
from django.apps import apps
from django.core.management import call_command

CHECK = [sys.executable, "-m", "gunicorn", "--check-config", "--config", "/etc/tandem/gunicorn.conf.py"]

if subprocess.run(CHECK, check=False).returncode:
    sys.exit("gunicorn cannot load the site, so its database is left as it is.")

sys.path.insert(0, os.getcwd())
django.setup()

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
