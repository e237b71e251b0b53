"""What CI systems are given: the comment that is edited in place, and files that are what they claim to be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.layout import TREE
from tests.support.serving import in_thread

CI = TREE / "deploy" / "ci"


class Forge(BaseHTTPRequestHandler):
    """As much of GitHub's and GitLab's comments as the script asks for: list, make, change."""

    comments: list[dict[str, Any]]

    def do_GET(self) -> None:
        page = int(re.search(r"[?&]page=(\d+)", self.path)[1])  # type: ignore[index]
        self._answer(self.comments[100 * (page - 1) : 100 * page])

    def do_POST(self) -> None:
        self.comments.append({"id": len(self.comments) + 1, "body": self._body(), "by": self._who()})
        self._answer(self.comments[-1])

    def do_PATCH(self) -> None:
        found = self.comments[int(self.path.rsplit("/", 1)[1]) - 1]
        found["body"] = self._body()
        self._answer(found)

    def do_PUT(self) -> None:
        self.do_PATCH()

    def _who(self) -> str | None:
        return self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN")

    def _body(self) -> str:
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def _answer(self, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def forge() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    comments: list[dict[str, Any]] = [{"id": n + 1, "body": f"comment {n}"} for n in range(130)]
    handler = type("Own", (Forge,), {"comments": comments})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, in_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}", comments


def commented(tmp_path: Path, text: str, **env: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "comparison.md").write_text(text)
    words = [sys.executable, CI / "comment.py", tmp_path / "comparison.md"]
    return subprocess.run(words, env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_a_comment_is_written_once_and_edited_then(
    kind: str, forge: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    url, comments = forge
    env = {
        "github": {"GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "o/r", "PULL_REQUEST": "7", "GITHUB_API_URL": url},
        "gitlab": {"GITLAB_TOKEN": "t", "CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_IID": "7", "CI_API_V4_URL": url},
    }[kind]
    marker = "<!-- tokenmark compare prod gate -->\n"
    assert commented(tmp_path, f"{marker}first", **env).stdout == "wrote comment 131\n"
    assert commented(tmp_path, f"{marker}second", **env).stdout == "edited comment 131\n"
    assert commented(tmp_path, "<!-- tokenmark compare other -->\nx", **env).stdout == "wrote comment 132\n"
    assert (len(comments), comments[130]["body"]) == (132, f"{marker}second")
    assert comments[130]["by"] in ("Bearer t", "t")


def test_what_is_not_set_is_named_and_a_dead_forge_is_no_traceback(tmp_path: Path) -> None:
    missing = commented(tmp_path, "x")
    assert (missing.returncode, missing.stderr) == (2, "comment.py: GITHUB_REPOSITORY is not set\n")
    dead = commented(
        tmp_path, "x", GITHUB_TOKEN="t", GITHUB_REPOSITORY="o/r", PULL_REQUEST="7", GITHUB_API_URL="http://127.0.0.1:9"
    )
    assert dead.returncode == 5
    assert dead.stderr.startswith("comment.py: the comment was not written: ")


def test_shell_of_the_action_and_of_the_job_is_shell() -> None:
    action = yaml.safe_load((CI / "github" / "action.yml").read_text())
    job = yaml.safe_load((CI / "gitlab" / "tokenmark.gitlab-ci.yml").read_text())[".tokenmark-gate"]
    scripts = [step["run"] for step in action["runs"]["steps"]] + job["script"]
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}\n{done.stderr}"
    used = set(re.findall(r"inputs\.([a-z-]+)", (CI / "github" / "action.yml").read_text()))
    assert used == set(action["inputs"]), "every input is used, and every one that is used is declared"
    workflow = yaml.safe_load((CI / "github" / "workflow.yaml").read_text())
    given = workflow["jobs"]["gate"]["steps"][-1]["with"]
    assert set(given) <= set(action["inputs"])
    assert {name for name, said in action["inputs"].items() if said.get("required")} <= set(given)


def test_the_analysis_asks_for_a_series_that_there_is(tmp_path: Path) -> None:
    template = yaml.safe_load((CI / "argo" / "analysis-template.yaml").read_text())
    query = template["spec"]["metrics"][0]["provider"]["prometheus"]["query"]
    assert "tokenmark_run_not_regressed{" in query
    rule = {"groups": [{"name": "q", "rules": [{"record": "q", "expr": re.sub(r"\{\{.*?\}\}", "x", query)}]}]}
    (tmp_path / "rule.yaml").write_text(yaml.safe_dump(rule))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rule.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
