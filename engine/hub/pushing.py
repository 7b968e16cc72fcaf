"""Pushing a checkpoint's folder to the Hub: first a plan that a person can look at, then one commit with just the planned files.

Only what a checkpoint consists of is taken. Training states are left out and named; secrets and links that lead out of the folder are
refused; pickles go only where they were asked for. Knows no torch.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from engine.checkpoints.exporting import MARK
from engine.checkpoints.glance import folder_of, glance
from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError
from engine.hub.failures import plain
from engine.hub.failures import told as failure_told

_TAKEN = (
    "*.safetensors", "*.safetensors.index.json", "*.gguf", "*.json", "*.model", "*.md", "license*", "licence*", "notice*",
    "merges.txt", "vocab.txt",
)  # fmt: skip
_PICKLES = ("*.pt", "*.pth", "*.bin", "*.ckpt", "*.pkl", "*.pickle")
_WEIGHTS = ("*.safetensors", "*.gguf", *_PICKLES)
_TRAINING = (
    "optimizer*", "scheduler*", "rng_state*", "training_args*", "trainer_state*", "scaler*", "*.jsonl", "events.out.tfevents*",
    "status.json", "state.json", "*.log",
)  # fmt: skip
_SECRET_NAMES = (
    ".env*", "*.pem", "*.key", "id_rsa*", "id_ed25519*", ".netrc", "_netrc", ".git-credentials", "*credentials*", "*secret*",
    "*password*", "token", "token.*", "stored_tokens", "*.p12", "*.kdbx",
)  # fmt: skip
_SECRET_WORDS = re.compile(
    rb"(?:hf|api_org)_[A-Za-z0-9]{30,}"
    rb"|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}"
    rb"|(?<![A-Z0-9])A[KS]IA[0-9A-Z]{16}(?![A-Z0-9])"
    rb"|(?:(?<![A-Za-z0-9])|\\[nrt])sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}"  # also behind a line break in JSON
    rb"|-----BEGIN [A-Z0-9 ]*PRIVATE KEY"
)
"""Tokens of the Hub, GitHub and GitLab, keys of Amazon's cloud and of services that begin theirs with `sk-`, private keys."""
_LARGEST_TEXT = 1 << 26
"""Bytes up to which a file that is no weights can be looked through for secrets; a vocabulary has a few million."""
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class PushedFile:
    """A file that goes to the Hub under its own name."""

    name: str
    size: int


@dataclass(frozen=True)
class PushPlan:
    """What a push will do; nothing has been sent yet."""

    folder: Path
    repo: str
    files: tuple[PushedFile, ...]
    left_out: tuple[str, ...]
    """One phrase for everything in the folder that stays here, with the reason."""
    exists: bool
    """Whether the Hub has the repository already; files of the same names are then replaced in a new commit."""
    private: bool
    card: bool
    """Whether there is a README.md, which the Hub shows as the model's page."""

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def plan_push(folder: Path, repo: str, private: bool, *, pickles: bool = False, ask: bool = True) -> PushPlan:
    """What pushing a checkpoint's folder to `owner/name` would send; asks the Hub whether it has that repository, unless `ask` is False:
    then it is taken to be new.

    A run's folder stands for its best checkpoint. Raises `UsageError` and `CheckpointError` for what must not be pushed, and those of
    the Hub (`NetworkError` is worth trying again).
    """
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UsageError(f"{plain(repo)} is not a name that the Hub could have; it looks like owner/name.")
    folder = _checkpoint_folder(folder)
    files, left_out = _sorted_out(folder, pickles)
    exists, is_private = _on_the_hub(repo) if ask else (False, private)
    if exists and private and not is_private:
        raise UsageError(f"{repo} is there already and public; make it private on its page first, or choose another name.")
    card = any(file.name == "README.md" for file in files)
    return PushPlan(folder, repo, files, left_out, exists, is_private if exists else private, card)


def push(plan: PushPlan, message: str, told: Callable[[str], None] | None = None) -> str:
    """Send the planned files as one commit, all or none, and give the address of the repository; it is made where it is not there.

    `told` hears in a few words what is being done. Raises as `plan_push`, also where a file is no longer as it was planned.
    """
    say = told or (lambda _: None)
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    for file in plan.files:
        path = plan.folder / file.name
        if not path.is_file() or path.stat().st_size != file.size or _leads_out(path, plan.folder):
            raise CheckpointError(f"{plain(file.name)} has changed since the push was planned; look at the plan again.")
    api, silent = HfApi(), are_progress_bars_disabled()
    disable_progress_bars()  # they would write over whatever shows this
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not plan.exists:
                say("making the repository")
                api.create_repo(plan.repo, private=plan.private, repo_type="model", exist_ok=True)
            say("sending the files")
            adding = [CommitOperationAdd(file.name, str(plan.folder / file.name)) for file in plan.files]
            done = api.create_commit(plan.repo, adding, commit_message=message, repo_type="model")
    except Exception as error:  # the HTTP library's own errors are of no common kind across its versions
        raise _failure(error, plan.repo) from error
    finally:
        if not silent:
            enable_progress_bars()
    return str(done.repo_url)


def _checkpoint_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; name the folder of a checkpoint.")
    if any(_starts(path).startswith(b"GGUF") for path in folder.glob("*.gguf") if path.is_file()):
        return folder
    found = folder_of(glance(str(folder.absolute())))
    assert found is not None  # `glance` took it for a folder
    return found


def _sorted_out(folder: Path, pickles: bool) -> tuple[tuple[PushedFile, ...], tuple[str, ...]]:
    """(files to send, what is left out and why)."""
    files: list[PushedFile] = []
    left_out: list[str] = []
    for path in sorted(folder.iterdir()):
        name, lower = plain(path.name), path.name.lower()
        if any(fnmatch(lower, pattern) for pattern in _SECRET_NAMES):
            raise CheckpointError(f"{name} in {folder} looks like a secret; move it out of the folder before you push.")
        if _leads_out(path, folder):
            raise CheckpointError(
                f"{name} in {folder} is a link that leads out of it; put the file itself there before you push."
            )
        if reason := _why_left_out(path, lower, pickles):
            left_out.append(f"{name} ({reason})")
            continue
        _refuse_secrets(path)
        files.append(PushedFile(path.name, path.stat().st_size))
    if not any(_is_weights(file.name.lower()) for file in files if file.name != "tokenizer.bin"):
        raise CheckpointError(
            f"{folder} holds weights only as a pickle, which can carry code; export it to hf first and push that."
        )
    return tuple(files), tuple(left_out)


def _why_left_out(path: Path, lower: str, pickles: bool) -> str | None:
    """Why something in the folder stays here; None for what is sent."""
    if path.is_dir():
        return "a folder"
    if not path.is_file():
        return "not a plain file"
    if any(fnmatch(lower, pattern) for pattern in _TRAINING):
        return "training state"
    if lower == MARK:
        return "says that this folder was exported here"
    if lower.startswith("."):
        return "hidden"
    if any(fnmatch(lower, pattern) for pattern in _PICKLES) and _is_pickle(path):
        return None if pickles else "a pickle, which can carry code"
    if any(fnmatch(lower, pattern) for pattern in (*_TAKEN, "*.bin")):
        too_large = not _is_weights(lower) and path.stat().st_size > _LARGEST_TEXT
        return "too large to be looked through for secrets" if too_large else None
    return "no part of a checkpoint"


def _is_weights(lower: str) -> bool:
    return any(fnmatch(lower, pattern) for pattern in _WEIGHTS)


def _leads_out(path: Path, folder: Path) -> bool:
    """Whether something is a link to a place outside of the folder.

    The Hub's cache keeps files behind such links, in a store of the repository or in the one that all repositories share.
    """
    if not path.is_symlink():
        return False
    real, home = path.resolve(), folder.resolve()
    repository = home.parent.parent
    cached = home.parent.name == "snapshots" and repository.name.startswith("models--")
    stores = (repository / "blobs", repository.parent / "blobs") if cached else ()
    return not any(real.is_relative_to(place) for place in (home, *stores))


def _is_pickle(path: Path) -> bool:
    """Anything under such a name is, but for llama2.c's two `.bin` files, which begin with plain numbers."""
    if path.suffix.lower() != ".bin":
        return True
    return _starts(path).startswith((b"PK", b"\x80"))


def _starts(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _refuse_secrets(path: Path) -> None:
    if not _is_weights(path.name.lower()) and _SECRET_WORDS.search(path.read_bytes()):
        raise CheckpointError(f"{plain(path.name)} holds what looks like a token or a private key; take it out before you push.")


def _on_the_hub(repo: str) -> tuple[bool, bool]:
    """(whether the repository is there, whether it is private)."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if get_token() is None:
        raise CheckpointError(
            "Pushing needs a token that may write: make one in the Hub's settings, then set HF_TOKEN or run `hf auth login`."
        )
    try:
        api = HfApi()
        api.whoami()  # a token that is not known would make every repository look absent
        return True, bool(api.model_info(repo).private)
    except RepositoryNotFoundError:
        return False, False
    except Exception as error:  # the HTTP library's own errors are of no common kind across its versions
        raise _failure(error, repo) from error


def _failure(error: BaseException, repo: str) -> TinyTalesError:
    """The failure in a sentence; nothing of a push that failed is to be seen on the Hub but perhaps an empty repository."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return NetworkError(f"{repo} was not pushed, since HF_HUB_OFFLINE is set; unset it and try again.")
    if "Invalid metadata in README.md" in str(error):
        return CheckpointError(
            f"{repo} was not pushed: the lines between --- at the top of README.md are not what the Hub takes; mend them."
        )
    if not isinstance(error, HfHubHTTPError):
        if isinstance(error, OSError) and error.filename:
            return CheckpointError(
                f"{repo} was not pushed: {plain(str(error.filename))} could not be read; look whether it is still there."
            )
        return NetworkError(f"{repo} was not pushed: the Hub could not be reached, or the connection was cut; try again.")
    status = error.response.status_code
    if status in (403, 404):
        return CheckpointError(
            f"Your token may not write to {repo}: check the owner's name, and that the token was made with the right to write."
        )
    if status == 409 or status == 412:
        return NetworkError(f"{repo} was changed by somebody else while it was being pushed; try again.")
    if status >= 500:
        return NetworkError(
            f"The Hub has trouble of its own at present (error {status}), and {repo} was not pushed; try again later."
        )
    return failure_told(error, repo)
