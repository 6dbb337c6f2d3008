"""A sealed key is longer than the key, and than dj-stripe's column."""

from django.db import migrations, models


def widen(apps, schema_editor):
    model = apps.get_model("djstripe", "APIKey")
    wider = models.CharField(max_length=255, unique=True)
    wider.set_attributes_from_name("secret")
    wider.model = model
    schema_editor.alter_field(model, model._meta.get_field("secret"), wider)


class Migration(migrations.Migration):
    dependencies = [("djstripe", "0003_2_11")]
    operations = [migrations.RunPython(widen, migrations.RunPython.noop, atomic=False)]  # as MySQL wants it
