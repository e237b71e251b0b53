"""Uploads to a real S3 server, and what is done to it meanwhile: killed, frozen, slow, full, locked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from bench_runner.storage.object_store import Piece, upload
from tests.cluster import s3
from tests.cluster.s3 import BUCKET, S3Server
from tests.support.comparable import a_comparable, a_repetition
from tests.support.throttle import throttled
from tokenmark_schemas.store import StoreReceipt, StoreSink

PREFIX = "TOKENMARK_STORE_S3_"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with s3.serving(tmp_path / "s3") as running:
        yield running


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}AWS_ACCESS_KEY_ID", s3.ACCESS)
    monkeypatch.setenv(f"{PREFIX}AWS_SECRET_ACCESS_KEY", s3.SECRET)


def a_sink(endpoint: str, deadline_s: int = 20, bucket: str = BUCKET) -> StoreSink:
    return StoreSink(
        name="s3", uri=f"s3://{bucket}/pre", endpoint=endpoint, region="us-east-1", credentials_prefix=PREFIX, deadline_s=deadline_s
    )  # fmt: skip


def a_file(folder: Path, mebibytes: int) -> Path:
    path = folder / f"{mebibytes}.jsonl.gz"
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(2**20))
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_store(server: S3Server, receipt: StoreReceipt) -> dict[str, str]:
    """Digest by name, of what lies behind a receipt."""
    return {found.name: digest(server.folder / BUCKET / found.key) for found in receipt.objects}


def test_what_the_receipt_says_lies_there(server: S3Server, tmp_path: Path) -> None:
    large = a_file(tmp_path, 23)
    receipt = upload(
        a_sink(server.endpoint), [Piece("result", "r/result.json", b"{}"), Piece("requests", "r/rows.gz", large)]
    )
    assert receipt.stored, receipt
    assert in_store(server, receipt) == {found.name: found.sha256 for found in receipt.objects}
    assert [(found.name, found.url, found.size_bytes) for found in receipt.objects] == [
        ("result", "s3://bench", 2),
        ("requests", "s3://bench", 23 * 2**20),
    ]


@pytest.mark.parametrize(
    ("bucket", "secret", "reason", "words"),
    [
        ("bench", "wrong-one", "StoreForbidden", "SignatureDoesNotMatch"),
        ("no-such-bucket", s3.SECRET, "StoreNotFound", "NoSuchBucket"),
    ],
)
def test_a_refusal_is_not_tried_again(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, bucket: str, secret: str, reason: str, words: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}AWS_SECRET_ACCESS_KEY", secret)
    began = time.monotonic()
    receipt = upload(a_sink(server.endpoint, bucket=bucket), [Piece("result", "r", b"{}")])
    assert (receipt.reason, words in receipt.message, secret in receipt.message) == (reason, True, False)
    assert time.monotonic() - began < 10, "the deadline of 20 s was not waited for"


def test_a_server_that_freezes_is_given_up_at_the_deadline(server: S3Server) -> None:
    server.freeze()
    began = time.monotonic()
    receipt = upload(a_sink(server.endpoint, deadline_s=10), [Piece("result", "r", b"{}")])
    assert receipt.reason == "StoreTimedOut"
    assert 9 < time.monotonic() - began < 14


def test_a_signal_shortens_the_deadline(server: S3Server) -> None:
    server.freeze()
    began = time.monotonic()
    receipt = upload(a_sink(server.endpoint, deadline_s=600), [Piece("result", "r", b"{}")], lambda: True)
    assert not receipt.stored
    assert time.monotonic() - began < 16, "a pod has twenty seconds"


def test_a_server_that_thaws_or_comes_late_is_used(server: S3Server) -> None:
    server.kill()
    port = int(server.endpoint.rsplit(":", 1)[1])
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(upload, a_sink(server.endpoint, deadline_s=60), [Piece("result", "r", b"{}")])
        time.sleep(1.5)  # it is refused meanwhile
        assert not asked.done()
        again = s3.start(server.folder, port)
        try:
            receipt = asked.result(60)
        finally:
            again.kill()
    assert receipt.stored, receipt


def test_a_server_killed_during_an_upload_has_the_whole_file_in_the_end(server: S3Server, tmp_path: Path) -> None:
    large, port = a_file(tmp_path, 40), int(server.endpoint.rsplit(":", 1)[1])
    with throttled(port, bytes_per_s=12 * 2**20) as slow, ThreadPoolExecutor() as pool:
        asked = pool.submit(
            upload, a_sink(f"http://127.0.0.1:{slow.port}", deadline_s=90), [Piece("requests", "r/rows.gz", large)]
        )
        slow.until_passed(12 * 2**20)
        assert not asked.done()
        server.kill()
        again = s3.start(server.folder, port)
        try:
            receipt = asked.result(100)
        finally:
            again.kill()
    assert receipt.stored, receipt
    assert in_store(server, receipt)["requests"] == digest(large)


def test_a_slow_server_is_waited_for(server: S3Server, tmp_path: Path) -> None:
    large, port = a_file(tmp_path, 6), int(server.endpoint.rsplit(":", 1)[1])
    with throttled(port, bytes_per_s=2 * 2**20) as slow:
        began = time.monotonic()
        receipt = upload(a_sink(f"http://127.0.0.1:{slow.port}", deadline_s=60), [Piece("requests", "r", large)])
    assert receipt.stored, receipt
    assert time.monotonic() - began > 2, "it was slow indeed"


def test_a_private_authority_is_trusted_where_it_is_named_and_not_else(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with s3.serving(tmp_path / "s3", files) as server:
        trusting = a_sink(server.endpoint).model_copy(update={"ca_file": str(tmp_path / "ca.pem")})
        assert upload(trusting, [Piece("result", "r", b"{}")]).stored
        stranger = upload(a_sink(server.endpoint, deadline_s=10), [Piece("result", "r", b"{}")])
    assert (stranger.reason, "UnknownIssuer" in stranger.message) == ("StoreMisconfigured", True), stranger


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_store_that_is_full_says_so_and_keeps_what_arrived(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 4), s3.serving(tmp_path / "small" / "s3") as server:
        pieces = [Piece("result", "r/result.json", b"{}"), Piece("requests", "r/rows.gz", a_file(tmp_path, 9))]
        receipt = upload(a_sink(server.endpoint), pieces)
        assert (receipt.reason, [found.name for found in receipt.objects]) == ("StoreFull", ["result"])
        assert "No space left" in receipt.message


PEAK = """
import resource, sys
from pathlib import Path
from bench_runner.storage.object_store import Piece, upload
from tokenmark_schemas.store import StoreSink
sink = StoreSink.model_validate_json(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
receipt = upload(sink, [Piece("requests", "r", Path(sys.argv[2]))])
print(receipt.reason, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_follow_the_size_of_a_file(server: S3Server, tmp_path: Path) -> None:
    grown = {}
    for mebibytes in (40, 400):
        words = [
            sys.executable,
            "-c",
            PEAK,
            a_sink(server.endpoint).model_dump_json(),
            str(a_file(tmp_path, mebibytes)),
        ]
        reason, grown[mebibytes] = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        assert reason == "Stored"
    assert int(grown[400]) < int(grown[40]) + 64, grown


def test_a_run_leaves_everything_and_a_later_push_repairs_what_failed(server: S3Server, tmp_path: Path) -> None:
    env = {**os.environ, "AWS_ACCESS_KEY_ID": s3.ACCESS, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    where = ["--store", f"s3://{BUCKET}/lab", "--store-endpoint", server.endpoint]
    run = [
        "run",
        "--target",
        "sim",
        "--model",
        "sim",
        "--concurrency",
        "2",
        "--requests",
        "40",
        "--provider",
        "lap",
        "--quiet",
        "--out",
        str(tmp_path / "out"),
    ]

    def tokenmark(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bench_runner", *words], env=env, capture_output=True, text=True, check=False
        )

    healthy = tokenmark(*run, *where, "--name", "healthy")
    assert healthy.returncode == 0, healthy.stderr
    lab = server.folder / BUCKET / "lab"
    stored = {path.name: path for path in lab.glob("runs/lap/unknown/*/local/healthy-*/*")}
    assert sorted(stored) == ["config.json", "report.html", "requests.jsonl.gz", "result.json", "runner.log"]
    for name in ("requests.jsonl.gz", "result.json"):
        assert stored[name].read_bytes() == (tmp_path / "out" / "healthy" / name).read_bytes()
    (record,) = lab.glob("benchmarks/ns/lap/*.json")
    assert json.loads(record.read_text())["run"] == "healthy"
    server.kill()
    lost = tokenmark(*run, *where, "--name", "lost", "--store-deadline", "10")
    assert lost.returncode == 5, lost.stderr
    assert "StoreUnreachable" in lost.stderr
    assert f"tokenmark results push {tmp_path}/out/lost" in lost.stderr
    assert (tmp_path / "out" / "lost" / "result.json").exists(), "what was measured is here"
    again = s3.start(server.folder, int(server.endpoint.rsplit(":", 1)[1]))
    try:
        pushed = tokenmark("results", "push", str(tmp_path / "out" / "lost"), *where)
    finally:
        again.kill()
    assert pushed.returncode == 0, pushed.stderr
    assert len(list(lab.glob("runs/lap/unknown/*/local/lost-*/*"))) == 5


def test_runs_and_baselines_are_read_from_a_store_by_their_address(server: S3Server, tmp_path: Path) -> None:
    env = {**os.environ, "AWS_ACCESS_KEY_ID": s3.ACCESS, "AWS_SECRET_ACCESS_KEY": s3.SECRET, "COLUMNS": "100"}
    where = ("--store-endpoint", server.endpoint, "--store-region", "us-east-1")

    def tokenmark(*words: str) -> subprocess.CompletedProcess[str]:
        words_ = [sys.executable, "-m", "bench_runner", *words, *where]
        return subprocess.run(words_, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    rng = random.Random(1)
    for name, factor in (("before", 1.0), ("after", 1.2)):
        reps = [a_repetition(k, {"ttft": [factor * rng.uniform(0.02, 0.026) for _ in range(600)]}) for k in range(3)]
        text = json.dumps(a_comparable(name, *reps).snake()).encode()
        assert upload(a_sink(server.endpoint), [Piece("result", f"{name}/result.json", text)]).stored
    base = f"s3://{BUCKET}/pre"
    done = tokenmark("compare", f"{base}/before", f"{base}/after", "--gate", "ttft:p50")
    assert (done.returncode, "REGRESSED" in done.stdout) == (3, True), done.stdout + done.stderr
    assert tokenmark("baseline", "set", "prod", f"{base}/before", "--in", f"s3://{BUCKET}/baselines").returncode == 0
    again = tokenmark(
        "compare", "baseline:prod", f"{base}/after", "--gate", "ttft:p50", "--baselines", f"s3://{BUCKET}/baselines"
    )
    assert again.returncode == 3, again.stdout + again.stderr
    assert "2 runs" in tokenmark("runs", "--in", base).stderr
    gone = tokenmark("compare", f"{base}/nowhere", f"{base}/after")
    assert gone.returncode == 2
    assert "s3://" in gone.stderr


@pytest.mark.trial
def test_a_process_that_uploaded_ends_well_on_a_busy_machine(server: S3Server, tmp_path: Path) -> None:
    """The library's threads must not abort an interpreter that ends: it did in 4 of 100."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "result.json").write_text(json.dumps(a_comparable("r", a_repetition(0, {"ttft": [0.1]})).snake()))
    env = {**os.environ, "AWS_ACCESS_KEY_ID": s3.ACCESS, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    words = [
        "results",
        "push",
        str(tmp_path / "r"),
        "--store",
        f"s3://{BUCKET}/busy",
        "--store-endpoint",
        server.endpoint,
        "--store-region",
        "us-east-1",
    ]
    neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        ended = [
            subprocess.run(
                [sys.executable, "-m", "bench_runner", *words], env=env, capture_output=True, check=False
            ).returncode
            for _ in range(12)
        ]
    finally:
        for process in neighbours:
            process.kill()
            process.wait()
    assert ended == [0] * 12
