"""Forms for a policy, its ordered steps and its protection rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from sessions_app.access.permissions import may_clean_up, may_clean_up_all
from sessions_app.admin.base import UsableNamespace
from sessions_app.admin.policies.fields import ScheduleFields, SizeField
from sessions_app.models import CleanupPolicy, CleanupStep, PolicyProtection

if TYPE_CHECKING:
    _PolicyForm = forms.ModelForm[CleanupPolicy]
    _StepForm = forms.ModelForm[CleanupStep]
    _StepFormSet = forms.BaseInlineFormSet[CleanupStep, CleanupPolicy, _StepForm]
    _Inline = admin.options.InlineModelAdmin[Any, CleanupPolicy]
    _ProtectionForm = forms.ModelForm[PolicyProtection]
else:
    _PolicyForm = _StepForm = _ProtectionForm = forms.ModelForm
    _StepFormSet = forms.BaseInlineFormSet
    _Inline = admin.options.InlineModelAdmin

MAX_STEPS = 20
MAX_RULES = 50
_Criterion = CleanupStep.Criterion


class PolicyForm(UsableNamespace, ScheduleFields, _PolicyForm):
    over_bytes = SizeField(
        widget=forms.TextInput(attrs={"class": "vTextField raptor-size"}),
        label="Only over … of documents",
        required=False,
        help_text="Steps run only while the documents in the scope are larger, for example 10 MB. "
        "Leave blank to run always.",
    )

    class Meta:
        model = CleanupPolicy
        exclude = ("next_run_at",)
        widgets = {"namespace": forms.TextInput(attrs={"list": "namespaces", "autocomplete": "off"})}
        help_texts = {"namespace": "Leave blank for all namespaces."}

    def clean_namespace(self) -> str:
        namespace = super().clean_namespace()
        if not namespace and self.hidden:
            raise forms.ValidationError(
                "Enter a namespace. A policy over all namespaces would include some that are limited to "
                "other groups."
            )
        return namespace

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("is_enabled") and cleaned.get("schedule") == "":
            self.add_error("schedule", "An enabled policy needs a schedule, for example “0 2 * * *”.")
        return cleaned


class LabelledForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form in a table row. Its fields have labels, because screen readers ignore the column headers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.setdefault("aria-label", field.label)


class StepForm(_StepForm):
    place = forms.IntegerField(
        label="Order",
        required=False,
        min_value=0,
        max_value=1_000,
        help_text="Steps run in ascending order. Leave blank for last.",
        widget=forms.NumberInput(attrs={"size": 3}),
    )

    class Meta:
        model = CleanupStep
        fields = ("criterion", "max_age_days", "keep_count", "keep_per", "keep_key")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["place"] = self.instance.position
        if not self.instance.keep_per:
            # The default if the step keeps the newest sessions.
            self.initial["keep_per"] = CleanupStep.Group.NAMESPACE

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("criterion") != _Criterion.NEWEST:
            cleaned |= {"keep_per": ""}
        else:
            cleaned["keep_per"] = cleaned.get("keep_per") or CleanupStep.Group.NAMESPACE
            if not cleaned.get("keep_count") and "keep_count" not in self.errors:
                self.add_error(
                    "keep_count", "Enter the number of sessions to keep in each group, at least 1."
                )
        return cleaned


class StepFormSet(_StepFormSet):
    """The steps of a policy, renumbered on each save, so that two of them can be swapped."""

    def add_fields(self, form: _StepForm, index: int | None) -> None:
        super().add_fields(form, index)
        if delete := form.fields.get("DELETE"):
            delete.widget.attrs["aria-label"] = "Delete this step"

    def clean(self) -> None:
        super().clean()
        if not any(self.errors) and not self.remaining():
            raise forms.ValidationError("A policy needs at least one step. Without steps it removes nothing.")

    def save(self, commit: bool = True) -> list[CleanupStep]:
        self.new_objects: list[CleanupStep] = []
        self.changed_objects: list[tuple[CleanupStep, list[str]]] = []
        self.deleted_objects: list[CleanupStep] = []
        # The first row of a new policy may be saved unchanged.
        if self.has_changed() or not self.instance.steps.exists():
            self.instance.steps.all().delete()
            for step in self.remaining():
                step.pk = None
                step.save(force_insert=True)
        return list(self.instance.steps.all())

    def remaining(self) -> list[CleanupStep]:
        """Return the steps that are not deleted, in order, as unsaved objects."""
        remaining = [form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        steps = []
        for position, form in enumerate(sorted(remaining, key=lambda form: _sort_key(form.cleaned_data)), 1):
            form.instance.position, form.instance.policy = position, self.instance
            steps.append(form.instance)
        return steps


def _sort_key(cleaned: dict[str, Any]) -> float:
    place: int | None = cleaned.get("place")
    return float("inf") if place is None else place


class PolicyPart(_Inline):
    """An inline of the policy form. Users who can change the policy can change its inlines."""

    extra = 0

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


class StepInline(PolicyPart):
    template = "admin/edit_inline/stacked.html"
    model = CleanupStep
    form = StepForm
    formset = StepFormSet
    # One line, which wraps on narrow screens.
    fields = (("criterion", "max_age_days", "keep_count", "keep_per", "keep_key", "place"),)
    min_num = 1
    max_num = MAX_STEPS
    verbose_name = "step"
    verbose_name_plural = "Steps"

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer “all” only to users with permission to clean up all sessions."""
        if db_field.name == "criterion" and not may_clean_up_all(request.user):
            kwargs["choices"] = [
                choice for choice in db_field.get_choices() if choice[0] != _Criterion.ALL.value
            ]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    @admin.display(description="Order")
    def place(self, step: CleanupStep) -> int:
        return step.position


class ProtectionInline(PolicyPart):
    template = "admin/edit_inline/tabular.html"
    model = PolicyProtection
    form = LabelledForm
    fields = ("key", "pattern")
    max_num = MAX_RULES
    verbose_name = "rule"
    verbose_name_plural = "Protected sessions"
