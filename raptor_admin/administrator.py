"""The administrator that the first start creates."""

import secrets

from django.contrib.auth import get_user_model

from sessions_app.text import manage_command

USERNAME = "admin"


def ensure_administrator(password: str) -> list[str]:
    """Create the administrator if none exists, and return the lines to print.

    Args:
        password: Password of a new administrator. If it is blank, one is generated and printed.
    """
    user_model = get_user_model()
    if user_model.objects.filter(is_superuser=True).exists():
        return []
    if user_model.objects.filter(username=USERNAME).exists():
        return [
            f"The panel has no administrator, and {USERNAME!r} is an ordinary user. To create one, run",
            f"  {manage_command('createsuperuser')}",
        ]
    chosen = password or secrets.token_urlsafe(15)
    user_model.objects.create_superuser(username=USERNAME, password=chosen)
    if password:
        return [f"Created the administrator {USERNAME!r} with the password from RAPTOR_ADMIN_PASSWORD."]
    return [
        "",
        f"  Administrator:  {USERNAME}",
        f"  Password:       {chosen}",
        "  Save the password now: it is not shown again. To change it, run",
        f"  {manage_command('changepassword admin')}",
        "",
    ]
