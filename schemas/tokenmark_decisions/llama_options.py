"""How llama-server is started to be measured, on a laptop and in a cluster alike (pure)."""

from __future__ import annotations


def llama_options(
    model: str, alias: str, *, context: int, streams: int, threads: int | None, gpu_layers: int | None, host: str, port: int,
    batch: int | None = None,
) -> list[str]:  # fmt: skip
    """`context` is of all streams together; None is the server's own choice. Without its caches of prompts and states, which grow with use and answer
    for no prompt of ours."""
    said = {
        "--model": model, "--alias": alias, "--ctx-size": context, "--parallel": streams, "--threads": threads, "--threads-batch": threads,
        "--ubatch-size": batch, "--n-gpu-layers": gpu_layers, "--cache-ram": 0, "--ctx-checkpoints": 0, "--host": host, "--port": port,
    }  # fmt: skip
    return ["--no-webui", *(str(word) for name, value in said.items() if value is not None for word in (name, value))]
