"""Django settings. Those that differ between machines are read from the environment: see environment.py."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url

from raptor_admin import paths
from raptor_admin.environment import read_environment
from raptor_admin.readers import SQLITE
from sessions_app.apps import DEFAULTS

BASE_DIR = Path(__file__).resolve().parent.parent
_is_checkout = (BASE_DIR / "manage.py").is_file()
# An installed package keeps its data in the home folder, not in site-packages.
_home_dir = BASE_DIR if _is_checkout else Path.home() / ".raptor"
# Test projects may define their own variables with the panel's prefix.
_is_panel = os.environ.get("DJANGO_SETTINGS_MODULE") != "raptor_admin.client_settings"
_environment = read_environment(os.environ, project_dir=_home_dir, knows_all=_is_panel)

SECRET_KEY = _environment.secret_key
DEBUG = _environment.debug
ALLOWED_HOSTS = _environment.allowed_hosts

RAPTOR_VAR_DIR = _environment.var_dir
RAPTOR_BIND = _environment.bind
RAPTOR_MACHINE = _environment.machine
RAPTOR_TRUSTED_PROXIES = _environment.trusted_proxies
RAPTOR_METRICS_TOKEN = _environment.metrics_token
CSRF_TRUSTED_ORIGINS = _environment.trusted_origins
RAPTOR_NAMESPACE = _environment.namespace
RAPTOR_MAX_AGE_DAYS = _environment.max_age_days
RAPTOR_ARCHIVE_DAYS = _environment.archive_days
RAPTOR_CDP_ALLOWED_HOSTS = _environment.cdp_allowed_hosts
RAPTOR_MAX_DOCUMENT_BYTES = _environment.max_document_bytes
RAPTOR_SETTLE_SECONDS = _environment.settle_seconds
RAPTOR_PROBE_SECONDS = _environment.probe_seconds
RAPTOR_CHROMIUM = _environment.chromium
RAPTOR_PUBLIC_URL = _environment.public_url
RAPTOR_WEBHOOK_ALLOWED_HOSTS = _environment.webhook_allowed_hosts
RAPTOR_TASK_DEADLINE_SECONDS: int = DEFAULTS["RAPTOR_TASK_DEADLINE_SECONDS"]
# Kept free on the disk of a SQLite database, so that a full disk can be emptied through the panel.
RAPTOR_RESERVE_BYTES = 32 * 1024 * 1024

INSTALLED_APPS = [
    "raptor_admin.apps.ProjectConfig",
    "raptor_admin.apps.RaptorAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "django_q",
    # Chart.js, as static files.
    "chartkick.django",
    "sessions_app.apps.SessionsAppConfig",
]

MIDDLEWARE = [
    "raptor_admin.middleware.HeadersMiddleware",
    "raptor_admin.proxies.ProxyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    # See "Compression" in docs/operations.md for the responses that it does not compress.
    "raptor_admin.middleware.CompressionMiddleware",
    # Wraps all middlewares that use the database.
    "raptor_admin.middleware.DiskFullMiddleware",
    "raptor_admin.middleware.NulRefusingMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "raptor_admin.login.IdleLogoutMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Last, because it turns an answer to a login that is locked out into a page.
    "axes.middleware.AxesMiddleware",
]

# The path under which a proxy serves the panel; None is the root.
FORCE_SCRIPT_NAME = _environment.url_prefix or None
ROOT_URLCONF = "raptor_admin.urls"
WSGI_APPLICATION = "raptor_admin.wsgi.application"

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
                "sessions_app.admin.navigation.frame",
            ],
        },
    },
]


def _read_database(url: str) -> dict[str, Any]:
    # The threads of gunicorn and the worker are long-lived, so connections are kept and checked before use.
    database: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    if database["ENGINE"] == SQLITE:
        database["NAME"] = _home_dir / database["NAME"]
        # Of 600 transactions in 4 processes, 77 fail as "database is locked" with Django's defaults, and none
        # with WAL, IMMEDIATE and a busy timeout of 5 s.
        database["OPTIONS"] = {
            "timeout": 5,
            "transaction_mode": "IMMEDIATE",
            # FULL: a file is deleted after its session is archived; that commit must survive a power failure.
            # A cleanup touches pages all over each index. A cache of 24 MB and a checkpoint every 40 MB
            # (instead of 4) halve the time of its batches.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
            "PRAGMA cache_size=-24000; PRAGMA wal_autocheckpoint=10000; "
            # After a large transaction the log is truncated to this size when SQLite reuses it.
            "PRAGMA journal_size_limit=50331648;",
        }
    else:
        # A server that drops packets must not hold a page or a worker for minutes.
        database.setdefault("OPTIONS", {}).setdefault("connect_timeout", 10)
    return database


DATABASES = {"default": _read_database(_environment.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

_is_sqlite = DATABASES["default"]["ENGINE"] == SQLITE
Q_CLUSTER: dict[str, Any] = {
    "name": "raptor",
    # SQLite has one writer at a time: a second worker would only wait for the first.
    "workers": 1 if _is_sqlite else 2,
    "poll": 1,
    "timeout": 300,
    # Seconds after which a fetched task is delivered again. Two more tasks are fetched while one runs, one in
    # the cluster's queue and one in its pusher, so this covers three timeouts.
    "queue_limit": 1,
    "retry": 900,
    # A task has one attempt. The next schedule is its retry.
    "max_attempts": 1,
    "ack_failures": True,
    # sessions_app.queue.schedules starts what is due.
    "scheduler": False,
    "guard_cycle": 0.5,
    "label": "Task queue",
    **(
        {"redis": _environment.redis_url, "broker_class": "sessions_app.queue.broker.RedisBroker"}
        if _environment.redis_url
        else {"orm": "default", "broker_class": "sessions_app.queue.broker.DatabaseBroker"}
    ),
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["raptor_admin.login.LockoutBackend", "django.contrib.auth.backends.ModelBackend"]
# A user name is locked for an address, so nobody can lock out a user at another address.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=5)
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "raptor_admin.proxies.client_address"
AXES_LOCKOUT_CALLABLE = "raptor_admin.login.locked_out"
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
CSRF_FAILURE_VIEW = "raptor_admin.errors.csrf_failure"
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# Only alerts send e-mail.
EMAIL_HOST = _environment.smtp_url.host
EMAIL_PORT = _environment.smtp_url.port
EMAIL_HOST_USER = _environment.smtp_url.user
EMAIL_HOST_PASSWORD = _environment.smtp_url.password
EMAIL_USE_SSL = _environment.smtp_url.scheme == "smtps"
EMAIL_USE_TLS = _environment.smtp_url.scheme == "smtp+tls"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = _environment.email_from

LANGUAGE_CODE = "en-us"
TIME_ZONE = _environment.time_zone
USE_I18N = True
# Use the same date formats on Django's pages and on the panel's own pages.
FORMAT_MODULE_PATH = ["raptor_admin.formats"]
USE_TZ = True

STATIC_URL = f"{_environment.url_prefix}/static/"
STATIC_ROOT = RAPTOR_VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
# Nothing requests the unhashed names; leaving them out halves the time of the first start.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True

# All ports of localhost share cookies. With Django's default names, another project on the machine would end
# the panel's logins.
SESSION_COOKIE_NAME = "raptor_sessionid"
CSRF_COOKIE_NAME = "raptor_csrftoken"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = _environment.url_prefix or "/"
SESSION_COOKIE_HTTPONLY = True
# A login ends after 12 hours without activity; see raptor_admin.login.
SESSION_COOKIE_AGE = 12 * 60 * 60
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"

if _environment.https:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [rf"(^|/)({'|'.join(paths.PROBES)})$"]
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = False
    SECURE_HSTS_PRELOAD = False
    # Other hosts of the domain may use plain HTTP, so subdomains and preloading are the owner's decision.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "sessions_app.session.masking.LineFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        },
    },
    "filters": {
        # An endpoint controls a browser. The filter masks those that the code has not masked.
        "masking": {"()": "sessions_app.session.masking.MaskingFilter"},
        "disk_full": {"()": "raptor_admin.errors.DiskFullFilter"},
        "readiness": {"()": "raptor_admin.errors.ReadinessFilter"},
        "refusals": {"()": "raptor_admin.errors.RefusalFilter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["disk_full", "refusals", "masking"],
        },
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # With DEBUG off, Django's default is to mail errors to administrators and to print nothing.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.request": {"filters": ["readiness"]},
        # At INFO, django-q2 logs four lines for each task; the panel's own tasks log one.
        # raptor_admin.login logs wrong logins.
        "axes": {"level": "ERROR"},
        "django-q": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
    },
}
