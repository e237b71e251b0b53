"""Engines by name: where they come from, whether they are up, what they serve, and one request, against servers that answer."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench_runner.config.connections import DEFAULT_PORTS, connections, named, token_of
from bench_runner.formats.tables import REQUEST_COLUMNS
from bench_runner.target.discovery import FIRST_PAUSE_S, health, models
from bench_runner.target.http_get import ask
from tests.cluster.layout import TREE
from tests.support.commands import tokenmark
from tests.support.ports import free_port
from tests.support.serving import in_thread, simulated
from tokenmark_schemas.engines import EngineConnection
from tokenmark_schemas.errors import InvalidInput


def an_engine(url: str, engine: str = "vllm", **more: Any) -> EngineConnection:
    return EngineConnection.model_validate({"name": "it", "engine": engine, "url": url, **more})


@contextmanager
def answering(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers one after the other, the last one for ever; and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, in_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}", asked


# --- where they come from -------------------------------------------------------------------------------------------


def test_without_a_file_they_are_looked_for_where_their_servers_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = connections(None, {})
    assert {each.name: each.url for each in found} == {
        name: f"http://127.0.0.1:{port}" for name, port in DEFAULT_PORTS.items()
    }


def test_the_example_says_the_same_as_no_file() -> None:
    assert connections(TREE / "deploy" / "examples" / "engines.yaml", {}) == connections(None, {})


def test_a_file_in_the_folder_is_taken_and_the_environment_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "engines.yaml").write_text(
        "schemaVersion: engines/v1\nengines:\n- {name: my-gpu, engine: vllm, url: 'http://a:1', model: m}\n"
    )
    assert [(each.name, each.url) for each in connections(None, {})] == [("my-gpu", "http://a:1")]
    said = {"TOKENMARK_ENGINE_MY_GPU_URL": "http://b:2/", "TOKENMARK_ENGINE_MY_GPU_MODEL": "n"}
    (found,) = connections(None, said)
    assert (found.url, found.model) == ("http://b:2", "n")
    with pytest.raises(InvalidInput, match="TOKENMARK_ENGINE_MY_GPU_URL: write for example"):
        connections(None, {"TOKENMARK_ENGINE_MY_GPU_URL": "http://user:secret@b"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "schemaVersion: engines/v1\nengines: [{name: a, engine: vllm, url: 'http://u:p@h'}]\n",
            "a login in a URL ends up in logs",
        ),
        ("schemaVersion: engines/v1\nengines: [{name: a, engine: wllm, url: 'http://h'}]\n", "engine"),
        (
            "schemaVersion: engines/v1\nengines: [{name: a, engine: vllm, url: 'http://h'}, {name: a, engine: tgi, url: 'http://h'}]\n",
            "each name may stand once",
        ),
        ("schemaVersion: workload/v1\nname: x\n", "x.yaml"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InvalidInput, match=said):
        connections(tmp_path / "x.yaml", {})


def test_a_name_that_is_none_and_a_token_that_is_empty_are_said() -> None:
    known = connections(None, {})
    with pytest.raises(InvalidInput, match="there is no engine named olama; known: ollama, vllm"):
        named(known, "olama")
    connection = an_engine("http://h", tokenEnv="KEY")
    assert token_of(connection, {"KEY": " t "}) == "t"
    with pytest.raises(InvalidInput, match="variable KEY should hold the token of it and is empty"):
        token_of(connection, {})


# --- health and discovery -------------------------------------------------------------------------------------------


def test_one_that_is_not_ready_is_asked_again_after_longer_and_longer() -> None:
    pauses: list[float] = []
    with answering((503, {}), (503, {}), (503, {}), (200, {})) as (url, asked):
        said = health(an_engine(url, retries=3), None, pauses.append)
    assert (said.up, said.attempts, asked) == (True, 4, ["/health"] * 4)
    assert pauses == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert said.seconds is not None


def test_one_that_says_no_is_not_asked_again() -> None:
    for status, word in ((401, "it wants a token"), (404, "is another server on this port?"), (500, "it answers 500")):
        with answering((status, {})) as (url, asked):
            said = health(an_engine(url, retries=3), None, lambda _: pytest.fail("it said no"))
        assert (said.up, said.status, len(asked)) == (False, status, 1)
        assert word in said.said


def test_nobody_there_is_said_after_the_last_try() -> None:
    pauses: list[float] = []
    said = health(an_engine(f"http://127.0.0.1:{free_port()}", retries=2), None, pauses.append)
    assert (said.up, said.attempts, len(pauses), said.said) == (
        False,
        3,
        2,
        "the connection is refused: nothing listens there",
    )


@pytest.mark.parametrize(
    ("engine", "answer", "wanted"),
    [
        ("vllm", {"data": [{"id": "m", "max_model_len": 8192}]}, ("m", 8192, None, None, None)),
        ("llamacpp", {"data": [{"id": "g", "meta": {"n_ctx_train": 4096, "n_params": 268098176, "size": 246587904}}]}, ("g", 4096, "268M", None, 246587904)),
        ("ollama", {"models": [{"name": "q", "size": 9, "details": {"parameter_size": "7.6B", "quantization_level": "Q4_K_M"}}]}, ("q", None, "7.6B", "Q4_K_M", 9)),
        ("tgi", {"model_id": "t", "max_total_tokens": 2048, "model_dtype": "float16"}, ("t", 2048, None, None, None)),
    ],
)  # fmt: skip
def test_models_are_read_as_each_engine_tells_them(engine: str, answer: Any, wanted: tuple[Any, ...]) -> None:
    with answering((200, answer)) as (url, _):
        (model,) = models(an_engine(url, engine), None)
    assert (model.id, model.context, model.parameters, model.quantization, model.size_bytes) == wanted


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"data": 3}', b'{"data": [{}]}', b"[" * 5000])
def test_an_answer_of_another_kind_is_said_to_be_one(answer: bytes) -> None:
    with answering((200, answer)) as (url, _):
        assert models(an_engine(url), None) == "/v1/models answers something else than vllm does; is it of that kind?"


def test_an_engine_without_models_and_one_without_a_list() -> None:
    with answering((200, {"models": []})) as (url, _):
        assert models(an_engine(url, "ollama"), None) == []
    assert models(an_engine("http://127.0.0.1:9", "rag"), None) == "an engine of kind rag has no list of models"


# --- the verbs, against a server ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("engines") / "e.yaml"
    with simulated("--ttft-ms", "20", "--itl-ms", "3") as url:
        rows = [
            {"name": kind, "engine": kind, "url": url, "retries": 0}
            for kind in ("vllm", "ollama", "tgi", "llamacpp", "rag")
        ]
        rows.append({"name": "gone", "engine": "vllm", "url": f"http://127.0.0.1:{free_port()}", "retries": 0})
        path.write_text(json.dumps({"schemaVersion": "engines/v1", "engines": rows}))
        yield path


def test_health_shows_answer_times_and_fails_for_one_that_was_named(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenmark("engines", "health", "--engines", str(file)) == 0
    shown = capsys.readouterr().out
    assert shown.count(" up ") == 5
    assert "the connection is refused" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    assert tokenmark("engines", "health", "gone", "--engines", str(file)) == 5
    capsys.readouterr()
    assert tokenmark("engines", "health", "vllm", "--engines", str(file), "--format", "json") == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert said["up"]
    assert said["seconds"] > 0


def test_what_an_engine_is_and_serves(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenmark("engines", "info", "ollama", "--engines", str(file)) == 0
    assert "version         sim" in capsys.readouterr().out
    assert tokenmark("engines", "info", "gone", "--engines", str(file)) == 5
    assert "is down: the connection is refused" in capsys.readouterr().err
    assert tokenmark("models", "list", "--engines", str(file), "--format", "json") == 0
    listed = {each["engine"]: each for each in json.loads(capsys.readouterr().out)}
    assert [model["id"] for model in listed["ollama"]["models"]] == ["sim"]
    assert listed["rag"]["problem"] == "an engine of kind rag has no list of models"
    assert tokenmark("models", "info", "sim", "--engine", "ollama", "--engines", str(file)) == 0
    assert "quantised     F16" in capsys.readouterr().out
    assert tokenmark("models", "info", "simm", "--engines", str(file)) == 2
    assert "no engine serves simm; served: sim" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["vllm", "ollama", "tgi", "llamacpp", "rag"])
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_one_request_shows_its_text_and_its_times(
    engine: str, stream: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        tokenmark("test-request", engine, stream, "--engines", str(file), "--max-output-tokens", "4", "--show", "json")
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert document["text"] == " token token token token"
    assert document["output_tokens"] == 4
    assert set(REQUEST_COLUMNS) <= set(document)
    if stream == "--stream":
        assert 0.02 <= document["ttft_s"] < 0.2
        assert len(document["content_ns"]) == 4


def test_one_request_raw_saved_and_failed(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        tokenmark(
            "test-request",
            "vllm",
            "--engines",
            str(file),
            "--max-output-tokens",
            "2",
            "--show",
            "raw",
            "--save",
            str(tmp_path / "r.json"),
        )
        == 0
    )
    assert capsys.readouterr().out.startswith("HTTP/1.1 200 OK")
    assert json.loads((tmp_path / "r.json").read_text())["text"] == " token token"
    assert tokenmark("test-request", "vllm", "--engines", str(file), "--model", "nope") == 5
    assert "HTTP 404: the model `nope` does not exist" in capsys.readouterr().err
    assert tokenmark("test-request", "gone", "--engines", str(file)) == 2
    assert "--model is missing, and gone does not tell which it serves" in capsys.readouterr().err
    assert tokenmark("test-request", "http://127.0.0.1:9") == 2
    assert "--kind is missing" in capsys.readouterr().err


# --- doctor ---------------------------------------------------------------------------------------------------------


def of_doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    capsys.readouterr()
    code = tokenmark("doctor", *words, "--format", "json")
    return code, {check["name"]: (check["state"], check["said"]) for check in json.loads(capsys.readouterr().out)}


def test_doctor_finds_a_healthy_engine_and_one_request_that_works(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = of_doctor(capsys, "vllm", "--engines", str(file), "--out", str(tmp_path))
    assert code == 0
    assert [found[name][0] for name in ("engine", "model", "request", "descriptors", "stamps", "disk")] == ["ok"] * 6
    assert "4 tokens told by the engine" in found["request"][1]


def test_doctor_stops_at_what_fails_first_and_says_what_to_do(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = of_doctor(capsys, "gone", "--engines", str(file), "--out", str(tmp_path))
    assert (code, found["engine"][0], "request" in found) == (5, "fail", False)
    code, found = of_doctor(capsys, "vllm", "--engines", str(file), "--model", "nope")
    assert (code, found["model"]) == (5, ("fail", "nope is not served; served: sim"))
    code, found = of_doctor(capsys, "--concurrency", "1000000")
    assert found["descriptors"][0] in ("warn", "fail")
    assert "ulimit -n 1000064" in found["descriptors"][1]
    assert of_doctor(capsys, "--out", "/proc/nowhere")[1]["disk"][0] == "fail"


def test_doctor_reads_a_cluster_by_what_kubectl_says() -> None:
    from bench_runner.run.preflight import of_cluster

    def says(**answers: str | None) -> dict[str, str]:
        def ask(*words: str) -> str | None:
            return next((said for key, said in answers.items() if key in words), "")

        return {check.name: check.state for check in of_cluster("bench", ask)}

    assert says(version=None) == {"cluster": "fail"}
    whole = says(version="v1", crd="crd/x", auth="yes", deploy="1", resourcequota="3/10 ")
    assert set(whole.values()) == {"ok"}
    poor = says(version="v1", crd="", auth="no", deploy="", resourcequota="10/10 ")
    assert poor == {"cluster": "ok", "crds": "fail", "rights": "fail", "operator": "fail", "quota": "fail"}
    blind = says(version="v1", crd="crd/x", auth="yes", deploy=None, resourcequota=None)
    assert (blind["operator"], blind["quota"]) == ("warn", "warn")


def test_a_token_of_two_lines_is_refused_and_never_shown() -> None:
    with pytest.raises(InvalidInput, match="holds what no header can carry") as caught:
        token_of(an_engine("http://h:1", token_env="TOK"), {"TOK": "sk-secret\nX-Other: 1"})
    assert "sk-secret" not in str(caught.value)
    said = ask("http://127.0.0.1:1/", token="sk-secret\nfoo")
    assert isinstance(said, str)
    assert "sk-secret" not in said
