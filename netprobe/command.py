"""Test -> iperf3 argument list (pure)."""

from __future__ import annotations

from tokenmark_schemas.netprobe import ProbeTest


def iperf3_command(test: ProbeTest, host: str, port: int) -> list[str]:
    """The client's command line. Durations are explicit: a test is `seconds` counted plus `omitted_seconds` before."""
    words = ["iperf3", "--client", host, "--port", str(port), "--json", "--time", str(test.seconds)]
    words += [
        "--omit",
        str(test.omitted_seconds),
        "--parallel",
        str(test.parallel_streams),
        "--len",
        str(test.block_bytes),
    ]
    words += ["--connect-timeout", "5000"]
    if test.protocol == "UDP":
        words += ["--udp", "--udp-counters-64bit"]
    words += {"Reverse": ["--reverse"], "Bidirectional": ["--bidir"]}.get(test.direction, [])
    for flag, value in (
        ("--bitrate", test.bitrate), ("--window", test.window_bytes), ("--set-mss", test.mss_bytes),
        ("--congestion", test.congestion_control),
    ):  # fmt: skip
        if value is not None:
            words += [flag, str(value)]
    return words
