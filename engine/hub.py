"""The Hugging Face Hub: fetching a checkpoint into huggingface_hub's own cache. Knows no torch."""

from __future__ import annotations

import errno
from pathlib import Path

from engine.errors import CheckpointError, NetworkError

_WANTED = ["config.json", "tinytales.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "README.md"]

_UNREACHABLE = "{} is not in the local cache and the Hub could not be reached; try again with a network."


def fetch(repo_id: str) -> Path:
    """The local folder of a Hub checkpoint, downloaded where it is not in the cache yet.

    Raises `NetworkError` where the Hub cannot be reached (also with HF_HUB_OFFLINE=1), `CheckpointError` where it has no such
    repository or no right to it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=_WANTED))
    except HFValidationError as error:
        raise CheckpointError(f"{repo_id} is not a name that the Hub could have; it looks like owner/name.") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"The Hub has no repository {repo_id}, or it is private and HF_TOKEN does not open it.") from error
    except PermissionError as error:
        raise CheckpointError(f"{repo_id} cannot be put into the Hub's cache: you have no permission to write there.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CheckpointError(f"{repo_id} does not fit: the disk of the Hub's cache is full.") from error
        raise NetworkError(_UNREACHABLE.format(repo_id)) from error
    except Exception as error:  # the HTTP library's own errors are of no common kind across its versions
        raise NetworkError(_UNREACHABLE.format(repo_id)) from error
