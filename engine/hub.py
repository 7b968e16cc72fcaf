"""The Hugging Face Hub: fetching a checkpoint into huggingface_hub's own cache. Knows no torch."""

from __future__ import annotations

from pathlib import Path

from engine.errors import CheckpointError, NetworkError

_WANTED = ["config.json", "tinytales.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "README.md"]


def fetch(repo_id: str) -> Path:
    """The local folder of a Hub checkpoint, downloaded where it is not in the cache yet.

    Raises `NetworkError` where the Hub cannot be reached (also with HF_HUB_OFFLINE=1), `CheckpointError` where it has no such
    repository or no right to it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=_WANTED))
    except HFValidationError as error:
        raise CheckpointError(f"{repo_id} is not a name that the Hub could have; it looks like owner/name.") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"The Hub has no repository {repo_id}, or it is private and HF_TOKEN does not open it.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise NetworkError(
            f"{repo_id} is not in the local cache and the Hub could not be reached; try again with a network."
        ) from error
