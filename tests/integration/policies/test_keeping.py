"""Steps that keep the newest sessions of each group, and rules that protect sessions from all steps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sessions_app import policies
from sessions_app.cleanup import newest, plan_cleanup, run_cleanup, undo_cleanup
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupPolicy,
    CleanupRun,
    NewestKept,
    PolicyChange,
)
from sessions_app.session.criteria import Criteria, InvalidCriteria, Reason
from sessions_app.session.keeping import Newest, Protection
from tests.clients import run
from tests.factories import archived, live, make_policy, make_session, plan, run_sweep

pytestmark = pytest.mark.django_db
State = CleanupRun.State


def make_hourly(count: int, prefix: str, **options: object) -> None:
    """Create sessions, each an hour older than the one before. Session 0 is the newest."""
    for number in range(count):
        make_session(f"{prefix}-{number}", age=timedelta(hours=number + 1), **options)


def keep(count: int, per: str = "namespace", key: str = "", **fields: object) -> CleanupPolicy:
    policy = make_policy("Keep", **fields)
    policy.steps.all().delete()
    policy.steps.create(position=1, criterion="newest", keep_count=count, keep_per=per, keep_key=key)
    return policy


class TestKeepNewest:
    def test_keeps_the_newest_of_each_namespace(self) -> None:
        make_hourly(4, "shop")
        make_hourly(2, "crm", namespace="crm")
        make_hourly(3, "bank", namespace="bank")
        run_sweep(keep(2))
        assert live() == ["bank-0", "bank-1", "crm-0", "crm-1", "shop-0", "shop-1"]
        assert archived() == ["bank-2", "shop-2", "shop-3"]
        assert set(ArchivedSession.objects.values_list("reasons", flat=True)) == {Reason.NOT_NEWEST.value}

    def test_keeps_the_newest_of_each_browser_type(self) -> None:
        make_hourly(3, "chromium")
        make_hourly(2, "firefox", browser_type="firefox", namespace="crm")
        run_sweep(keep(1, "browser_type"))
        assert live() == ["chromium-0", "firefox-0"]

    def test_keeps_the_newest_of_each_metadata_value_and_sessions_without_the_key(self) -> None:
        make_hourly(3, "alice", metadata={"user": "alice"})
        make_hourly(2, "bob", metadata={"user": "bob", "env": "dev"})
        make_hourly(2, "nobody", metadata={"env": "dev"})
        run_sweep(keep(1, "metadata", "user"))
        assert live() == ["alice-0", "bob-0", "nobody-0", "nobody-1"]

    def test_a_pinned_session_is_kept_and_counts_among_the_newest(self) -> None:
        make_hourly(3, "shop")
        BrowserSession.objects.filter(name__in=["shop-0", "shop-2"]).update(is_pinned=True)
        run_sweep(keep(1))
        assert live() == ["shop-0", "shop-2"]

    def test_a_plan_without_sessions_is_empty(self) -> None:
        make_hourly(2, "shop")
        planned = plan(newest=Newest(count=2))
        assert (planned.matched_count, planned.matched_bytes, planned.matched_reasons) == (0, 0, {})

    def test_sessions_with_the_same_last_access_are_ordered_by_id(self) -> None:
        for number in range(3):
            make_session(f"shop-{number}", age=timedelta(hours=1))
        run_sweep(keep(2))
        assert live() == ["shop-1", "shop-2"]

    def test_the_scope_limits_the_groups(self) -> None:
        make_hourly(3, "shop")
        make_hourly(3, "crm", namespace="crm")
        run_sweep(keep(1, namespace="crm"))
        assert live() == ["crm-0", "shop-0", "shop-1", "shop-2"]

    def test_a_plan_is_sealed(self) -> None:
        make_hourly(3, "shop")
        planned = plan(newest=Newest(count=2))
        assert (planned.matched_count, planned.matched_reasons) == (1, {"not_newest": 1})
        make_session("later", age=timedelta(0))
        run_cleanup(planned)
        assert archived() == ["shop-2"]
        assert live() == ["later", "shop-0", "shop-1"]

    def test_a_session_that_was_used_after_the_preview_stays(self) -> None:
        make_hourly(3, "shop")
        planned = plan(newest=Newest(count=1))
        BrowserSession.objects.get(name="shop-2").save()
        done = run_cleanup(planned)
        assert live() == ["shop-0", "shop-2"]
        assert (done.skipped_count, done.skipped_reasons) == (1, {"changed": 1})

    def test_an_undo_restores_all(self) -> None:
        make_hourly(3, "shop")
        done = run_cleanup(plan(newest=Newest(count=1)))
        undo_cleanup(done, actor="tester")
        assert len(live()) == 3

    def test_small_batches_remove_the_same_sessions(self) -> None:
        make_hourly(7, "shop")
        run_cleanup(plan(newest=Newest(count=2)), batch_size=2)
        assert live() == ["shop-0", "shop-1"]

    def test_the_stored_sessions_of_a_plan_are_deleted_with_it(self) -> None:
        make_hourly(3, "shop")
        planned = plan(newest=Newest(count=1))
        abandoned = plan(newest=Newest(count=2))
        assert NewestKept.objects.count() == 2
        run_cleanup(planned)
        assert NewestKept.objects.count() == 1
        newest.drop_unused_newest(abandoned.planned_at)
        assert NewestKept.objects.count() == 1
        newest.drop_unused_newest(abandoned.planned_at + timedelta(days=2))
        assert not NewestKept.objects.exists()

    def test_a_plan_has_a_bounded_number_of_groups(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(newest, "GROUPS_LIMIT", 1)
        make_hourly(2, "bank", namespace="bank")
        make_hourly(2, "shop")
        criteria = Criteria(newest=Newest(count=1))
        run_cleanup(plan_cleanup(criteria, trigger="command"))
        assert live() == ["bank-0", "shop-0", "shop-1"]
        run_cleanup(plan_cleanup(criteria, trigger="command"))
        assert live() == ["bank-0", "shop-0"]

    def test_the_number_of_queries_is_fixed(self) -> None:
        def queries() -> int:
            with CaptureQueriesContext(
                connection,
            ) as found:
                plan(newest=Newest(count=1))
            return len([query for query in found if "SELECT" in query["sql"]])

        make_hourly(2, "shop")
        few = queries()
        for number in range(10):
            make_hourly(3, f"team-{number}", namespace=f"team-{number}")
        # On SQLite, the clock is read until it advances.
        assert abs(queries() - few) <= 2 or connection.vendor == "sqlite"

    @pytest.mark.parametrize("criteria", [{"expired": True}, {"all": True}, {"session_ids": (1,)}])
    def test_keeping_the_newest_cannot_be_combined_with_other_criteria(
        self, criteria: dict[str, object]
    ) -> None:
        with pytest.raises(InvalidCriteria):
            Criteria(newest=Newest(count=1), **criteria)  # type: ignore[arg-type]

    @pytest.mark.parametrize("values", [{"count": 0}, {"count": 1, "per": "cdp_url"}])
    def test_other_values_are_refused(self, values: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"Keep at least|is not one of"):
            Newest(**values)  # type: ignore[arg-type]

    def test_secret_keys_cannot_be_groups(self) -> None:
        policy = keep(1, "metadata", "token")
        with pytest.raises(ValidationError):
            policy.steps.get().full_clean()


class TestProtection:
    def test_a_name_is_protected_from_every_step(self) -> None:
        make_session("keep-me", age=timedelta(days=30))
        make_session("KEEP-ME", age=timedelta(days=30))
        make_session("other", age=timedelta(days=30))
        policy = make_policy("Tidy", "expired", "all")
        policy.protections.create(pattern="keep-*")
        run_sweep(policy)
        assert live() == ["keep-me"]
        first, second = CleanupRun.objects.order_by("pk")
        assert first.skipped_reasons == second.skipped_reasons == {"protected": 1}
        assert (first.matched_count, first.skipped_count) == (2, 0)

    def test_a_metadata_value_is_protected(self) -> None:
        make_hourly(3, "alice", metadata={"user": "alice"})
        make_hourly(3, "bob", metadata={"user": "bob"})
        policy = keep(1)
        policy.protections.create(key="user", pattern="ali?e")
        run_sweep(policy)
        assert live() == ["alice-0", "alice-1", "alice-2", "bob-0"]
        assert CleanupRun.objects.get().skipped_reasons == {"protected": 3}

    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("a[1]*", ["a[1]x"]),
            ("50%", ["50%"]),
            ("a_b", ["a_b"]),
            ("?", ["é"]),
            ("back\\*", ["back\\slash"]),
        ],
    )
    def test_only_asterisk_and_question_mark_are_special(self, pattern: str, names: list[str]) -> None:
        for name in ("a[1]x", "a1x", "50%", "500", "a_b", "axb", "é", "back\\slash"):
            make_session(name)
        run_cleanup(plan(all=True, protected=(Protection(pattern=pattern),)))
        assert live() == names

    def test_a_changed_rule_stops_a_plan_that_needs_approval(self) -> None:
        make_hourly(3, "shop")
        policy = keep(1, brake_count=1)
        held = run_sweep(policy).held
        assert held is not None
        assert not policies.has_policy_changed(held)
        policy.protections.create(pattern="shop-1")
        assert policies.has_policy_changed(held)

    def test_the_change_log_names_the_rules(self) -> None:
        policy = keep(50, "metadata", "user")
        before = policies.snapshot_of(policy)
        policy.protections.create(pattern="keep-*")
        change = policies.record_change(
            policy, PolicyChange.Action.CHANGED, "root", before, policies.snapshot_of(policy)
        )
        from sessions_app.admin.policies.changes import describe_change

        assert describe_change(change) == ["Protections: none → name “keep-*”"]

    def test_commands_report_the_protected_sessions(self) -> None:
        make_session("keep-me", age=timedelta(days=30))
        make_session("other", age=timedelta(days=30))
        policy = make_policy("Tidy", "expired")
        policy.protections.create(pattern="keep-*")
        assert run("cleanup_sessions", "--policy", "Tidy", "--format", "json", "--yes").json["runs"][0][
            "skipped_reasons"
        ] == {"protected": 1}


class TestPreview:
    def test_lists_what_the_saved_policy_removes(self) -> None:
        make_hourly(3, "shop")
        make_session("broken", session_id="", age=timedelta(minutes=1))
        policy = make_policy("Tidy", "invalid")
        policy.steps.create(position=2, criterion="newest", keep_count=1, keep_per="namespace")
        policy.protections.create(pattern="*-2")
        steps, rules = list(policy.steps.all()), list(policy.protections.all())
        found = policies.preview_unsaved(policy, steps, rules)
        assert [[s.name for s in step.sessions] for step in found.steps] == [["broken"], ["shop-1"]]
        saved = policies.preview(policy)
        assert [step.session_count for step in saved.steps] == [1, 1]
        run_sweep(policy)
        assert archived() == ["broken", "shop-1"]
