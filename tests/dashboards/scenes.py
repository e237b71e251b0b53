"""The page that draws a dashboard, built once into the cache; the browser that looks at it.

Grafana's server is no package; its front end is. What is Grafana's here: query runner, variables, layout, units, field
overrides, transformations and widgets. What is ours: the Prometheus data source and the little of each panel plugin that the
dashboards use (`page/`).
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.cluster.debian import have
from tests.cluster.layout import CACHE, TREE, note
from tests.cluster.shell import run
from tests.support.serving import in_thread

PAGE = Path(__file__).parent / "page"
BOARDS = TREE / "grafana" / "dashboards"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEBIAN = {"node": "nodejs", "npm": "npm", "chromium": "chromium"}
DRAWN_S = 60.0


def built() -> Path:
    """The folder with the page; npm's packages stay in the cache beside it."""
    digest = hashlib.sha256()
    for path in sorted(PAGE.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    lock = hashlib.sha256((PAGE / "package-lock.json").read_bytes()).hexdigest()[:12]
    packages, target = CACHE / f"scenes-packages-{lock}", CACHE / f"scenes-{digest.hexdigest()[:12]}"
    if (target / "dist" / "index.html").exists():
        return target / "dist"
    browser_programs()
    packages.mkdir(parents=True, exist_ok=True)
    if not (packages / ".complete").exists():
        note("fetching Grafana's front end, once (460 MB)")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PAGE / name, packages)
        run(
            ["npm", "ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund"],
            cwd=packages,
            log=CACHE / "npm.log",
        )
        (packages / ".complete").touch()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(PAGE, target)
    (target / "node_modules").symlink_to(packages / "node_modules")
    run(["node", "node_modules/vite/bin/vite.js", "build"], cwd=target, log=CACHE / "vite.log")
    return target / "dist"


def browser_programs() -> None:
    have(DEBIAN)


class _Files(http.server.SimpleHTTPRequestHandler):
    """The page, and the dashboards as they are committed."""

    def translate_path(self, path: str) -> str:
        name = path.split("?")[0]
        return (
            str(BOARDS / name.removeprefix("/boards/")) if name.startswith("/boards/") else super().translate_path(path)
        )

    def log_message(self, *_: Any) -> None:
        return


@dataclass
class Gallery:
    """One browser; `look` draws a dashboard and waits until every panel is done."""

    browser: Any
    address: str
    prometheus: str

    def look(
        self, board: str, *, width: int = 1440, picture: Path | None = None, since: str = "now-5m", **variables: str
    ) -> dict[str, Any]:
        """What became of each panel. Raises AssertionError where one is not done in time, or the page has an error of its own."""
        page = self.browser.new_page(viewport={"width": width, "height": 1000})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        asked = {
            "board": board,
            "prometheus": self.prometheus,
            "from": since,
            **{f"var-{k}": v for k, v in variables.items()},
        }
        page.goto(f"{self.address}/?{urlencode(asked)}")
        limit = time.monotonic() + DRAWN_S
        report: dict[str, Any] | None = None
        while report is None or not all(panel["state"] in ("Done", "Error") for panel in report["panels"]):
            assert time.monotonic() < limit, f"{board}: not drawn within {DRAWN_S:.0f} s: {errors} {report}"
            page.wait_for_timeout(200)
            report = page.evaluate("window.report ? window.report() : null")
        height = page.evaluate(
            "Math.max(...[...document.querySelectorAll('.react-grid-item')].map((e) => e.getBoundingClientRect().bottom)) + 24"
        )
        page.set_viewport_size({"width": width, "height": int(height)})
        page.wait_for_timeout(700)  # the widgets draw into their new places
        report = page.evaluate("window.report()")
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=picture, full_page=True)
        page.close()
        assert not errors, f"{board}: {errors}"
        assert report is not None
        return report


@contextmanager
def gallery(prometheus: str) -> Iterator[Gallery]:
    from playwright.sync_api import sync_playwright

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(built())))
    browser_programs()
    with server, in_thread(server), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            yield Gallery(browser, f"http://127.0.0.1:{server.server_address[1]}", prometheus)
        finally:
            browser.close()
