"""A value of another JSON type is refused by the contract wherever it stands, and nothing else is raised."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.contracts.base import members
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.resources.predictions import UPLOADED_MANIFEST, PredictionsManifest
from app.contracts.specs.jobs import SubmittableJob

WRONG: tuple[Any, ...] = (None, "split", True, 1.5, [], [[]], "", 2**70, {}, {"x": 1}, -1)


ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "dataset": UPLOADED_MANIFEST,
    "model": TypeAdapter(ModelManifest),
    "job": TypeAdapter(SubmittableJob),
}
CONTRACTS: dict[str, tuple[type[BaseModel], ...]] = {
    "dataset": (DatasetManifest, PredictionsManifest),
    "model": (ModelManifest,),
    "job": members(SubmittableJob),
}
FIELDS = sorted({(name, field) for name, kinds in CONTRACTS.items() for each in kinds for field in each.model_fields})


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_of_another_type_is_refused_and_fails_nothing(name: str, field: str) -> None:
    for base in ({}, {"kind": "train"}, {"kind": "distill"}, {"kind": "multitask"}, {"format": "predictions"}):
        for value in WRONG:
            document = {**base, field: value}
            with pytest.raises(ValidationError):
                ADAPTERS[name].validate_json(json.dumps(document))
