"""What gunicorn serves: `config.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from config import settings

if not settings.SECRET_KEY:
    raise SystemExit("SECRET_KEY is not set: set it, or name a file that holds it in SECRET_KEY_FILE.")

application = get_wsgi_application()
