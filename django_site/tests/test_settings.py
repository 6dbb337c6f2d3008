"""What the environment makes of the settings."""

import pytest

SET_ELSEWHERE = ["DATABASE_URL", "REDIS_ENABLED", "MEMCACHED_ENABLED", "SITE_ENVIRONMENT", "DEBUG", "ALLOWED_HOSTS"]
SET_ELSEWHERE += ["SECRET_KEY", "SECRET_KEY_FILE"]


def test_nothing_set(load_settings):
    settings = load_settings(**dict.fromkeys(SET_ELSEWHERE))
    assert settings.SITE_ENVIRONMENT == "local"
    assert settings.DEBUG is False
    assert not settings.SECRET_KEY
    assert settings.ALLOWED_HOSTS == ["localhost", "127.0.0.1", "[::1]"]
    assert settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"
    assert settings.CACHES == {"default": settings.LOCAL_MEMORY}


@pytest.mark.parametrize(
    ("redis", "memcached", "aliases"),
    [
        ("enabled", "enabled", {"redis", "memcached", "default"}),
        ("enabled", "", {"redis", "default"}),
        ("true", "enabled", {"memcached", "default"}),
        ("Enabled", "disabled", {"default"}),
    ],
)
def test_only_the_word_enabled_switches_a_cache_on(load_settings, redis, memcached, aliases):
    settings = load_settings(REDIS_ENABLED=redis, MEMCACHED_ENABLED=memcached)
    assert set(settings.CACHES) == aliases


def test_sessions_live_in_redis_where_there_is_one(load_settings):
    assert load_settings(REDIS_ENABLED="enabled").SESSION_ENGINE == "status.sessions"
    without = load_settings(REDIS_ENABLED=None, MEMCACHED_ENABLED="enabled")
    assert without.SESSION_ENGINE == "django.contrib.sessions.backends.db"


def test_secrets_from_files(load_settings, tmp_path):
    secrets = {
        "SECRET_KEY": "$ecret,with=odd#characters",
        "SECRET_KEY_FALLBACKS": "older,oldest",
        "DATABASE_PASSWORD": "p@ss/w:rd",
        "REDIS_PASSWORD": "$REDIS",
    }
    files = {}
    for name, value in secrets.items():
        files[f"{name}_FILE"] = tmp_path / name
        files[f"{name}_FILE"].write_text(f"{value}\n")
    settings = load_settings(
        DATABASE_URL="mysql://tandem@mysql/tandem", REDIS_ENABLED="enabled", REDIS_URL="redis://django@redis", **files
    )
    assert secrets["SECRET_KEY"] == settings.SECRET_KEY
    assert settings.SECRET_KEY_FALLBACKS == ["older", "oldest"]
    assert settings.DATABASES["default"]["PASSWORD"] == secrets["DATABASE_PASSWORD"]
    assert settings.CACHES["redis"]["OPTIONS"]["PASSWORD"] == secrets["REDIS_PASSWORD"]


def test_mysql(load_settings):
    settings = load_settings(DATABASE_URL="mysql://tandem@mysql:3306/tandem", DATABASE_CONN_MAX_AGE=7)
    database = settings.DATABASES["default"]
    assert {key: database[key] for key in ("ENGINE", "HOST", "PORT", "USER", "NAME", "CONN_MAX_AGE")} == {
        "ENGINE": "django.db.backends.mysql",
        "HOST": "mysql",
        "PORT": 3306,
        "USER": "tandem",
        "NAME": "tandem",
        "CONN_MAX_AGE": 7,
    }
    assert database["CONN_HEALTH_CHECKS"] is True
    assert database["OPTIONS"]["charset"] == "utf8mb4"
    assert "STRICT_TRANS_TABLES" in database["OPTIONS"]["init_command"]
    assert "ssl" not in database["OPTIONS"]


def test_mysql_is_not_waited_for_for_ever_unless_asked(load_settings):
    url = "mysql://tandem@mysql/tandem"
    hasty = load_settings(DATABASE_URL=url, DATABASE_TIMEOUT=3, DATABASE_READ_TIMEOUT=20).DATABASES["default"]
    options = hasty["OPTIONS"]
    assert (options["connect_timeout"], options["read_timeout"], options["write_timeout"]) == (3, 20, 20)
    patient = load_settings(DATABASE_URL=url, DATABASE_READ_TIMEOUT=0).DATABASES["default"]
    assert "read_timeout" not in patient["OPTIONS"]


def test_mysql_is_verified_with_a_ca(load_settings):
    settings = load_settings(DATABASE_URL="mysql://tandem@mysql/tandem", DATABASE_CA="/run/ca.pem")
    options = settings.DATABASES["default"]["OPTIONS"]
    assert options["ssl_mode"] == "VERIFY_IDENTITY"
    assert options["ssl"] == {"ca": "/run/ca.pem"}


def test_several_memcached_servers(load_settings):
    settings = load_settings(MEMCACHED_ENABLED="enabled", MEMCACHED_SERVERS="one:11211,two:11211")
    assert settings.CACHES["memcached"]["LOCATION"] == ["one:11211", "two:11211"]
