"""`tokenmark net`: the probe by hand, between any hosts, without a cluster.

Every host runs `tokenmark net server`; whoever measures runs `client` against one of them, or `mesh` over all of them. A mesh
asks the agents to measure each other, in the same rounds of disjoint pairs as in a cluster, and they do it for nobody who does
not know the token that they were started with.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer
from pydantic import ValidationError

from tokenmark_decisions.probe_pair import unmeasured, verdict_of_all
from tokenmark_decisions.tournament import tournament
from tokenmark_schemas.documents import read_models
from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.netprobe import NetProbe, ProbeTest
from tokenmark_schemas.probe_result import HEALTH_PORT, EastWest, NetProbeResult, ProbeConfig

from .client import Pair, now
from .report import report as as_text
from .server import serve

TOKEN = "TOKENMARK_NET_TOKEN"  # noqa: S105 - the name of a variable
SPARE_S, BETWEEN_S = 90, 40
DEFAULT = (
    {"name": "rtt", "type": "TCPLatency"}, {"name": "connect", "type": "TCPConnect"}, {"name": "udp", "type": "UDPLatency"},
    {"name": "throughput", "type": "Throughput"},
)  # fmt: skip
MANIFEST = typer.Option(None, "--file", "-f", help="A NetProbe manifest, whose tests are made; else rtt, connect, udp, throughput.")  # fmt: skip
REPETITIONS = typer.Option(6, "--repetitions", min=1, max=20, help="Six give a 95 % interval.")
SECONDS = typer.Option(None, "--seconds", min=1, max=3600, help="Length of each test.")
PROVIDER = typer.Option("local", "--provider", help="Where the hosts are.")
OUT = typer.Option(None, "--out", help="A file, or - for the terminal; else benchmarks/ew/<provider>/<timestamp>.json.")
app = typer.Typer(
    help="Measure the network between hosts by hand.", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
)  # fmt: skip


@app.command()
def server(
    deadline: int = typer.Option(86_400, "--deadline", min=1, help="Seconds after which it ends by itself."),
) -> None:
    """Answer whoever measures; with TOKENMARK_NET_TOKEN set, also measure for a mesh that knows it."""
    raise typer.Exit(serve(deadline, os.environ.get(TOKEN, "")))


@app.command()
def client(
    host: str = typer.Argument(help="Where `tokenmark net server` runs."), file: Path | None = MANIFEST,
    repetitions: int = REPETITIONS, seconds: int | None = SECONDS, provider: str = PROVIDER, out: str | None = OUT,
    patience: float = typer.Option(60, "--patience", min=1, help="Seconds to wait for the other host's agent."),
) -> None:  # fmt: skip
    """Measure between this host and another."""
    tests = _tests(file, seconds)
    pair = Pair(_config(tests, repetitions, platform.node(), host, host), told=_teller(out), wait_s=patience)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _frame: pair.stop(n))
    result = pair.run()
    _write([result], tests, 1, provider, out, 128 + pair.stopped if pair.stopped else 0)


@app.command()
def mesh(
    hosts: list[str] = typer.Argument(help="Two or more hosts where `tokenmark net server` runs, with the same token."),
    file: Path | None = MANIFEST, repetitions: int = REPETITIONS, seconds: int | None = SECONDS, provider: str = PROVIDER,
    out: str | None = OUT,
) -> None:  # fmt: skip
    """Let hosts measure each other, every pair once."""
    token = os.environ.get(TOKEN, "")
    if not token:
        raise InvalidInput(f"set {TOKEN} here and where the agents run: a mesh makes them measure, and they ask for it")
    if len(set(hosts)) < 2 or len(set(hosts)) != len(hosts):
        raise InvalidInput("a mesh needs two or more different hosts")
    tests, found = _tests(file, seconds), list[NetProbeResult]()
    tell, code = _teller(out), 0
    try:
        for source, target in (pair for pairs in tournament(hosts) for pair in pairs):
            tell(f"{source} to {target}")
            try:
                found.append(_measured_there(source, _config(tests, repetitions, source, target, target), token))
            except RunFailed as exc:  # the other pairs are none the worse for it
                tell(f"tokenmark: {exc}")
                code = exc.exit_code
    except KeyboardInterrupt:
        code = 130
    if not found:
        raise typer.Exit(code)
    _write(found, tests, len(hosts) * (len(hosts) - 1) // 2, provider, out, code)


@app.command("report")
def report_file(file: Path = typer.Argument(help="A netprobe-ew/v1 file, as client and mesh write it.")) -> None:
    """Print a stored measurement as a matrix."""
    try:
        text = file.read_text()
        document = EastWest.model_validate(json.JSONDecoder().raw_decode(text[max(0, text.find("{")) :])[0])
    except json.JSONDecodeError as exc:
        raise InvalidInput(f"{file} holds no JSON document") from exc
    except OSError as exc:
        raise InvalidInput(f"{file}: {exc.strerror}") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        raise InvalidInput(f"{file} is no netprobe-ew/v1: {'.'.join(map(str, first['loc']))}: {first['msg']}") from exc
    print(as_text(document), end="")


# --- the parts --------------------------------------------------------------------------------------------------------


def _tests(file: Path | None, seconds: int | None) -> list[ProbeTest]:
    """Of a manifest, or the usual four; those that need a cluster are refused by name."""
    tests = [ProbeTest.model_validate(test) for test in DEFAULT]
    if file is not None:
        probes = [model for model in read_models(file) if isinstance(model, NetProbe)]
        if len(probes) != 1:
            raise InvalidInput(f"{file} has {len(probes)} NetProbes; give one")
        tests = list(probes[0].spec.tests)
    clustered = [test.name for test in tests if test.way == "PodToService"]
    if clustered:
        raise InvalidInput(f"tests {', '.join(clustered)}: PodToService needs a cluster; leave them out by hand")
    return [test if seconds is None else test.model_copy(update=_lasting(test, seconds)) for test in tests]


def _lasting(test: ProbeTest, seconds: int) -> dict[str, int]:
    return {"duration_seconds": seconds, "omit_seconds": min(test.omitted_seconds, seconds - 1)}


def _config(tests: Sequence[ProbeTest], repetitions: int, source: str, target: str, address: str) -> ProbeConfig:
    return ProbeConfig(
        probe="by-hand", namespace="", uid="by-hand", server_host=address, source_node=source, target_node=target,
        tests=list(tests), repetitions=repetitions, deadline_s=_lasts_s(tests, repetitions),
    )  # fmt: skip


def _lasts_s(tests: Sequence[ProbeTest], repetitions: int) -> int:
    return SPARE_S + repetitions * sum(t.seconds + t.warmup_seconds + t.omitted_seconds + BETWEEN_S for t in tests)


def _measured_there(host: str, config: ProbeConfig, token: str) -> NetProbeResult:
    """Raises RunFailed, in one sentence, where the agent does not, or will not, measure."""
    connection = http.client.HTTPConnection(host, HEALTH_PORT, timeout=config.deadline_s)
    try:
        connection.request("POST", "/measure", config.model_dump_json(), {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read(2**24)
        if answer.status != 200:
            raise RunFailed(
                f"the agent on {host} answers {answer.status}: {body.decode(errors='replace').strip()[:200]}"
            )
        return NetProbeResult.model_validate_json(body)
    except (OSError, http.client.HTTPException) as exc:
        raise RunFailed(
            f"no measurement from the agent at {host}:{HEALTH_PORT}: {exc}; does `tokenmark net server` run there?"
        ) from exc
    except ValidationError as exc:
        raise RunFailed(f"the agent on {host} is of another version: its answer is no netprobe-result/v1") from exc
    finally:
        connection.close()


def _write(
    found: list[NetProbeResult], tests: list[ProbeTest], pairs_of: int, provider: str, out: str | None, code: int
) -> None:
    """The file, then what a person reads. Ends with `code`, or with 5 where a test has no figure at all."""
    document = EastWest(
        probe="by-hand", created_at=now(), environment={"provider": provider}, tests=tests, measured=len(found),
        pairs_of=pairs_of, chosen="all of them" if len(found) == pairs_of else "those that could be measured", verdict=verdict_of_all(found), pairs=found,
    )  # fmt: skip
    text = json.dumps(document.snake(), indent=1) + "\n"
    if out == "-":
        print(text, end="")
        print(as_text(document), end="")
    else:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = Path(out) if out else Path("benchmarks") / "ew" / provider / f"{stamp}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as exc:
            print(text, end="")  # what was measured is not lost for want of a place
            raise InvalidInput(f"{path}: {exc.strerror}; the result stands on the standard output") from exc
        print(as_text(document), end="")
        print(f"\nwritten to {path}")
    if code or any(map(unmeasured, found)):
        raise typer.Exit(code or 5)


def _teller(out: str | None) -> Callable[[str], None]:
    """How progress is told: beside the result, where that goes to the terminal. All on one stream then: a container's two are
    joined by whoever comes first, in the middle of a document too."""
    stream = sys.stdout if out == "-" else sys.stderr
    return lambda text: print(text, file=stream, flush=True)
