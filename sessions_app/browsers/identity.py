"""Makes sure that a browser is the one that was saved, before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sessions_app.browsers.address import Address, InvalidAddress
from sessions_app.browsers.guard import EndpointRefused, LoginRequired, NoAnswer, resolve
from sessions_app.browsers.probe import Liveness, Probe, Unclear, probe
from sessions_app.browsers.tabs import Tab, list_tabs
from sessions_app.exceptions import BrowserReplaced, BrowserUnreachable, SessionException


def identify(cdp_url: str, *, allowed_hosts: Iterable[str], name: str, target_id: str) -> Address:
    """Return where to connect to the browser of a session.

    An endpoint with the id of its browser is not asked first: a browser accepts its own id only.

    Args:
        name: Name of the session, for the messages.
        target_id: Target of the saved page; blank if it is not known.
    Raises: BrowserUnreachable, BrowserReplaced: the browser is gone, or must not be contacted.
    """
    try:
        address = resolve(cdp_url, allowed_hosts=allowed_hosts)
    except EndpointRefused as reason:
        raise BrowserUnreachable(f"The browser of “{name}” was not contacted: {reason}.") from None
    if address.browser_id:
        return address
    found = find(cdp_url, allowed_hosts=allowed_hosts, name=name)
    if wanted := address.page_id or target_id:
        try:
            check_target(list_tabs(found), found, name=name, target_id=wanted)
        except NoAnswer as failure:
            raise refused(failure, name=name) from None
    return found


def target_of(cdp_url: str, saved: str) -> str:
    """Return the target of the saved page: the endpoint of a page gives that page."""
    try:
        return Address.parse(cdp_url).page_id or saved
    except InvalidAddress:
        return saved


def find(cdp_url: str, *, allowed_hosts: Iterable[str], name: str) -> Address:
    """Ask an endpoint, and return where its browser can be connected to.

    Raises: BrowserUnreachable, BrowserReplaced: see ``identify``.
    """
    found = probe(cdp_url, allowed_hosts=allowed_hosts)
    if found.address is None:
        raise failure_of(found, name=name)
    return found.address


def failure_of(found: Probe, *, name: str) -> SessionException:
    """Return the exception for a probe that has found no browser."""
    was_not_contacted = found.liveness is Liveness.NOT_ALLOWED or found.code in (
        Unclear.INVALID_ENDPOINT,
        Unclear.NO_WEB_SOCKET,
    )
    match found.liveness:
        case Liveness.REPLACED:
            return _replaced(name, found.reason)
        case _ if was_not_contacted:
            return BrowserUnreachable(f"The browser of “{name}” was not contacted: {found.reason}.")
        case Liveness.UNKNOWN:
            return _closed(name, found.reason)
    return _unreachable(name, found.reason, may_be_running=found.may_be_running)


def refused(failure: NoAnswer, *, name: str) -> BrowserUnreachable:
    """Return the exception for a browser whose web socket could not be opened or used."""
    if isinstance(failure, LoginRequired):
        return _closed(name, str(failure))
    return _unreachable(name, str(failure), may_be_running=True)


def _closed(name: str, reason: str) -> BrowserUnreachable:
    return BrowserUnreachable(
        f"The browser of “{name}” cannot be connected to: {reason}. Save an endpoint that leads to it, with "
        "its token, or with its user and password, if it requires a login."
    )


def _unreachable(name: str, reason: str, *, may_be_running: bool) -> BrowserUnreachable:
    launch = f'launch_session("{name}", replace=True)' if may_be_running else "launch_session"
    return BrowserUnreachable(
        f"The browser of “{name}” does not answer: {reason}. The session is kept. If its browser was closed "
        f"or has crashed, {launch} opens a new one."
    )


def check_target(tabs: Sequence[Tab], address: Address, *, name: str, target_id: str) -> None:
    """Identify a browser by the saved page: the ids of pages are unique.

    Raises: BrowserReplaced: it does not have that page.
    """
    if target_id not in (tab.target_id for tab in tabs):
        raise _replaced(name, f"the one at {address.place} does not have the page that was saved")


def _replaced(name: str, reason: str) -> BrowserReplaced:
    return BrowserReplaced(
        f"The browser of “{name}” was replaced: {reason}. It is left alone. "
        f'launch_session("{name}", replace=True) opens a new one.'
    )
