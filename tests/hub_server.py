"""A Hugging Face Hub on this machine: a real server in a process of its own, for tests that use the real huggingface_hub.

`Site` holds `Repo`s, each with its files and with `Fault`s (what goes wrong, where, and how often). Tests use it so:

    with running_hub({"some/model": {"files": {"config.json": b"{}"}}}) as hub:
        subprocess.run(..., env=hub.environment(tmp_path))
        hub.fault("some/model", status=503, where="file", times=2)
        hub.log()

What a Hub takes in (new repositories, commits) is for `tests/hub_uploads.py` to add: `Handler` asks `EXTRAS` first.
Run as a program it reads the site from its standard input, prints its address and serves until it is ended.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LFS = (".safetensors", ".bin", ".pt", ".pth", ".model", ".gguf", ".onnx", ".h5", ".msgpack")
GOOD = "Bearer good"
"""The one token that is known."""


@dataclass
class Fault:
    """Something that goes wrong. Without `times` it always does."""

    where: str = "any"
    """`api` (descriptions), `head` or `body` (of a file's address), `file` (both), `any`."""
    file: str = ""
    """Only for the file of this name."""
    status: int = 0
    """Answer with this instead."""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Close the connection after so many bytes of the body."""
    slow: int = 0
    """Bytes a second."""
    wrong_body: bool = False
    """Send other bytes, as many."""
    hang: float = 0.0
    """Seconds before anything is answered."""
    times: int | None = None

    def meets(self, where: str, file: str) -> bool:
        places = {"any": ("api", "head", "body"), "file": ("head", "body")}.get(self.where, (self.where,))
        if self.times == 0 or where not in places or self.file not in ("", file):
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Repo:
    """A model's repository with one commit, which all its branches point at."""

    name: str
    files: dict[str, bytes]
    private: bool = False
    gated: bool | str = False
    branches: tuple[str, ...] = ("main",)
    tags: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)
    config: Any = None
    """What the description of the repository says `config.json` holds."""
    downloads: int = 0
    sizes: dict[str, Any] = field(default_factory=dict)
    """Sizes that are claimed instead of the true ones."""
    faults: list[Fault] = field(default_factory=list)

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    def knows(self, revision: str) -> bool:
        return revision in (*self.branches, self.commit) or (len(revision) >= 7 and self.commit.startswith(revision))

    def siblings(self) -> list[dict[str, Any]]:
        return [{"rfilename": name, **self.described(name)} for name in self.files]

    def described(self, name: str) -> dict[str, Any]:
        """Size and checksums of a file, as the Hub gives them."""
        body = self.files[name]
        size = self.sizes.get(name, len(body))
        found: dict[str, Any] = {"size": size, "blobId": git_sha1(body)}
        if name.endswith(LFS):
            found["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": size, "pointerSize": 130}
        return found

    def etag(self, name: str) -> str:
        described = self.described(name)
        return described["lfs"]["sha256"] if "lfs" in described else described["blobId"]

    def info(self) -> dict[str, Any]:
        known = {"id": self.name, "modelId": self.name, "sha": self.commit, "private": self.private, "gated": self.gated}
        known |= {"tags": list(self.tags), "downloads": self.downloads, "likes": 0, "cardData": self.card or None}
        known |= {} if self.config is None else {"config": self.config}
        return known | {"lastModified": "2026-01-02T03:04:05.000Z", "siblings": self.siblings()}


@dataclass
class Site:
    """All repositories, and what was asked of them."""

    repos: dict[str, Repo]
    log: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self, words: str, limit: int) -> list[Repo]:
        hits = [repo for repo in self.repos.values() if words.lower() in repo.name.lower() and not repo.private]
        return sorted(hits, key=lambda repo: -repo.downloads)[:limit]


EXTRAS: list[Callable[[Any, str, dict[str, list[str]]], bool]] = []
"""Called first with the handler, the path and the query; True where they have answered."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: Any) -> None:
        """Say nothing: the log is `Site.log`."""

    def do_GET(self) -> None:
        asked = urllib.parse.urlparse(self.path)
        path, query = urllib.parse.unquote(asked.path), urllib.parse.parse_qs(asked.query)
        if path.startswith("/_"):
            return self._admin(path)
        with self.site.lock:
            seen = {"method": self.command, "path": path, "range": self.headers.get("Range")}
            self.site.log.append(seen | {"token": self.headers.get("Authorization", "")})
        if any(extra(self, path, query) for extra in EXTRAS):
            return None
        if path == "/api/whoami-v2":
            good = self.headers.get("Authorization") == GOOD
            return self.send({"type": "user", "name": "some", "orgs": []}) if good else self._bad_token()
        if path == "/api/models":
            hits = self.site.found(query.get("search", [""])[0], int(query.get("limit", ["1000"])[0]))
            return self.send([repo.info() for repo in hits])
        if path.startswith("/api/models/"):
            return self._describe(asked.path.removeprefix("/api/models/"), query)
        owner, _, rest = asked.path.removeprefix("/").partition("/")
        name, _, rest = rest.partition("/")
        # Large files lie elsewhere, behind an address that is a secret of its own: no token is asked for there.
        repo = self.site.repos.get(f"{owner}/{name}") if rest.startswith("lfs/") else self._allowed(f"{owner}/{name}")
        return self._resolve(repo, rest) if repo else None

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _allowed(self, name: str) -> Repo | None:
        """The repository, or None where an error was answered."""
        token = self.headers.get("Authorization", "")
        repo = self.site.repos.get(name)
        if token and token != GOOD:
            self._bad_token()
        elif repo is None or (repo.private and not token):
            message = "Repository not found" if token else "Invalid username or password."
            self.send({"error": message}, 404 if token else 401, {"X-Error-Code": "RepoNotFound"})
        else:
            return repo
        return None

    def _bad_token(self) -> None:
        words = "Invalid credentials in Authorization header"
        self.send({"error": words}, 401, {"X-Error-Message": words})

    def _describe(self, rest: str, query: dict[str, list[str]]) -> None:
        owner, name, kind, revision, *below = [urllib.parse.unquote(part) for part in rest.split("/")] + [""] * 3
        repo = self._allowed(f"{owner}/{name}")
        if repo is None or self._fails(repo, "api"):
            return None
        if not repo.knows(revision or "main"):
            return self.send({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if kind == "tree":
            files = [(path, repo.described(path)) for path in repo.files if path.startswith("/".join(filter(None, below)))]
            tree = [{"type": "file", "path": path, "oid": known["blobId"], **known} for path, known in files]
            for entry in tree:
                entry |= {"lfs": entry["lfs"] | {"oid": entry["lfs"]["sha256"]}} if "lfs" in entry else {}
            return self.send(tree)
        info = repo.info()
        if "blobs" not in query:
            info["siblings"] = [{"rfilename": name} for name in repo.files]
        return self.send(info)

    def _resolve(self, repo: Repo, rest: str) -> None:
        """A file: `resolve/<revision>/<name>`, or `lfs/<name>` where a large one redirects to."""
        kind, _, rest = rest.partition("/")
        revision, _, name = rest.partition("/") if kind == "resolve" else ("main", "", rest)
        revision, name = urllib.parse.unquote(revision), urllib.parse.unquote(name)
        where = "head" if self.command == "HEAD" else "body"
        if repo.gated and kind == "resolve" and self.headers.get("Authorization") != GOOD:
            words = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."}
            return self.send({"error": "gated"}, 403 if self.headers.get("Authorization") else 401, words)
        if not repo.knows(revision):
            return self.send({"error": "no revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if name not in repo.files:
            return self.send({"error": "no file"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
        known = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if name.endswith(LFS) and kind == "resolve":
            if self._fails(repo, where, name, only_status=True):
                return None
            other = f"http://localhost:{self.server.server_address[1]}/{repo.name}/lfs/{urllib.parse.quote(name)}"
            linked = {"Location": other, "X-Linked-ETag": f'"{repo.etag(name)}"', "X-Linked-Size": str(len(repo.files[name]))}
            return self.send(b"", 302, known | linked)
        if not self._fails(repo, where, name):
            self._send_part(repo.files[name], known | {"ETag": f'"{repo.etag(name)}"'})
        return None

    def _fails(self, repo: Repo, where: str, file: str = "", *, only_status: bool = False) -> bool:
        """Do what the faults of a repository want of this answer; True where that was the answer."""
        with self.site.lock:
            wanted = [fault for fault in repo.faults if fault.status or not only_status]
            fault = next((fault for fault in wanted if fault.meets(where, file)), None)
        if fault is None:
            return False
        time.sleep(fault.hang)
        if fault.status:
            self.send({"error": "\x1b[31mfault\x1b[0m"}, fault.status, fault.headers)
        elif fault.wrong_body or fault.slow or fault.cut_after is not None:
            body = repo.files[file]
            headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes", "ETag": f'"{repo.etag(file)}"'}
            self._send_part(bytes(byte ^ 1 for byte in body) if fault.wrong_body else body, headers, fault)
        return bool(fault.status or fault.wrong_body or fault.slow or fault.cut_after is not None)

    def _send_part(self, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        first, code, whole = 0, 200, len(body)
        if wanted := self.headers.get("Range"):
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, code = int(start), 206
            body = body[first : int(end or whole) + 1]
            headers = headers | {"Content-Range": f"bytes {first}-{first + len(body) - 1}/{whole}"}
        self.send(body, code, headers, fault)

    def send(self, body: Any, code: int = 200, headers: dict[str, str] | None = None, fault: Fault | None = None) -> None:
        """Answer with bytes or with JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(OSError):  # the other side may have gone
            if fault is not None and fault.cut_after is not None:
                self.wfile.write(data[: fault.cut_after])
                self.close_connection = True
            elif fault is not None and fault.slow:
                for at in range(0, len(data), max(fault.slow // 20, 1)):
                    self.wfile.write(data[at : at + max(fault.slow // 20, 1)])
                    time.sleep(0.05)
            else:
                self.wfile.write(data)

    def _admin(self, path: str) -> None:
        """What tests ask of the server itself: its log, and faults."""
        if path == "/_log":
            return self.send(self.site.log)
        wanted = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        with self.site.lock:
            self.site.repos[wanted.pop("repo")].faults[:] = [Fault(**fault) for fault in wanted["faults"]]
        return self.send({})


@dataclass(frozen=True)
class Hub:
    """A running server, as a test sees it."""

    url: str

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """The environment of a process that shall use this Hub, and a cache below `home`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        kept |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return kept | {"PYTHONPATH": str(Path(__file__).parents[1]), "NO_PROXY": "*"} | more

    def fault(self, repo: str, **fault: Any) -> None:
        """What goes wrong with a repository from now on (see `Fault`); without words, nothing more."""
        self._ask("/_faults", {"repo": repo, "faults": [fault] if fault else []})

    def log(self, path: str = "") -> list[dict[str, Any]]:
        """The requests so far whose path holds `path`."""
        return [seen for seen in self._ask("/_log") if path in seen["path"]]

    def _ask(self, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.url + path, body), timeout=30) as answer:
            return json.loads(answer.read())


@contextlib.contextmanager
def running_hub(spec: dict[str, dict[str, Any]]) -> Iterator[Hub]:
    """A Hub with the repositories of `spec`: their names, and the fields of `Repo`."""
    ready = {
        name: known | {"files": {path: base64.b64encode(body).decode() for path, body in known["files"].items()}}
        for name, known in spec.items()
    }
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin and server.stdout
    try:
        server.stdin.write(json.dumps(ready))
        server.stdin.close()
        yield Hub(server.stdout.readline().strip())
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def git_sha1(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def main() -> None:
    import hub_uploads  # beside this program; it needs `Repo`, which it cannot import from a program that runs

    EXTRAS.append(functools.partial(hub_uploads.answer, new_repo=Repo))
    repos = {}
    for name, known in json.load(sys.stdin).items():
        files = {path: base64.b64decode(body) for path, body in known.pop("files").items()}
        faults = [Fault(**fault) for fault in known.pop("faults", [])]
        repos[name] = Repo(name, files, faults=faults, **known)
    Handler.site = Site(repos)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
