from django.apps import AppConfig


class SessionsAppConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Browser sessions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from sessions_app import checks  # noqa: F401
        from sessions_app.roles import install_roles

        post_migrate.connect(install_roles, sender=self)
