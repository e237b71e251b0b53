"""Records of a seed, which calls are made on them, and what the nearest are."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from pydantic import ValidationError

from bench_runner.pipelines.database import own_name
from bench_runner.pipelines.mix import CYCLE, Mix
from bench_runner.pipelines.records import RecordSet
from tokenmark_schemas.benchmarkrun import BenchmarkRunSpec
from tokenmark_schemas.database import Operation, Records
from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.run import RunIdentity, resolve
from tokenmark_schemas.support import unsupported_run
from tokenmark_schemas.workload import Conversation, Dataset, Stage, WorkloadSpec

SMALL = Records(count=500, dimensions=8, categories=5, queries=20, payload_bytes=40)


def operations(**weights: int) -> list[Operation]:
    kinds = {"read": "PointRead", "search": "Search", "filtered": "FilteredSearch", "insert": "Insert"}
    return [Operation(name=name, kind=kinds[name], weight=weight, k=5) for name, weight in weights.items()]  # type: ignore[arg-type]


def test_a_seed_gives_the_same_vectors_on_every_machine() -> None:
    def digest(seed: int) -> str:
        found = RecordSet(Records(count=64, dimensions=4, seed=seed))
        return hashlib.sha256(found.vectors.round(3).tobytes() + found.asked.round(3).tobytes()).hexdigest()[:16]

    assert digest(7) == digest(7) == "7ac9f8ce968c2cd6"
    assert digest(8) != digest(7)


@pytest.mark.parametrize("filtered", [False, True])
def test_the_nearest_are_those_that_a_plain_look_at_all_finds(filtered: bool) -> None:
    records = RecordSet(SMALL)
    truth = records.nearest(7, filtered=filtered)
    assert len(truth) == SMALL.queries
    for query in range(SMALL.queries):
        allowed = [n for n in range(SMALL.count) if not filtered or n % 5 == query % 5]
        by_distance = sorted(
            allowed,
            key=lambda n: sum(
                (float(a) - float(b)) ** 2 for a, b in zip(records.vectors[n], records.asked[query], strict=True)
            ),
        )
        assert truth[query] == frozenset(by_distance[:7])


def test_what_is_added_is_never_among_the_nearest() -> None:
    records = RecordSet(SMALL)
    for query in range(SMALL.queries):
        farthest = float(((records.vectors - records.asked[query]) ** 2).sum(axis=1).max())
        assert float(((records.added(query) - records.asked[query]) ** 2).sum()) > farthest


def test_calls_come_by_weight_and_in_the_same_order_for_every_server() -> None:
    mix = Mix(operations(read=8, search=2), RecordSet(SMALL), seed=3)
    begins = mix.begins("phase")
    calls = [mix.call(seq, begins) for seq in range(CYCLE)]
    again = Mix(operations(read=8, search=2), RecordSet(SMALL), seed=3)
    assert calls == [again.call(seq, begins) for seq in range(CYCLE)]
    counts = Counter(call.operation for call in calls)
    assert 0.77 < counts[0] / CYCLE < 0.83
    assert len({call.new for call in calls}) == CYCLE
    assert min(call.new for call in calls) >= SMALL.count
    other = [mix.call(seq, mix.begins("another phase")).new for seq in range(CYCLE)]
    assert not {call.new for call in calls} & set(other)


def test_recall_is_the_share_of_the_nearest() -> None:
    mix = Mix(operations(read=1, search=1), RecordSet(SMALL), seed=3)
    begins = 0
    search = next(call for seq in range(99) if (call := mix.call(seq, begins)).operation == 1)
    read = next(call for seq in range(99) if (call := mix.call(seq, begins)).operation == 0)
    mix.know(lambda: False)
    truth = sorted(mix.truth[1][search.query])
    assert mix.recall(search, truth) == 1.0
    assert mix.recall(search, [*truth[:3], 10**9]) == pytest.approx(0.6)
    assert mix.recall(search, []) == 0.0
    assert mix.recall(read, [read.record]) is None


def test_payloads_have_the_stated_length() -> None:
    records = RecordSet(SMALL)
    assert {len(records.payload(number).encode()) for number in (0, 7, 499, 2**62)} == {40}


def test_vectors_that_would_not_fit_are_refused_before_anything_is_made() -> None:
    with pytest.raises(InvalidInput, match="above 2 GiB"):
        RecordSet(Records(count=10_000_000, dimensions=2000))


def test_every_run_has_a_database_of_its_own_and_all_its_attempts_the_same() -> None:
    first = RunIdentity(name="A-Run.of-mine", namespace="n", uid="u1")
    assert own_name(first) == own_name(first.model_copy(update={"attempt": 2}))
    assert own_name(first) != own_name(first.model_copy(update={"uid": "u2"}))
    assert own_name(first).startswith("tokenmark_a_run_of_mine_")
    assert len(own_name(RunIdentity(name="x" * 63))) <= 63
    assert own_name(RunIdentity(name="t")) != own_name(RunIdentity(name="t")), "two laptops, one server"


def test_working_out_what_is_nearest_ends_when_it_is_told_to() -> None:
    with pytest.raises(RunFailed, match="stopped"):
        Mix(operations(search=1), RecordSet(SMALL), seed=3).know(lambda: True)


def test_filling_is_planned_for() -> None:
    def deadline(count: int) -> int:
        work = WorkloadSpec(
            dataset=Dataset(records=Records(count=count, dimensions=128)), operations=operations(search=1)
        )
        run = spec("postgres", workload=work.camel(), stages=[stage.camel() for stage in C1])
        return resolve(run, RunIdentity(name="t"), url="postgresql://db:5432", workload=None).deadline_s

    assert deadline(1_000_000) > deadline(1000) + 2000


def test_a_statement_that_inserts_a_vector_is_no_search() -> None:
    own = {"name": "o", "kind": "Statement", "statement": "select 1"}
    assert Operation.model_validate({**own, "parameters": ["Vector"]}).searches
    assert not Operation.model_validate({**own, "parameters": ["NewId", "Vector"]}).searches


RECORDS = Dataset(records=SMALL)
WORK = WorkloadSpec(dataset=RECORDS, operations=operations(read=1))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dataset": RECORDS, "max_output_tokens": 5}, "go together"),
        ({"dataset": Dataset(prompts=["a"]), "operations": operations(read=1)}, "go together"),
        (
            {"dataset": RECORDS, "operations": operations(read=1), "max_output_tokens": 5},
            "maxOutputTokens for an engine, or",
        ),
        ({"dataset": Dataset(records=Records(count=9)), "operations": operations(search=1)}, "needs vectors"),
        (
            {"dataset": Dataset(records=Records(count=3, dimensions=2)), "operations": operations(search=1)},
            "k is above",
        ),
    ],
)
def test_work_that_cannot_be_done_is_refused_by_its_name(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WorkloadSpec(**fields)  # type: ignore[arg-type]


def spec(engine: str, **more: object) -> BenchmarkRunSpec:
    url = "postgresql://db:5432" if engine == "postgres" else "http://db:8000"
    model = None if engine in ("postgres", "chroma") else "m"
    return BenchmarkRunSpec.model_validate(
        {"target": {"engine": engine, "model": model, "endpoint": {"url": url}}, **more}
    )


PROMPTS = WorkloadSpec(dataset=Dataset(prompts=["a"]), max_output_tokens=5)
OWN = WorkloadSpec(dataset=RECORDS, operations=[Operation(name="s", kind="Statement", statement="select 1")])
FLAT = WorkloadSpec(dataset=Dataset(records=Records(count=9)), operations=operations(read=1))
C1 = [Stage(name="c1", concurrency=1, request_count=1)]


@pytest.mark.parametrize(
    ("run", "work", "said"),
    [
        (spec("openai"), WORK, "workload.operations: with engine openai"),
        (spec("openai", database={}), PROMPTS, "spec.database: with engine openai"),
        (spec("postgres"), PROMPTS, "workload: of prompts, with engine postgres"),
        (spec("chroma"), OWN, "kind Statement with engine chroma"),
        (spec("chroma"), FLAT, "without dimensions, with engine chroma"),
        (spec("postgres", execution={"workers": 2}), WORK, "spec.execution.workers: above 1"),
        (
            spec("chroma", database={"index": {"kind": "Flat"}}),
            WORK,
            "spec.database.index.kind: Flat with engine chroma",
        ),
        (
            spec("postgres"),
            WORK.model_copy(update={"conversation": Conversation()}),
            "workload.conversation: with engine postgres",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_said_before_the_load(run: BenchmarkRunSpec, work: WorkloadSpec, said: str) -> None:
    assert any(said in text for text in unsupported_run(run, work, C1, in_cluster=True))


def test_what_they_can_do_is_not_refused() -> None:
    for engine in ("postgres", "chroma"):
        assert unsupported_run(spec(engine), WORK, C1, in_cluster=True) == []


def test_a_database_needs_no_model_and_its_own_kind_of_address() -> None:
    assert spec("postgres").target.called == "postgres"
    for engine, url in (("postgres", "http://db:5432"), ("chroma", "postgresql://db:5432")):
        with pytest.raises(ValidationError, match=r"postgresql://host:5432 for engine postgres"):
            BenchmarkRunSpec.model_validate({"target": {"engine": engine, "endpoint": {"url": url}}})
    for url in ("postgresql:///shop", "postgresql://db:abc", "http://h:99999", "postgresql://db/shop"):
        engine = "postgres" if url.startswith("p") else "openai"
        with pytest.raises(ValidationError, match=r"is not a URL; write|named in spec.database.name"):
            BenchmarkRunSpec.model_validate({"target": {"engine": engine, "model": "m", "endpoint": {"url": url}}})
    with pytest.raises(ValidationError, match="set statistic to mean"):
        spec("postgres", objectives=[{"metric": "recall", "minPerMille": 950}])
    with pytest.raises(ValidationError, match="model is missing"):
        BenchmarkRunSpec.model_validate({"target": {"engine": "vllm", "endpoint": {"url": "http://e:1"}}})
