from __future__ import annotations

import sys
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser

from sessions_app.access.actors import user_name
from sessions_app.cleanup import (
    CleanupRefused,
    approve_cleanup,
    hold,
    matching,
    plan_cleanup,
    requires_confirmation,
    run_cleanup,
    unattended_hold_reason,
)
from sessions_app.liveness import close_for_run
from sessions_app.management.cleanup_report import CleanupReport, NeedsApproval
from sessions_app.management.output import (
    ReportingCommand,
    WrongUsage,
    add_age_arguments,
    add_scope_arguments,
    progress,
    read_instant,
    stoppable,
)
from sessions_app.management.policy_report import (
    preview_to_json,
    preview_to_text,
    sweep_to_json,
    sweep_to_text,
)
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.policies import SweepResult, preview, sweep
from sessions_app.session.criteria import Criteria, InvalidCriteria
from sessions_app.text import count_of

HOW_TO_APPROVE = "Approve it on its page in the admin, or run the command again with --yes."
PERMANENT = "RAPTOR_ARCHIVE_DAYS is 0: they are deleted permanently and cannot be restored.\n"
CRITERIA = ("expired", "invalid", "gone", "all", "max_age_days", "namespace", "browser_type", "not_alive")


class Command(ReportingCommand):
    help = "Move sessions that meet any of the given criteria to the archive, and remove their files."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--expired", action="store_true", help="sessions past the maximum age")
        parser.add_argument("--invalid", action="store_true", help="sessions with a problem")
        parser.add_argument(
            "--gone",
            action="store_true",
            help="sessions whose browser was not found by two probes at least 10 minutes apart",
        )
        parser.add_argument("--all", action="store_true", help="every session, pinned ones included")
        parser.add_argument(
            "--policy", metavar="NAME", help="run the steps of this policy; excludes other criteria"
        )
        add_scope_arguments(parser)
        add_age_arguments(parser)
        parser.add_argument(
            "--not-alive",
            action="store_true",
            help="leave out sessions whose browser answered the last probe",
        )
        parser.add_argument(
            "--close-browsers",
            action="store_true",
            help="close the browser of each session first; a session whose browser does not close is kept",
        )
        parser.add_argument("--dry-run", action="store_true", help="only report what would be removed")
        parser.add_argument(
            "--yes",
            action="store_true",
            help="do not ask for confirmation, and approve plans that exceed safety limits",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["policy"] is not None:
                self._handle_policy(_policy_of(options), options)
            else:
                self._handle_criteria(_criteria_of(options), options)
        except CleanupRefused as reason:
            raise CommandError(str(reason)) from None

    def _handle_criteria(self, criteria: Criteria, options: dict[str, Any]) -> None:
        as_of = read_instant(options["as_of"])
        must_confirm = not options["yes"] and not options["dry_run"]
        if criteria.all and must_confirm and not sys.stdin.isatty():
            raise WrongUsage("--all removes every session. Without a terminal to ask on, it requires --yes.")
        self._warn_of_empty_scope(criteria)
        run = plan_cleanup(
            criteria,
            trigger="command",
            actor=user_name(),
            as_of=as_of,
            closes_browsers=options["close_browsers"],
        )
        if must_confirm:
            self._confirm_or_hold(run)
        if not options["dry_run"] and run.state != CleanupRun.State.HELD:
            bar = progress(self.stderr, "sessions", total=run.matched_count)
            with stoppable(self.stderr) as deadline, bar as advance:
                run = run_cleanup(
                    run,
                    deadline=deadline,
                    before_removal=partial(close_for_run, run),
                    progress=advance,
                )
        report = CleanupReport(run, is_dry_run=options["dry_run"])
        self._write(options, report.to_json(), report.to_text())
        if run.state == CleanupRun.State.HELD:
            raise NeedsApproval(run, HOW_TO_APPROVE)
        if failure := report.failure:
            raise CommandError(failure)

    def _handle_policy(self, policy: CleanupPolicy, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            found = preview(policy, is_manual=True)
            self._write(options, preview_to_json(policy.name, found), preview_to_text(policy.name, found))
            return
        bar = progress(self.stderr, "sessions")
        with stoppable(self.stderr) as deadline, bar as advance:
            origin: dict[str, Any] = {"due_at": database_now(), "trigger": "command", "actor": user_name()}
            result = sweep(policy, **origin, deadline=deadline, progress=advance)
            while options["yes"] and result.held:
                approve_cleanup(result.held, actor=origin["actor"])
                result = sweep(policy, **origin, deadline=deadline, progress=advance)
        self._write(options, sweep_to_json(result), sweep_to_text(result))
        if result.held:
            raise NeedsApproval(result.held, HOW_TO_APPROVE)
        if failure := _failure_of(result):
            raise CommandError(failure)

    def _write(self, options: dict[str, Any], report: dict[str, Any], text: str) -> None:
        if options["format"] == "json":
            self.write_json(report)
        else:
            self.write(text)

    def _warn_of_empty_scope(self, criteria: Criteria) -> None:
        for kind, value in (("namespace", criteria.namespace), ("browser_type", criteria.browser_type)):
            if value and not BrowserSession.objects.filter(**{kind: value}).exists():
                place = "is in the namespace" if kind == "namespace" else "has the browser type"
                self.warn(f"No session {place} {value}.")

    def _confirm_or_hold(self, run: CleanupRun) -> None:
        if sys.stdin.isatty():
            if requires_confirmation(run):
                self._ask(run)
        elif reason := unattended_hold_reason(run):
            hold(run, reason)

    def _ask(self, run: CleanupRun) -> None:
        """Ask the user to type the number of sessions, and stop if it differs."""
        pinned = matching(run).filter(is_pinned=True).count()
        warning = "" if run.keeps_archive else PERMANENT
        self.stderr.write(
            f"This removes {count_of(run.matched_count, 'session')}, {pinned:,} of them pinned "
            f"({run.criteria.describe()}).\n{warning}Type the number of sessions to confirm: ",
            self.style.WARNING,
            ending="",
        )
        self.stderr.flush()
        if sys.stdin.readline().strip().replace(",", "") != str(run.matched_count):
            raise CommandError("Nothing was removed: the number does not match.")


def _criteria_of(options: dict[str, Any]) -> Criteria:
    try:
        return Criteria(**{key: options[key] for key in CRITERIA})
    except InvalidCriteria as reason:
        raise WrongUsage(reason) from None


def _policy_of(options: dict[str, Any]) -> CleanupPolicy:
    unset = {"max_age_days": settings.RAPTOR_MAX_AGE_DAYS}
    given = [
        key
        for key in (*CRITERIA, "close_browsers", "as_of")
        if options[key] and options[key] != unset.get(key)
    ]
    if given:
        names = ", ".join(f"--{key.replace('_', '-')}" for key in given)
        raise WrongUsage(f"--policy has its own criteria: leave out {names}.")
    policy = CleanupPolicy.objects.filter(name=options["policy"]).first()
    if policy is None:
        names = ", ".join(f"“{name}”" for name in CleanupPolicy.objects.values_list("name", flat=True))
        raise WrongUsage(f"There is no policy “{options['policy']}”. There {_are(names)}.")
    return policy


def _are(names: str) -> str:
    return f"are: {names}" if names else "is none"


def _failure_of(result: SweepResult) -> str:
    """Return what a sweep did not finish; blank if it is complete."""
    if result.is_interrupted:
        return (
            f"The sweep of “{result.policy}” was interrupted. Run the command again to remove the rest, or "
            "resume the run on its page in the admin."
        )
    return " ".join(run.error for run in result.runs if run.error)
