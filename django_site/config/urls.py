"""The public pages. What a cluster asks (`/healthz`, `/readyz`, `/metrics`) is answered by `status.probes`."""

from django.contrib import admin
from django.urls import path

from payments import views as payments
from payments.webhook import webhook
from status import services, views

admin.site.site_header = admin.site.site_title = "Tandem"

urlpatterns = [
    path("", views.home, name="home"),
    path("mysql", views.mysql, name="mysql"),
    path("redis", views.kept_time, {"service": services.REDIS}, name="redis"),
    path("memcached", views.kept_time, {"service": services.MEMCACHED}, name="memcached"),
    path("stripe-test", payments.stripe_test, name="stripe-test"),
    path("stripe-test/round-trip", payments.round_trip, name="round-trip"),
    path("stripe-test/round-trip/<slug:customer>", payments.came_back, name="came-back"),
    path("stripe/webhook/<uuid:uuid>/", webhook, name="stripe-webhook"),
    path("admin/", admin.site.urls),
]

handler400 = "status.errors.bad_request"
handler403 = "status.errors.permission_denied"
handler404 = "status.errors.not_found"
handler500 = "status.errors.server_error"
