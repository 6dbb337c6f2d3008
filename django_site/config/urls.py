"""The public pages. What a cluster asks (`/healthz`, `/readyz`, `/metrics`) is answered by `status.probes`."""

from django.contrib import admin
from django.urls import path

from status import services, views

admin.site.site_header = admin.site.site_title = "Tandem"

urlpatterns = [
    path("", views.home, name="home"),
    path("mysql", views.mysql, name="mysql"),
    path("redis", views.kept_time, {"service": services.REDIS}, name="redis"),
    path("memcached", views.kept_time, {"service": services.MEMCACHED}, name="memcached"),
    path("admin/", admin.site.urls),
]

handler400 = "status.errors.bad_request"
handler403 = "status.errors.permission_denied"
handler404 = "status.errors.not_found"
handler500 = "status.errors.server_error"
