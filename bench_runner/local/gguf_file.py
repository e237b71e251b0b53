"""A model's file as it tells of itself, by the gguf package: what it is called in its folder says nothing.

The package makes an array of every entry of a list; a vocabulary of a quarter of a million took it 27 seconds. Long lists are passed over.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from tokenmark_schemas.errors import InvalidInput

LONGEST_LIST = 4096  # entries that are read
LONG = struct.Struct("<Q")
UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, struct.error)


class NotByItself(InvalidInput):
    """A whole file that is no model: what sees or hears for one, an adapter, a part of several."""


@dataclass(frozen=True)
class ModelFile:
    """Sizes in bytes. `quantization` is the file's own word for it, as llama.cpp writes it (Q4_K_M); `weights` are bytes by tensor type.
    `heads_kv` of each layer."""

    path: Path
    size_bytes: int
    name: str | None
    called: tuple[str, ...]  # whatever it may be called by: name, family and size
    architecture: str
    quantization: str
    parameters: int
    weights: dict[str, int]
    context: int
    layers: int
    embedding: int
    feed_forward: int
    heads_kv: tuple[int, ...]
    key_length: int
    value_length: int
    window: int | None  # of the layers with sliding attention
    window_every: int | None  # each so-many-th layer has the whole context; None where the file does not say
    vocabulary: int
    chat_template: bool


def can_read() -> None:
    """Raises InvalidInput without the gguf package."""
    _reader()


def read_model_file(path: Path) -> ModelFile:
    """Raises NotByItself, and InvalidInput where it is missing, no GGUF, or not whole."""
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist, or is no file")
    reader_of = _reader()
    try:
        reader = reader_of(path)
        _is_a_model(path, reader)
        return _described(path, reader)
    except UNREADABLE as exc:
        raise InvalidInput(f"{path} is no whole GGUF file ({_said(exc)}); get it again") from None
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read: {exc.strerror or exc}") from None


def contradicts(model: ModelFile, word: str) -> bool:
    """Whether a file says that it is not of that quantisation; people's own words for one, such as UD_Q4_K_XL, say nothing to it."""
    from gguf import LlamaFileType

    known = {each.name.removeprefix("MOSTLY_").removeprefix("ALL_") for each in LlamaFileType}
    return word in known and word != model.quantization


def _said(exc: Exception) -> str:
    return str(exc).splitlines()[0][:120] if str(exc) else type(exc).__name__


@cache
def _reader() -> type[Any]:
    """GGUFReader that passes over long lists. Raises InvalidInput without the package."""
    try:
        import numpy as np
        from gguf import GGUFReader, GGUFValueType
    except ImportError:
        raise InvalidInput("reading model files needs the gguf package: pip install 'tokenmark[local]'") from None

    class Reader(GGUFReader):  # type: ignore[misc,unused-ignore]
        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type != GGUFValueType.ARRAY or self.byte_order == "S":
                return super()._get_field_parts(orig_offs, raw_type)
            kind, count = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
            of, length = GGUFValueType(int(kind[0])), int(count[0])
            if length <= LONGEST_LIST or of == GGUFValueType.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            begin = orig_offs + 12
            if of == GGUFValueType.STRING:
                size = _strings(self.data.data, begin, length)
            else:
                size = length * np.dtype(self.gguf_scalar_to_np[of]).itemsize
            if begin + size > len(self.data):
                raise ValueError("it ends within a list")
            return 12 + size, [kind, count], [], [GGUFValueType.ARRAY, of]

    return Reader


def _strings(data: memoryview, begin: int, count: int) -> int:
    """Bytes of so many strings, each behind its length."""
    at, unpack, size = begin, LONG.unpack_from, LONG.size
    for _ in range(count):
        at += size + unpack(data, at)[0]
    return at - begin


def _told(reader: Any, key: str, default: Any = None) -> Any:
    field = reader.get_field(key)
    return default if field is None else field.contents()


def _is_a_model(path: Path, reader: Any) -> None:
    kind, parts = _told(reader, "general.type"), _told(reader, "split.count")
    if kind not in (None, "model") or _told(reader, "general.architecture") == "clip":
        raise NotByItself(f"{path} is no model by itself but {kind or 'an encoder of images'} for one")
    if isinstance(parts, int) and parts > 1:
        raise NotByItself(f"{path} is one of {parts} parts of a model; models in several files are not run from here")


def _described(path: Path, reader: Any) -> ModelFile:
    told = partial(_told, reader)

    def of_model(key: str, default: Any = None) -> Any:
        return told(f"{architecture}.{key}", default)

    architecture = str(told("general.architecture", ""))
    if not architecture:
        raise ValueError("it does not say its architecture")
    layers, heads = int(of_model("block_count")), of_model("attention.head_count")
    heads_kv = of_model("attention.head_count_kv", heads)
    embedding = int(of_model("embedding_length"))
    most_heads = int(heads or 0) if isinstance(heads, int | None) else max(map(int, heads), default=0)
    head = embedding // most_heads if most_heads else 0  # none: a model without attention
    names = _names(told)
    return ModelFile(
        path=path,
        size_bytes=path.stat().st_size,
        name=names[0] if names else None,
        called=names,
        architecture=architecture,
        quantization=_quantization(told("general.file_type"), reader.tensors),
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
        weights=_weights(reader.tensors),
        context=int(of_model("context_length", 0)),
        layers=layers,
        embedding=embedding,
        feed_forward=_largest(of_model("feed_forward_length", 0)),
        heads_kv=(int(heads_kv),) * layers if isinstance(heads_kv, int) else tuple(map(int, heads_kv or ())),
        key_length=int(of_model("attention.key_length", head)),
        value_length=int(of_model("attention.value_length", head)),
        window=of_model("attention.sliding_window") or None,
        window_every=_every(of_model("attention.sliding_window_pattern")),
        vocabulary=_entries(reader.get_field("tokenizer.ggml.tokens")),
        chat_template=told("tokenizer.chat_template") is not None,
    )


def _entries(listed: Any) -> int:
    """Of a list, whether it was passed over, and its last part is its length, or read."""
    if listed is None:
        return 0
    return len(listed.data) or int(listed.parts[-1][0])


def _largest(value: Any) -> int:
    return int(value) if isinstance(value, int) else max(map(int, value), default=0)


def _every(pattern: Any) -> int | None:
    """A number; lists of layers are as good as not said."""
    return int(pattern) if isinstance(pattern, int) and not isinstance(pattern, bool) else None


def _names(told: Any) -> tuple[str, ...]:
    """What it calls itself: family, size and what it was made for, as files of this kind are named; and its own name. A model that was made for
    something is not the one that it was made of."""
    family, size, made_for, name = (told(f"general.{key}") for key in ("basename", "size_label", "finetune", "name"))
    whole = " ".join(str(part) for part in (family, size, made_for) if part) if family else None
    return tuple(dict.fromkeys(str(each) for each in (whole, name) if each))


def _quantization(file_type: Any, tensors: list[Any]) -> str:
    """The word of the file; where it has none, the type that most of its weights have."""
    from gguf import LlamaFileType

    if file_type is not None:
        try:
            return LlamaFileType(int(file_type)).name.removeprefix("MOSTLY_").removeprefix("ALL_")
        except ValueError:
            pass
    elements: Counter[str] = Counter()
    for tensor in tensors:
        if len(tensor.shape) > 1 and tensor.name.startswith("blk."):
            elements[tensor.tensor_type.name] += int(tensor.n_elements)
    if not elements:
        raise ValueError("it holds no weights")
    return elements.most_common(1)[0][0]


def _weights(tensors: list[Any]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for tensor in tensors:
        found[tensor.tensor_type.name] += int(tensor.n_bytes)
    return dict(found)
