"""The services behind the site: what they are called, how they fail, and how they are."""

import asyncio
import dataclasses
import datetime
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.core.cache import caches
from django.db import InterfaceError, OperationalError, connection
from health_check.base import HealthCheck
from health_check.checks import Database
from health_check.exceptions import ServiceUnavailable
from pymemcache.exceptions import MemcacheError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class DatabaseService:
    """Whatever DATABASE_URL names: its page is `/mysql`, its name the truth."""

    slug = "mysql"
    enabled = True
    failures = (OperationalError, InterfaceError)

    @property
    def name(self):
        return {"mysql": "MySQL", "sqlite": "SQLite"}.get(connection.vendor, connection.vendor)

    def check(self):
        return within(settings.DATABASE_TIMEOUT, Database())


class CacheService:
    """A cache that is switched on where the settings know its alias."""

    def __init__(self, slug, name, *failures):
        self.slug = slug
        self.name = name
        self.failures = failures

    @property
    def enabled(self):
        return self.slug in settings.CACHES

    @property
    def how_to_enable(self):
        return f"{self.name} is switched off: set {self.slug.upper()}_ENABLED=enabled to switch it on."

    def check(self):
        return within(settings.CACHE_TIMEOUT_SECONDS, CacheRoundTrip(self.slug))


@dataclasses.dataclass
class CacheRoundTrip(HealthCheck):
    """Writes a value and reads it back, on the thread it is given: through the event loop, as the library's own check
    does it, one hanging cache would make the others wait."""

    alias: str

    def run(self):
        cache = caches[self.alias]
        key = value = f"status:{uuid.uuid4().hex}"
        try:
            cache.set(key, value, timeout=10)
            if cache.get(key) != value:
                raise ServiceUnavailable("It lost what was just written.")
        except (OSError, MemcacheError, RedisError) as error:
            raise ServiceUnavailable(str(error)) from error
        finally:
            cache.close()


DATABASE = DatabaseService()
REDIS = CacheService("redis", "Redis", RedisError)
MEMCACHED = CacheService("memcached", "Memcached", MemcacheError)
SERVICES = (DATABASE, REDIS, MEMCACHED)


def within(seconds, check):
    """Bounds a check from outside, too. The library grants a second more, so that the client may report first."""
    check.timeout = datetime.timedelta(seconds=seconds)
    return check


def examine(services=SERVICES):
    """The state of each service by its slug. All are asked at once, and whoever hangs costs no more than one timeout:
    its thread is left behind, to end by the client's own."""
    enabled = [service for service in services if service.enabled]

    async def ask():
        return await asyncio.gather(*(service.check().get_result(threads) for service in enabled))

    threads = ThreadPoolExecutor(len(enabled))
    try:
        results = asyncio.run(ask())
    finally:
        threads.shutdown(wait=False)

    checked_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    states = {service.slug: {"name": service.name, "state": "off"} for service in services}
    for service, result in zip(enabled, results, strict=True):
        if result.error:
            log_outage(service, result.error.__cause__ or result.error)
        states[service.slug] |= {
            "state": "down" if result.error else "up",
            "latency_ms": round(result.time_taken * 1000, 1),
            "checked_at": checked_at,
        }
    return states


def summarize(states):
    """One sentence on all of them."""
    down = [service["name"] for service in states.values() if service["state"] == "down"]
    if not down:
        all_on = all(service["state"] == "up" for service in states.values())
        return "All services are up." if all_on else "All services that are switched on are up."
    *others, last = down
    return f"{', '.join(others)} and {last} are down." if others else f"{last} is down."


def behind(failure):
    """The service whose outage this exception tells, if it is one."""
    return next((service for service in SERVICES if isinstance(failure, service.failures)), None)


def log_outage(service, reason):
    logger.warning("outage", extra={"service": service.name, "reason": str(reason)})
