"""A model's file from the Hugging Face Hub, or from what speaks like it, through that hub's own library.

The library begins anew where a download was broken off by the end of its process, since two of them must not write one file. Here the part that is
there stays, under a name made of what it is a part of, and a lock keeps a second process away: models are tens of gigabytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.local_models import Hub

from .gguf_file import can_read, contradicts, read_model_file

SPARE_BYTES = 2**30  # of the disk that stays free
BLOCK_BYTES = 2**20
TOKEN_ENV = "HF_TOKEN"  # noqa: S105 - the variable's name


def download(
    hub: Hub, word: str, folder: Path, most_bytes: int, endpoint: str | None = None, *, quiet: bool = False
) -> Path:
    """The file of one quantisation, whole and checked; also where it is there already.

    Raises InvalidInput where it is not to be had, too large, or not what it should be; RunFailed where it was broken off, and can go on.
    """
    library, wanted = _library(), hub.files[word]
    target = folder / wanted.place
    url = library.hf_hub_url(hub.repo, wanted.file, revision=hub.revision, endpoint=endpoint)
    said = f"{hub.repo}, {wanted.file}"
    if target.exists():
        whose, sha256 = ("the list", wanted.sha256) if wanted.sha256 else (said, _known_to_hub(library, url, said))
        if sha256 is not None and _digest(target) != sha256:
            raise InvalidInput(
                f"{target} is there and is another file: its SHA-256 is not that of {whose}; move it away"
            )
        _is_what_was_asked(target, word)
        return target
    with _in_words(library, said):
        about = library.get_hf_file_metadata(url, token=os.environ.get(TOKEN_ENV) or False)
    folder.mkdir(parents=True, exist_ok=True)
    etag = _plain(about.etag)
    with _locked(folder / f".{target.name}.{etag[:16]}.partial") as (partial, file):
        _fits(said, about.size, most_bytes, partial)
        with _in_words(library, said):
            _go_on(library, url, about, file, quiet=quiet)
        sha256 = wanted.sha256 or _sha256(etag)
        if sha256 is not None and (found := _digest(partial)) != sha256:
            partial.unlink()  # going on with it would not mend it
            raise InvalidInput(
                f"{said} was damaged on its way or is another file: SHA-256 {found[:12]}…, not {sha256[:12]}…; get it again"
            )
        partial.rename(target)
    _is_what_was_asked(target, word)
    return target


def _known_to_hub(library: Any, url: str, said: str) -> str | None:
    """The SHA-256 of the file there: two repositories may call different files alike. None where nobody can be asked: what is here is taken then."""
    try:
        with _in_words(library, said):
            about = library.get_hf_file_metadata(url, token=os.environ.get(TOKEN_ENV) or False)
    except (InvalidInput, RunFailed):
        return None
    return _sha256(_plain(about.etag))


def _plain(etag: str | None) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", etag or "")


def _sha256(etag: str) -> str | None:
    """Of large files it is one."""
    return etag if re.fullmatch("[0-9a-f]{64}", etag) else None


def _is_what_was_asked(target: Path, word: str) -> None:
    """It stays, whatever it is: hours may have gone into it."""
    if contradicts(model := read_model_file(target), word):
        raise InvalidInput(
            f"{target} is {model.quantization} by its own word, not {word}; mend hub.files, or get another"
        )


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise InvalidInput("downloads need the hub's library: pip install 'tokenmark[local]'") from None
    can_read()  # before hours of download, not after
    return huggingface_hub


def _fits(said: str, size: int | None, most_bytes: int, partial: Path) -> None:
    from huggingface_hub.constants import MAX_HTTP_DOWNLOAD_SIZE

    have = partial.stat().st_size
    if size is None:
        raise InvalidInput(f"{said}: the server does not say how large it is; such a file is not downloaded")
    if size > most_bytes:
        raise InvalidInput(
            f"{said} has {size / 1e9:.1f} GB, more than the {most_bytes / 1e9:.1f} GB allowed (--most-gigabytes)"
        )
    if size > MAX_HTTP_DOWNLOAD_SIZE:
        raise InvalidInput(
            f"{said} has {size / 1e9:.0f} GB, more than the hub gives over plain HTTP; get it by the hub's own program"
        )
    if (free := shutil.disk_usage(partial.parent).free) < size - have + SPARE_BYTES:
        raise InvalidInput(
            f"{said} lacks {(size - have) / 1e9:.1f} GB, and {partial.parent} has {free / 1e9:.1f} GB free"
        )


@contextmanager
def _locked(partial: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """The part that is there, to be gone on with. Raises RunFailed while another process does."""
    with partial.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFailed(
                f"another process downloads {partial.name[1:]} at this moment; call again when it has ended"
            ) from None
        try:
            yield partial, file
        finally:
            if partial.exists() and not partial.stat().st_size:
                partial.unlink()


def _go_on(library: Any, url: str, about: Any, file: BinaryIO, *, quiet: bool) -> None:
    from huggingface_hub.file_download import http_get

    if quiet:
        library.utils.disable_progress_bars()
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    headers = library.utils.build_hf_headers(token=os.environ.get(TOKEN_ENV) or False, library_name="tokenmark")
    if urlsplit(about.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # another machine's business
    have = file.seek(0, os.SEEK_END)
    if have > about.size:
        file.truncate(0)
        have = 0
    http_get(about.location, file, resume_size=have, headers=headers, expected_size=about.size)
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _in_words(library: Any, said: str) -> Iterator[None]:
    """The library's errors as sentences."""
    errors = library.errors
    again = "what was downloaded is kept: call again to go on"
    try:
        yield
    except errors.GatedRepoError:
        raise InvalidInput(
            f"{said}: its owners let in who agreed to their terms; do so, and put a token into {TOKEN_ENV}"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as exc:
        what = {"Repository": "repository", "Revision": "revision"}.get(
            re.sub("NotFoundError|Remote", "", type(exc).__name__), "file"
        )
        raise InvalidInput(f"{said}: there is no such {what}, or it needs a token in {TOKEN_ENV}") from None
    except OSError as exc:
        if exc.errno == 28:  # ENOSPC
            raise RunFailed(f"{said}: the disk is full; {again}") from None
        raise RunFailed(f"{said}: {_first_line(exc)}; {again}") from None
    except Exception as exc:  # the library's HTTP client has errors of its own
        if type(exc).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise
        raise RunFailed(f"{said}: {_first_line(exc) or type(exc).__name__}; {again}") from None


def _first_line(exc: BaseException) -> str:
    return str(exc).strip().splitlines()[0][:300] if str(exc).strip() else type(exc).__name__


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
