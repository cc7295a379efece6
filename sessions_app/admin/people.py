"""Forms for users: name, password, role and limited namespaces."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.forms import UserChangeForm, UserCreationForm
from django.contrib.auth.models import Group, User
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sessions_app.access.namespaces import namespaces_granted_to
from sessions_app.access.people import MEANINGS, NO_ROLE, role_of
from sessions_app.access.roles import ROLES
from sessions_app.models import LimitedNamespace

if TYPE_CHECKING:
    _Creation = UserCreationForm[User]
    _Change = UserChangeForm[User]
else:
    _Creation, _Change = UserCreationForm, UserChangeForm

PASSWORD_BYTES = 12
"""Random bytes of a generated password, which has 16 characters."""
_ROLE_HELP = " ".join(MEANINGS)
_NAMESPACES_HELP = "All users see the other namespaces. Select the limited namespaces that this user may see."
_NO_LIMITS_HELP = (
    "No namespace is limited, so all users see all namespaces. To limit one, open Settings → Namespaces."
)


def _prepare(form: Any, granted: list[str]) -> None:
    """Offer the currently limited namespaces."""
    names = list(LimitedNamespace.objects.values_list("namespace", flat=True))
    field = form.fields["namespaces"]
    field.choices = [(name, name) for name in names]
    field.initial = granted
    field.help_text = _NAMESPACES_HELP if names else _NO_LIMITS_HELP


class AddUserForm(_Creation):
    """A new user. If no password is entered, ``generated`` is a new one, which is shown once."""

    role = forms.ChoiceField(choices=[(role, role) for role in ROLES], initial="Viewer", help_text=_ROLE_HELP)
    namespaces = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    generated = ""

    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _prepare(self, [])
        for name in ("password1", "password2"):
            self.fields[name].required = False
        rules = self.fields["password1"].help_text
        self.fields["password1"].help_text = format_html(
            "Leave both fields blank to generate a password, which is shown once.{}", SafeString(rules)
        )

    def clean(self) -> dict[str, Any] | None:
        """Generate the password if both fields are blank."""
        typed = [self.cleaned_data.get(name) for name in ("password1", "password2")]
        if not any(self.data.get(self.add_prefix(name)) for name in ("password1", "password2")):
            self.generated = secrets.token_urlsafe(PASSWORD_BYTES)
            self.cleaned_data.update(password1=self.generated, password2=self.generated)
        elif not all(typed):
            self.add_error("password2" if typed[0] else "password1", "Enter the password in both fields.")
        return super().clean()


class ChangeUserForm(_Change):
    """An existing user. Roles are groups, too; the field for other groups excludes them."""

    role = forms.ChoiceField(
        choices=[("", NO_ROLE), *((role, role) for role in ROLES)], required=False, help_text=_ROLE_HELP
    )
    namespaces = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)

    class Meta(UserChangeForm.Meta):
        model = User
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _prepare(self, namespaces_granted_to(self.instance.pk))
        self.fields["role"].initial = role_of(self.instance)
        if "groups" in self.fields:
            groups: Any = self.fields["groups"]
            groups.label = "Other groups"
            groups.queryset = Group.objects.exclude(name__in=ROLES).order_by("name")
