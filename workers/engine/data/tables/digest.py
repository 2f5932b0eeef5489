"""What the raw numbers of a table depend on beside its file and columns."""

from typing import Any

from app.contracts.resources.manifests import ArrayInput, DatasetManifest


def reading_facts(manifest: DatasetManifest) -> dict[str, Any]:
    """As JSON, empty for a dataset whose numbers stand in its file as they are.

    Categories and fills come from the training split, and so from the whole manifest.
    """
    if any(not isinstance(spec, ArrayInput) or spec.missing is not None for spec in manifest.inputs.values()):
        return {"manifest_of_data": manifest.model_dump(mode="json", exclude={"name", "metadata"})}
    return {"csv": manifest.csv.model_dump(mode="json")} if manifest.csv is not None else {}
