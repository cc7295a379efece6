"""The form for adding a session directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.db import transaction

from sessions_app.admin.base import UsableNamespace
from sessions_app.mirror.registry import DirectoryError, register_directory
from sessions_app.models import Machine, SessionDirectory

if TYPE_CHECKING:
    _Form = forms.ModelForm[SessionDirectory]
else:
    _Form = forms.ModelForm


class SessionDirectoryForm(UsableNamespace, _Form):
    class Meta:
        model = SessionDirectory
        fields = ("path", "machine", "namespace", "is_enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "machine" not in self.fields:
            return
        others = Machine.objects.exclude(name=settings.RAPTOR_MACHINE).order_by("name")
        names = others.values_list("name", flat=True)
        self.fields["machine"] = forms.ChoiceField(
            choices=[("", "This machine"), *((name, name) for name in names)],
            required=False,
            help_text="The machine with the folder. Its worker mirrors the folder.",
        )

    @property
    def is_elsewhere(self) -> bool:
        """Whether the folder is on another machine, so that this machine cannot check it."""
        return bool(self.data.get("machine")) and "machine" in self.fields

    def clean_path(self) -> str:
        folder = Path(self.cleaned_data["path"])
        try:
            folder = folder if self.is_elsewhere else folder.expanduser()
            if not folder.is_absolute():
                raise forms.ValidationError(
                    "Enter the absolute path of the folder, such as /home/ci/.raptor/sessions, or one that "
                    "begins with ~ for a home folder."
                )
            return str(folder if self.is_elsewhere else folder.resolve())
        except (OSError, RuntimeError) as error:
            raise forms.ValidationError(f"{folder} cannot be read: {error}.") from None

    def _is_hidden(self, path: str) -> bool:
        """Check whether the folder is mirrored into a hidden namespace, which messages must not reveal."""
        return SessionDirectory.objects.filter(path=path, namespace__in=self.hidden).exists()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        is_complete = "path" in cleaned and "namespace" in cleaned
        if is_complete and not self.is_elsewhere and not self._is_hidden(cleaned["path"]):
            try:
                # Validate by registering the directory and rolling back; saving the form registers it again.
                with transaction.atomic():
                    register_directory(cleaned["path"], namespace=cleaned["namespace"])
                    transaction.set_rollback(True)
            except DirectoryError as error:
                self.add_error("path", str(error))
            except OSError as error:
                self.add_error("path", f"{cleaned['path']} cannot be read: {error.strerror}.")
        return cleaned
