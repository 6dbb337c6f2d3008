"""Sessions in Redis, which a Redis that is down does not end."""

from django.contrib.sessions.backends import cache


class SessionStore(cache.SessionStore):
    """Django's own takes every failure for an empty session, and then deletes the cookie: an outage of a second would
    sign everybody out. Here the failure is told, and the session is there again when Redis is."""

    def load(self):
        return self._loaded(self._cache.get(self.cache_key))

    async def aload(self):
        return self._loaded(await self._cache.aget(await self.acache_key()))

    def _loaded(self, session):
        if session is None:
            self._session_key = None
        return session or {}
