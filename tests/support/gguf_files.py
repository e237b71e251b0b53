"""Small model files, written by the gguf package: whole, of any name and quantisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

LAYERS, EMBEDDING, FEED_FORWARD = 2, 64, 128


def write(
    path: Path, *, basename: str | None = "gemma-3", size_label: str | None = "270M", name: str | None = None,
    file_type: LlamaFileType | None = LlamaFileType.MOSTLY_Q8_0, tokens: int = 5000, architecture: str = "gemma3",
    finetune: str | None = None, general_type: str = "model", parts: int | None = None, heads: int = 4,
) -> Path:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    out = GGUFWriter(path, architecture)
    out.add_type(general_type)
    if parts is not None:
        out.add_uint16("split.count", parts)
    for value, add in (
        (basename, out.add_basename), (size_label, out.add_size_label), (name, out.add_name), (finetune, out.add_finetune),
    ):  # fmt: skip
        if value is not None:
            add(value)
    if file_type is not None:
        out.add_file_type(file_type)
    out.add_context_length(8192)
    out.add_embedding_length(EMBEDDING)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED_FORWARD)
    out.add_head_count(heads)
    out.add_head_count_kv(heads // 2)
    out.add_token_list([f"token {number}" for number in range(tokens)])
    out.add_token_scores([0.0] * tokens)
    out.add_chat_template("{{ messages }}")
    out.add_tensor("token_embd.weight", np.zeros((8, EMBEDDING), dtype=np.float32))
    for layer in range(LAYERS):
        quantised = np.zeros((FEED_FORWARD, EMBEDDING // 32 * 34), dtype=np.uint8)
        out.add_tensor(f"blk.{layer}.ffn_up.weight", quantised, raw_dtype=GGMLQuantizationType.Q8_0)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
