"""`flawscope teach`, end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worlds import World

from flawscope.synth.write import write_chips

Run = Callable[..., Any]


def test_it_teaches_compares_and_names_the_parent(split_world: World, run: Run, tmp_path: Path) -> None:
    write_chips(tmp_path / "more", good=40, bad=0, size_wh=(128, 96), seed=0)
    added = tmp_path / "reviewed"
    added.mkdir()
    for path in sorted(tmp_path.glob("more/train/good/*.png"))[30:36]:  # the first were taught
        shutil.copy(path, added)
    out = tmp_path / "v2.flaw"
    command = ("teach", "--model", split_world.model, "--add", added, "--out", out, "--threads", "1")
    done = run(*command, "--test", split_world.data, "--who", "Kim")
    assert done.exit_code == 0, done.stderr
    assert "6 photographs taught, 12 photographs scored anew to calibrate." in done.stdout
    assert "bad test photographs" in done.stdout and "made from" in done.stdout
    assert (tmp_path / "v2.manifest.jsonl").is_file()
    told = json.loads(run(*command, "--json").stdout)
    assert told["added"] == 6 and told["parent"] != told["bundle_id"] and told["compared"] is None

    again = run("teach", "--model", out, "--add", added, "--out", tmp_path / "v3.flaw", "--json")
    assert again.exit_code == 4 and json.loads(again.stdout)["error"]["code"] == "data"  # nothing new
