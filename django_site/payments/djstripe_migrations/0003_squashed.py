"""dj-stripe's first three migrations as one, for a database that has none of them. They make 518 columns only to take them
away again, and for each of these Django puts all 59 models together anew: a minute, in place of seconds.

It is what `squashmigrations` would write, made of dj-stripe's own files when it is needed.
"""

from importlib import import_module

from django.db import migrations
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ProjectState

APP = "djstripe"
REPLACED = {name: import_module(f"djstripe.migrations.{name}").Migration for name in ("0001_initial", "0002_2_10", "0003_2_11")}


def outcome():
    """The operations that lead from nothing to where the replaced ones lead."""
    state = ProjectState()
    for name, migration in REPLACED.items():
        migration(name, APP).mutate_state(state, preserve=False)
    detector = MigrationAutodetector(ProjectState(), state, MigrationQuestioner(specified_apps={APP}))
    (migration,) = detector.changes(MigrationGraph())[APP]
    return migration.operations


class Migration(migrations.Migration):
    initial = True
    replaces = [(APP, name) for name in REPLACED]
    dependencies = REPLACED["0001_initial"].dependencies
    operations = outcome()
