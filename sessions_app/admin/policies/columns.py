"""Columns of the list of policies."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html

from sessions_app.admin import badges, formatting
from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.queue.schedules import describe_cron


class PolicyColumns:
    """Columns for policies that are annotated with their runs and with what the user may do."""

    @admin.display(description="Policy", ordering="name")
    def title(self, policy: CleanupPolicy) -> str:
        """Render the name, with the description below it."""
        if not policy.description:
            return policy.name
        return format_html('{}<span class="raptor-below">{}</span>', policy.name, policy.description)

    @admin.display(description="When", ordering="schedule")
    def when(self, policy: CleanupPolicy) -> str:
        if not policy.schedule:
            return "Manual"
        text = describe_cron(policy.schedule)
        return format_html('<span title="{}">{}</span>', policy.schedule, text)

    @admin.display(description="Scope", ordering="namespace")
    def scope(self, policy: CleanupPolicy) -> str:
        return policy.namespace or "All"

    @admin.display(description="Enabled", ordering="is_enabled")
    def enabled(self, policy: Any) -> str:
        """Render a switch. It submits the form of the list to the view that enables the policy."""
        if not policy.may_change or not (policy.schedule or policy.is_enabled):
            return badges.badge(*(("good", "Enabled") if policy.is_enabled else ("quiet", "Disabled")))
        text = "Enabled" if policy.is_enabled else "Disabled"
        return format_html(
            '<button type="submit" class="raptor-switch" role="switch" aria-checked="{}" aria-label="{}" '
            'name="enable" value="{}" formmethod="post" formaction="{}">{}</button>',
            "true" if policy.is_enabled else "false",
            # Users of speech input say the visible text, so the name has to contain it.
            f"{text}: {policy}",
            "0" if policy.is_enabled else "1",
            reverse("admin:sessions_app_cleanuppolicy_enable", args=[policy.pk]),
            text,
        )

    @admin.display(description="Run")
    def run_now(self, policy: Any) -> str:
        if not policy.may_run:
            return formatting.NONE
        address = reverse("admin:sessions_app_cleanuppolicy_run", args=[policy.pk])
        return format_html(
            '<a class="button raptor-plain" href="{}" aria-label="Run now… {}">Run now…</a>', address, policy
        )

    @admin.display(description="Next run", ordering="next_run_at")
    def next_run(self, policy: CleanupPolicy) -> str:
        return formatting.moment(policy.next_run_at)

    @admin.display(description="Last run")
    def last_run(self, policy: Any) -> str:
        if policy.last_run_id is None:
            return "Never"
        if policy.held_run_id is not None:
            badge = badges.badge("stale", "Needs approval")
            return format_html('<a href="{}">{}</a>', _run_url(policy.held_run_id), badge)
        run = CleanupRun(pk=policy.last_run_id, state=policy.last_run_state)
        return format_html("{} {}", run_link(run), badges.state_badge(run))


def _run_url(run_id: int) -> str:
    return reverse("admin:sessions_app_cleanuprun_change", args=[run_id])


def run_link(run: CleanupRun) -> str:
    return format_html('<a href="{}">Run {}</a>', _run_url(run.pk), run.pk)
