"""The cache as the real huggingface_hub leaves it: after a download, and in the middle of one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_server import running_hub
from huggingface_hub import scan_cache_dir
from made_cache import etag

from engine.errors import UsageError
from engine.hub.cache import scan
from engine.hub.trash import preview, purge, to_trash
from engine.hub.verifying import verify

FETCH = "import sys\nfrom huggingface_hub import snapshot_download\nsnapshot_download(sys.argv[1])"
FILES = {"config.json": b"{}", "README.md": b"# A model\n", "model.safetensors": os.urandom(3_000_000)}


def test_what_was_really_downloaded_is_whole_and_what_is_on_its_way_is_left_alone(tmp_path: Path) -> None:
    with running_hub({"some/done": {"files": FILES}, "some/slow": {"files": FILES}}) as hub:
        environment, cache = hub.environment(tmp_path), tmp_path / "hub"
        subprocess.run([sys.executable, "-c", FETCH, "some/done"], env=environment, check=True, capture_output=True)
        (revision,) = scan(cache).of("some/done")
        assert (revision.refs, revision.missing, revision.outside) == (("main",), (), ())
        assert {file.name: file.size for file in revision.files} == {name: len(data) for name, data in FILES.items()}
        found = verify(revision.path)
        assert (found.checked, found.sound, found.unknown) == (3, True, ())
        hub.fault("some/slow", where="body", file="model.safetensors", slow=200_000)
        process = subprocess.Popen([sys.executable, "-c", FETCH, "some/slow"], env=environment, stderr=subprocess.DEVNULL)
        try:
            ends = time.monotonic() + 30
            name = etag(FILES["model.safetensors"])
            looked = scan(cache)
            while {one.path.name.split(".")[0] for one in looked.partials} != {name} and time.monotonic() < ends:
                time.sleep(0.05)  # the small files may be on their way too at first
                looked = scan(cache)
            (partial,) = looked.partials
            with pytest.raises(UsageError, match="being downloaded"):
                preview(looked, [], [partial])
            slow = [(one.repo, one.commit) for one in looked.of("some/slow")]
            with pytest.raises(UsageError, match="being downloaded"):
                preview(looked, slow)
        finally:
            process.kill()
            process.wait()
        left = scan(cache)
        assert [one.missing for one in left.of("some/slow")] == [("weights",)]
        planned = preview(left, [], left.partials)
        assert planned.freed == sum(one.size for one in left.partials)
        to_trash(planned)
        assert purge(cache=cache) == planned.freed and scan(cache).partials == ()
        everything = [(one.repo, one.commit) for one in left.revisions]
        planned = preview(scan(cache), everything)
        assert planned.freed == scan_cache_dir(cache).size_on_disk
        to_trash(planned)
        assert scan(cache).revisions == () and scan_cache_dir(cache).repos == frozenset()
