"""A Vue component that a model wrote, read, type-checked and tested by real compilers in the sandbox.

The programs (TypeScript, vue-tsc, vitest) come from npm once, by a lock file, into a folder that the sandbox sees and cannot write.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tokenmark_schemas.documents import builtin_folder
from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.quality import MOST_COMPONENT, MOST_PROBLEM, MOST_PROBLEMS, CodeFinding, TestsPassed

from . import enclosed
from .sandbox import Walls, sandboxed
from .scorers import without_thinking

HERE = Path(__file__).with_name("code")
WALLS = Walls(seconds=180, memory_bytes=2_000_000_000, processes=256)
INSTALL_S = 600
IN_THE_IMAGE = Path("/tools")  # of tokenmark-quality
FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Fixture:
    """A component, what is asked of it, and how an answer is judged; `expected` is one that has every point."""

    name: str
    prompt: str
    expected: str
    checks: bytes
    tests: bytes | None


def fixtures(folder: Path | None = None, names: Sequence[str] = ()) -> list[Fixture]:
    """Of a folder of a person's own, or those that ship. Raises InvalidInput where one is not whole, or not there."""
    folder = folder or builtin_folder("code")
    known = sorted(path.parent for path in folder.glob("*/prompt.md"))
    if unknown := set(names) - {path.name for path in known}:
        raise InvalidInput(
            f"no fixture {', '.join(sorted(unknown))}; there are {', '.join(path.name for path in known) or 'none'} in {folder}"
        )
    return [_fixture(path) for path in known if not names or path.name in names]


def _fixture(folder: Path) -> Fixture:
    try:
        prompt, component, expected = (
            (folder / name).read_text(encoding="utf-8") for name in ("prompt.md", "input.vue", "expected.vue")
        )
        checks = (folder / "ast_checks.json").read_bytes()
        json.loads(checks)
    except (OSError, ValueError) as exc:
        raise InvalidInput(
            f"{folder} is no fixture: {exc}; it needs prompt.md, input.vue, expected.vue and ast_checks.json"
        ) from exc
    tests = folder / "component.test.ts"
    asked = f"{prompt.strip()}\n\n```vue\n{component.strip()}\n```\n"
    return Fixture(folder.name, asked, expected, checks, tests.read_bytes() if tests.is_file() else None)


def component_of(answer: str) -> str:
    """The longest block of code that looks like a component; without a fence the whole."""
    answer = without_thinking(answer)
    blocks = [block for block in FENCED.findall(answer) if "<script" in block or "<template" in block]
    return str(max(blocks, key=len, default=answer))[:MOST_COMPONENT]


def checked(
    fixture: Fixture, component: str, tools: Path, walls: Walls = WALLS
) -> tuple[CodeFinding | None, str | None]:
    """What is found, or why there is nothing. Compilers and tests run in two sandboxes: what the component does in its tests reaches nothing of the rest."""
    files = {"Answer.vue": component.encode(), "checks.json": fixture.checks}
    said, ended = _script("check.mjs", ["Answer.vue", "checks.json"], files, tools, walls)
    if said is None:
        return None, ended
    try:
        whole = CodeFinding.model_validate_json(said, extra="ignore")
    except ValidationError:
        return None, "the checks said nothing that can be read"
    finding = whole.model_copy(update={"problems": _few(whole.problems), "type_errors": _few(whole.type_errors)})
    if fixture.tests is None:
        return finding, None
    return finding.model_copy(update={"tests": _behaviour(fixture.tests, finding, files, tools, walls)}), None


def _behaviour(tests: bytes, finding: CodeFinding, files: dict[str, bytes], tools: Path, walls: Walls) -> TestsPassed:
    """Of what builds; else no test has passed."""
    if not finding.compiles:
        return TestsPassed(passed=0, total=0)
    said, ended = _script(
        "behave.mjs", ["Answer.vue", "component.test.ts"], {**files, "component.test.ts": tests}, tools, walls
    )
    try:
        found = TestsPassed.model_validate_json(said or "", extra="ignore")
        return found.model_copy(update={"problems": _few(found.problems)})
    except ValidationError:
        return TestsPassed(passed=0, total=0, problems=[ended or "the tests did not report"])


def _few(said: list[str]) -> list[str]:
    """What a component has to say may be long."""
    return [each[:MOST_PROBLEM] for each in said[:MOST_PROBLEMS]]


def _script(
    name: str, words: list[str], files: dict[str, bytes], tools: Path, walls: Walls
) -> tuple[bytes | None, str | None]:
    """The last line that one of ours says in the sandbox; or why it came to no end of its own."""
    ours = {each: (HERE / each).read_bytes() for each in (name, "scratch.mjs")}
    ran = sandboxed([_node(), name, *words], {**files, **ours}, walls, tools)
    if ran.ended is not None:
        return None, ran.ended
    lines = ran.out.splitlines()
    if ran.code or not lines:
        complaint = ran.err.decode("utf-8", "replace").strip().splitlines()
        return None, f"the checks ended with {ran.code}: {complaint[-1][:200] if complaint else 'without a word'}"
    return lines[-1], None


def tools() -> Path:
    """The folder with node_modules; filled once, from npm. Raises InvalidInput where that is not possible, RunFailed where it fails."""
    _node()
    if enclosed.is_asked_for():
        return IN_THE_IMAGE
    lock = (HERE / "package-lock.json").read_bytes()
    folder = _cache() / f"code-tools-{hashlib.sha256(lock).hexdigest()[:12]}"
    if (folder / ".complete").exists():
        return folder
    if (npm := shutil.which("npm")) is None:
        raise InvalidInput("npm is not on PATH: TypeScript, vue-tsc and vitest come from it, once")
    words = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except OSError as exc:
        raise InvalidInput(f"{folder}, for the compilers: {exc.strerror}") from exc
    except subprocess.TimeoutExpired:
        raise RunFailed(f"npm ci in {folder} took longer than {INSTALL_S} s; is there a way to its registry?") from None
    if done.returncode:
        said = " ".join(done.stderr.replace("npm error", "").split())
        raise RunFailed(f"npm ci in {folder} ended with {done.returncode}: {said[:400]}")
    (folder / ".complete").touch()
    return folder


def _node() -> str:
    """As the sandbox sees it: below /usr. Raises InvalidInput."""
    found = shutil.which("node")
    if found is None or not found.startswith("/usr/"):
        raise InvalidInput(
            "node is not in /usr/bin or /usr/local/bin, where the sandbox would see it; Debian's package nodejs brings it (20 or newer)"
        )
    return found


def _cache() -> Path:
    """Of root's programs one that nobody can read too, for the sandbox is nobody then."""
    return (
        Path("/var/cache/tokenmark")
        if os.geteuid() == 0
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokenmark"
    )
