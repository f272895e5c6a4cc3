"""A stroke font of our own: capitals and digits on a grid 4 wide and 6 high, as laser markers write them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

# Strokes are separated by spaces; each is a chain of two-digit points, x then y, y downwards.
STROKES: Mapping[str, str] = MappingProxyType(
    {
        "A": "0602204246 0444",
        "B": "06003041423303 3344453606",
        "C": "4130100105163645",
        "D": "00063645413000",
        "E": "40000646 0333",
        "F": "400006 0333",
        "G": "41301001051636454323",
        "H": "0006 4046 0343",
        "I": "1030 2026 1636",
        "J": "4045361605",
        "K": "0006 4003 1346",
        "L": "000646",
        "M": "0600234046",
        "N": "06004640",
        "O": "103041453616050110",
        "P": "06003041423303",
        "Q": "103041453616050110 2446",
        "R": "06003041423303 2346",
        "S": "413010010213334445361605",
        "T": "0040 2026",
        "U": "000516364540",
        "V": "002640",
        "W": "0016233640",
        "X": "0046 4006",
        "Y": "002340 2326",
        "Z": "00400646",
        "0": "103041453616050110",
        "1": "112026 1636",
        "2": "01103041420646",
        "3": "01103041423313 334445361605",
        "4": "36300444",
        "5": "4000023243453606",
        "6": "40200205163645443303",
        "7": "004016",
        "8": "103041423313020110 1304051636454433",
        "9": "43130201103041442606",
        "-": "1333",
    }
)
ADVANCE = 5.6 / 6  # from one character to the next, in heights
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
DIGITS = "0123456789"


def strokes(text: str, *, height: float) -> list[np.ndarray]:
    """Return the polylines of `text`, centred on (0, 0), each float (n, 2) in the unit of `height`.

    Spaces stay empty. Raises KeyError for a character that the font lacks.
    """
    scale = height / 6
    left = -(len(text) * ADVANCE * height - 1.6 * scale) / 2
    lines = []
    for place, character in enumerate(text):
        if character == " ":
            continue
        origin = np.array([left + place * ADVANCE * height, -height / 2])
        for chain in STROKES[character].split():
            digits = np.array([int(digit) for digit in chain], float).reshape(-1, 2)
            lines.append(origin + digits * scale)
    return lines
