"""Fields of the policy form: schedules in parts, and sizes with units."""

from __future__ import annotations

import re
from datetime import time
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator

from sessions_app.models import CleanupPolicy
from sessions_app.policies import validate_schedule
from sessions_app.policies.presets import LAST_MONTH_DAY, WEEKDAYS, Frequency, Preset

LARGEST = 2**63 - 1
UNITS = ("bytes", "KB", "MB", "GB", "TB")
_SIZE = re.compile(r"(\d+(?:[.,]\d+)?)\s*([kmgt]?b|bytes?)?", re.IGNORECASE)
_FREQUENCIES = (
    (Frequency.MANUAL, "Manual start only"),
    (Frequency.DAILY, "Daily"),
    (Frequency.WEEKLY, "Weekly"),
    (Frequency.MONTHLY, "Monthly"),
    (Frequency.CRON, "Cron expression"),
)


class SizeField(forms.CharField):
    """A size in bytes that is entered with a unit, such as 10 MB. Units are powers of 1,024."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.validators = [MaxValueValidator(LARGEST)]

    def to_python(self, value: Any) -> Any:
        if isinstance(value, int):
            return value
        text = str(value or "").strip()
        if not text:
            return None
        found = _SIZE.fullmatch(text.replace("\N{NO-BREAK SPACE}", " "))
        if found is None:
            raise forms.ValidationError("Enter a number and a unit, for example 10 MB or 1.5 GB.")
        number, unit = found.groups()
        exponent = "bkmgt".index((unit or "b")[0].lower())
        if exponent == 0:
            return int(float(number.replace(",", "."))) if "." in number or "," in number else int(number)
        return round(float(number.replace(",", ".")) * 1024**exponent)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, int):
            return value
        exponent = 0
        while value and value % 1024 == 0 and exponent < len(UNITS) - 1:
            value, exponent = value // 1024, exponent + 1
        return f"{value} {UNITS[exponent]}"


class ScheduleFields(forms.Form):
    """A schedule as a preset, or as a cron expression in ``schedule``.

    Without ``frequency``, the form uses the cron expression.
    """

    frequency = forms.ChoiceField(label="When", choices=_FREQUENCIES, required=False)
    weekday = forms.ChoiceField(
        label="On",
        required=False,
        # Begin with Monday.
        choices=[(number % 7, WEEKDAYS[number % 7]) for number in range(1, 8)],
    )
    month_day = forms.ChoiceField(
        label="On day",
        required=False,
        choices=[(day, str(day)) for day in range(1, LAST_MONTH_DAY + 1)],
    )
    at = forms.TimeField(
        label="At",
        required=False,
        widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
        help_text="In the time zone of the panel.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        instance: CleanupPolicy | None = getattr(self, "instance", None)
        preset = Preset.from_cron(instance.schedule if instance is not None else "")
        for name in ("frequency", "weekday", "month_day", "at"):
            self.initial.setdefault(name, getattr(preset, name))

    def clean_schedule(self) -> str:
        return " ".join(self.cleaned_data["schedule"].split())

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        frequency = cleaned.get("frequency") or Frequency.CRON
        if frequency == Frequency.CRON:
            try:
                validate_schedule(cleaned.get("schedule", ""))
            except forms.ValidationError as error:
                self.add_error("schedule", error)
        elif "at" in cleaned:
            cleaned["schedule"] = Preset(
                frequency=Frequency(frequency),
                at=cleaned["at"] or time(2),
                weekday=int(cleaned.get("weekday") or 1),
                month_day=int(cleaned.get("month_day") or 1),
            ).to_cron()
        return cleaned
