"""A run with a person or a pod around it: signals, files, progress, stores, what is left behind when it ends early.

The same session serves both; `InPod` adds log frames and the termination message.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tokenmark_schemas.errors import InvalidInput, RunFailed, TokenmarkError
from tokenmark_schemas.result import RunResult, TerminationSummary
from tokenmark_schemas.run import RunConfig, Team
from tokenmark_schemas.store import RECEIPTS, Receipts, StoreSink

from ..instrument.phase_runner import Instrument
from ..instrument.progress import Progress
from ..instrument.stop import Stop
from ..reports.live import LiveView
from ..samples.sample import Sample
from ..storage.pod_frames import (
    compressed,
    termination_stage,
    write_frames,
    write_progress,
    write_requests,
    write_termination,
)
from ..storage.request_log import RequestLog
from ..storage.run_folder import run_folder, write_config, write_result
from ..storage.runner_log import RunnerLog
from .delivery import RunFiles, deliver
from .eta import Eta
from .provenance import VERSION
from .runner import Bench, Runner

if TYPE_CHECKING:
    from ..team.leader import Leader

EXIT_BY_SIGNAL = {signal.SIGINT: 130, signal.SIGTERM: 143}
POD_PROGRESS_S = 2.0


class Session:
    """Observer of a run, owner of its files and of the exit code."""

    def __init__(self, config: RunConfig, out: Path, *, quiet: bool, pod: bool) -> None:
        self.config, self.pod = config, pod
        self.folder = run_folder(out, config.run.name)
        self.requests_file = self.folder / "requests.jsonl.gz"
        self.log = RequestLog(self.requests_file, config.detail)
        self.diary = RunnerLog(self.folder / "runner.log", aloud=pod)
        self.receipts = Receipts(stores=[])
        self.live = LiveView(quiet=quiet or pod)
        self.stop = Stop()
        self.unsaved = ""  # why result.json is not on disk, if it is not
        self.signalled = 0
        self._dropped = ""  # why the request log is not among the frames
        self._last_progress = 0.0
        self._eta = Eta(config)
        self._place: tuple[str, str, int] = ("", "", 0)
        self._leader: Leader | None = None

    # --- observer ---------------------------------------------------------------------------------------------------

    def sample(self, sample: Sample) -> None:
        if sample.stage != "warmup":
            self.log.add(sample)

    def progress(self, progress: Progress) -> None:
        self.live.show(progress)
        left_s = self._eta.left_s(progress)
        if (place := (progress.phase, progress.stage, progress.repetition)) != self._place:
            self._place = place
            self.diary.say(f"{progress.phase} {progress.stage}, {progress.repetition} of {progress.repetitions}")
        if self.pod and time.monotonic() - self._last_progress > POD_PROGRESS_S:
            self._last_progress = time.monotonic()
            write_progress(
                {
                    "phase": progress.phase, "stage": progress.stage, "repetition": progress.repetition,
                    "repetitions": progress.repetitions, "elapsed_s": round(progress.elapsed_s, 1),
                    "done": progress.done, "failed": progress.failed, "in_flight": progress.in_flight,
                    "tokens_per_s": progress.tokens_per_s, "eta_s": left_s,
                }
            )  # fmt: skip

    def repetition(self, index: int, result: RunResult) -> None:
        """A finished repetition is safe: on disk, and in a pod's log as a frame of its own."""
        self.log.flush()
        self._save(result)
        if self.pod and index + 1 < self.config.repetitions:
            write_frames(f"partial-{index}", compressed(result))

    # --- the run ----------------------------------------------------------------------------------------------------

    def execute(self) -> RunResult:
        """Runs; whatever happens, files hold what was measured. Raises what the run raises. Signals are whose they were again after it, for there may be
        further runs; a pod ends with its own."""
        before = self._heed_signals()
        try:
            return self._execute()
        finally:
            for number, handler in before.items() if not self.pod else ():
                signal.signal(number, handler)

    def _execute(self) -> RunResult:
        write_config(self.folder, self.config)
        target = self.config.target
        self.diary.say(f"tokenmark {VERSION}: {target.engine} {target.model} at {target.url}")
        if self.pod:
            write_frames("config", gzip.compress(json.dumps(self.config.snake()).encode(), mtime=0))
            write_progress({"phase": "starting", "stage": "", "repetition": 0, "repetitions": self.config.repetitions})
        result: RunResult | None = None
        try:
            result = Runner(self.config, self, self.stop, self._spread).run()
        except TokenmarkError as exc:
            self.diary.say(f"failed: {exc}")
            self._leave(None, None if self.signalled else exc)
            if self.signalled:
                raise SystemExit(self.exit_code) from exc
            raise
        finally:
            self.live.clear()
            self.log.close()
            if result is None:
                self._let_go()
        self._save(result)
        self._leave(result, None)
        self._let_go()
        self._leave_detail()
        for problem in self._problems(result):
            self.diary.say(problem)
            if not self.pod:
                print(f"tokenmark: {problem}", file=sys.stderr)
        self.diary.say(f"ended: verdict {result.verdict.state}{f', {self.stop.why}' if self.stop.asked else ''}")
        self._store(result)
        return result

    def _problems(self, result: RunResult) -> list[str]:
        target, used = self.config.target, [stage.resources for stage in result.stages if stage.resources]
        silent = [
            f"{url} told of no {what}"
            for url, what, told in (
                (target.gpu_metrics_url, "GPU", any(each.gpu for each in used)),
                (target.host_metrics_url, "machine", any(each.host for each in used)),
            )
            if url and not told
        ]
        return [problem for problem in (self.unsaved, self.log.problem, *silent) if problem]

    def _store(self, result: RunResult) -> None:
        """Into the object stores, once everything is safe here; what they say is a frame of a pod's log."""
        if not self.config.stores:
            return
        requests = None if self.log.problem else self.requests_file
        files = RunFiles(result, self.config, requests, self.diary.path)
        self.receipts = deliver(files, self.config.stores, lambda: bool(self.signalled), self._announce)
        if self.pod:
            write_frames(RECEIPTS, self.receipts.model_dump_json().encode())
        for receipt in self.receipts.stores:
            said = (
                f"{receipt.uri}: {receipt.message}"
                if receipt.stored
                else f"{receipt.uri}: {receipt.reason}: {receipt.message}"
            )
            self.diary.say(said)
            if not self.pod and not receipt.stored:
                print(
                    f"tokenmark: not stored in {said}; try again: tokenmark results push {self.folder}", file=sys.stderr
                )

    def _announce(self, sink: StoreSink) -> None:
        if self.pod:
            dropped = {"dropped": self._dropped} if self._dropped else {}
            write_progress({"phase": "storing", "stage": sink.uri, "repetition": 0, "repetitions": 0, **dropped})

    def follow(self, team: Team, index: int) -> int:
        """Drives one pod's share of a run that another one leads; returns the exit code. Raises what ends it early."""
        from ..team.follower import Follower

        self._heed_signals()
        try:
            Follower(self.config, team, index, self, self.stop).serve(self._closed_log)
        except TokenmarkError as exc:
            self.log.close()
            if not self.signalled:
                self._leave(None, exc)
                raise
        self._leave(None, None)
        return self.exit_code

    def _spread(self, instrument: Instrument) -> Bench:
        """The pods of a team in the place of this machine alone."""
        team = self.config.team
        if team is None:
            return instrument
        from ..team.leader import Leader

        self._leader = Leader(instrument, team, self.stop, lambda here: self._gathered(here, team.pods))
        return self._leader

    def _gathered(self, here: int, wanted: int) -> None:
        write_progress({"phase": "gathering", "stage": f"{here} of {wanted}", "repetition": 0, "repetitions": 0})

    def _closed_log(self) -> tuple[Path, str | None]:
        self.log.close()
        return self.requests_file, self.log.problem

    def _let_go(self) -> None:
        """Lets the other pods of a team go, and puts their request logs behind this one. The result is safe by then."""
        for log, missing in self._leader.finish() if self._leader is not None else ():
            self.log.append(log, missing)

    def _heed_signals(self) -> dict[signal.Signals, Any]:
        """Who was told of each before."""
        return {number: signal.signal(number, self._on_signal) for number in EXIT_BY_SIGNAL}

    def _save(self, result: RunResult) -> None:
        """A disk that is full ends neither the run nor what is printed of it."""
        try:
            write_result(self.folder, result)
            self.unsaved = ""
        except InvalidInput as exc:
            self.unsaved = str(exc)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signalled:
            os._exit(EXIT_BY_SIGNAL[signal.Signals(number)])
        self.signalled = number
        self.stop.ask(f"signal {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        """128 + n after a signal; a runner never exits 0 on one."""
        return EXIT_BY_SIGNAL[signal.Signals(self.signalled)] if self.signalled else 0

    def _leave(self, result: RunResult | None, error: TokenmarkError | None) -> None:
        """Frame and termination message of a pod."""
        if not self.pod:
            return
        digest = None
        if result is not None:
            payload = compressed(result)
            digest = hashlib.sha256(payload).hexdigest()
            write_frames("result", payload)
        write_termination(
            Path(os.environ.get("TOKENMARK_TERMINATION_LOG", "/dev/termination-log")),
            self._summary(result, error, digest),
        )

    def _leave_detail(self) -> None:
        """A request log that is not whole is none."""
        if self.pod and (why := self.log.problem or write_requests(self.requests_file)):
            self._dropped = why
            write_progress({"phase": "detail", "dropped": why})

    def _summary(
        self, result: RunResult | None, error: TokenmarkError | None, digest: str | None
    ) -> TerminationSummary:
        code = error.exit_code if error else self.exit_code
        interrupted = self.stop.asked
        return TerminationSummary(
            outcome="failed" if error else "interrupted" if interrupted else "completed",
            exit_code=code,
            message=str(error) if error else self.stop.why,
            result_sha256=digest,
            verdict=result.verdict.state if result else None,
            lost_pod=self.stop.lost_pod,
            missing_pod=self.stop.missing_pod,
            stages=[termination_stage(stage) for stage in result.stages] if result else [],
        )


def outcome_code(session: Session, result: RunResult) -> int:
    """Exit code of a run that has a result: interruption, then objectives, then the verdict."""
    if session.signalled:
        return session.exit_code
    not_stored = not session.pod and not all(receipt.stored for receipt in session.receipts.stores)
    if session.stop.asked or session.unsaved or not_stored:
        return RunFailed.exit_code
    if any(o.met == "false" and o.on_violation == "Fail" for o in result.objectives):
        return 3
    return 4 if result.verdict.state == "invalid" else 0
