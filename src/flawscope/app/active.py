"""The bundles that are open: those on the line and those that run in its shadow, by product."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from flawscope.core import digest, files
from flawscope.core.errors import NotFoundError
from flawscope.core.registry import did_you_mean
from flawscope.decision.bands import RiskLimits
from flawscope.runtime.bundle import Bundle, open_bundle
from flawscope.runtime.inspector import Inspector
from flawscope.runtime.risk import limits_of
from flawscope.store.bundles import KEPT, LINE, SHADOW
from flawscope.store.records import BundleRecord
from flawscope.store.store import Store


@dataclass(frozen=True, eq=False)
class Opened:
    """A bundle with its record, ready to judge."""

    record: BundleRecord
    inspector: Inspector
    limits: RiskLimits  # of the bands


class ActiveBundles:
    """Opens, checks and hands out the bundles of a station. Safe to call from several threads."""

    def __init__(self, store: Store, *, threads: int) -> None:
        """Open what was on the line and in the shadow when the station stopped."""
        self._store = store
        self._threads = threads
        self._turn = threading.RLock()
        self._line: dict[str, Opened] = {}
        self._shadow: dict[str, Opened] = {}
        self._of_product: dict[tuple[str, str], Opened] = {}
        for record in store.bundles.in_state(LINE):
            self._line[record.product] = self._open(record)
        for record in store.bundles.in_state(SHADOW):
            self._shadow[record.id] = self._open(record)

    def add(self, path: Path, *, who: str) -> BundleRecord:
        """Copy a bundle's file into the store and keep its record. Raises BundleError for one that is damaged
        or does not give its expected answer here."""
        bundle = Inspector.open(path, threads=self._threads).bundle
        return self._take_in(bundle, path, who=who)

    def add_bytes(self, content: bytes, *, who: str) -> BundleRecord:
        """Do the same for a bundle that was sent."""
        place = self._store.folder_of("bundles") / f".{digest.of_bytes(content)[:16]}.flaw"
        files.write_bytes(place, content)
        try:
            return self.add(place, who=who)
        finally:
            place.unlink(missing_ok=True)

    def activate(self, id: str, *, who: str, reason: str = "") -> BundleRecord:
        """Put a bundle on the line in place of its product's present one. Raises NotFoundError, BundleError
        where it does not pass its self-check."""
        with self._turn:
            opened = self._open(self._store.bundles.get(id))
            record = self._store.bundles.set_state(id, LINE, person=who, reason=reason)
            self._shadow = {key: one for key, one in self._shadow.items() if key != id}
            self._line = {**self._line, record.product: replace(opened, record=record)}
            self._of_product = {}
            return record

    def shadow(self, id: str, *, who: str, reason: str = "") -> BundleRecord:
        """Let a bundle judge beside the line; its verdicts are kept apart. Raises as `activate` does."""
        with self._turn:
            record = self._store.bundles.get(id)
            if record.state == LINE:
                raise NotFoundError(f"Bundle {id} is on the line and cannot be its own shadow")
            opened = self._open(record)
            record = self._store.bundles.set_state(id, SHADOW, person=who, reason=reason)
            self._shadow = {**self._shadow, id: replace(opened, record=record)}
            return record

    def take_off(self, id: str, *, who: str, reason: str = "") -> BundleRecord:
        """Take a bundle off the line or out of the shadow."""
        with self._turn:
            record = self._store.bundles.set_state(id, KEPT, person=who, reason=reason)
            self._shadow = {key: one for key, one in self._shadow.items() if key != id}
            self._line = {key: one for key, one in self._line.items() if one.record.id != id}
            self._of_product = {}
            return record

    def roll_back(self, product: str, *, who: str, reason: str = "") -> BundleRecord:
        """Put back on the line what was there before. Raises NotFoundError where there is none."""
        with self._turn:
            before = self._store.bundles.before(product)
            if before is None:
                raise NotFoundError(f"No bundle was on the line before for the product {product!r}")
            return self.activate(before.id, who=who, reason=reason or "back to the one before")

    def on_line(self) -> list[Opened]:
        """Return the bundles on the line by product."""
        return [self._line[product] for product in sorted(self._line)]

    def shadows(self, product: str) -> list[Opened]:
        """Return the bundles that run beside the line for a product."""
        return [one for one in self._shadow.values() if one.record.product == product]

    def of(self, product: str) -> Opened:
        """Return the bundle that judges a product; empty where there is but one. Raises NotFoundError where
        none does."""
        line = self._line
        if product in line:
            return line[product]
        known = self._of_product
        for opened in line.values():
            if product and product in opened.inspector.bundle.contents.calibrations:
                key = (opened.record.id, product)
                if key not in known:
                    inspector = opened.inspector.of_product(product)
                    known[key] = Opened(opened.record, inspector, limits_of(inspector))
                return known[key]
        if len(line) == 1:
            (only,) = line.values()
            if not product or not only.record.product:
                return only
        if not line:
            raise NotFoundError(
                "No bundle is on the line",
                remedy="Teach one, or add a .flaw file and put it on the line",
                code="no_bundle",
            )
        names = sorted(line)
        raise NotFoundError(
            f"No bundle on the line serves the product {product!r}" if product else "The product is not said",
            expected="one of " + ", ".join(names),
            remedy=did_you_mean(product, names) if product else "Say it as product",
            code="no_bundle",
        )

    def _open(self, record: BundleRecord) -> Opened:
        path = self._store.bundle_file(record.id)
        inspector = Inspector.open(path, threads=self._threads)
        return Opened(record, inspector, limits_of(inspector))

    def _take_in(self, bundle: Bundle, path: Path, *, who: str) -> BundleRecord:
        place = self._store.folder_of("bundles") / f"{bundle.id}.flaw"
        if not place.is_file() or open_bundle(place).id != bundle.id:
            with files.replacing(place) as temporary:
                shutil.copyfile(path, temporary)
        contents = bundle.contents
        record = BundleRecord(
            id=bundle.id,
            sha256=digest.of_file(place),
            name=contents.name,
            product=contents.product,
            method=contents.method,
            parent=contents.parent,
            state=KEPT,
            size_bytes=bundle.size_bytes,
            created=contents.created,
            added_us=self._store.clock(),
            added_by=who,
        )
        return self._store.bundles.add(record)
