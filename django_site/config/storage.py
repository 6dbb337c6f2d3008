"""Where static files get their addresses."""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class HashedOnceCollected(ManifestStaticFilesStorage):
    """Hashed names, cacheable for ever, once `collectstatic` has run; plain ones before, so that a checkout works."""

    def stored_name(self, name):
        return super().stored_name(name) if self.hashed_files else name
