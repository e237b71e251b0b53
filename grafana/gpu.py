"""GPUs by NVIDIA's DCGM exporter."""

from __future__ import annotations

from .board import Board
from .panels import BAD, FAIR, lines, number, steps

NONE = "no DCGM exporter is scraped, or it does not export this counter"
PICKED = 'Hostname=~"$host", gpu=~"$gpu"'
ONE = "{{Hostname}} {{gpu}}"


def gpu() -> Board:
    board = Board(
        "tokenmark-gpu",
        "GPU",
        "What the GPUs did while the load ran: NVIDIA's DCGM exporter.",
        "gpu",
        since="now-1h",
        refresh="10s",
    )
    board.pick("host", "Node", "label_values(DCGM_FI_DEV_GPU_UTIL, Hostname)")
    board.pick("gpu", "GPU", 'label_values(DCGM_FI_DEV_GPU_UTIL{Hostname=~"$host"}, gpu)')
    board.row("Now")
    board.add(
        number(
            "Utilisation",
            f"avg({_of('DEV_GPU_UTIL')})",
            "percent",
            "Mean of the picked GPUs: time with any kernel, not how full.",
            NONE,
        ),
        6,
        4,
    )
    board.add(
        number(
            "Memory in use",
            f"sum({_of('DEV_FB_USED')}) / sum({_of('DEV_FB_USED')} + {_of('DEV_FB_FREE')})",
            "percentunit",
            "Of the picked GPUs.",
            NONE,
            steps((0.95, FAIR), (0.99, BAD)),
        ),
        6,
        4,
    )
    board.add(number("Power", f"sum({_of('DEV_POWER_USAGE')})", "watt", "Of the picked GPUs together.", NONE), 6, 4)
    board.add(
        number(
            "Xid errors",
            f"max({_of('DEV_XID_ERRORS')})",
            "short",
            "The last one's number; 0 is none.",
            NONE,
            steps((1, BAD)),
        ),
        6,
        4,
    )
    board.row("Work")
    board.add(lines("Utilisation", [(_of("DEV_GPU_UTIL"), ONE)], "percent", "Time with any kernel.", NONE), 8)
    board.add(
        lines(
            "Tensor cores active",
            [(_of("PROF_PIPE_TENSOR_ACTIVE"), ONE)],
            "percentunit",
            "How full: what a matrix multiplication uses. Profiling counters must be on.",
            NONE,
        ),
        8,
    )
    board.add(
        lines(
            "Memory interface active", [(_of("PROF_DRAM_ACTIVE"), ONE)], "percentunit", "Decode is bound by it.", NONE
        ),
        8,
    )
    board.row("Memory, power, heat")
    board.add(lines("Memory in use", [(f"{_of('DEV_FB_USED')} * 1048576", ONE)], "bytes", "Framebuffer.", NONE), 6)
    board.add(lines("Power", [(_of("DEV_POWER_USAGE"), ONE)], "watt", "At the limit, clocks go down.", NONE), 6)
    board.add(
        lines(
            "Temperature",
            [(_of("DEV_GPU_TEMP"), ONE)],
            "celsius",
            "Near the limit, clocks go down.",
            NONE,
            steps((80, FAIR), (90, BAD)),
        ),
        6,
    )
    board.add(
        lines(
            "SM clock", [(f"{_of('DEV_SM_CLOCK')} * 1000000", ONE)], "hertz", "A drop under load is throttling.", NONE
        ),
        6,
    )
    return board


def _of(counter: str) -> str:
    return f"DCGM_FI_{counter}{{{PICKED}}}"
