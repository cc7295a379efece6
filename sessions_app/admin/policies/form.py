"""The form of a policy and of its ordered steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from sessions_app.access.permissions import may_clean_up, may_clean_up_all
from sessions_app.models import CleanupPolicy, CleanupStep
from sessions_app.policies import validate_schedule

if TYPE_CHECKING:
    _PolicyForm = forms.ModelForm[CleanupPolicy]
    _StepForm = forms.ModelForm[CleanupStep]
    _StepFormSet = forms.BaseInlineFormSet[CleanupStep, CleanupPolicy, _StepForm]
    _StepInline = admin.TabularInline[CleanupStep, CleanupPolicy]
else:
    _PolicyForm = _StepForm = forms.ModelForm
    _StepFormSet = forms.BaseInlineFormSet
    _StepInline = admin.TabularInline


class PolicyForm(_PolicyForm):
    hidden: frozenset[str] = frozenset()
    """Namespaces that are hidden from the user."""

    class Meta:
        model = CleanupPolicy
        exclude = ("next_run_at",)
        help_texts = {
            "over_bytes": "Steps run only while the documents in the scope are larger; 10 MB are 10485760. "
            "Leave blank to run always."
        }

    def clean_namespace(self) -> str:
        namespace: str = self.cleaned_data["namespace"]
        if namespace in self.hidden:
            raise forms.ValidationError("This namespace is limited to other groups. Choose another one.")
        if not namespace and self.hidden:
            raise forms.ValidationError(
                "Enter a namespace. A policy over all namespaces would include some that are limited to "
                "other groups."
            )
        return namespace

    def clean_schedule(self) -> str:
        schedule = " ".join(self.cleaned_data["schedule"].split())
        validate_schedule(schedule)
        return schedule

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("is_enabled") and cleaned.get("schedule") == "":
            self.add_error("schedule", "An enabled policy needs a schedule, for example “0 2 * * *”.")
        return cleaned


class StepForm(_StepForm):
    place = forms.IntegerField(
        label="Order",
        required=False,
        min_value=0,
        max_value=1_000,
        help_text="Steps run in ascending order. Leave blank for last.",
        widget=forms.NumberInput(attrs={"size": 3, "aria-label": "Order"}),
    )

    class Meta:
        model = CleanupStep
        fields = ("criterion", "max_age_days")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Screen readers do not associate the column heads with the fields below them.
        for field in self.fields.values():
            field.widget.attrs.setdefault("aria-label", field.label)
        if self.instance.pk:
            self.initial["place"] = self.instance.position


class StepFormSet(_StepFormSet):
    """The steps of a policy, renumbered on each save, so that two of them can be swapped."""

    def add_fields(self, form: _StepForm, index: int | None) -> None:
        super().add_fields(form, index)
        if delete := form.fields.get("DELETE"):
            delete.widget.attrs["aria-label"] = "Delete this step"

    def clean(self) -> None:
        super().clean()
        if not any(self.errors) and not self._remaining():
            raise forms.ValidationError("A policy needs at least one step. Without steps it removes nothing.")

    def save(self, commit: bool = True) -> list[CleanupStep]:
        self.new_objects: list[CleanupStep] = []
        self.changed_objects: list[tuple[CleanupStep, list[str]]] = []
        self.deleted_objects: list[CleanupStep] = []
        if self.has_changed():
            self.instance.steps.all().delete()
            for position, form in enumerate(self._remaining(), start=1):
                form.instance.pk, form.instance.position = None, position
                form.instance.policy = self.instance
                form.instance.save(force_insert=True)
        return list(self.instance.steps.all())

    def _remaining(self) -> list[Any]:
        remaining = [form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        return sorted(remaining, key=lambda form: _sort_key(form.cleaned_data))


def _sort_key(cleaned: dict[str, Any]) -> float:
    place: int | None = cleaned.get("place")
    return float("inf") if place is None else place


class StepInline(_StepInline):
    model = CleanupStep
    form = StepForm
    formset = StepFormSet
    fields = ("place", "criterion", "max_age_days")
    extra = 0
    verbose_name = "step"
    verbose_name_plural = "Steps"

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer “all” only to users with permission to clean up all sessions."""
        if db_field.name == "criterion" and not may_clean_up_all(request.user):
            all_sessions = CleanupStep.Criterion.ALL
            kwargs["choices"] = [
                choice for choice in db_field.get_choices() if choice[0] != all_sessions.value
            ]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    @admin.display(description="Order")
    def place(self, step: CleanupStep) -> int:
        return step.position

    # Users who can change a policy can change its steps.
    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_permission(request, "view") or self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_permission(request, "change" if obj else "add") and may_clean_up(request.user)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    @staticmethod
    def _has_permission(request: HttpRequest, action: str) -> bool:
        return request.user.has_perm(f"sessions_app.{action}_cleanuppolicy")
