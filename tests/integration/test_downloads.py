"""Downloads from a server that speaks as the Hugging Face Hub does, and that breaks off, dies, lies and refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench_runner.local.download import download
from tests.support import gguf_files
from tests.support.hub import FILE, REPO, Weather, hub
from tests.support.ports import free_port
from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.local_models import Hub

MOST = 10**9


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return gguf_files.write(tmp_path / "original.gguf", tokens=200_000).read_bytes()


def asked(sha256: str | None = None, file: str = FILE, repo: str = REPO, word: str = "Q8_0") -> Hub:
    return Hub.model_validate({"repo": repo, "files": {word: {"file": file, "sha256": sha256}}})


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial"))


def test_a_file_comes_whole_and_is_not_fetched_twice(content: bytes, tmp_path: Path) -> None:
    weather = Weather(content)
    with hub(weather) as url:
        path = download(asked(hashlib.sha256(content).hexdigest()), "Q8_0", tmp_path / "models", MOST, url, quiet=True)
        assert download(asked(), "Q8_0", tmp_path / "models", MOST, url, quiet=True) == path
    assert (path.name, path.read_bytes() == content) == ("gemma-Q8_0.gguf", True)
    assert weather.ranges == [None]
    assert parts(path.parent) == []


def test_a_server_that_breaks_off_twice_is_gone_on_with(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 2**16
    )  # of a model's 10 MB the last are lost each time
    weather = Weather(content, breaks_after=len(content) // 3, breaks=2)
    with hub(weather) as url:
        path = download(asked(), "Q8_0", tmp_path / "models", MOST, url, quiet=True)
    assert path.read_bytes() == content
    assert weather.ranges[0] is None
    begins = [int((said or "bytes=0-").strip("bytes=-")) for said in weather.ranges]
    assert begins == sorted(begins)
    assert begins[1] > len(content) // 3 - 2**17, "what came is not fetched again"


def test_a_download_whose_server_died_goes_on_when_it_is_called_again(content: bytes, tmp_path: Path) -> None:
    weather, half = Weather(content, refuses=True), content[: len(content) // 2]
    with hub(weather) as url:
        (tmp_path / "models").mkdir()
        digest = hashlib.sha256(content).hexdigest()
        (tmp_path / "models" / f".gemma-Q8_0.gguf.{digest[:16]}.partial").write_bytes(half)
        with pytest.raises(RunFailed, match="call again to go on"):
            download(asked(), "Q8_0", tmp_path / "models", MOST, url, quiet=True)
        weather.refuses = False
        path = download(asked(), "Q8_0", tmp_path / "models", MOST, url, quiet=True)
    assert path.read_bytes() == content
    assert set(weather.ranges) == {f"bytes={len(half)}-"}


def test_what_was_damaged_on_its_way_is_thrown_away(content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    with hub(Weather(content)) as url, pytest.raises(InvalidInput, match="damaged on its way"):
        download(asked("0" * 64), "Q8_0", folder, MOST, url, quiet=True)
    assert list(folder.iterdir()) == []


def test_what_is_whole_and_not_what_was_asked_stays_and_is_said(content: bytes, tmp_path: Path) -> None:
    """Hours may have gone into it."""
    weather = Weather(content)
    with hub(weather) as url:
        for _ in range(2):
            with pytest.raises(InvalidInput, match="is Q8_0 by its own word, not Q4_K_M"):
                download(asked(word="Q4_K_M"), "Q4_K_M", tmp_path / "a", MOST, url, quiet=True)
        assert download(asked(word="UD_Q8_XL"), "UD_Q8_XL", tmp_path / "a", MOST, url, quiet=True).is_file()
        with pytest.raises(InvalidInput, match="its SHA-256 is not that of the list"):
            download(asked("0" * 64), "Q8_0", tmp_path / "a", MOST, url, quiet=True)
    assert len(weather.ranges) == 1
    other = gguf_files.write(tmp_path / "other.gguf", tokens=1000).read_bytes()
    with hub(Weather(other)) as url, pytest.raises(InvalidInput, match="is not that of somebody/gemma-GGUF"):
        download(asked(word="UD_Q8_XL"), "UD_Q8_XL", tmp_path / "a", MOST, url, quiet=True)
    nobody = f"http://127.0.0.1:{free_port()}"
    assert download(asked(word="UD_Q8_XL"), "UD_Q8_XL", tmp_path / "a", MOST, nobody, quiet=True).is_file()
    with hub(Weather(content[: len(content) // 2])) as url, pytest.raises(InvalidInput, match="no whole GGUF file"):
        download(asked(), "Q8_0", tmp_path / "b", MOST, url, quiet=True)


def test_what_is_not_there_too_large_or_not_for_everybody_is_said(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weather = Weather(content, token="hf_secret")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub(weather) as url:
        for said, wanted, most in (
            ("HF_TOKEN", asked(), MOST),
            ("no such file", asked(file="other.gguf"), MOST),
            ("no such repository", asked(repo="nobody/x"), MOST),
        ):
            with pytest.raises(InvalidInput, match=said):
                download(wanted, "Q8_0", tmp_path, most, url, quiet=True)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        with pytest.raises(InvalidInput, match="GB allowed"):
            download(asked(), "Q8_0", tmp_path, 1000, url, quiet=True)
        assert download(asked(), "Q8_0", tmp_path / "models", MOST, url, quiet=True).is_file()
    with pytest.raises(RunFailed, match="call again"):
        download(asked(), "Q8_0", tmp_path / "elsewhere", MOST, f"http://127.0.0.1:{free_port()}", quiet=True)
