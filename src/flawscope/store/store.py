"""The store: database, image files and bundle files under one roof."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from pathlib import Path

from flawscope.core import files
from flawscope.core.errors import StoreError
from flawscope.store.alarms import Alarms
from flawscope.store.audit import AuditLog
from flawscope.store.bundles import Bundles
from flawscope.store.calibrations import Calibrations
from flawscope.store.checks import Checks
from flawscope.store.clock import Clock, now_us
from flawscope.store.database import Database, database_url
from flawscope.store.history import History
from flawscope.store.images import ImageFiles
from flawscope.store.inspections import Inspections
from flawscope.store.jobs import JobStore
from flawscope.store.options import OptionStore
from flawscope.store.people import People
from flawscope.store.records import InspectionRecord
from flawscope.store.retention import Retention
from flawscope.store.reviews import Reviews
from flawscope.store.samples import Samples
from flawscope.store.shadows import Shadows
from flawscope.store.trials import Trials

_KEY_BYTES = 32


class Store:
    """All that a station remembers. Safe to call from several threads; close it, or use it with `with`."""

    def __init__(
        self, place: str | Path, *, folder: Path | None = None, clock: Clock = now_us, create: bool = True
    ) -> None:
        """Open a store: a folder (the database in it is SQLite), or the URL of a PostgreSQL database with the
        folder for images and bundles beside it. Raises StoreError where it cannot be opened."""
        text = str(place)
        is_url = "://" in text
        if is_url and not text.startswith("sqlite") and folder is None:
            raise StoreError(
                "A database by URL needs a folder for images and bundles", remedy="Give one with --files"
            )
        self.folder = Path(text) if not is_url else folder
        if self.folder is None:
            raise StoreError("A store needs a folder", remedy="Give the folder instead of sqlite:///...")
        self.database = Database(database_url(text), create=create)
        self.clock = clock
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "bundles").mkdir(exist_ok=True)
        self.images = ImageFiles(self.folder / "images")
        self.audit = AuditLog(self.database, clock)
        self.inspections = Inspections(self.database)
        self.people = People(self.database, self.audit, clock)
        self.bundles = Bundles(self.database, self.audit, clock)
        self.history = History(self.database)
        self.reviews = Reviews(self.database, self.audit, clock)
        self.checks = Checks(self.database, self.audit, clock)
        self.options = OptionStore(self.database, self.audit, clock)
        self.calibrations = Calibrations(self.database, clock)
        self.alarms = Alarms(self.database, self.audit, clock)
        self.shadows = Shadows(self.database)
        self.jobs = JobStore(self.database, self.audit, clock)
        self.samples = Samples(self.database)
        self.trials = Trials(self.database, self.audit, clock)
        self._placing = threading.Lock()
        self.retention = Retention(self.database, self.images, self.audit, clock, turn=self._placing)

    def keep(self, records: Sequence[InspectionRecord], contents: Sequence[bytes]) -> list[InspectionRecord]:
        """Keep inspections with their images; durable when this returns. Of an id that is kept already the
        first record stands and is returned."""
        with self._placing:  # retention must not take an image away between the two
            pairs = zip(records, contents, strict=True)
            self.images.add_all([(record.image_sha256, content) for record, content in pairs])
            return self.inspections.add_all(records)

    def bundle_file(self, id: str) -> Path:
        """Return where the file of a known bundle lies."""
        return self.folder_of("bundles") / f"{self.bundles.get(id).id}.flaw"

    def folder_of(self, name: str) -> Path:
        """Return a folder of the store, made where missing."""
        assert self.folder is not None
        place = self.folder / name
        place.mkdir(exist_ok=True)
        return place

    def signing_key(self) -> bytes:
        """Return the key that signs cookies; made on first use, readable by this user alone."""
        path = self.folder_of(".") / "signing.key"
        if not path.is_file():
            files.write_bytes(path, secrets.token_bytes(_KEY_BYTES))
            path.chmod(0o600)
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise StoreError(f"{path} is no signing key", remedy="Remove it; everybody logs in again then")
        return key

    def close(self) -> None:
        """Settle images and close the database."""
        self.images.close()
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
