"""A pod that follows: it does what the leader says, with its own share, until it is let go or the leader is gone."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenmark_schemas.errors import RunFailed
from tokenmark_schemas.frames import MAX_BLOCK_BYTES
from tokenmark_schemas.run import GATHER_S, RunConfig, Team
from tokenmark_schemas.workload import Stage

from ..instrument.phase_runner import Instrument, PhaseOrder
from ..instrument.progress import Observer
from ..instrument.stop import Stop
from ..load.counters import Tick
from . import wire
from .leader import team_word

KNOCK_S = 0.5


class Follower:
    """Serves one leader. `serve` returns when the run is over; raises RunFailed when the leader cannot be reached or
    was lost, or this pod was told to stop."""

    def __init__(self, config: RunConfig, team: Team, index: int, observer: Observer, stop: Stop) -> None:
        self.team, self.index, self.told = team, index, stop
        self.instrument = Instrument(config, observer, stop, self._must_stop)
        self._halted = self._deaf = False
        self._ends = time.monotonic() + config.deadline_s + GATHER_S  # the leader's own comes first
        self._ahead_ns = 0
        self._heard: deque[Any] = deque()  # orders that came while load ran
        self.line = self._knock(team_word(config.run.uid, config.run.attempt))

    def serve(self, request_log: Callable[[], tuple[Path, str | None]]) -> None:
        """Orders, one after the other. `request_log` closes this pod's log and tells where it is and what it lacks."""
        try:
            while True:
                order = self._heard.popleft() if self._heard else self.line.heard(1.0)
                if self.told.asked or time.monotonic() > self._ends:
                    raise RunFailed(self.told.why or "the run's own deadline has passed")
                if isinstance(order, wire.Finish):
                    self.line.say(_log_of(*request_log()))
                    return
                if order is not None:
                    self._obey(order)
        except wire.PeerLost as exc:
            raise RunFailed(f"the leading runner pod was lost: {exc}") from exc
        except RunFailed as exc:
            with contextlib.suppress(wire.PeerLost):
                self.line.say(wire.Failed(str(exc)))
            raise
        finally:
            self.line.close()

    def _obey(self, order: Any) -> None:
        if isinstance(order, wire.Ping):
            self.line.say(wire.Pong(time.monotonic_ns()))
        elif isinstance(order, wire.Calibrate):
            self.line.say(wire.Floor(self._floor(order.streams)))
        elif isinstance(order, wire.Go):
            self._halted, self._ahead_ns = False, order.ahead_ns
            stage = Stage.model_validate(order.stage)
            shard = (self.index, self.team.pods)
            phase = PhaseOrder(order.label, stage, order.repetition, order.salt, shard, order.begin_ns, order.ahead_ns)
            measured = self.instrument.measure(phase, peers=self)
            if self._deaf:
                raise wire.PeerLost("its line broke while load ran")
            if self.told.asked:
                raise RunFailed(self.told.why)
            self.line.say(wire.Measured(measured))

    def _floor(self, streams: int) -> dict[str, float] | None:
        try:
            return self.instrument.floor(streams)
        except RunFailed:
            return None

    # --- a mate to its own instrument: the leader's voice -----------------------------------------------------------

    def pulse(self, tick: Tick) -> Sequence[Tick]:
        """Tells the leader how it goes, and hears whether to stop. A leader that is gone ends the load."""
        try:
            self.line.say(wire.State(replace(tick, at_ns=tick.at_ns - self._ahead_ns)))
            while (order := self.line.heard()) is not None:
                self._halted = True  # any word while load runs says that the leader waits for nothing more of it
                if not isinstance(order, wire.Halt):
                    self._heard.append(order)
        except wire.PeerLost:
            self._deaf = True
        return ()

    def stop(self) -> None:
        """Others are the leader's to tell."""

    @property
    def waiting(self) -> bool:
        return False

    def _must_stop(self) -> bool:
        return self._halted or self._deaf or self.told.asked or time.monotonic() > self._ends

    # --- the door ---------------------------------------------------------------------------------------------------

    def _knock(self, word: str) -> wire.Line:
        """Until the leader opens: its Service may not be there yet, and its pod may wait for a node."""
        host, _, port = self.team.address.rpartition(":")
        until, why = time.monotonic() + GATHER_S, ""
        while time.monotonic() < until and not self.told.asked:
            try:
                line = wire.Line(socket.create_connection((host, int(port)), timeout=2.0), wire.Command)
                line.say(wire.Hello(word, self.index))
                return line
            except (OSError, wire.PeerLost) as exc:
                why = str(exc)
                time.sleep(KNOCK_S)
        raise RunFailed(
            self.told.why or f"the leading runner pod at {self.team.address} was not there within {GATHER_S} s: {why}"
        )


def _log_of(path: Path, lacks: str | None) -> wire.Log:
    """A log that is not whole, or too large for where it would go, stays where it is, and that is said."""
    if lacks or not path.exists():
        return wire.Log(b"", lacks or "")
    size = path.stat().st_size
    if size > MAX_BLOCK_BYTES:
        return wire.Log(b"", f"{size} bytes, above {MAX_BLOCK_BYTES}")
    return wire.Log(path.read_bytes())
