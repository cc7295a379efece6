"""A page as ``save_session`` needs it, for tests that save by the thousand; real ones are in tests/e2e."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeBrowserType:
    name: str = "chromium"


@dataclass
class FakeBrowser:
    """A wrapper that tells its endpoint, as some do."""

    ws_endpoint: str = "ws://127.0.0.1:9/devtools/browser/00000000-0000"
    version: str = "1.0"
    browser_type: FakeBrowserType = field(default_factory=FakeBrowserType)


@dataclass
class FakeContext:
    browser: FakeBrowser = field(default_factory=FakeBrowser)


@dataclass
class FakePage:
    """A page of Playwright's synchronous API, as far as it is asked."""

    url: str = "https://shop.example/cart"
    page_title: str = "Cart"
    context: FakeContext = field(default_factory=FakeContext)

    def title(self) -> str:
        return self.page_title


def page(**changes: Any) -> Any:
    """Give a page whose endpoint is known; Any, for it stands in for Playwright's own class."""
    return FakePage(**changes)
