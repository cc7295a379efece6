"""A stand-in for a Playwright page, for tests that save thousands of sessions; tests/e2e uses real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeBrowserType:
    name: str = "chromium"


@dataclass
class FakeBrowser:
    """A browser that offers its endpoint, as some wrappers do."""

    ws_endpoint: str = "ws://127.0.0.1:9/devtools/browser/00000000-0000"
    version: str = "1.0"
    browser_type: FakeBrowserType = field(default_factory=FakeBrowserType)


@dataclass
class FakeContext:
    browser: FakeBrowser = field(default_factory=FakeBrowser)


@dataclass
class FakePage:
    """A page with the part of Playwright's synchronous API that ``save_session`` uses."""

    url: str = "https://shop.example/cart"
    page_title: str = "Cart"
    context: FakeContext = field(default_factory=FakeContext)

    def title(self) -> str:
        return self.page_title


def page(**changes: Any) -> Any:
    """Return a page whose endpoint is known, typed Any in place of Playwright's class."""
    return FakePage(**changes)
