"""What the Hub of `hub_server` takes in: new repositories, large files by the LFS protocol, and commits.

Used by that server's process only.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

GOOD = "Bearer good"
SMALL = 1_000
"""Bytes from which a file is sent as a large one, whatever its name; and weights always."""
LARGE_KINDS = (".safetensors", ".bin", ".gguf", ".pt", ".model")
_STORED: dict[str, bytes] = {}
"""Large files that were sent and not yet committed, by their checksum."""


def answer(handler: Any, path: str, query: dict[str, list[str]], new_repo: type) -> bool:
    """Answer a request that brings something; False where it is none. `new_repo` is `hub_server.Repo`."""
    if handler.command not in ("POST", "PUT"):
        return False
    body = _body(handler)
    if path == "/api/validate-yaml":
        wrong = b"license: [" in json.loads(body)["content"].encode()
        handler.send({"errors": [{"message": "bad yaml"}] * wrong, "warnings": []}, 400 if wrong else 200)
        return True
    if "/upload/" in path and handler.command == "PUT":  # as on the Hub, the address itself is the permission
        checksum = path.rpartition("/")[2]
        good = hashlib.sha256(body).hexdigest() == checksum
        _STORED[checksum] = body
        handler.send(b"", 200 if good else 400, {"ETag": checksum})
        return True
    if handler.headers.get("Authorization") != GOOD:
        handler._bad_token()
        return True
    if path == "/api/repos/create":
        _create(handler, json.loads(body), new_repo)
        return True
    name = "/".join((path.removeprefix("/api/models/") if path.startswith("/api/") else path[1:]).split("/")[:2]).removesuffix(
        ".git"
    )
    repo = handler.site.repos.get(name)
    if repo is None:
        handler.send({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
    elif not handler._fails(repo, "api"):
        _into(handler, repo, path, body)
    return True


def _create(handler: Any, asked: dict[str, Any], new_repo: type) -> None:
    name = f"{asked['organization'] or 'some'}/{asked['name']}"
    if asked["organization"] not in (None, "some"):
        return handler.send({"error": "You don't have the rights to create a model under this namespace"}, 403)
    if name in handler.site.repos:
        return handler.send({"error": "You already created this model repo", "url": f"/{name}"}, 409)
    with handler.site.lock:
        handler.site.repos[name] = new_repo(name, {}, private=asked.get("visibility") == "private")
    return handler.send({"url": f"http://{handler.headers['Host']}/{name}", "name": name, "id": name})


def _into(handler: Any, repo: Any, path: str, body: bytes) -> None:
    """What goes into a repository that is there."""
    here = f"http://{handler.headers['Host']}/{repo.name}"
    if "/preupload/" in path:
        sent = json.loads(body)["files"]
        large = {file["path"] for file in sent if file["path"].endswith(LARGE_KINDS) or file["size"] >= SMALL}
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"] in large else "regular", "shouldIgnore": False} for f in sent
        ]
        return handler.send({"files": modes})
    if path.endswith("/info/lfs/objects/batch"):
        objects = [
            known | ({} if known["oid"] in _STORED else {"actions": {"upload": {"href": f"{here}/upload/{known['oid']}"}}})
            for known in json.loads(body)["objects"]
        ]
        return handler.send({"transfer": "basic", "objects": objects})
    if "/commit/" in path:
        files = dict(repo.files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = _STORED[value["oid"]]
        with handler.site.lock:
            repo.files = files
        return handler.send({"success": True, "commitOid": repo.commit, "commitUrl": f"{here}/commit/{repo.commit}"})
    return handler.send({"error": "no such thing"}, 404)


def _body(handler: Any) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)
