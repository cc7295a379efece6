"""The administrator who is made on the first start."""

import secrets

from django.contrib.auth import get_user_model

USERNAME = "admin"


def ensure_administrator(password: str) -> list[str]:
    """Make the administrator if there is none, and return what to tell whoever starts the panel.

    Args:
        password: Used for a new administrator only; blank: one is generated and told.
    """
    user_model = get_user_model()
    if user_model.objects.filter(is_superuser=True).exists():
        return []
    if user_model.objects.filter(username=USERNAME).exists():
        return ["There is no administrator, and 'admin' is an ordinary user: run manage.py createsuperuser."]
    chosen = password or secrets.token_urlsafe(15)
    user_model.objects.create_superuser(username=USERNAME, password=chosen)
    if password:
        return [f"Administrator {USERNAME!r} made, with the password of RAPTOR_ADMIN_PASSWORD."]
    return [
        "",
        f"  Administrator:  {USERNAME}",
        f"  Password:       {chosen}",
        "  Note it now: it is not shown again. Another one: manage.py changepassword admin",
        "",
    ]
