"""The content of messages: signed requests to allowed hosts, e-mails and pings."""

from __future__ import annotations

import smtplib
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from sessions_app import tasks
from sessions_app.alerts import delivery
from sessions_app.alerts.delivery import deliver_all, deliver_due, ping_all, send_test
from sessions_app.alerts.posting import NotSent, refusal, send
from sessions_app.alerts.rules import evaluate
from sessions_app.deadline import Deadline
from sessions_app.models import AlertDelivery, AlertRule, AlertTarget
from sessions_app.models.clock import database_now
from tests.alerting import Receiver, add_target, fire, start_worker

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("healthy")]

Kind = AlertTarget.Kind
TEN_MINUTES = timedelta(minutes=10)


class TestPings:
    def test_a_ping_is_a_request_each_minute(self, receiver: Receiver) -> None:
        AlertTarget.objects.create(name="ping", kind=Kind.PING, address=f"{receiver.url}/ping/abc?x=1")
        now = database_now()
        assert ping_all(now) == 1
        assert ping_all(now + timedelta(seconds=30)) == 0
        assert ping_all(now + timedelta(seconds=60)) == 1
        assert receiver.requests == [("GET", "/ping/abc?x=1")] * 2
        assert not AlertDelivery.objects.exists()

    def test_a_ping_is_queued_by_the_tick(self, receiver: Receiver) -> None:
        target = AlertTarget.objects.create(name="ping", kind=Kind.PING, address=f"{receiver.url}/ping")
        tasks.tick()
        assert tasks.deliver_alerts() == "0 messages delivered, 1 ping."
        receiver.status = 404
        assert "404 Not Found" in send_test(target, database_now())
        target.refresh_from_db()
        assert "404 Not Found" in target.error

    def test_messages_are_sent_before_pings(self, rule: AlertRule, receiver: Receiver) -> None:
        AlertTarget.objects.create(name="ping", kind=Kind.PING, address=f"{receiver.url}/ping")
        now = fire()
        assert deliver_all(now) == "1 message delivered, 1 ping."
        assert [path for _, path in receiver.requests] == ["/hook/?token=t", "/ping"]

    def test_slow_messages_leave_time_for_pings(
        self, rule: AlertRule, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "MESSAGES_SECONDS", 0)
        AlertTarget.objects.create(name="ping", kind=Kind.PING, address=f"{receiver.url}/ping")
        assert deliver_all(fire()) == "0 messages delivered, 1 ping."

    def test_pings_end_with_the_deadline_and_the_longest_overdue_comes_first(
        self, receiver: Receiver
    ) -> None:
        now = database_now()
        for name, minutes in (("b", 2), ("c", 1), ("a", 3)):
            AlertTarget.objects.create(
                name=name,
                kind=Kind.PING,
                address=f"{receiver.url}/{name}",
                contacted_at=now - timedelta(minutes=minutes),
            )
        assert ping_all(now, deadline=Deadline.after(0)) == 0
        assert ping_all(now, deadline=Deadline()) == 3
        assert [path for _, path in receiver.requests] == ["/a", "/b", "/c"]


class TestRequests:
    def test_the_request_follows_the_standard(self, rule: AlertRule, receiver: Receiver) -> None:
        deliver_due(fire())
        # The path keeps its trailing slash, and the Host header names the host.
        assert receiver.requests == [("POST", "/hook/?token=t")]
        assert receiver.headers["host"] == receiver.url.removeprefix("http://")
        assert receiver.headers["content-type"] == "application/json"
        assert receiver.headers["webhook-id"].startswith("msg_")

    def test_redirects_are_not_followed(self, rule: AlertRule, receiver: Receiver) -> None:
        receiver.status = 307
        deliver_due(fire())
        assert len(receiver.requests) == 1
        assert AlertDelivery.objects.get().error.endswith(
            "answered 307 Temporary Redirect. Redirects are not followed."
        )

    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/latest/meta-data",
            "http://[::ffff:169.254.169.254]/",
            "http://localhost/",
            "http://127.0.0.2/",
            "http://example.org/",
            "ftp://127.0.0.1/",
            "ws://127.0.0.1/",
            "not an address",
        ],
    )
    def test_other_hosts_are_refused_before_they_are_resolved(self, url: str) -> None:
        assert refusal(url)
        with pytest.raises(NotSent):
            send("POST", url)

    def test_an_allowed_host_that_resolves_to_cloud_credentials_is_refused(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS = ("hooks.example",)
        monkeypatch.setattr("sessions_app.browsers.guard._look_up", lambda *arguments: ["169.254.169.254"])
        with pytest.raises(NotSent, match=r"resolves to 169\.254\.169\.254"):
            send("POST", "http://hooks.example/")

    def test_a_host_is_resolved_once_and_named_in_the_request(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
    ) -> None:
        settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS = ("hooks.example",)
        looked_up: list[str] = []

        def look_up(host: str, *arguments: Any) -> list[str]:
            looked_up.append(host)
            return ["127.0.0.1"]

        monkeypatch.setattr("sessions_app.browsers.guard._look_up", look_up)
        port = receiver.url.rpartition(":")[2]
        send("GET", f"http://hooks.example:{port}/x")
        assert looked_up == ["hooks.example"]
        assert receiver.headers["host"] == f"hooks.example:{port}"

    def test_the_error_of_an_unreachable_target_contains_no_secret(self, receiver: Receiver) -> None:
        target = add_target(receiver)
        AlertTarget.objects.filter(pk=target.pk).update(address="http://127.0.0.1:1/T000/B000/secret?token=t")
        error = send_test(AlertTarget.objects.get(pk=target.pk), database_now())
        assert error == "Nothing listens at 127.0.0.1:1."


class TestEmail:
    @pytest.fixture(autouse=True)
    def email(self, db: None, settings: Any) -> None:
        settings.DEFAULT_FROM_EMAIL = "raptor@panel.example"
        target = AlertTarget.objects.create(
            name="mail", kind=Kind.EMAIL, address="anna@example.org, bert@example.org"
        )
        rule = AlertRule.objects.create(name="workers", kind=AlertRule.Kind.WORKER_SILENT)
        rule.targets.add(target)

    def test_fired_and_resolved_are_two_messages(self) -> None:
        deliver_due(fire())
        start_worker()
        evaluate(database_now())
        deliver_due(database_now() + timedelta(seconds=1))
        assert [message.subject.partition(": ")[0] for message in mail.outbox] == [
            "[Raptor Admin] Alert",
            "[Raptor Admin] Resolved",
        ]
        first = mail.outbox[0]
        assert (first.to, first.from_email) == (
            ["anna@example.org", "bert@example.org"],
            "raptor@panel.example",
        )
        assert "No worker is running" in first.body
        assert "Rule: workers" in first.body
        assert first.extra_headers["Message-ID"].startswith("<msg_")

    def test_a_login_name_adds_no_line(self, client: Client) -> None:
        AlertRule.objects.update(kind=AlertRule.Kind.LOGIN_LOCKED)
        for _ in range(5):
            client.post("/admin/login/", {"username": "anna\r\nRule: forged", "password": "wrong"})
        now = database_now()
        evaluate(now)
        deliver_due(now + timedelta(seconds=1))
        (message,) = mail.outbox
        assert [line for line in message.body.splitlines() if line.startswith("Rule")] == ["Rule: workers"]

    def test_an_email_is_retried_if_the_mail_server_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: Any) -> None:
            raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")

        now = fire()
        with monkeypatch.context() as patch:
            patch.setattr("django.core.mail.EmailMessage.send", refuse)
            assert deliver_due(now) == (0, 1)
        assert "The mail server did not accept the message" in AlertDelivery.objects.get().error
        assert deliver_due(now + timedelta(minutes=1)) == (1, 0)
        assert len(mail.outbox) == 1
