"""Forms for alert rules and targets. Stored secrets and addresses of webhooks and pings are never shown."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from sessions_app.alerts.posting import refusal
from sessions_app.models import AlertRule, AlertTarget
from sessions_app.session.endpoint import mask_address

SECRET_BYTES = 24
Kind = AlertTarget.Kind

if TYPE_CHECKING:
    _TargetForm = forms.ModelForm[AlertTarget]
    _RuleForm = forms.ModelForm[AlertRule]
else:
    _TargetForm = _RuleForm = forms.ModelForm


def shown_address(target: AlertTarget) -> str:
    """Return the address of a target; for webhooks and pings only the host, because the rest is secret."""
    return target.address if target.kind == Kind.EMAIL else mask_address(target.address)


class AlertTargetForm(_TargetForm):
    class Meta:
        model = AlertTarget
        fields = ("name", "kind", "address", "secret", "is_enabled")
        widgets = {
            "address": forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
            "secret": forms.PasswordInput(attrs={"class": "vTextField", "autocomplete": "new-password"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored = AlertTarget.objects.filter(pk=self.instance.pk).first() if self.instance.pk else None
        self.fields["secret"].help_text = (
            f"For a webhook: whsec_ followed by at least {SECRET_BYTES} random bytes in Base64. The receiver "
            "uses the same secret. It is never shown again."
        )
        if self.stored is not None:
            self._keep_what_is_not_shown(self.stored)

    def _keep_what_is_not_shown(self, stored: AlertTarget) -> None:
        address, secret = self.fields["address"], self.fields["secret"]
        if stored.kind != Kind.EMAIL:
            self.initial["address"] = ""
            address.required = False
            address.help_text = f"Leave blank to keep the current address ({mask_address(stored.address)})."
        if stored.secret:
            secret.help_text = "Leave blank to keep the current secret. It is never shown."

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        kind, stored = cleaned.get("kind"), self.stored
        if stored is not None and stored.kind == kind:
            cleaned["address"] = cleaned.get("address") or stored.address
            cleaned["secret"] = cleaned.get("secret") or stored.secret
        if not cleaned.get("address"):
            if "address" not in self.errors:
                self.add_error("address", "Enter an address.")
        elif kind == Kind.EMAIL:
            self._check_emails(cleaned["address"])
        elif reason := refusal(cleaned["address"]):
            self.add_error("address", reason)
        if kind == Kind.WEBHOOK:
            self._check_secret(cleaned.get("secret") or "")
        else:
            cleaned["secret"] = ""
        return cleaned

    def _check_emails(self, text: str) -> None:
        try:
            for address in text.split(","):
                validate_email(address.strip())
        except ValidationError:
            self.add_error("address", "Enter e-mail addresses separated by commas.")

    def _check_secret(self, secret: str) -> None:
        try:
            # The library ignores characters that are not Base64.
            size = len(b64decode(secret.removeprefix("whsec_") + "==", validate=False))
        except (binascii.Error, ValueError):
            size = 0
        if size < SECRET_BYTES or not secret.startswith("whsec_"):
            self.add_error(
                "secret", f"Enter whsec_ followed by at least {SECRET_BYTES} random bytes in Base64."
            )


class AlertRuleForm(_RuleForm):
    class Meta:
        model = AlertRule
        fields = ("name", "kind", "threshold", "targets", "is_enabled")
        widgets = {"targets": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "targets" in self.fields and not AlertTarget.objects.exists():
            self.fields[
                "targets"
            ].help_text = "There are no alert targets yet. Add e-mail addresses or a webhook first."

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        kind, threshold = cleaned.get("kind"), cleaned.get("threshold")
        if kind == AlertRule.Kind.RUN_REMOVED_MANY and threshold is None and "threshold" not in self.errors:
            self.add_error("threshold", "Enter a number of sessions.")
        if kind not in (AlertRule.Kind.RUN_REMOVED_MANY, AlertRule.Kind.STORAGE):
            cleaned["threshold"] = None
        return cleaned
