"""dj-stripe's migrations, as they are, and one beside them that stands for the first three where none of them has run."""

from djstripe import migrations

__path__ = [*__path__, *migrations.__path__]
