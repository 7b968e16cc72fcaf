"""A Hub with two data sets on this machine, so that the real libraries can be used without a network; models are `hub_server`'s.

`some/tales` holds stories; `some/program` the same beside a script that must never be run.

Run as a program it prints its address and serves until it is ended.
"""

from __future__ import annotations

import http.server
import json
import urllib.parse
from typing import Any

REVISION = "a" * 40
FILES = {
    "data/train.jsonl": b"".join(json.dumps({"text": f"Story {n} was short."}).encode() + b"\n" for n in range(50)),
    "data/validation.jsonl": b'{"text": "It was held out."}\n',
    "README.md": b"---\n---\n",
}
SETS = {"some/tales": FILES, "some/program": FILES | {"program.py": b"raise SystemExit('code from the Hub was run')\n"}}


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        asked = urllib.parse.urlparse(self.path)
        path = urllib.parse.unquote(asked.path)
        repositories = {f"/datasets/{name}": (name, files) for name, files in SETS.items()}
        place = next((place for place in repositories if f"{place}/" in f"{path}/"), None)
        name, files = repositories.get(place or "", ("", {}))
        rest = path.partition(place)[2] if place else ""
        if name and path.startswith("/api/") and rest in ("", "/revision/main", f"/revision/{REVISION}"):
            siblings = [{"rfilename": file} for file in files]
            return self._send({"id": name, "sha": REVISION, "private": False, "tags": [], "siblings": siblings})
        if name and rest.startswith("/tree/"):
            return self._send(self._tree(files, "/".join(rest.split("/")[3:]), "recursive=true" in asked.query.lower()))
        body = files.get(rest.removeprefix(f"/resolve/{REVISION}/"))
        if body is not None:
            return self._send_file(body)
        return self._send({"error": "no"}, 404, {"X-Error-Code": "EntryNotFound" if name else "RepoNotFound"})

    def _tree(self, files: dict[str, bytes], below: str, deep: bool) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = [{"type": "directory", "path": "data", "oid": "d" * 40, "size": 0}]
        entries += [{"type": "file", "path": path, "oid": "f" * 40, "size": len(body)} for path, body in files.items()]
        inside = [entry for entry in entries if not below or entry["path"].startswith(below + "/")]
        return [entry for entry in inside if deep or "/" not in entry["path"][len(below) :].lstrip("/")]

    def _send_file(self, body: bytes) -> None:
        headers = {"ETag": '"x"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        if not (wanted := self.headers.get("Range")):
            return self._send(body, 200, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last or len(body)) + 1]
        around = {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"}
        return self._send(part, 206, headers | around)

    def _send(self, body: Any, code: int = 200, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
