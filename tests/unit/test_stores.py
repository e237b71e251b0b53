"""Object stores without one: where files go, what a refusal is told as, receipts, and a run's and a probe's end with them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench_runner import cli
from bench_runner.config.flags import Flags
from bench_runner.config.manifest import load
from bench_runner.run.delivery import ProbeFiles, RunFiles, deliver
from bench_runner.storage.object_keys import facts_of, folder_of, record_key
from bench_runner.storage.object_store import Piece, upload
from bench_runner.storage.pod_frames import compressed
from bench_runner.storage.store_errors import failure_of
from tests.support import probes
from tests.support.results import a_result
from tests.support.runs import conditions, ended_facts, started, with_status
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_operator.kinds.netprobe import decide_probe
from tokenmark_operator.plan.stores import credentials
from tokenmark_operator.results.probe_results import read_whole
from tokenmark_operator.shared.facts import Refusal
from tokenmark_schemas.frames import frame
from tokenmark_schemas.kube import KEY_TEMPLATE, Results
from tokenmark_schemas.store import Receipts, StoredObject, StoreReceipt, StoreSink

STORE = {"uri": "s3://bench/pre", "credentialsSecretRef": {"name": "s3"}}
SINKS = {"sinks": [{"name": "cm", "configMap": {}}, {"name": "s3", "objectStore": STORE}]}
THERE = StoredObject(name="result", url="s3://bench", key="pre/r/result.json", size_bytes=9, sha256="a" * 64)


def receipts(reason: str = "Stored", message: str = "1 files, 9 bytes") -> bytes:
    objects = [THERE] if reason == "Stored" else []
    one = StoreReceipt(sink="s3", uri="s3://bench/pre", reason=reason, message=message, objects=objects)
    return Receipts(stores=[one]).model_dump_json().encode()


def told(decision: Any, kind: str) -> dict[str, Any]:
    return next(c for c in decision.status["conditions"] if c["type"] == kind)


def frames_of(**blocks: bytes) -> str:
    return "".join(line + "\n" for name, payload in blocks.items() for line in frame(name, payload))


# --- where, and in what words -----------------------------------------------------------------------------------------


def test_a_key_is_made_of_the_runs_own_facts() -> None:
    facts = facts_of(a_result(), None)
    assert folder_of(KEY_TEMPLATE, facts) == "runs/unknown/unknown/2030-01-01/bench/demo-20300101T000000Z"
    assert (
        record_key("ns", "My Cloud/eu", "2030-01-01T00:00:00.123Z")
        == "benchmarks/ns/My-Cloud-eu/20300101T000000.123Z.json"
    )


@pytest.mark.parametrize(
    ("text", "reason", "final", "words"),
    [
        ("x status: 403 <Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message>", "StoreRefused", True, "SignatureDoesNotMatch: No."),
        ("x status: 403 <Error><Code>AccessDenied</Code><Message>No.</Message>", "StoreForbidden", True, "AccessDenied: No."),
        ("Error performing PUT http://h/b/k?sig=abcdef in 3ms, after 1 retries - oops\n\nDebug source:\nkind: Connect message: \"Connection refused\"", "StoreUnreachable", False, "PUT http://h/b/k: oops (Connection refused)"),
        ("Error performing PUT http://h/quota/k in 507.5ms, after 1 retries - oops\n\nDebug source:\nkind: Connect message: \"Connection refused\"", "StoreUnreachable", False, "PUT http://h/quota/k: oops (Connection refused)"),
        ("status: 507 <Code>InsufficientStorage</Code>", "StoreFull", True, "InsufficientStorage"),
        ('status: 503 <Code>SlowDown</Code><Message>Reduce.</Message>', "StoreRefused", False, "SlowDown: Reduce."),
        ("Unable to copy: No space left on device (os error 28)", "StoreFull", True, "Unable to copy: No space left on device (os error 28)"),
        ('status: 400 {"error": {"message": "Invalid bucket"}}', "StoreRefused", True, "Invalid bucket"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_the_stores_words(text: str, reason: str, final: bool, words: str) -> None:
    found = failure_of(Exception(text))
    assert (found.reason, found.final, found.message) == (reason, final, words)


def test_no_credential_and_no_signature_is_ever_told() -> None:
    found = failure_of(
        Exception("denied for topsecretkey at https://h/c/k?sv=1&sig=abcdef in vain"), ["topsecretkey", "ab"]
    )
    assert found.message == "denied for *** at https://h/c/k in vain"


def test_a_folder_is_a_store_and_its_receipt_is_true(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"\x01\x02" * 4_000_000)
    receipt = upload(StoreSink(name="f", uri=f"file://{tmp_path}/store"), [Piece("requests", "a/large.gz", large)])
    assert receipt.stored
    (found,) = receipt.objects
    stored = Path("/" + found.key).read_bytes()
    assert (
        (len(stored), hashlib.sha256(stored).hexdigest())
        == (found.size_bytes, found.sha256)
        == (8_000_000, found.sha256)
    )


def test_a_store_that_cannot_be_used_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    receipt = upload(StoreSink(name="f", uri=f"file://{tmp_path}/file/x"), [Piece("result", "a", b"1")])
    assert not receipt.stored
    assert receipt.message


def test_credentials_are_found_by_their_prefix_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = StoreSink(name="s3", uri="s3://b/x", credentials_prefix="TOKENMARK_STORE_S3_")
    monkeypatch.setenv("TOKENMARK_STORE_S3_NOT_A_NAME", "hidden-value")
    receipt = upload(sink, [Piece("result", "a", b"1")])
    assert (receipt.reason, "not_a_name" in receipt.message, "hidden-value" in receipt.message) == (
        "StoreMisconfigured",
        True,
        False,
    )


def test_a_manifests_stores_count_on_a_laptop_with_the_environments_credentials(tmp_path: Path) -> None:
    manifest = tmp_path / "run.yaml"
    spec = {"target": {"model": "m", "endpoint": {"url": "http://h:1"}}, "results": SINKS}
    manifest.write_text(
        yaml.safe_dump(
            {"apiVersion": "tokenmark.dev/v1alpha1", "kind": "BenchmarkRun", "metadata": {"name": "t"}, "spec": spec}
        )
    )
    (store,) = load(manifest, Flags()).stores
    assert (store.uri, store.credentials_prefix) == ("s3://bench/pre", None)
    (other,) = load(manifest, Flags(store=[str(tmp_path)])).stores
    assert other.uri == tmp_path.as_uri()


# --- files of a run and of a probe -------------------------------------------------------------------------------------


def test_a_run_brings_its_result_its_record_and_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "runner.log").write_text("said\n")
    files = RunFiles(a_result(), None, tmp_path / "none.gz", tmp_path / "runner.log")
    (receipt,) = deliver(files, [StoreSink(name="f", uri=f"file://{tmp_path}/store")]).stores
    assert [found.name for found in receipt.objects] == ["result", "record", "report", "log"]
    record = json.loads(next(Path(tmp_path / "store" / "benchmarks" / "ns" / "unknown").iterdir()).read_text())
    assert (record["requests"], record["success"], record["errors"], record["total_tokens"]) == (200, 200, 0, 1000)
    assert (record["ttft_p50_ms"], record["latency_p50_ms"], record["tpot_p50_ms"]) == (99.999, 139.999, 10.0)
    assert record["run_metadata"]["gpu_count"] is None, "absent is not zero"


def test_a_probe_is_one_record(tmp_path: Path) -> None:
    found = kept_probe()
    document = read_whole(found)
    assert document is not None
    (receipt,) = deliver(ProbeFiles(document), [StoreSink(name="f", uri=f"file://{tmp_path}")]).stores
    assert [piece.name for piece in receipt.objects] == ["record"]
    assert json.loads(next((tmp_path / "benchmarks" / "ew" / "unknown").iterdir()).read_text()) == document.snake()


def kept_probe() -> dict[str, Any]:
    """A probe's result ConfigMap."""
    one, other = probes.packed(target_node="node1"), probes.packed()
    return next(
        m for m in probes.through(probes.placed(), one, other).create_first if m["metadata"]["name"].endswith("-result")
    )


@pytest.mark.parametrize("source", ["folder", "log", "config map", "probe"])
def test_what_was_kept_is_pushed_later(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result, where = a_result(), tmp_path / "kept"
    if source == "folder":
        where.mkdir()
        (where / "result.json").write_text(json.dumps(result.snake()))
        (where / "requests.jsonl.gz").write_bytes(b"rows")
    elif source == "log":
        text = "2030 said\n" + frames_of(**{"partial-0": b"x", "result": compressed(result), "requests": b"rows"})
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        where = Path("-")
    else:
        binary = {"result.json.gz": compressed(result), "requests.jsonl.gz": b"rows"}
        found = {"kind": "ConfigMap", "binaryData": {k: base64.b64encode(v).decode() for k, v in binary.items()}}
        where.write_text(yaml.safe_dump(kept_probe() if source == "probe" else found))
    with pytest.raises(SystemExit) as ended:
        cli.main(["results", "push", str(where), "--store", str(tmp_path / "store")])
    assert ended.value.code == 0
    assert "sha256" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "store").rglob("*") if path.is_file()}
    wanted = set() if source == "probe" else {"result.json", "report.html", "requests.jsonl.gz"}
    assert wanted <= names
    assert len(names) == len(wanted) + 1 + (source == "log"), names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["push", "DIR"], "holds no result.json"),
        (["push", "FILE"], "neither a result of a run"),
        (["push", "CUT", "--store", "x"], "holds no whole result"),
        (["push", "GOOD"], "--store is missing"),
        (["push", "GOOD", "--store", "ftp://h"], "write s3://bucket/prefix"),
        (["push", "GOOD", "--store", "gs://b/x", "--store-region", "eu"], "region is for s3"),
        (["push", "GOOD", "--store", "x", "--store-ca-file", "no.pem"], "no.pem: there is no such file"),
        (["push", "GOOD", "--store", "x", "--key-template", "{run}"], "would overwrite each other"),
        (["push", "GOOD", "--store", "x", "--key-template", "{run}-{tim}"], "--key-template"),
    ],
)
def test_what_cannot_be_pushed_is_told(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f").write_text('{"schema_version": "other/v1"}')
    (tmp_path / "cut").write_text(frames_of(result=b"x" * 9000)[:5000])
    (tmp_path / "good.json").write_text(json.dumps(a_result().snake()))
    places = {"DIR": tmp_path, "FILE": tmp_path / "f", "CUT": tmp_path / "cut", "GOOD": tmp_path / "good.json"}
    with pytest.raises(SystemExit) as ended:
        cli.main(["results", *[str(places.get(word, word)) for word in words]])
    assert (ended.value.code, said in capsys.readouterr().err) == (2, True)


# --- the end of a run --------------------------------------------------------------------------------------------------


def ended_with(cr: dict[str, Any], payload: bytes | None, **changes: Any) -> Any:
    at = ended_facts(cr, **changes)
    blocks = {**at.blocks["pod-demo-a1"], **({"receipts": payload} if payload else {})}
    return replace(at, blocks={"pod-demo-a1": blocks})


def test_the_runners_pod_alone_has_the_credentials() -> None:
    cr, first = started(results=SINKS)
    pod = decide(replace(ended_facts(cr), jobs={}, pods={}, blocks={})).create or first.create
    job = next(m for m in pod if m["kind"] == "Job")
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == [{"prefix": "TOKENMARK_STORE_S3_", "secretRef": {"name": "s3"}}]
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    config = next(m for m in pod if m["kind"] == "ConfigMap")["data"]["config.json"]
    assert json.loads(config)["stores"][0]["credentials_prefix"] == "TOKENMARK_STORE_S3_"


def test_a_store_without_a_secret_gets_none() -> None:
    open_store = {"sinks": [{"name": "s3", "objectStore": {"uri": "s3://bench/pre"}}]}
    assert credentials(Results.model_validate(open_store)) == []


def test_a_receipt_makes_artifacts_and_is_kept_with_the_result() -> None:
    cr, _ = started(results=SINKS)
    first = decide(ended_with(cr, receipts()))
    (config_map,) = first.create_first
    then = decide(ended_with(with_status(cr, first), None, stored=config_map))
    assert conditions(then)["ResultsStored"] == ("True", "Stored")
    assert "s3://bench/pre" in told(then, "ResultsStored")["message"]
    assert [(a["kind"], a["name"]) for a in then.status["artifacts"]][-1] == ("ObjectStore", "s3-result")


def test_a_receipt_is_waited_for_while_the_log_may_have_it() -> None:
    cr, _ = started(results=SINKS)
    waits = decide(ended_with(cr, None))
    assert (waits.create_first, told(waits, "Succeeded")["reason"]) == ([], "Collecting")
    over = decide(ended_with(cr, None, log_read=frozenset({"pod-demo-a1"})))
    assert [m["metadata"]["name"] for m in over.create_first] == ["demo-result"]
    then = decide(
        ended_with(with_status(cr, over), None, log_read=frozenset({"pod-demo-a1"}), stored=over.create_first[0])
    )
    assert conditions(then)["ResultsStored"] == ("False", "Interrupted")
    assert conditions(then)["Succeeded"] == ("True", "Completed"), "it was measured, and the ConfigMap has it"


def test_a_store_that_failed_is_told_with_its_words_and_what_to_do() -> None:
    cr, _ = started(results=SINKS)
    first = decide(ended_with(cr, receipts("StoreForbidden", "AccessDenied: no")))
    then = decide(ended_with(with_status(cr, first), None, stored=first.create_first[0]))
    said = told(then, "ResultsStored")
    assert (said["status"], said["reason"]) == ("False", "StoreForbidden")
    assert "s3 (s3://bench/pre): AccessDenied: no" in said["message"]
    assert "kubectl logs -n bench job/demo-a1 | tokenmark results push -" in said["message"]
    assert any(event.reason == "ResultsNotStored" for event in then.events)


def test_without_a_config_map_sink_the_summary_alone_lies_there() -> None:
    cr, _ = started(results={"sinks": [{"name": "s3", "objectStore": {"uri": "s3://bench/pre"}}]})
    first = decide(ended_with(cr, receipts()))
    (config_map,) = first.create_first
    assert sorted(config_map["binaryData"]) == ["result.json.gz"]
    then = decide(ended_with(with_status(cr, first), None, stored=config_map))
    assert conditions(then)["ResultsStored"] == ("True", "Stored")


# --- the end of a probe ------------------------------------------------------------------------------------------------


def store_pod(exit_code: int | None, phase: str) -> dict[str, Any]:
    state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code}}
    meta = {"name": "ew-store-x", "uid": "pod-store", "labels": {"batch.kubernetes.io/controller-uid": "j"}}
    return {
        "metadata": meta,
        "spec": {"nodeName": "node1"},
        "status": {"phase": phase, "containerStatuses": [{"state": state}]},
    }


def test_a_probes_result_is_carried_by_a_job_with_the_credentials() -> None:
    one, other = probes.packed(target_node="node1"), probes.packed()
    cr = probes.placed(results=SINKS)
    kept = {1: one, 2: other}
    made = probes.through(cr, one, other)
    cr = {**cr, "status": made.status}
    (config_map,) = [m for m in made.create_first if m["metadata"]["name"].endswith("-result")]
    known = {"visit_results": kept, "visits_read": True, "stored": config_map}
    asks = decide_probe(probes.facts(cr, **known))
    config, job = asks.create
    assert json.loads(config["data"]["stores.json"])[0]["uri"] == "s3://bench/pre"
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"][0]["secretRef"]["name"] == "s3"
    assert pod["containers"][0]["image"] == "runner:1"
    child = {
        "metadata": {"name": "ew-store", "uid": "j", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {},
        "status": {},
    }
    known |= {"jobs": {"ew-store": child}}
    waits = decide_probe(probes.facts(cr, **known, pods={"ew-store": store_pod(None, "Running")}))
    assert told(waits, "Succeeded")["reason"] == "Storing"
    ended = {"pods": {"ew-store": store_pod(0, "Succeeded")}, "blocks": {"pod-store": {"receipts": receipts()}}}
    end = decide_probe(probes.facts(cr, **known, **ended))
    assert probes.reason(end, "ResultsStored") == "Stored"
    assert probes.reason(end, "Succeeded") == "Completed"
    assert [a["kind"] for a in end.status["artifacts"]] == ["ConfigMap", "ObjectStore"]
    lost = decide_probe(
        probes.facts(cr, **known, pods={"ew-store": store_pod(1, "Failed")}, log_read=frozenset({"pod-store"}))
    )
    assert (told(lost, "ResultsStored")["status"], probes.reason(lost, "Succeeded")) == ("False", "Completed")
    assert (
        "kubectl get configmap ew-nprobe-result -n bench -o yaml | tokenmark results push -"
        in told(lost, "ResultsStored")["message"]
    )


def test_a_job_that_cannot_be_made_ends_the_probe_with_its_result_and_is_not_asked_for_again() -> None:
    one, other = probes.packed(target_node="node1"), probes.packed()
    made = probes.through(probes.placed(results=SINKS), one, other)
    cr = {**probes.placed(results=SINKS), "status": made.status}
    (config_map,) = [m for m in made.create_first if m["metadata"]["name"].endswith("-result")]
    known = {"visit_results": {1: one, 2: other}, "visits_read": True, "stored": config_map}
    refused = Refusal("Job", "ew-store", "Forbidden", "image not allowed here")
    cr = {**cr, "status": decide_probe(probes.facts(cr, **known, refused=refused)).status}
    end = decide_probe(probes.facts(cr, **known))
    assert end.create == []
    assert (probes.reason(end, "ResultsStored"), probes.reason(end, "Succeeded")) == ("StoreNotTried", "Completed")
    assert "image not allowed here" in told(end, "ResultsStored")["message"]


def test_an_earlier_pod_of_that_name_is_not_taken_for_the_jobs_own() -> None:
    one, other = probes.packed(target_node="node1"), probes.packed()
    made = probes.through(probes.placed(results=SINKS), one, other)
    cr = {**probes.placed(results=SINKS), "status": made.status}
    (config_map,) = [m for m in made.create_first if m["metadata"]["name"].endswith("-result")]
    child = {
        "metadata": {"name": "ew-store", "uid": "another", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {},
        "status": {},
    }
    known = {
        "visit_results": {1: one, 2: other},
        "visits_read": True,
        "stored": config_map,
        "jobs": {"ew-store": child},
    }
    old = {"pods": {"ew-store": store_pod(0, "Succeeded")}, "blocks": {"pod-store": {"receipts": receipts()}}}
    assert told(decide_probe(probes.facts(cr, **known, **old)), "Succeeded")["reason"] == "Storing"


def test_a_results_gzip_file_is_taken_as_the_job_mounts_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = base64.b64decode(kept_probe()["binaryData"]["result.json.gz"])
    (tmp_path / "result.json.gz").write_bytes(payload)
    (tmp_path / "stores.json").write_text(json.dumps([StoreSink(name="f", uri=f"file://{tmp_path}/s").snake()]))
    with pytest.raises(SystemExit) as ended:
        cli.main(["results", "push", str(tmp_path / "result.json.gz"), "--sinks", str(tmp_path / "stores.json")])
    assert (ended.value.code, "tokenmark-frame/v1 receipts" in capsys.readouterr().out) == (0, True)
    assert json.loads(gzip.decompress(payload))["schema_version"] == "netprobe-ew/v1"
    with pytest.raises(SystemExit) as refused:
        cli.main(
            [
                "results",
                "push",
                str(tmp_path / "result.json.gz"),
                "--sinks",
                str(tmp_path / "stores.json"),
                "--sha256",
                "0" * 64,
            ]
        )
    assert (refused.value.code, "an earlier object of that name" in capsys.readouterr().err) == (2, True)
