"""The screens of alerts: rules, targets, alerts, and the log of messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from sessions_app.models import Alert, AlertDelivery, AlertRule, AlertTarget
from sessions_app.models.clock import database_now
from tests.alerting import SECRET, Receiver, announce, make_alert, receiving, stop_worker
from tests.clients import Page, page_at
from tests.snapshots import assert_snapshot

pytestmark = pytest.mark.django_db

TARGETS = "/admin/sessions_app/alerttarget/"
RULES = "/admin/sessions_app/alertrule/"
ALERTS = "/admin/sessions_app/alert/"
MESSAGES = "/admin/sessions_app/alertdelivery/"
ADDRESS = "https://hooks.example/T000/B000/key-of-the-hook"
SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.fixture(autouse=True)
def allowed(settings: Any) -> None:
    settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS = ("hooks.example", "127.0.0.1")


@pytest.fixture
def as_administrator(client: Client, viewer: User) -> Client:
    viewer.user_permissions.clear()
    viewer.groups.add(Group.objects.get(name="Administrator"))
    client.force_login(viewer)
    return client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def target_form(**changes: str) -> dict[str, str]:
    fields = {"name": "chat", "kind": "webhook", "address": ADDRESS, "secret": SECRET, "is_enabled": "on"}
    return {**fields, **changes}


def states_of(client: Client, address: str) -> list[str]:
    """Return the second column of a list; the first one has the links."""
    return [row[0] for row in page_at(client, address).rows if len(row) > 3]


def errors_of(client: Client, address: str, form: dict[str, Any]) -> dict[str, list[str]]:
    response: Any = client.post(address, form)
    assert response.status_code == 200
    errors: dict[str, list[str]] = response.context["adminform"].form.errors
    return errors


class TestTargets:
    def test_the_secrets_of_a_saved_webhook_are_never_shown(self, as_administrator: Client) -> None:
        as_administrator.post(f"{TARGETS}add/", target_form())
        target = AlertTarget.objects.get()
        assert (target.address, target.secret) == (ADDRESS, SECRET)
        for address in (TARGETS, f"{TARGETS}{target.pk}/change/", f"{TARGETS}{target.pk}/history/"):
            page = as_administrator.get(address).content.decode()
            assert "key-of-the-hook" not in page
            assert SECRET not in page
        assert "https://hooks.example/…" in as_administrator.get(TARGETS).content.decode()

    def test_a_form_with_an_error_does_not_show_the_secret(self, as_administrator: Client) -> None:
        response = as_administrator.post(f"{TARGETS}add/", target_form(name=""))
        assert SECRET not in response.content.decode()

    def test_blank_fields_keep_the_stored_values(self, as_administrator: Client) -> None:
        as_administrator.post(f"{TARGETS}add/", target_form())
        change = f"{TARGETS}{AlertTarget.objects.get().pk}/change/"
        as_administrator.post(change, target_form(name="renamed", address="", secret=""))
        target = AlertTarget.objects.get()
        assert (target.name, target.address, target.secret) == ("renamed", ADDRESS, SECRET)
        as_administrator.post(change, target_form(address="https://hooks.example/new", secret=""))
        target.refresh_from_db()
        assert (target.address, target.secret) == ("https://hooks.example/new", SECRET)

    def test_changing_the_kind_keeps_neither_address_nor_secret(self, as_administrator: Client) -> None:
        as_administrator.post(f"{TARGETS}add/", target_form())
        change = f"{TARGETS}{AlertTarget.objects.get().pk}/change/"
        assert "address" in errors_of(as_administrator, change, target_form(kind="email", address=""))
        as_administrator.post(change, target_form(kind="email", address="anna@example.org", secret=""))
        target = AlertTarget.objects.get()
        assert (target.kind, target.address, target.secret) == ("email", "anna@example.org", "")

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"address": "https://evil.example/"}, "address"),
            ({"address": "ftp://hooks.example/"}, "address"),
            ({"address": "http://169.254.169.254/"}, "address"),
            ({"secret": ""}, "secret"),
            ({"secret": "whsec_c2hvcnQ="}, "secret"),
            ({"secret": "not a secret of the standard"}, "secret"),
            ({"kind": "email", "address": "anna@example.org, nobody"}, "address"),
            ({"kind": "ping", "address": "anna@example.org"}, "address"),
        ],
    )
    def test_invalid_values_are_explained(
        self, as_administrator: Client, changes: dict[str, str], field: str
    ) -> None:
        assert list(errors_of(as_administrator, f"{TARGETS}add/", target_form(**changes))) == [field]
        assert not AlertTarget.objects.exists()

    def test_a_refused_host_is_reported_with_the_name_of_the_setting(
        self, as_administrator: Client, settings: Any
    ) -> None:
        settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS = ()
        errors = errors_of(as_administrator, f"{TARGETS}add/", target_form())
        assert "RAPTOR_WEBHOOK_ALLOWED_HOSTS" in errors["address"][0]

    def test_a_test_message_is_sent_and_logged(self, as_administrator: Client, receiver: Receiver) -> None:
        as_administrator.post(f"{TARGETS}add/", target_form(address=f"{receiver.url}/hook"))
        target = AlertTarget.objects.get()
        button = f"{TARGETS}{target.pk}/test/"
        assert "Send a test message" in page_at(as_administrator, f"{TARGETS}{target.pk}/change/").buttons
        page = Page(as_administrator.post(button, follow=True).content.decode())
        assert page.notices[0] == "The test message was delivered to “chat”."
        assert receiver.events == ["alert.test"]
        receiver.status = 500
        page = Page(as_administrator.post(button, follow=True).content.decode())
        assert "was not delivered" in page.notices[0]
        assert "500 Internal Server Error" in page.notices[0]
        assert states_of(as_administrator, MESSAGES) == ["Failed", "Delivered"]
        assert as_administrator.get(button).status_code == 405


class TestRules:
    def test_the_rule_form_advises_to_add_a_target_if_there_is_none(self, as_administrator: Client) -> None:
        assert "There are no alert targets yet." in page_at(as_administrator, f"{RULES}add/").text
        as_administrator.post(f"{TARGETS}add/", target_form())
        assert "There are no alert targets yet." not in page_at(as_administrator, f"{RULES}add/").text

    def test_a_rule_requires_targets_and_some_kinds_a_limit(self, as_administrator: Client) -> None:
        target = AlertTarget.objects.create(name="mail", kind="email", address="anna@example.org")
        form: dict[str, Any] = {"name": "Many", "kind": "run_removed_many", "is_enabled": "on"}
        assert set(errors_of(as_administrator, f"{RULES}add/", form)) == {"targets", "threshold"}
        form |= {"targets": [target.pk], "threshold": "-1"}
        assert set(errors_of(as_administrator, f"{RULES}add/", form)) == {"__all__"}
        as_administrator.post(f"{RULES}add/", form | {"threshold": "1000"})
        rule = AlertRule.objects.get()
        assert (rule.threshold, list(rule.targets.all())) == (1000, [target])
        as_administrator.post(f"{RULES}{rule.pk}/change/", form | {"kind": "run_failed", "threshold": "5"})
        rule.refresh_from_db()
        assert (rule.kind, rule.threshold) == ("run_failed", None)

    def test_a_rule_with_open_alerts_must_be_disabled_before_it_can_be_deleted(
        self, as_administrator: Client
    ) -> None:
        alert = make_alert()
        delete = f"{RULES}{alert.rule_id}/delete/"
        assert as_administrator.post(delete, {"post": "yes"}).status_code == 403
        Alert.objects.update(resolved_at=database_now())
        # Not even administrators may delete alerts.
        assert as_administrator.get(delete).status_code == 200
        as_administrator.post(delete, {"post": "yes"})
        assert not AlertRule.objects.exists()


class TestLog:
    def test_alerts_and_messages_have_pages(self, as_administrator: Client) -> None:
        alert = make_alert()
        assert "/srv/tests is gone." in page_at(as_administrator, ALERTS).text
        page = page_at(as_administrator, f"{ALERTS}{alert.pk}/change/")
        assert "Fired to chat: Waiting" in " ".join(page.text.split())
        message = AlertDelivery.objects.get()
        assert "msg_1" in page_at(as_administrator, f"{MESSAGES}{message.pk}/change/").text
        assert states_of(as_administrator, f"{MESSAGES}?state=waiting") == ["Waiting"]
        assert states_of(as_administrator, f"{MESSAGES}?state=delivered") == []
        assert states_of(as_administrator, f"{ALERTS}?state=open") == ["Open"]

    def test_alerts_of_hidden_namespaces_are_hidden(self, as_other: Client, limit: Any) -> None:
        alert = make_alert(namespace="payments")
        for address in (ALERTS, MESSAGES):
            assert "/srv/tests" not in page_at(as_other, address).text
        assert as_other.get(f"{ALERTS}{alert.pk}/change/").status_code == 302

    @pytest.mark.parametrize("address", [ALERTS, MESSAGES, RULES, TARGETS])
    def test_the_number_of_queries_is_fixed(
        self, as_administrator: Client, django_assert_max_num_queries: Any, address: str
    ) -> None:
        alert = make_alert()
        for number in range(30):
            target = AlertTarget.objects.create(name=f"t{number}", kind="email", address="a@example.org")
            rule = AlertRule.objects.create(name=f"r{number}", kind="run_failed")
            rule.targets.add(target)
            Alert.objects.create(rule=rule, code="x", text="x", severity="warning", fired_at=alert.fired_at)
        with django_assert_max_num_queries(14):
            assert as_administrator.get(address).status_code == 200

    def test_users_without_permission_see_no_alerts(self, as_viewer: Client) -> None:
        make_alert()
        for address in (ALERTS, MESSAGES, RULES, TARGETS):
            assert as_viewer.get(address).status_code == 403


class TestWording:
    """A snapshot of each screen."""

    @pytest.fixture(autouse=True)
    def rows(self, as_root: Client) -> None:
        alert = make_alert()
        AlertTarget.objects.create(name="hook", kind="webhook", address=ADDRESS, secret=SECRET)
        AlertDelivery.objects.update(attempt=1, error="127.0.0.1:1 answered 500 Internal Server Error.")
        AlertRule.objects.create(name="storage", kind="storage", threshold=5_000_000_000)
        Alert.objects.create(
            rule=alert.rule,
            code="machine_silent",
            severity="critical",
            text="The worker of ci-1 is silent.",
            fired_at=alert.fired_at,
            resolved_at=alert.fired_at,
        )

    @pytest.mark.parametrize(
        ("name", "address"),
        [
            ("alerts", ALERTS),
            ("alert_messages", MESSAGES),
            ("alert_rules", RULES),
            ("alert_targets", TARGETS),
        ],
    )
    def test_lists(self, as_root: Client, name: str, address: str) -> None:
        assert_snapshot(SNAPSHOTS / f"{name}.txt", as_root.get(address).content.decode())

    def test_forms(self, as_root: Client) -> None:
        rule, target = AlertRule.objects.earliest("pk"), AlertTarget.objects.get(name="hook")
        for name, address in (
            ("alert_rule", f"{RULES}{rule.pk}/change/"),
            ("alert_target", f"{TARGETS}{target.pk}/change/"),
            ("alert_target_new", f"{TARGETS}add/"),
        ):
            assert_snapshot(SNAPSHOTS / f"{name}.txt", as_root.get(address).content.decode())


def test_the_dashboard_shows_at_most_five_findings_of_a_code(as_root: Client) -> None:
    now = database_now()
    for number in range(8):
        announce(f"machine-{number}", at=now)
    stop_worker()
    announce("live", at=now)
    page = page_at(as_root, "/admin/")
    assert page.text.count("is silent: its last heartbeat was at") == 5
    assert "Others of this kind (8 in total)" in page.text
