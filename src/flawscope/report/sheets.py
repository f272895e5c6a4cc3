"""The risks of a set as a spreadsheet (XLSX): scores with factors, weights over the threshold, analysis.

Rows are written as they come and never held together, so that tens of thousands of photographs fit. Every
text is made safe: none is taken for a formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font

from flawscope.core.files import replacing
from flawscope.core.types import Array
from flawscope.decision.rated import RiskReport
from flawscope.report.risk_table import ANALYSIS_HEAD, RISK_HEAD, analysis_rows, risk_rows
from flawscope.report.table import Cell, safe

WEIGHTS_AN_IMAGE = 2_000
WEIGHTS_IN_ALL = 1_000_000  # a sheet holds 1,048,576 rows
WEIGHTS_HEAD = ("id", "x", "y", "weight")
_LONGEST_TEXT = 32_000  # a cell holds 32,767 characters


class RiskBook:
    """A workbook that is filled while parts are rated: weights as they come, everything else at the end. Use
    it as a context manager: what was begun and not written is given up then."""

    def __init__(self) -> None:
        self._book = Workbook(write_only=True)
        self._scores = self._sheet("scores", RISK_HEAD)
        self._weights = self._sheet("weights over threshold", WEIGHTS_HEAD)
        self._analysis = self._sheet("analysis", ANALYSIS_HEAD)
        self._listed = 0
        self.unlisted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        for sheet in (self._scores, self._weights, self._analysis):
            if not sheet.closed:  # its rows wait in a temporary file, which goes when this process ends
                sheet.close()

    def add_weights(self, name: str, weights: Array, region: Array, threshold: float) -> int:
        """List the weights, float (h, w), of a region, bool (h, w), over the threshold with the relative
        place of their cells' centres, heaviest first; return how many were listed. At most 2,000 an image
        and a million in all are; `unlisted` counts the others."""
        rows, columns = np.nonzero(region & (weights > threshold))
        values = weights[rows, columns]
        room = min(WEIGHTS_AN_IMAGE, WEIGHTS_IN_ALL - self._listed)
        order = np.argsort(-values, kind="stable")[:room]
        height, width = weights.shape
        for i in order.tolist():
            x, y = (columns[i] + 0.5) / width, (rows[i] + 0.5) / height
            self._weights.append(_cells([name, round(float(x), 6), round(float(y), 6), float(values[i])]))
        self._listed += len(order)
        self.unlisted += len(values) - len(order)
        return len(order)

    def write(self, report: RiskReport, path: Path) -> None:
        """Add scores and analysis and write the file, whole or not at all. A book is written once."""
        self._append(self._scores, risk_rows(report))
        self._append(self._analysis, analysis_rows(report))
        with replacing(path) as temporary:
            self._book.save(temporary)

    def _sheet(self, title: str, head: Sequence[str]) -> Any:
        sheet = self._book.create_sheet(title)
        sheet.freeze_panes = "A2"
        cells = []
        for name in head:
            cell = WriteOnlyCell(sheet, value=name)
            cell.font = Font(bold=True)
            cells.append(cell)
        sheet.append(cells)
        return sheet

    def _append(self, sheet: Any, rows: Iterable[Sequence[Cell]]) -> None:
        for row in rows:
            sheet.append(_cells(row))


def _cells(row: Sequence[Cell]) -> list[Cell]:
    return [_clean(safe(cell)) for cell in row]


def _clean(cell: Cell) -> Cell:
    """Return a cell that XML can hold: names of files may hold control characters and bytes that are no
    text."""
    if not isinstance(cell, str):
        return cell
    shown = ILLEGAL_CHARACTERS_RE.sub("\ufffd", cell.encode(errors="replace").decode())
    return shown[:_LONGEST_TEXT]
