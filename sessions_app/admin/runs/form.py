"""The form for the criteria of a cleanup; the next page previews the plan."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from sessions_app.access.permissions import may_clean_up_all, may_close_browsers, may_plan
from sessions_app.access.visibility import hidden_from
from sessions_app.admin.base import RaptorAdmin
from sessions_app.admin.filters import first_namespaces
from sessions_app.admin.runs import actions
from sessions_app.cleanup import CleanupRefused
from sessions_app.models.fields import NAMESPACE_LENGTH
from sessions_app.session.criteria import MAX_AGE_LIMIT_DAYS, Criteria, InvalidCriteria
from sessions_app.session.document import BROWSER_TYPES

_CHOICES = (
    ("expired", "Expired sessions: last accessed too long ago, or with an unreadable age"),
    ("invalid", "Invalid sessions: those with a problem"),
    ("gone", "Sessions whose browser is gone: two probes at least 10 minutes apart did not find it"),
    ("all", "All sessions in scope, including pinned ones"),
)


class CleanupForm(forms.Form):
    """The criteria of a cleanup; a form without a choice is invalid and never means “all”."""

    what = forms.MultipleChoiceField(
        label="Which sessions",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one kind of session."},
    )
    max_age_days = forms.FloatField(
        label="Maximum age in days",
        min_value=0.0001,
        max_value=MAX_AGE_LIMIT_DAYS,
        help_text="Sessions last accessed longer ago are expired.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    namespace = forms.CharField(
        required=False,
        strip=False,
        max_length=NAMESPACE_LENGTH,
        help_text="Leave blank for all namespaces.",
        widget=forms.TextInput(attrs={"list": "namespaces", "autocomplete": "off"}),
    )
    browser_type = forms.ChoiceField(
        required=False, choices=[("", "All"), *((name, name) for name in BROWSER_TYPES)]
    )

    not_alive = forms.BooleanField(
        label="Keep sessions whose browser is alive",
        required=False,
        help_text="Keeps sessions whose browser answered the last probe.",
    )
    closes_browsers = forms.BooleanField(
        label="Close the browser of each session before it is removed",
        required=False,
        help_text="A session whose browser is in use or does not close is kept.",
    )

    def __init__(self, *args: Any, may_take_all: bool, may_close: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not may_close:
            del self.fields["closes_browsers"]
        what: Any = self.fields["what"]
        what.choices = [choice for choice in _CHOICES if may_take_all or choice[0] != "all"]

    def criteria(self) -> Criteria:
        """Return the chosen criteria.

        Raises: InvalidCriteria.
        """
        chosen: dict[str, Any] = dict.fromkeys(self.cleaned_data["what"], True)
        names = ("max_age_days", "namespace", "browser_type", "not_alive")
        scope = {name: self.cleaned_data[name] for name in names}
        return Criteria(**scope, **chosen)


def cleanup_form_view(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    """Show the form; on POST, make a plan and redirect to its preview. Nothing is removed here."""
    if not may_plan(request.user):
        raise PermissionDenied
    initial = {"what": ["expired", "invalid"], "max_age_days": f"{settings.RAPTOR_MAX_AGE_DAYS:g}"}
    form = CleanupForm(
        request.POST or None,
        initial=initial,
        may_take_all=may_clean_up_all(request.user),
        may_close=may_close_browsers(request.user),
    )
    if request.method == "POST" and form.is_valid():
        try:
            closes_browsers = form.cleaned_data.get("closes_browsers", False)
            run = actions.make_plan(request, form.criteria(), closes_browsers=closes_browsers)
        except (InvalidCriteria, CleanupRefused) as reason:
            messages.error(request, str(reason))
        else:
            return actions.redirect_to_plan(run)
    fields = [form[name] for name in ("max_age_days", "namespace", "browser_type")]
    switches = [form[name] for name in ("not_alive", "closes_browsers") if name in form.fields]
    context = {
        "form": form,
        "fields": fields,
        "switches": switches,
        "namespaces": first_namespaces(hidden_from(request.user)),
    }
    return screen.page(request, "cleanuprun/new.html", "Clean up…", context)
