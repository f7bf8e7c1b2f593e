"""What JPEG and PNG files say besides their pixels: which way is up.

compile/runner/images/orientation.c reads the same on the device, and a test compares the two over odd images. Pillow
does not read it: of damaged or repeated tags it takes another one from version to version, and an image whose text or
EXIF it cannot read it refuses, though the pixels are whole. It gets the file without them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
UPRIGHT, LAST = 1, 8  # of the values of EXIF 2.32, 4.6.4: Orientation
EXIF_MARK, JPEG_XMP, PNG_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp\0"
TAG, ENTRY_BYTES = 0x0112, 12
WIDTHS = {3: 2, 4: 4}  # bytes of a value of the types SHORT and LONG
SCAN, END, APP1, ADOBE, COMMENT = 0xDA, 0xD9, 0xE1, 0xEE, 0xFE
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # no escaped 0xFF, marker without a length, or fill byte
# Chunks of PNG that may be left out by their name, and yet say what the pixels are.
PIXEL_CHUNKS = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})


@dataclass(frozen=True)
class SplitImage:
    """An image file, taken apart."""

    pixels: bytes  # the file without metadata
    exif: bytes = b""  # a TIFF structure
    xmp: bytes = b""

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 to 8; 1, upright, when there is none that can be read."""
        value = _from_tiff(self.exif)
        if value is None:
            found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', self.xmp)
            value = int(found[1]) if found else UPRIGHT
        return value if UPRIGHT <= value <= LAST else UPRIGHT


def split_image(data: bytes) -> SplitImage | None:
    """Return the parts of a JPEG or PNG file, or None for a file of another kind; what is damaged stays as it is."""
    if data.startswith(JPEG):
        return _split_jpeg(data)
    return _split_png(data) if data.startswith(PNG) else None


def _split_jpeg(data: bytes) -> SplitImage:
    kept, exif, xmp, at = [data[:2]], b"", b"", 2
    while found := _MARKER.search(data, at):  # what stands between segments is passed over
        begin, marker = found.start(), data[found.start() + 1]
        length = int.from_bytes(data[begin + 2 : begin + 4], "big")
        if marker in (SCAN, END) or not 2 <= length <= len(data) - begin - 2:
            at = begin
            break
        at = begin + 2 + length
        segment = data[begin + 4 : at]
        if marker == APP1 and segment.startswith(EXIF_MARK) and not exif:
            exif = segment[len(EXIF_MARK) :]
        if marker == APP1 and segment.startswith(JPEG_XMP):
            xmp = segment[len(JPEG_XMP) :]
        if not ((APP1 <= marker < 0xF0 and marker != ADOBE) or marker == COMMENT):
            kept.append(data[begin:at])
    return SplitImage(b"".join([*kept, data[at:]]), exif, xmp)


def _split_png(data: bytes) -> SplitImage:
    kept, exif, xmp, at, kind = [data[:8]], b"", b"", 8, b""
    while len(data) - at >= 12 and kind != b"IEND":
        length, kind, begin = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at
        if length > len(data) - at - 12:
            break
        at += 12 + length
        content = data[begin + 8 : at - 4]
        if kind == b"eXIf":
            exif = content
        if kind == b"iTXt" and content.startswith(PNG_XMP):
            xmp = content[len(PNG_XMP) :]
        if kind in PIXEL_CHUNKS or not kind[0] & 0x20:  # a small first letter: not needed for the pixels
            kept.append(data[begin:at])
    return SplitImage(b"".join([*kept, data[at:]]), exif, xmp)


def _from_tiff(tiff: bytes) -> int | None:
    """Return the first value of the first such tag of the first directory."""
    tiff = tiff.removeprefix(EXIF_MARK)
    if tiff[:4] not in (b"II*\0", b"MM\0*") or len(tiff) < 8:
        return None
    order: Literal["little", "big"] = "little" if tiff[:1] == b"I" else "big"

    def number(at: int, width: int) -> int:
        return int.from_bytes(tiff[at : at + width], order)

    at = number(4, 4)
    if len(tiff) - at < 2:
        return None
    for entry in range(at + 2, min(at + 2 + number(at, 2) * ENTRY_BYTES, len(tiff) - ENTRY_BYTES + 1), ENTRY_BYTES):
        width, count = WIDTHS.get(number(entry + 2, 2), 0), number(entry + 4, 4)
        if number(entry, 2) != TAG or width * count == 0:
            continue
        value = entry + 8 if width * count <= 4 else number(entry + 8, 4)
        if value + width * count <= len(tiff):
            return number(value, width)
    return None
