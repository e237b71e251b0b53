"""Bridge, node namespaces and routes, all inside 198.18.0.0/15 (the range reserved for benchmarks).

A blackhole route for the whole range keeps anything that has no more specific route on this machine.
"""

from __future__ import annotations

from pathlib import Path

from .pki import HOST
from .shell import run

BRIDGE = "tm0"
RANGE = "198.18.0.0/15"
PODS = "198.18.128.0/17"
SERVICES = "198.19.0.0/16"


def node_address(index: int) -> str:
    return f"198.18.0.{10 + index}"


def pod_subnet(index: int) -> str:
    return f"198.18.{127 + index}.0/24"


def up(count: int) -> None:
    """Idempotent."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{HOST}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
    _ip("route", "replace", "blackhole", RANGE, "metric", "4000")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run(["iptables", "-D", "FORWARD", "-i", BRIDGE, "-j", "ACCEPT"], check=False)
    run(["iptables", "-I", "FORWARD", "-i", BRIDGE, "-j", "ACCEPT"])
    for index in range(1, count + 1):
        _node(index, count)


def _node(index: int, count: int) -> None:
    name = f"node{index}"
    if not Path(f"/run/netns/{name}").exists():
        _ip("netns", "add", name)
        _ip("link", "add", f"tm-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", f"tm-{name}", "master", BRIDGE, "up")
        _ip("-n", name, "addr", "add", f"{node_address(index)}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "route", "add", "default", "via", HOST)
        run(["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    for other in range(1, count + 1):
        if other != index:
            _ip("-n", name, "route", "replace", pod_subnet(other), "via", node_address(other))
    _ip("route", "replace", pod_subnet(index), "via", node_address(index))


def down(count: int) -> None:
    """Removes all of it; what is not there is no error."""
    for index in range(1, count + 1):
        remove(index)
    run(["ip", "link", "del", BRIDGE], check=False)
    run(["ip", "route", "del", "blackhole", RANGE, "metric", "4000"], check=False)
    run(["iptables", "-D", "FORWARD", "-i", BRIDGE, "-j", "ACCEPT"], check=False)


def remove(index: int) -> None:
    """One node's."""
    run(["ip", "route", "del", pod_subnet(index)], check=False)
    run(["ip", "netns", "del", f"node{index}"], check=False)
    run(["ip", "link", "del", f"tm-node{index}"], check=False)


def leftovers() -> list[str]:
    """What of this network is still there."""
    found = [f"interface {path.name}" for path in Path("/sys/class/net").iterdir() if path.name.startswith("tm")]
    found += [f"namespace {path.name}" for path in Path("/run/netns").glob("node[0-9]*")]
    if "blackhole 198.18.0.0/15" in run(["ip", "route"]):
        found.append(f"route {RANGE}")
    return found


def _ip(*arguments: str) -> None:
    run(["ip", *arguments])
