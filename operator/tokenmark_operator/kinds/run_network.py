"""What a run waits for where it is to know its network: the NetProbe that it names, or one that it has made for itself.

A load that begins while its own probe still floods the way would measure both. What the probe found goes into the runner's
configuration; where it found nothing the run goes on, and its result says why.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokenmark_decisions.network_path import network_of
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.network import NetworkPath, RunNetwork
from tokenmark_schemas.run import service_url

from ..observe.times import parse_time, stamp
from ..plan import names
from ..plan.network_probe import Unmeasurable, plan_network_probe
from ..shared.admission import is_finished
from ..shared.facts import KubeEvent
from .run_attempt import AttemptStep

WATCH_S = 2.0


def probe_name(run: BenchmarkRun) -> str | None:
    """Of the NetProbe that a run is joined with; None where it asks for none."""
    if run.spec.net_probe_ref is not None:
        return run.spec.net_probe_ref.name
    return names.network_probe_name(run.metadata.name, run.metadata.uid) if _measures(run) else None


def _measures(run: BenchmarkRun) -> bool:
    return run.spec.network is not None and run.spec.network.measure


class NetworkStep(AttemptStep):
    """One step of a run that knows, or comes to know, its network."""

    def waits_for_network(self, run: BenchmarkRun) -> bool:
        name = probe_name(run)
        if name is None:
            return False
        probe = self.facts.net_probe
        if probe is None and _measures(run):
            return self._measured(run)
        if probe is None:
            return self._not_there(name)
        self.status.pop("netProbeMissingSince", None)
        if _measures(run) and not self.is_own(probe):
            self.refuse(
                "NameConflict", f"NetProbe {name} exists and belongs to somebody else; remove it or rename the run"
            )
            return True
        if is_finished(probe):
            return False
        self.stands_by("WaitingForNetProbe", f"NetProbe {name} measures the network first: {_state_of(probe)}"[:1000])
        self.wait(WATCH_S)
        return True

    def _measured(self, run: BenchmarkRun) -> bool:
        """Has a probe made; where none can be, the load goes on without."""
        planned = self._planned(run)
        if isinstance(planned, Unmeasurable):
            return False
        self.decision.create.append(planned)
        where = planned["spec"]["placement"]["sourceNode"]
        self.stands_by(
            "WaitingForNetProbe", f"NetProbe {planned['metadata']['name']} measures the way from node {where}"
        )
        self.wait(WATCH_S)
        return True

    def _planned(self, run: BenchmarkRun) -> dict[str, Any] | Unmeasurable:
        said = run.spec.environment.camel()
        environment = {key: value for key, value in said.items() if key in ("provider", "region")}
        return plan_network_probe(
            run, self.facts.nodes, self.facts.target_nodes, service_url(run.spec, run.metadata.namespace), environment
        )

    def is_own(self, probe: dict[str, Any]) -> bool:
        return any(owner["uid"] == self.meta["uid"] for owner in probe["metadata"].get("ownerReferences") or [])

    def _not_there(self, name: str) -> bool:
        """A probe by name may come later than the run, as a Service may."""
        wait_s = self.facts.settings.target_wait_s
        since = parse_time(self.status.get("netProbeMissingSince")) or self.facts.now
        self.status["netProbeMissingSince"] = stamp(since)
        message = f"NetProbe {name} does not exist in namespace {self.meta['namespace']}"
        if self.facts.now > since + timedelta(seconds=wait_s):
            self.finish(succeeded=False, reason="NetProbeNotFound", message=f"{message}; gave up after {wait_s} s")
        else:
            self.stands_by("WaitingForNetProbe", f"{message}; waiting up to {wait_s} s for it", warn=True)
            self.wait(min(10.0, max(1.0, wait_s / 4)))
        return True

    # --- what the runner is told ------------------------------------------------------------------------------------

    def network(self, run: BenchmarkRun) -> RunNetwork | None:
        """None where the run asks for nothing."""
        name = probe_name(run)
        if name is None:
            return None
        if self.facts.net_probe is None:
            planned = self._planned(run)
            return RunNetwork(
                probe=name, missing=planned.why if isinstance(planned, Unmeasurable) else "it was not measured"
            )
        found, url = self.facts.net_found, service_url(run.spec, run.metadata.namespace)
        if found is None:
            return RunNetwork(
                probe=name, missing=f"NetProbe {name} has no result: {_state_of(self.facts.net_probe)}"[:512]
            )
        to = sorted(self.facts.target_nodes)[:16]
        known = network_of(name, found.pairs, found.tests, url)
        paths = [path for path in known.paths if _matters(path, set(to))]
        missing = known.missing or (
            "" if paths else f"NetProbe {name} measured no pair with {', '.join(to) or 'the target'}"
        )
        return RunNetwork(probe=name, paths=paths, target_nodes=to, missing=missing)

    def source_node(self, run: BenchmarkRun) -> str | None:
        """Where the runner has to be for its way to be the one that was measured."""
        found = self.network(run) if _measures(run) else None
        return found.paths[0].source_node if found and found.paths else None

    def said_of_network(self, network: RunNetwork | None) -> None:
        if network is not None and network.missing:
            self.events.append(KubeEvent("Warning", "NetworkUnknown", network.missing))


def _matters(path: NetworkPath, to: set[str]) -> bool:
    """A way to the target, or the floor of some node: it stands for the target's own."""
    floor = bool(to) and path.source_node == path.target_node
    return path.target_node is None or floor or bool({path.source_node, path.target_node} & to)


def _state_of(probe: dict[str, Any]) -> str:
    conditions = (probe.get("status") or {}).get("conditions") or []
    return next((c["message"] for c in conditions if c["type"] == "Succeeded"), "it has not begun")
