"""`models/v1`: the models that a person runs on a machine: what each is called, where its files lie, and where they can be had."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from .base import Contract, Label, Sha256, Text63, Text253, Text1024

Quantization = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_]+$")]


class HubFile(Contract):
    """A file of a repository, and what it has to be."""

    file: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._ /+-]*\.gguf$")]
    sha256: Sha256 | None = None

    @field_validator("file")
    @classmethod
    def _below(cls, file: str) -> str:
        if ".." in file.split("/"):
            raise ValueError("a path in the repository, without ..")
        return file

    @property
    def place(self) -> str:
        """What it is called here."""
        return self.file.rpartition("/")[2]


class Hub(Contract):
    """A repository of the Hugging Face Hub, or of what speaks like it."""

    repo: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    revision: Text253 = "main"
    files: dict[Quantization, HubFile] = Field(min_length=1, max_length=32, description="By quantisation.")


class ListedModel(Contract):
    """A file in `model_dir` is this model's when it says so itself: its name, or one of `also_called`, is this one's, letters and digits alone
    compared. `files` names those that do not say what they are."""

    name: Label
    also_called: Annotated[list[Text63], Field(max_length=16)] = []
    files: dict[Quantization, Text1024] = Field(
        default={}, max_length=32, description="By quantisation; under modelDir."
    )
    context: Annotated[int, Field(ge=256, le=10_000_000)] = Field(default=4096, description="That it is run with.")
    hub: Hub | None = None


class ModelsFile(Contract):
    schema_version: Literal["models/v1"] = "models/v1"
    model_dir: Text1024 = Field(default="~/models", description="Searched for *.gguf, folders below it too.")
    models: Annotated[list[ListedModel], Field(min_length=1, max_length=256)]

    @model_validator(mode="after")
    def _named_once(self) -> ModelsFile:
        names = [plain(said) for model in self.models for said in (model.name, *model.also_called)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two models would be called {', '.join(twice)}: letters and digits alone tell them apart")
        places = [each.place for model in self.models if model.hub for each in model.hub.files.values()]
        if twice := sorted({place for place in places if places.count(place) > 1}):
            raise ValueError(f"two files of the hub would lie at {', '.join(twice)} in modelDir")
        return self


def plain(name: str) -> str:
    """Gemma 3 270m -> gemma3270m: as names are compared."""
    return "".join(filter(str.isalnum, name.lower()))
