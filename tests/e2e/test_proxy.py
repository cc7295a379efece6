"""The panel behind a real nginx, with the lines of the documentation."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.panel import PROJECT_DIR, Panel, free_port, wait_for
from tests.e2e.visitor import PASSWORD, Visitor

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
PROXY = "127.0.0.9"
CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off; proxy_bind 127.0.0.9;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{ listen 127.0.0.1:{plain_port}; {lines} }}
    server {{
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {folder}/panel.crt; ssl_certificate_key {folder}/panel.key;
        {lines}
    }}
}}
"""


@pytest.fixture
def panel(tmp_path: Path, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path)
    yield panel
    panel.stop()


def documented_lines(panel: Panel, prefix: str) -> str:
    """Return the lines for nginx of the documentation, for the port and the prefix of a panel."""
    text = (PROJECT_DIR / "docs" / "operations.md").read_text()
    lines = text.split("```nginx\n")[1].split("```")[0]
    return lines.replace("127.0.0.1:8000", f"127.0.0.1:{panel.port}").replace(
        "location / {", f"location {prefix}/ {{"
    )


@pytest.fixture
def nginx(tmp_path: Path, panel: Panel, request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """A running nginx; its plain port and its port with TLS."""
    if NGINX is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed")
    key, certificate = str(tmp_path / "panel.key"), str(tmp_path / "panel.crt")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=panel"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    ports = free_port(), free_port()
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=tmp_path,
            plain_port=ports[0],
            tls_port=ports[1],
            lines=documented_lines(panel, request.param),
        )
    )
    process = subprocess.Popen([NGINX, "-c", str(configuration), "-e", str(tmp_path / "error.log")])
    try:
        wait_for(lambda: _listens(ports[1]), 60, lambda: (tmp_path / "error.log").read_text())
        yield ports
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("nginx", [""], indirect=True)
def test_a_panel_behind_nginx_on_another_port(panel: Panel, nginx: tuple[int, int]) -> None:
    panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
    visitor = Visitor(f"http://127.0.0.1:{nginx[0]}")
    status, url, html = visitor.log_in("/admin/login/")
    assert (status, url) == (200, f"{visitor.origin}/admin/"), html
    # nginx with TLS, which the panel does not know: the reason is logged and shown.
    status, _, html = Visitor(f"https://127.0.0.1:{nginx[1]}").log_in("/admin/login/")
    assert status == 403
    assert f"Browser: https://127.0.0.1:{nginx[1]}. Panel: http://127.0.0.1:{nginx[1]}." in html
    assert "RAPTOR_HTTPS is off" in panel.output


@pytest.mark.parametrize("nginx", ["/raptor"], indirect=True)
def test_a_panel_behind_nginx_with_tls_under_a_path(
    panel: Panel, nginx: tuple[int, int], tmp_path: Path
) -> None:
    panel.start_and_wait(
        RAPTOR_ADMIN_PASSWORD=PASSWORD,
        RAPTOR_HTTPS="on",
        RAPTOR_URL_PREFIX="/raptor",
        RAPTOR_TRUSTED_PROXIES=PROXY,
    )
    visitor = Visitor(f"https://127.0.0.1:{nginx[1]}")
    status, url, html = visitor.log_in("/raptor/admin/login/")
    assert (status, url) == (200, f"{visitor.origin}/raptor/admin/"), html
    assert visitor.get("/raptor/")[1] == f"{visitor.origin}/raptor/admin/"
    assert visitor.get("/raptor/healthz")[::2] == (200, "ok\n")
    listed = visitor.get("/raptor/admin/sessions_app/browsersession/")[2]
    for shown in (html, listed):
        addresses = set(re.findall(r'(?:href|src|action)="(/[^"]*)"', shown))
        assert addresses
        assert [address for address in addresses if not address.startswith("/raptor/")] == []
    for address in {address for address in addresses if "/static/" in address}:
        assert visitor.get(address)[0] == 200, address
    report = visitor.get("/raptor/admin/sessions_app/browsersession/storage/report.json")[2]
    assert json.loads(report)["sessions"] == 0
    asked_at = urllib.parse.quote(time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 5)))
    counted = visitor.get(f"/raptor/admin/sessions_app/browsersession/storage/counted/?asked_at={asked_at}")
    assert json.loads(counted[2])["phase"] in ("waiting", "done")
    # The client cannot choose its address.
    forged = [
        Visitor(visitor.origin).log_in(
            "/raptor/admin/login/", "wrong", **{"X-Forwarded-For": f"1.1.1.{number}"}
        )[0]
        for number in range(6)
    ]
    assert forged[-1] == 429
    assert "Login locked: user 'admin' from 127.0.0.1" in panel.output
    # Plain HTTP is redirected to HTTPS.
    assert Visitor(f"http://127.0.0.1:{nginx[0]}").get("/raptor/healthz")[0] == 200
