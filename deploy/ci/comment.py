#!/usr/bin/env python3
"""One comment for a pull or merge request, edited in place: `comment.py FILE`. Standard library only.

The file's first line is the marker that `tokenmark compare --format markdown` writes; the comment that begins with it is ours.
GitHub: GITHUB_TOKEN, GITHUB_REPOSITORY, PULL_REQUEST (and GITHUB_API_URL). GitLab: GITLAB_TOKEN, CI_PROJECT_ID,
CI_MERGE_REQUEST_IID, CI_API_V4_URL.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PAGES = 20


def place() -> tuple[str, str, dict[str, str], str]:
    """(where comments are listed and made, where one is changed, headers, the verb that changes)."""
    env = os.environ
    if "CI_MERGE_REQUEST_IID" in env:
        notes = (
            f"{env['CI_API_V4_URL']}/projects/{env['CI_PROJECT_ID']}/merge_requests/{env['CI_MERGE_REQUEST_IID']}/notes"
        )
        return notes, notes, {"PRIVATE-TOKEN": env["GITLAB_TOKEN"]}, "PUT"
    api = f"{env.get('GITHUB_API_URL', 'https://api.github.com')}/repos/{env['GITHUB_REPOSITORY']}/issues"
    headers = {"Authorization": f"Bearer {env['GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"}
    return f"{api}/{env['PULL_REQUEST']}/comments", f"{api}/comments", headers, "PATCH"


def call(method: str, url: str, headers: dict[str, str], body: dict[str, str] | None = None) -> Any:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {**headers, "Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def ours(listed: str, headers: dict[str, str], marker: str) -> int | None:
    for page in range(1, PAGES + 1):
        found = call("GET", f"{listed}?per_page=100&page={page}", headers)
        for comment in found:
            if comment["body"].startswith(marker):
                return int(comment["id"])
        if len(found) < 100:
            return None
    return None


def main() -> int:
    text = Path(sys.argv[1]).read_text()
    try:
        listed, changed, headers, verb = place()
        known = ours(listed, headers, text.splitlines()[0])
        made = (
            call(verb, f"{changed}/{known}", headers, {"body": text})
            if known
            else call("POST", listed, headers, {"body": text})
        )
    except KeyError as exc:
        print(f"comment.py: {exc.args[0]} is not set", file=sys.stderr)
        return 2
    except (urllib.error.URLError, OSError) as exc:
        print(f"comment.py: the comment was not written: {exc}", file=sys.stderr)
        return 5
    print(f"{'edited' if known else 'wrote'} comment {made['id']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
