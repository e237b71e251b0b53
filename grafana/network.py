"""What the network does between nodes: a matrix, the worst pairs, and how they change; the standing mesh in the same words."""

from __future__ import annotations

from .board import Board
from .panels import BAD, FAIR, bars, lines, number, rows, steps, transformation
from .queries import labels_of

PICKED = 'probe_namespace=~"$probe_namespace", probe=~"$probe"'
NONE = "no probe has measured this: apply a NetProbe with such a test"
PAIR = "{{source_node}} → {{target_node}}"
SLOW_S = steps((0.0005, FAIR), (0.002, BAD))


def network() -> Board:
    board = Board(
        "tokenmark-network",
        "network",
        "Round trips, connections, loss and throughput between nodes, as the newest probes found them.",
        "network",
    )
    board.pick("probe_namespace", "Namespace", labels_of("probe_namespace", metric="tokenmark_probe_valid"))
    board.pick(
        "probe",
        "Probe",
        labels_of("probe", metric="tokenmark_probe_valid", where='probe_namespace=~"$probe_namespace"'),
    )
    board.row("At a glance")
    worst = f'max(tokenmark_probe_rtt_seconds{{{PICKED}, quantile="0.99"}})'
    board.add(number("Worst round trip p99", worst, "s", "Of all pairs.", NONE, SLOW_S), 6, 4)
    spread = f'max(tokenmark_probe_rtt_seconds{{{PICKED}, quantile="0.5"}}) / min(tokenmark_probe_rtt_seconds{{{PICKED}, quantile="0.5"}})'
    board.add(
        number(
            "Slowest pair / fastest pair",
            spread,
            "short",
            "Ratio of median round trips: far above 1, nodes are not alike.",
            NONE,
            steps((3, FAIR), (10, BAD)),
        ),
        6,
        4,
    )
    least = f'min(tokenmark_probe_throughput_bits_per_second{{{PICKED}, direction="Forward"}})'
    board.add(number("Least throughput", least, "bps", "Of all pairs, at the receiver.", NONE), 6, 4)
    valid = f"min(tokenmark_probe_valid{{{PICKED}}})"
    board.add(
        number(
            "Probes that stand",
            valid,
            "percentunit",
            "100 %: every picked probe measured the network and not its ends.",
            NONE,
            steps((1, "green"), base=BAD),
        ),
        6,
        4,
    )
    board.row("Matrix")
    matrix = f'max by (source_node, target_node) (tokenmark_probe_rtt_seconds{{{PICKED}, quantile="0.5"}})'
    board.add(_matrix("Round trip p50: from (row) to (column)", matrix, "s", SLOW_S), 12, 9)
    rate = f'min by (source_node, target_node) (tokenmark_probe_throughput_bits_per_second{{{PICKED}, direction="Forward"}})'
    board.add(_matrix("Throughput: from (row) to (column)", rate, "bps", steps(base="blue")), 12, 9)
    board.row("Worst pairs")
    for title, metric, unit, about in (
        ("Round trip p99", f'tokenmark_probe_rtt_seconds{{{PICKED}, quantile="0.99"}}', "s", "The ten slowest pairs."),
        (
            "New connection p50",
            f'tokenmark_probe_connect_seconds{{{PICKED}, quantile="0.5"}}',
            "s",
            "The ten slowest pairs.",
        ),
        (
            "Segments sent again",
            f"tokenmark_probe_retransmits{{{PICKED}}}",
            "short",
            "In a throughput test; the ten worst pairs.",
        ),
    ):
        board.add(bars(title, f"topk(10, max by (source_node, target_node) ({metric}))", unit, about, NONE, PAIR), 8, 9)
    board.row("Over time")
    board.add(
        lines(
            "Round trip p50",
            [(f'max by (source_node, target_node) (tokenmark_probe_rtt_seconds{{{PICKED}, quantile="0.5"}})', PAIR)],
            "s",
            "Of the newest probes at each moment.",
            NONE,
        ),
        12,
    )
    answered = "histogram_quantile(0.5, sum by (le, source_node, target_node) (rate(tokenmark_mesh_rtt_seconds_bucket[$__rate_interval])))"
    standing = [(answered, PAIR)]
    board.add(
        lines(
            "Standing mesh: round trip p50",
            standing,
            "s",
            "To each peer, from any node.",
            "no standing mesh: chart value netprobe.mesh.enabled",
        ),
        12,
    )
    return board


def _matrix(title: str, expr: str, unit: str, levels: object) -> object:
    pivot = transformation(
        "groupingToMatrix", {"rowField": "source_node", "columnField": "target_node", "valueField": "Value"}
    )
    panel = rows(
        title,
        [expr],
        "Each cell is a pair; a node against itself is the floor of the tool.",
        NONE,
        columns=[("source_node\\target_node", "from")],
        transforms=[pivot],
    )
    return panel.unit(unit).thresholds(levels).override_by_regexp("^(?!from$).*", [_colored()])


def _colored() -> object:
    from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

    return DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-background", "mode": "basic"})
