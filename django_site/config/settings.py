"""The settings of the site, on every platform.

Each comes from the environment variable `X`, or from the file that `X_FILE` names. With none of them set, Django's
commands work: SQLite beside manage.py, local memory for a cache. Only serving through WSGI insists on a SECRET_KEY.
"""

import re
from pathlib import Path

from django.utils.csp import CSP
from environ import FileAwareEnv

from config.logs import logging_config
from payments.keys import judge

BASE_DIR = Path(__file__).resolve().parent.parent
env = FileAwareEnv()


def secret(name):
    """A secret as it is: without a file's last line break, and with a leading `$`, which `env` takes for a name."""
    return env.ENVIRON.get(name, "").rstrip("\r\n")


def enabled(name):
    return env(name, default="") == "enabled"


# The site

SITE_ENVIRONMENT = env("SITE_ENVIRONMENT", default="local")
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = [key for key in re.split(r"[,\s]+", secret("SECRET_KEY_FALLBACKS")) if key]
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_prometheus",
    "djstripe",
    "status",
    "payments",
]

MIGRATION_MODULES = {"djstripe": "payments.djstripe_migrations"}

MIDDLEWARE = [
    "status.probes.ProbeMiddleware",
    "status.middleware.RequestLogMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "status.middleware.OutageMiddleware",
    "status.middleware.MetricsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

TIME_ZONE = "UTC"
USE_I18N = False

# Static files: served by nginx, by Django itself under runserver

STATIC_URL = "/static/"
STATIC_ROOT = env("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.storage.HashedOnceCollected"},
}

# Database

DATABASE_TIMEOUT = env.int("DATABASE_TIMEOUT", default=2)  # seconds to connect, and for a health check
DATABASE_READ_TIMEOUT = env.int("DATABASE_READ_TIMEOUT", default=10)  # seconds for an answer; 0: as long as it takes

if env("DATABASE_URL", default=""):
    database = env.db_url("DATABASE_URL")
else:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}

if password := secret("DATABASE_PASSWORD"):
    database["PASSWORD"] = password

database["CONN_MAX_AGE"] = env.int("DATABASE_CONN_MAX_AGE", default=60)
database["CONN_HEALTH_CHECKS"] = True

if database["ENGINE"] == "django.db.backends.mysql":
    options = {
        "charset": "utf8mb4",
        # Added to the server's own modes, which are stricter than this one alone.
        "init_command": "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
        "connect_timeout": DATABASE_TIMEOUT,
    }
    if DATABASE_READ_TIMEOUT:
        options |= {"read_timeout": DATABASE_READ_TIMEOUT, "write_timeout": DATABASE_READ_TIMEOUT}
    if ca := env("DATABASE_CA", default=""):
        # The CA alone would encrypt without verifying anything.
        options |= {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": ca}}
    database["OPTIONS"] = options | database.get("OPTIONS", {})

DATABASES = {"default": database}

# Caches and sessions: an alias exists where its service is switched on

CACHE_TIMEOUT_SECONDS = env.float("CACHE_TIMEOUT_SECONDS", default=2.0)  # to connect, and for an answer
CACHES = {}

if enabled("REDIS_ENABLED"):
    CACHES["redis"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": env("REDIS_URL", default="redis://127.0.0.1:6379/0"),
        "OPTIONS": {
            "PASSWORD": secret("REDIS_PASSWORD"),
            "SOCKET_CONNECT_TIMEOUT": CACHE_TIMEOUT_SECONDS,
            "SOCKET_TIMEOUT": CACHE_TIMEOUT_SECONDS,
            # Sessions live here: what comes back is parsed, never unpickled.
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        },
    }

if enabled("MEMCACHED_ENABLED"):
    CACHES["memcached"] = {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": env.list("MEMCACHED_SERVERS", default=["127.0.0.1:11211"]),
        "OPTIONS": {
            "connect_timeout": CACHE_TIMEOUT_SECONDS,
            "timeout": CACHE_TIMEOUT_SECONDS,
            # Ask the server every time. Between its retries the client would report a miss instead of the failure.
            "retry_attempts": 0,
            "dead_timeout": 0,
        },
    }

LOCAL_MEMORY = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
CACHES["default"] = CACHES.get("redis") or CACHES.get("memcached") or LOCAL_MEMORY

SESSION_ENGINE = "status.sessions" if "redis" in CACHES else "django.contrib.sessions.backends.db"
SESSION_CACHE_ALIAS = "redis"

# Stripe

STRIPE_ENABLED = enabled("STRIPE_ENABLED")
STRIPE_MODE = env("STRIPE_MODE", default="test")  # which keys the site takes: test or live ones
# A key that is not one never gets as far as the libraries.
STRIPE_SECRET_KEY, STRIPE_PROBLEM = judge(secret("STRIPE_SECRET_KEY"), STRIPE_MODE)
STRIPE_LIVE_MODE = STRIPE_MODE == "live"
STRIPE_TIMEOUT_SECONDS = env.float("STRIPE_TIMEOUT_SECONDS", default=5.0)
if api_base := env("STRIPE_API_BASE", default=""):
    STRIPE_API_HOST = api_base  # as dj-stripe calls it
STRIPE_WEBHOOK_ID = env("STRIPE_WEBHOOK_ID", default="")  # the last part of the address that Stripe sends events to
STRIPE_WEBHOOK_SECRET = secret("STRIPE_WEBHOOK_SECRET")
STRIPE_WEBHOOK_MAX_BYTES = env.int("STRIPE_WEBHOOK_MAX_BYTES", default=262_144)
# Where a localstripe is to send them, which has to be told.
STRIPE_LOCAL_WEBHOOK_URL = env("STRIPE_LOCAL_WEBHOOK_URL", default="")
STRIPE_DATABASE_KEY = secret("STRIPE_DATABASE_KEY")  # what dj-stripe keeps of secrets is sealed with it
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"

# Security

SECURE_CSP = {
    "default-src": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "object-src": [CSP.NONE],
}

if env.bool("HTTPS_ENABLED", default=False):
    # nginx ends TLS, and sets this header whatever a client sends.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=31_536_000)
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# HSTS for subdomains and browsers' preload lists: what else lives under the domain is not this site's to decide. And whoever
# names another API than Stripe's own means it.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "djstripe.W002"]

# Logs

LOGGING = logging_config(env("LOG_FORMAT", default="json"), env("LOG_LEVEL", default="INFO").upper())
