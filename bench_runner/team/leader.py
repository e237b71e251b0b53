"""The pod that leads: a barrier for the others, their clocks, one order for all, and one set of values in the end.

A pod that is lost ends the run. What is left of the load would be a different load, and a result of it a lie; what was
measured before stands.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenmark_schemas.errors import RunFailed
from tokenmark_schemas.run import GATHER_S, Team

from ..instrument.phase_runner import Instrument, Overseer, Peers, PhaseOrder
from ..instrument.stop import Stop
from ..load.counters import Tick
from ..samples.aggregate import Collected
from . import wire
from .clocks import Offset, offset_of

LEAD_NS = 500_000_000  # from the order to the common start: connections are opened in that time
ANSWER_S = 60.0  # for what a follower answers at once
HELLO_S = 5.0
WAIT_S = 0.25
FAREWELL_S = 5.0  # for the request logs of all: the result is safe by then
MOST_AT_THE_DOOR = 256


@dataclass
class Member:
    """One of the other pods, as the leader sees it."""

    index: int
    line: wire.Line
    tick: Tick = field(default_factory=Tick)
    measured: Collected | None = None


class Leader:
    """A Bench of all pods. Raises RunFailed when a pod does not come or is lost; `stop.lost_pod` says which."""

    def __init__(self, instrument: Instrument, team: Team, stop: Stop, arrived: Callable[[int], None]) -> None:
        self.instrument, self.team, self.stop = instrument, team, stop
        self.followers: list[Member] = []
        self._gather(arrived)

    # --- the barrier ------------------------------------------------------------------------------------------------

    def _gather(self, arrived: Callable[[int], None]) -> None:
        """Waits until every pod has said who it is. NoPeers who is silent keeps another one waiting."""
        run = self.instrument.config.run
        word, until = team_word(run.uid, run.attempt), time.monotonic() + GATHER_S
        at_the_door: dict[wire.Line, float] = {}
        here = 0
        with _listening(int(self.team.address.rpartition(":")[2])) as door:
            while len(self.followers) < self.team.pods - 1:
                if self.stop.asked:
                    raise RunFailed(self.stop.why)
                if time.monotonic() > until:
                    raise RunFailed(self._missing())
                waiting: list[Any] = [door, *at_the_door]
                select.select(waiting, [], [], 0.5)
                with contextlib.suppress(BlockingIOError):
                    if len(at_the_door) < MOST_AT_THE_DOOR:
                        sock, _ = door.accept()
                        line = wire.Line(sock, wire.Hello, wire.STRANGER_BYTES)
                        at_the_door[line] = time.monotonic() + HELLO_S
                for line in list(at_the_door):
                    if self._answered(line, word, at_the_door[line]):
                        del at_the_door[line]
                if len(self.followers) > here:
                    here = len(self.followers)
                    arrived(1 + here)
        for line in at_the_door:
            line.close()
        self.followers.sort(key=lambda follower: follower.index)

    def _answered(self, line: wire.Line, word: str, until: float) -> bool:
        """True when that line needs no more waiting for: it is a pod of this run, or was sent away."""
        try:
            hello = line.heard()
        except wire.PeerLost:
            line.close()
            return True
        known = {follower.index for follower in self.followers}
        if isinstance(hello, wire.Hello) and hello.run == word and hello.index in self._wanted() - known:
            line.expect(wire.Told)
            self.followers.append(Member(hello.index, line))
            return True
        if hello is None and time.monotonic() < until:
            return False
        line.close()
        return True

    def _wanted(self) -> set[int]:
        return set(range(1, self.team.pods))

    def _missing(self) -> str:
        missing = sorted(self._wanted() - {follower.index for follower in self.followers})
        names, self.stop.missing_pod = ", ".join(map(str, missing)), missing[0]
        return (
            f"{1 + len(self.followers)} of {self.team.pods} runner pods came within {GATHER_S} s; missing: {names}; "
            "is there room for all of them, and may they reach each other?"
        )

    # --- a phase ----------------------------------------------------------------------------------------------------

    def measure(self, order: PhaseOrder, overseer: Overseer | None = None, peers: Peers | None = None) -> Collected:
        """The phase, shared by all pods from one start on."""
        before = [self._offset(follower) for follower in self.followers]
        begin = time.monotonic_ns() + LEAD_NS
        for follower, offset in zip(self.followers, before, strict=True):
            follower.tick, follower.measured = Tick(), None
            self._say(follower, wire.Go(
                label=order.label, stage=order.stage.snake(), repetition=order.repetition, salt=order.salt,
                begin_ns=begin + offset.ahead_ns, ahead_ns=offset.ahead_ns,
            ))  # fmt: skip
        company = Company(self)
        mine = self.instrument.measure(
            PhaseOrder(order.label, order.stage, order.repetition, order.salt, (0, self.team.pods), begin),
            overseer,
            company,
        )
        if company.failure is not None:
            raise company.failure
        after = [self._offset(follower) for follower in self.followers]
        whole = Collected.together([mine, *(f.measured for f in self.followers if f.measured is not None)])
        whole.clock_uncertainty_ns = max(a.later(b) for a, b in zip(before, after, strict=True))
        return whole

    def floor(self, streams: int) -> dict[str, float] | None:
        """Every pod calibrates at its share of the streams; of each figure the worst counts."""
        share = max(1, -(-streams // self.team.pods))
        for follower in self.followers:
            self._say(follower, wire.Calibrate(share))
        try:
            found = [self.instrument.floor(share)]
        except RunFailed:  # the others answer all the same
            found = [None]
        found += [self._answer(follower, wire.Floor).values for follower in self.followers]
        if any(floor is None for floor in found):
            return None
        floors = [floor for floor in found if floor is not None]
        worst = {name: max(floor.get(name, 0.0) for floor in floors) for name in floors[0]}
        return {**worst, "answers": sum(floor["answers"] for floor in floors)}

    # --- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> Iterator[tuple[bytes, str]]:
        """Lets the others go, one after the other: the request log of each, or why it cannot be had."""
        lost, until = self.stop.lost_pod, time.monotonic() + FAREWELL_S
        for follower in self.followers:
            try:
                if follower.index == lost:
                    raise wire.PeerLost("it was lost")
                follower.line.say(wire.Finish())
                yield self._log(follower, until)
            except wire.PeerLost as exc:
                yield b"", f"pod {follower.index}: {exc}"
            finally:
                follower.line.close()

    def _log(self, follower: Member, until: float) -> tuple[bytes, str]:
        while time.monotonic() < until:
            if isinstance(said := follower.line.heard(0.5), wire.Log):
                return said.data, f"pod {follower.index}: {said.missing}" if said.missing else ""
        raise wire.PeerLost("it did not hand it over in time")

    # --- lines ------------------------------------------------------------------------------------------------------

    def _offset(self, follower: Member) -> Offset:
        def ask() -> int:
            self._say(follower, wire.Ping())
            return int(self._answer(follower, wire.Pong).at_ns)

        return offset_of(ask, time.monotonic_ns)

    def _say(self, follower: Member, message: wire.Command) -> None:
        try:
            follower.line.say(message)
        except wire.PeerLost as exc:
            raise self.lost(follower, str(exc)) from exc

    def _answer(self, follower: Member, kind: type[Any]) -> Any:
        """The next message of that kind; states that were still under way are passed over."""
        until = time.monotonic() + ANSWER_S
        while time.monotonic() < until:
            message = self.hear(follower, 1.0)
            if isinstance(message, kind):
                return message
        raise self.lost(follower, f"no answer for {ANSWER_S:.0f} s")

    def hear(self, follower: Member, wait_s: float) -> Any | None:
        """Takes the next message; what a follower says of its state or its end is noted."""
        try:
            message = follower.line.heard(wait_s)
        except wire.PeerLost as exc:
            raise self.lost(follower, str(exc)) from exc
        if isinstance(message, wire.Failed):
            raise self.lost(follower, message.why)
        if isinstance(message, wire.State):
            follower.tick = message.tick
        elif isinstance(message, wire.Measured):
            follower.measured = message.collected
        return message

    def lost(self, follower: Member, why: str) -> RunFailed:
        """What to raise when a pod is gone; the first one is the reason for what follows."""
        if self.stop.lost_pod is None:
            self.stop.lost_pod = follower.index
        return RunFailed(f"runner pod {follower.index} of {self.team.pods} was lost: {why}")


class Company:
    """The followers during one phase, as peers of the leader's own instrument."""

    def __init__(self, leader: Leader) -> None:
        self.leader = leader
        self.failure: RunFailed | None = None
        self._halted: float | None = None

    @property
    def waiting(self) -> bool:
        return self.failure is None and any(follower.measured is None for follower in self.leader.followers)

    def pulse(self, tick: Tick) -> Sequence[Tick]:
        """Hears what has come. A lost pod stops the load of all; `failure` is for when it has ended."""
        wait_s = WAIT_S if tick.load_ended else 0.0
        for follower in self.leader.followers:
            if self.failure is not None:  # the first to go is the reason, and there is nothing more to wait for
                break
            try:
                while follower.measured is None and self.leader.hear(follower, wait_s) is not None:
                    wait_s = 0.0
                self._check_patience()
            except RunFailed as exc:
                self.failure = exc
                self.leader.stop.ask(str(exc))
                self.stop()
        return [follower.tick for follower in self.leader.followers]

    def stop(self) -> None:
        if self._halted is None:
            self._halted = time.monotonic()
            for follower in self.leader.followers:
                with contextlib.suppress(wire.PeerLost):
                    follower.line.say(wire.Halt())

    def _check_patience(self) -> None:
        """A follower that was told to halt has its values ready soon."""
        if self._halted is None or time.monotonic() < self._halted + ANSWER_S:
            return
        late = next((follower for follower in self.leader.followers if follower.measured is None), None)
        if late is None:
            return
        raise self.leader.lost(late, f"it was told to stop and said nothing for {ANSWER_S:.0f} s")


def team_word(uid: str, attempt: int) -> str:
    """What a pod has to say at the door: known to the pods of one attempt, and to who may read the run."""
    return f"{uid}/{attempt}"


def _listening(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        door = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        door = socket.create_server(("", port))
    door.setblocking(False)
    return door
