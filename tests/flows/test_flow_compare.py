"""Compare: the protocol keeps its word, cells are kept and not repeated, and what fails says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flawscope
from flawscope.core.cells import Cell, Measuring, Outcome, Status
from flawscope.core.config import as_values
from flawscope.core.errors import ConfigError, DataError, UsageError
from flawscope.core.progress import Silent
from flawscope.core.types import Fit, Preprocess, Role
from flawscope.data.manifest import read_manifest
from flawscope.data.splits import components_of
from flawscope.flows.compare import measuring
from flawscope.flows.compare.engine import CELLS, Cache, Limits
from flawscope.flows.compare.flow import compare
from flawscope.flows.compare.memory import own_peak_mb, physical_mb, resident_mb
from flawscope.flows.compare.models import Model, adjusted, models_from, models_named, preset_of
from flawscope.flows.compare.planning import CompareSettings, Plan, plan
from flawscope.flows.compare.processes import child_environment, processes
from flawscope.flows.compare.work import OUTCOME, carry_out, read_outcome

Make = Callable[..., CompareSettings]


@pytest.fixture
def settings(mixed: Callable[..., Path], tiny_settings: dict[str, Any]) -> Make:
    """A function that returns settings of a comparison on tiny parts: settings(models..., **others)."""
    own = tiny_settings["settings"]
    run = {name: value for name, value in tiny_settings.items() if name not in ("settings", "name")}

    def make(*models: Model, good: int = 30, bad: int = 6, **others: Any) -> CompareSettings:
        chosen = models or (Model("patchcore", "patchcore", settings=own), Model("padim", "padim"))
        run_too = run | others.pop("run", {})
        return CompareSettings(
            (mixed(good, bad),), chosen, run=run_too, measuring=Measuring(4, 1, 3, 6, 96),
            **({"seeds": 2} | others),
        )  # fmt: skip

    return make


def planned(settings: CompareSettings, out: Path) -> Plan:
    return plan(settings, out, progress=Silent())


def by_role(cell: Cell) -> dict[Role | None, set[str]]:
    found: dict[Role | None, set[str]] = {}
    for sample in read_manifest(Path(cell.manifest)):
        found.setdefault(sample.role, set()).add(sample.id)
    return found


def in_process(cells: Sequence[Cell], cache: Cache, limits: Limits) -> Iterator[Outcome]:
    """The plainest engine: one after the other, in this process."""
    for cell in cells:
        place = cache.workplace(cell)
        outcome = carry_out(cell, place)
        cache.keep(cell, place)
        yield outcome


def test_seeds_redraw_all_but_the_test_part_and_models_share_it(settings: Make, tmp_path: Path) -> None:
    made = planned(settings(seeds=3), tmp_path)
    assert len(made.cells) == 6 and len({cell.key for cell in made.cells}) == 6
    roles = {cell.seed: by_role(cell) for cell in made.cells}
    for seed in range(3):
        assert len({cell.manifest for cell in made.cells if cell.seed == seed}) == 1
        assert roles[seed][Role.TEST] == roles[0][Role.TEST]
        assert not roles[seed][Role.FIT] & roles[0][Role.TEST]
    assert roles[0][Role.FIT] != roles[1][Role.FIT]
    samples = read_manifest(Path(made.cells[0].manifest))
    for component in components_of(samples):
        assert len({sample.role for sample in component}) == 1
    assert all(sample.is_good for sample in samples if sample.role is Role.FIT)  # one class alone


def test_defects_teach_as_soon_as_one_model_learns_from_them(settings: Make, tmp_path: Path) -> None:
    made = planned(settings(*models_named(["padim", "linear"]), bad=16), tmp_path)
    samples = read_manifest(Path(made.cells[0].manifest))
    assert any(sample.is_bad for sample in samples if sample.role is Role.FIT)
    assert all(sample.is_good for sample in samples if sample.role is Role.CALIBRATE)


def test_a_test_part_of_the_data_stays_and_optional_models_give_way(
    chips_folder: Path, settings: Make, tmp_path: Path
) -> None:
    models = preset_of("quick").models
    made = planned(CompareSettings((chips_folder,), models, seeds=1), tmp_path)
    assert [model.name for model in made.models] == ["patchcore", "padim", "dfm"]
    assert "linear, svm, joined" in made.notes[0] and made.counts["chips"]["test"] == 16
    assert made.cells[0].settings["calibrate"] == "folds"  # 24 parts cannot promise
    with pytest.raises(DataError, match="lacks good or defective"):  # one defect of each kind: all teach
        planned(CompareSettings((chips_folder,), models, seeds=1, resplit="60/20/20"), tmp_path)
    anew = planned(settings(*models, bad=16, resplit="60/20/20"), tmp_path)
    assert len(anew.models) == 6 and not anew.notes
    with pytest.raises(DataError, match="no defect to teach with"):
        planned(CompareSettings((chips_folder,), models[3:], seeds=1), tmp_path)


def test_what_cannot_be_compared_is_said_before_anything_is_taught(
    settings: Make, parts: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="lacks good or defective"):
        planned(replace(settings(), data=(parts(8),)), tmp_path)
    with pytest.raises(DataError, match="There is no"):
        planned(replace(settings(), data=(tmp_path / "nowhere",)), tmp_path)
    with pytest.raises(DataError, match="No data set holds"):
        planned(settings(product="gear"), tmp_path)
    with pytest.raises(UsageError, match="There is nothing to compare"):
        planned(replace(settings(), models=()), tmp_path)
    with pytest.raises(UsageError, match="named twice"):
        models_named(["padim", "padim"])
    with pytest.raises(UsageError, match="patchcore"):
        models_named(["patchcor"])
    with pytest.raises(UsageError, match="no preset"):
        preset_of("quik")
    with pytest.raises(ConfigError, match="budgt"):
        planned(settings(run={"budgt": 3}), tmp_path)
    assert not list(tmp_path.rglob(OUTCOME))


def test_products_of_one_name_are_told_apart(
    settings: Make, mixed: Callable[..., Path], tmp_path: Path
) -> None:
    for place in ("east", "west"):
        for product in ("cap", "plate"):
            mixed(20, 5, folder=tmp_path / place / product, start=100 * len(place + product))
    made = replace(settings(seeds=1), data=(tmp_path / "east", tmp_path / "west"))
    plans = planned(made, tmp_path / "out")
    assert [one.name for one in plans.products] == ["east/cap", "east/plate", "west/cap", "west/plate"]
    assert len(plans.cells) == 8 and len({cell.manifest for cell in plans.cells}) == 4
    alone = planned(replace(made, product="plate"), tmp_path / "out")
    assert [one.name for one in alone.products] == ["east/plate", "west/plate"]
    together = planned(replace(made, data=(tmp_path / "east",), product="all"), tmp_path / "out")
    assert [one.name for one in together.products] == ["east"]
    assert together.cells[0].settings["product"] == "all"


def test_models_are_set_one_by_one() -> None:
    models = preset_of("qc10").models
    assert len(models) == 10
    made = {m.name: m for m in adjusted(models, ["patchcore.bank=77", "stfpm.width=8"], steps=5)}
    assert made["patchcore"].settings["bank"] == 77 and made["padim"].settings["shrinkage"] is not None
    assert made["stfpm"].settings["training"]["steps"] == 5 and made["stfpm"].settings["width"] == 8
    own = made["efficientad"].entry.method.Config().training
    assert made["efficientad"].settings["training"] == as_values(own) | {"steps": 5}  # the rest stays
    with pytest.raises(UsageError, match="meets no model"):
        adjusted(models, ["finetune.views=2"], steps=None)
    with pytest.raises(ConfigError, match="bnk"):
        adjusted(models, ["patchcore.bnk=77"], steps=None)
    (one,) = models_from([{"method": "padim", "name": "p", "settings": {}}])
    assert (one.name, one.method) == ("p", "padim")
    with pytest.raises(ConfigError, match="methd"):
        models_from([{"methd": "padim"}])


def test_the_key_names_the_content(settings: Make, tmp_path: Path) -> None:
    first = settings()
    key = planned(first, tmp_path / "a").cells[0].key
    assert planned(first, tmp_path / "b").cells[0].key == key  # wherever it is written
    assert planned(replace(first, threads=2), tmp_path / "c").cells[0].key != key
    assert planned(replace(first, run=first.run | {"alpha": 0.1}), tmp_path / "d").cells[0].key != key
    roi = tmp_path / "roi.json"
    keys = []
    for corner in (0.5, 0.6):
        outline = [[0.1, 0.1], [corner, 0.1], [corner, 0.9], [0.1, 0.9]]
        roi.write_text(json.dumps({"polygons": [outline]}), encoding="utf-8")
        keys.append(planned(replace(first, run=first.run | {"roi": str(roi)}), tmp_path / "f").cells[0].key)
    assert len({key, *keys}) == 3  # the file's content counts, not its name
    masks = sorted(first.data[0].rglob("*_mask.png"))
    masks[0].write_bytes(masks[-1].read_bytes())
    assert planned(first, tmp_path / "e").cells[0].key != key


def test_a_comparison_from_end_to_end_and_again(settings: Make, tmp_path: Path) -> None:
    out, heard = tmp_path / "cmp", []
    found = compare(settings(), out, engine=in_process, told=lambda outcome, known: heard.append(known))
    assert heard == [False] * 4 and {row.status for row in found.rows} == {Status.OK}
    values = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    assert len(values["cells"]) == 4 and values["protocol"]["calibrated by"] == "folds"
    for cell in values["cells"]:
        folder = out / cell["folder"]
        for name in ("model.flaw", "report/report.html", OUTCOME):
            assert (folder / name).is_file()
        metrics = cell["metrics"]
        assert metrics["auroc"]["value"] > 0.6 and metrics["pixel_aupro_30"]["value"] is not None
        assert 0 <= metrics["pointing"]["value"] <= 1 and metrics["latency_p50_ms"]["value"] > 0
        assert 0 < metrics["processor_ms"]["value"] and "load" in cell["facts"]
        assert metrics["throughput"]["value"] > 0 and metrics["size_mb"]["value"] > 0
        assert set(cell["facts"]["stages_ms"]) >= {"read", "preprocess", "graph", "decide", "total"}
        assert cell["per_defect"].keys() == {"scratch", "blob"}
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") > 12 and f"{values['cells'][0]['folder']}/report" in page
    shown = [read_outcome(out / cell["folder"]) for cell in values["cells"]]
    assert len({tuple(one.pictures) for one in shown if one}) == 1 and len(shown[0].pictures) == 6  # type: ignore[union-attr]
    heard.clear()
    again = compare(settings(), out, engine=in_process, told=lambda outcome, known: heard.append(known))
    assert heard == [True] * 4
    assert [row.to_json() for row in again.rows] == [row.to_json() for row in found.rows]
    assert not (out / "unfinished").exists()


def test_a_refusal_becomes_a_reason(settings: Make, tmp_path: Path) -> None:
    models = (
        Model("padim", "padim"),
        Model("linear", "linear"),
        Model("lost", "padim", backbone="no_such_network"),
    )
    found = compare(settings(*models, bad=2, seeds=1), tmp_path / "cmp", engine=in_process)
    rows = {row.model: row for row in found.rows}
    assert rows["padim"].metrics
    assert rows["linear"].status is Status.FAILED and "too few to teach" in rows["linear"].missing[0]
    assert rows["lost"].status is Status.SKIPPED and "no_such_network" in rows["lost"].missing[0]
    assert not rows["linear"].metrics and not rows["lost"].metrics


def test_one_process_a_cell_gives_the_same_numbers(settings: Make, tmp_path: Path) -> None:
    here = compare(settings(seeds=1), tmp_path / "here", engine=in_process)
    there = compare(settings(seeds=1), tmp_path / "there", engine=processes, limits=Limits(jobs=2))
    for one, other in zip(here.outcomes, there.outcomes, strict=True):
        assert [sample.to_json() for sample in one.samples] == [sample.to_json() for sample in other.samples]
        assert one.metrics["pixel_aupro_30"] == other.metrics["pixel_aupro_30"]


def test_limits_end_a_cell_and_say_so(settings: Make, tmp_path: Path) -> None:
    made = settings(Model("padim", "padim"), seeds=1)
    slow = compare(made, tmp_path / "slow", limits=Limits(seconds=0.2))
    assert "longer than 0.2 s" in slow.rows[0].missing[0]
    large = compare(made, tmp_path / "large", limits=Limits(memory_mb=20))
    assert "more than 20 MB" in large.rows[0].missing[0]
    assert large.rows[0].conclusion.word == "failed" and not large.rows[0].metrics
    kept = compare(made, tmp_path / "large")  # what failed is tried again
    assert kept.rows[0].metrics


def test_a_process_that_dies_leaves_its_last_words(settings: Make, tmp_path: Path) -> None:
    made = planned(settings(Model("padim", "padim"), seeds=1), tmp_path)
    broken = replace(made.cells[0], measuring=Measuring(batch=0))
    (outcome,) = processes([broken], Cache(tmp_path), Limits())
    assert outcome.status is Status.FAILED and "code 1: ZeroDivisionError" in outcome.reason
    assert (tmp_path / CELLS / broken.key / "log.txt").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system knows no SIGKILL")
def test_killed_half_way_it_goes_on_without_repeating(settings: Make, tmp_path: Path) -> None:
    made, out = settings(seeds=3), tmp_path / "cmp"
    script = tmp_path / "start.py"
    script.write_text(START.format(settings=made, out=str(out)), encoding="utf-8")
    environment = child_environment(1, os.environ)
    process = subprocess.Popen([sys.executable, str(script)], env=environment)
    deadline = time.monotonic() + 120
    while len(finished(out)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = finished(out)
    assert 2 <= len(before) < 6
    stamps = {key: (out / CELLS / key / OUTCOME).stat().st_mtime_ns for key in before}
    heard: dict[str, bool] = {}

    def told(outcome: Outcome, known: bool) -> None:
        heard[outcome.cell.key] = known

    found = compare(made, out, told=told)
    assert len(found.outcomes) == 6 and all(one.status is Status.OK for one in found.outcomes)
    assert {key for key, known in heard.items() if known} == before
    assert {key: (out / CELLS / key / OUTCOME).stat().st_mtime_ns for key in before} == stamps


START = """
from pathlib import Path, PosixPath
from flawscope.core.cells import Measuring
from flawscope.flows.compare.flow import compare
from flawscope.flows.compare.models import Model
from flawscope.flows.compare.planning import CompareSettings

compare({settings!r}, Path({out!r}))
"""


def finished(out: Path) -> set[str]:
    return {path.parent.name for path in (out / CELLS).glob(f"*/{OUTCOME}")}


def test_a_childs_environment_pins_its_threads() -> None:
    made = child_environment(3, {"PYTHONPATH": "elsewhere", "A": "b"})
    assert made["OMP_NUM_THREADS"] == made["OPENCV_FOR_THREADS_NUM"] == "3" and made["A"] == "b"
    sources = str(Path(flawscope.__file__).resolve().parents[1])
    assert made["PYTHONPATH"] == os.pathsep.join([sources, "elsewhere"])


def test_memory_is_told_on_this_system() -> None:
    held, whole = resident_mb(os.getpid()), physical_mb()
    assert held is not None and whole is not None and 10 < held < whole
    peak = own_peak_mb()
    assert peak is not None and peak >= held * 0.9
    assert resident_mb(2**22 + 1) is None


@pytest.mark.parametrize(
    ("fit", "canvas", "photograph", "word"),
    [
        (Fit.LETTERBOX, (96, 224), (300, 700), "native"),
        (Fit.LETTERBOX, (224, 224), (300, 700), "padded"),
        (Fit.STRETCH, (224, 224), (300, 700), "stretched"),
        (Fit.STRETCH, (96, 224), (300, 700), "native"),
        (Fit.TILES, (224, 224), (300, 700), "native"),
    ],
)
def test_what_becomes_of_the_aspect(
    fit: Fit, canvas: tuple[int, int], photograph: tuple[int, int], word: str
) -> None:
    assert measuring.aspect(Preprocess(canvas, fit), photograph) == word
    assert np.prod(canvas) > 0
