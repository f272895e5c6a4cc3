"""The magnetic tiles as the benchmarks use them: splits by part, pixel measures, and cells that are kept.

A cell is one trained and tested model. Finished cells are appended to a file of JSON lines; a benchmark that
is started again goes on after them, and a new version of a cell's recipe is a cell of its own.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

import flawscope
from flawscope.core import digest
from flawscope.core.errors import FlawscopeError
from flawscope.core.progress import Silent, Stage
from flawscope.core.rng import derive
from flawscope.core.types import GOOD, Array, Raw, Report, Role, Sample
from flawscope.data.manifest import write_manifest
from flawscope.flows.environment import machine, versions
from flawscope.flows.train import Trained
from flawscope.imaging.read import read_mask
from flawscope.methods.contract import FitContext
from flawscope.metrics import localisation
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import GraphSession

SIDE = 224
# ImageNet's features differ in strength from channel to channel, and that tells; see docs/methods.md
IMAGENET: dict[str, Any] = {"unit_levels": False, "components": 192, "smoothing": 14.0}


@dataclass
class Stopwatch(Silent):
    """A progress that keeps each stage's seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Time a stage."""
        start = time.perf_counter()
        yield self
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def machine_line() -> str:
    """Say what machine this is, and with which versions it measures."""
    here = machine()
    return f"Machine: {here['processor']}, {here['cores']} cores; " + ", ".join(
        f"{name} {value}" for name, value in versions().items()
    )


def protocol(shared: Path) -> ModuleType:
    """Return the module that says which tiles show one part, and the split behind the stated figures."""
    place = shared / "data" / "protocol.py"
    spec = importlib.util.spec_from_file_location("protocol", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sample_of(root: Path, path: str, *, part: str, role: Role | None = None) -> Sample:
    """Return one tile with its label, mask and part."""
    photograph = root / path
    good = path.startswith("MT_Free")
    return Sample(
        path,
        str(photograph),
        GOOD if good else path.split("/")[0].removeprefix("MT_").lower(),
        mask_path=None if good else str(photograph.with_suffix(".png")),
        part=part,
        role=role,
    )


def protocol_samples(shared: Path, *, calibrate: int = 0) -> list[Sample]:
    """Return the protocol's split: FIT and TEST; the last good parts of FIT, `calibrate` photographs or a few
    more, become CALIBRATE."""
    module = protocol(shared)
    part = {path: str(i) for i, paths in enumerate(module.parts()) for path in paths}
    split = module.split()
    held: set[str] = set()
    count = 0
    for path in reversed(split["fit"]):
        if count >= calibrate:
            break
        if part[path] not in held:
            held.add(part[path])
            count += sum(part[other] == part[path] for other in split["fit"])
    samples = []
    for name, role in (("fit", Role.FIT), ("test_good", Role.TEST), ("test_bad", Role.TEST)):
        for path in split[name]:
            given = Role.CALIBRATE if role is Role.FIT and part[path] in held else role
            samples.append(sample_of(module.ROOT, path, part=part[path], role=given))
    return samples


def labelled_samples(shared: Path, *, seed: int, calibrate: int = 80) -> list[Sample]:
    """Return all tiles dealt by part: 70 % teach, 20 % choose, 10 % test, as the published ablation has it.
    Of the parts that would teach, some without any flaw, `calibrate` photographs or a few more, calibrate the
    verdicts instead."""
    module = protocol(shared)
    groups = module.parts()
    order = derive(seed, "tiles").permutation(len(groups))
    total = sum(map(len, groups))
    samples, dealt, held = [], 0, 0
    for place in order.tolist():
        share = dealt / total
        role = Role.FIT if share < 0.7 else Role.SELECT if share < 0.9 else Role.TEST
        if role is Role.FIT and held < calibrate and all(p.startswith("MT_Free") for p in groups[place]):
            role = Role.CALIBRATE
            held += len(groups[place])
        samples += [sample_of(module.ROOT, path, part=str(place), role=role) for path in groups[place]]
        dealt += len(groups[place])
    return samples


def write_protocol(shared: Path, out: Path) -> None:
    """Write the protocol's split as a manifest."""
    write_manifest(out, protocol_samples(shared))


@contextmanager
def trained(
    samples: Sequence[Sample], recipe: Mapping[str, Any], *, shared: Path
) -> Iterator[tuple[Trained, Report]]:
    """Teach the method, backbone, seed and settings of a recipe on samples with roles, stretched to 224x224,
    and test the bundle; what the run wrote is there until the end."""
    settings = {
        "fit": "stretch",
        "size": [SIDE, SIDE],
        **{name: recipe[name] for name in ("method", "backbone", "seed", "settings")},
    }
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "tiles.jsonl"
        write_manifest(manifest, samples)
        taught = flawscope.train(
            manifest,
            out=Path(folder) / "run",
            settings=settings,
            weights_dir=shared / "weights",
            threads=recipe["threads"],
        )
        inspector = flawscope.Inspector.open(taught.bundle.path, threads=recipe["threads"])
        yield taught, flawscope.evaluate(inspector, manifest, settings={"pixels": False})


def judged(graph: Any, samples: Sequence[Sample], context: FitContext) -> list[Raw]:
    """Return what a graph says of samples, in order, as the line computes it."""
    session = GraphSession(graph.SerializeToString(deterministic=True), threads=context.threads)
    scorer = Scorer(session, context.preprocess)
    paths = [sample.path for sample in samples]
    return [scorer(one.required())[0] for one in read_ahead(paths, context.preprocess)]


def pixels_of(samples: Sequence[Sample], maps: Sequence[Array]) -> localisation.Pixels:
    """Collect maps and masks at 224x224, the masks thresholded at 127 as the protocol says."""
    large, masks = [], []
    for sample, heat in zip(samples, maps, strict=True):
        large.append(cv2.resize(heat.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
        mask = None
        if sample.mask_path:
            full = read_mask(sample.mask_path, above=127).astype(np.uint8)
            mask = cv2.resize(full, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0
        masks.append(mask)
    bad = [sample.is_bad for sample in samples]
    return localisation.collect(large, masks, pixel_threshold=1.0, is_bad=bad)


def pixel_values(report: Any) -> localisation.Pixels:
    """Collect a report's maps and masks at 224x224."""
    maps = [entry.inspection.map for entry in report.judged]
    return pixels_of([entry.sample for entry in report.judged], maps)


def pixel_auroc(report: Any) -> float:
    """Return the AUROC over all pixels at 224x224."""
    return float(localisation.auroc(pixel_values(report)).value or 0.0)


@dataclass(frozen=True)
class Cells:
    """Finished cells in a file of JSON lines."""

    path: Path

    def done(self) -> dict[str, dict[str, Any]]:
        """Return the finished cells by key; a line that a kill cut off is left out."""
        found = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    cell = json.loads(line)
                except ValueError:
                    continue
                found[cell["key"]] = cell
        return found

    def run(self, recipe: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the cell of this recipe: the finished one, or what `work` measures now. A recipe that cannot
        be carried out gives a cell with the reason, which is tried again next time."""
        key = digest.of_value(dict(recipe))[:16]
        known = self.done().get(key)
        if known is not None:
            return known
        cell: dict[str, Any] = {"key": key, **recipe}
        try:
            cell |= {"status": "ok", **work()}
        except FlawscopeError as error:
            return cell | {"status": "skipped", "reason": str(error)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(cell, sort_keys=True) + "\n")
        print(json.dumps(cell, sort_keys=True), flush=True)
        return cell


def write_table(
    out: Path,
    *,
    title: str,
    command: str,
    notes: Sequence[str] = (),
    head: Sequence[str],
    rows: Sequence[str],
) -> None:
    """Write a page with one table: what was run, on which machine, and rows of Markdown."""
    lines = [
        f"# {title}",
        "",
        f"`python benchmarks/{command}; the script's head says what is measured.",
        "",
        *(line for note in notes for line in (note, "")),
        machine_line(),
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *rows,
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def spread(values: Sequence[float], *, places: int = 3) -> str:
    """Write a mean and, of several values, their standard deviation."""
    mean = f"{np.mean(values):.{places}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{places}f}"
