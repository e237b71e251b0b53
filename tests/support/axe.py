"""axe-core, the checker of accessibility: from npm's registry once, checked by digest, kept in the cache."""

from __future__ import annotations

import hashlib
import tarfile

from tests.cluster.layout import CACHE
from tests.cluster.shell import run

VERSION = "4.10.3"
SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"


def axe_source() -> str:
    """The script to run in a page."""
    folder = CACHE / f"axe-{VERSION}"
    script = folder / "axe.min.js"
    if not script.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(["npm", "pack", f"axe-core@{VERSION}", "--pack-destination", folder], log=CACHE / "npm.log")
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            script.write_bytes(member.read())
    text = script.read_bytes()
    assert hashlib.sha256(text).hexdigest() == SHA256, f"{script} is not the one that was looked at"
    return text.decode()
