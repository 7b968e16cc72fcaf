"""The Hugging Face Hub: fetching a checkpoint into huggingface_hub's own cache. Knows no torch."""

from __future__ import annotations

import errno
from pathlib import Path

from engine.errors import CheckpointError, NetworkError

_BESIDE = ["*.json", "tokenizer.model", "tokenizer.bin", "README.md"]
_SAFE, _PICKLED = ["*.safetensors"], ["pytorch_model*.bin"]
"""Weights, the safe kind first: the other is only fetched where there is none."""

_UNREACHABLE = "{} is not in the local cache and the Hub could not be reached; try again with a network."


def fetch(repo_id: str, file: str | None = None) -> Path:
    """The local folder of a Hub checkpoint, or the one `file` of it that is asked for, downloaded where it is not in the cache yet.

    Raises `NetworkError` where the Hub cannot be reached (also with HF_HUB_OFFLINE=1), `CheckpointError` where it has no such
    repository or no right to it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        if file is not None:
            beside = [f"{file.rpartition('/')[0]}/tok*"] if "/" in file else ["tok*"]
            folder = Path(snapshot_download(repo_id, allow_patterns=[*_BESIDE, *beside, file]))
            if not (folder / file).is_file():
                raise CheckpointError(f"{repo_id} on the Hub has no file {file}.")
            return folder / file
        folder = Path(snapshot_download(repo_id, allow_patterns=_BESIDE + _SAFE))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(repo_id, allow_patterns=_BESIDE + _PICKLED))
        if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
            raise CheckpointError(
                f"{repo_id} on the Hub has neither safetensors nor a pytorch_model.bin; name one of its files, as in {repo_id}/model.pt."
            )
        return folder
    except CheckpointError:
        raise
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
