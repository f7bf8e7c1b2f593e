"""Images whose pixels are whole and whose metadata is odd: damaged, repeated, long, or in a place of its own."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

from tests.support.image_files import SIGNATURE, chunk, encoded, png, scene

SHORT, LONG, BYTE, FLOAT = 3, 4, 1, 11
ORIENTATION = 0x0112
Entry = tuple[int, int, int, bytes]  # tag, type, count, the four bytes of the value


def tiff(*entries: Entry, after: bytes = b"", big: bool = False, directory: int = 8, count: int | None = None) -> bytes:
    """A TIFF structure of one directory, with bytes after it."""
    order = ">" if big else "<"
    rows = [struct.pack(f"{order}HHI", tag, kind, number) + value for tag, kind, number, value in entries]
    head = b"MM\0*" if big else b"II*\0"
    number = len(rows) if count is None else count
    return head + struct.pack(f"{order}IH", directory, number) + b"".join(rows) + bytes(4) + after


def short(*values: int, big: bool = False) -> bytes:
    return struct.pack((">" if big else "<") + "H" * len(values), *values).ljust(4, b"\0")


def tag(value: int) -> Entry:
    return (ORIENTATION, SHORT, 1, short(value))


BEHIND = 8 + 2 + 12 + 4  # where `after` begins behind a directory of one entry
OUTSIDE = struct.pack("<I", 1 << 30)
EXIF = {
    "one short": tiff(tag(6)),
    "big-endian": tiff((ORIENTATION, SHORT, 1, short(6, big=True)), big=True),
    "two shorts": tiff((ORIENTATION, SHORT, 2, short(6, 1))),
    "three shorts": tiff((ORIENTATION, SHORT, 3, struct.pack("<I", BEHIND)), after=short(6, 1, 1)),
    "two longs": tiff((ORIENTATION, LONG, 2, struct.pack("<I", BEHIND)), after=struct.pack("<II", 8, 1)),
    "shorts outside": tiff((ORIENTATION, SHORT, 3, OUTSIDE)),
    "shorts that end too early": tiff((ORIENTATION, SHORT, 9, struct.pack("<I", BEHIND)), after=short(6, 1)),
    "2**31 shorts": tiff((ORIENTATION, SHORT, 1 << 31, struct.pack("<I", BEHIND)), after=short(6, 1)),
    "no values": tiff((ORIENTATION, SHORT, 0, short(6))),
    "one long": tiff((ORIENTATION, LONG, 1, struct.pack("<I", 6))),
    "a long of more than 16 bits": tiff((ORIENTATION, LONG, 1, struct.pack("<I", 0x10006))),
    "a byte": tiff((ORIENTATION, BYTE, 1, b"\6\0\0\0")),
    "a float": tiff((ORIENTATION, FLOAT, 1, struct.pack("<f", 6))),
    "an unknown type": tiff((ORIENTATION, 99, 1, short(6))),
    "twice": tiff(tag(6), tag(3)),
    "once damaged, once whole": tiff((ORIENTATION, SHORT, 3, OUTSIDE), tag(3)),
    "others before": tiff((0x010F, 2, 4, b"abc\0"), (0x011A, 5, 1, OUTSIDE), tag(5)),
    "0": tiff(tag(0)),
    "9": tiff(tag(9)),
    "65535 entries": tiff(tag(7), count=65535),
    "no entries": tiff(tag(7), count=0),
    "directory outside": tiff(tag(6), directory=1 << 31),
    "directory in its own header": tiff(tag(6), directory=0),
    "cut off": tiff(tag(6))[:20],
    "no header": b"\1\2\3\4" + tiff(tag(6)),
    "BigTIFF": b"II+\0" + tiff(tag(6))[4:],
    "marked twice": b"Exif\0\0" + tiff(tag(6)),
    "empty": b"",
    "four bytes": b"II*\0",
}
XMP = {
    "attribute": b'<x tiff:Orientation="6"/>',
    "element": b"<tiff:Orientation>8</tiff:Orientation>",
    "at the end": b"tiff:Orientation>5",
    "attribute cut off": b'tiff:Orientation="',
    "first without a number": b'tiff:Orientation="x" tiff:Orientation="3"',
    "no number": b"tiff:Orientation>",
    "no UTF-8": b'\xff\xfe tiff:Orientation="7"',
}


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(*segments: bytes) -> bytes:
    data = encoded(scene(23, 17), "JPEG", quality=90, subsampling=0)
    return data[:2] + b"".join(segments) + data[2:]


def odd_png(*chunks: bytes, behind: bytes = b"", end: bytes = b"") -> bytes:
    """A PNG with chunks before its pixels, behind them, and behind its end."""
    data = png(8, 2, b"".join(chunks), 23, 17)
    return data[:-12] + behind + data[-12:] + end


def spoiled(data: bytes) -> bytes:
    """A chunk with a wrong check sum."""
    return data[:-1] + bytes([data[-1] ^ 1])


def text(keyword: bytes, data: bytes) -> bytes:
    return chunk(b"tEXt", keyword + b"\0" + data)


def itxt(data: bytes, compressed: int = 0) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0" + bytes([compressed, 0]) + b"\0\0" + data)


def compressed_texts(count: int, size: int) -> list[bytes]:
    packed = zlib.compress(bytes(size), 9)
    return [chunk(b"zTXt", f"key {index}".encode() + b"\0\0" + packed) for index in range(count)]


def split_data(data: bytes) -> bytes:
    """The same PNG with its pixels in many chunks, some of them empty."""
    at = data.index(b"IDAT") - 4
    size = struct.unpack_from(">I", data, at)[0]
    body, edges = data[at + 8 : at + 8 + size], [*range(0, size, 100), size]
    parts = [chunk(b"IDAT", body[begin:end]) + chunk(b"IDAT", b"") for begin, end in pairwise(edges)]
    return data[:at] + b"".join(parts) + data[at + 12 + size :]


def odd_jpegs() -> dict[str, bytes]:
    app1, exif, xmp = 0xE1, b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
    turned = segment(app1, exif + tiff(tag(6)))
    packet = segment(app1, xmp + XMP["element"])
    found = {f"EXIF: {name}": jpeg(segment(app1, exif + data)) for name, data in EXIF.items()}
    found |= {f"XMP: {name}": jpeg(segment(app1, xmp + data)) for name, data in XMP.items()}
    found |= {f"EXIF and XMP: {name}": jpeg(segment(app1, exif + data), packet) for name, data in EXIF.items()}
    return found | {
        "two EXIF segments": jpeg(turned, segment(app1, exif + tiff(tag(3)))),
        "an empty EXIF segment first": jpeg(segment(app1, exif), turned),
        "two XMP segments": jpeg(packet, segment(app1, xmp + XMP["attribute"])),
        "XMP first": jpeg(packet, turned),
        "APP1 of another kind": jpeg(segment(app1, b"Exif"), turned),
        "fill bytes": jpeg(b"\xff" * 5 + turned),
        "bytes between segments": jpeg(turned + b"between\xff\0" + segment(0xFE, b"x") + b"\0\xff\xd0"),
        "a segment that is longer than it says": jpeg(turned[:-2], b"\0\0\x12\xe1"),
        "long comments": jpeg(*[segment(0xFE, bytes(65533))] * 40, turned),
        "a damaged index of pictures": jpeg(segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff" + bytes(40)), turned),
        "damaged colours": jpeg(segment(0xE2, b"ICC_PROFILE\0\x05\x01" + bytes(9)), turned),
        "damaged Photoshop": jpeg(segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\xff\xff"), turned),
        "a resolution that divides by zero": jpeg(
            segment(app1, exif + tiff((0x011A, 5, 1, struct.pack("<I", BEHIND + 12)), tag(6), after=bytes(8)))
        ),
    }


def odd_pngs() -> dict[str, bytes]:
    turned = chunk(b"eXIf", tiff(tag(6)))
    found = {f"eXIf: {name}": odd_png(chunk(b"eXIf", data)) for name, data in EXIF.items()}
    found |= {f"iTXt: {name}": odd_png(itxt(data)) for name, data in XMP.items()}
    profile = b"\nexif\n      32\n" + (b"Exif\0\0" + tiff(tag(6))).hex().encode()
    return found | {
        "eXIf with a wrong sum": odd_png(spoiled(turned)),
        "eXIf behind the pixels": odd_png(behind=turned),
        "eXIf behind the end": odd_png(end=turned),
        "two eXIf": odd_png(turned, chunk(b"eXIf", tiff(tag(3)))),
        "eXIf and iTXt": odd_png(turned, itxt(XMP["element"])),
        "damaged eXIf and iTXt": odd_png(chunk(b"eXIf", b"no TIFF at all"), itxt(XMP["element"])),
        "compressed iTXt": odd_png(itxt(zlib.compress(XMP["attribute"]), 1)),
        "iTXt of three bytes": odd_png(chunk(b"iTXt", b"a\0b")),
        "EXIF as text": odd_png(text(b"Raw profile type exif", profile)),
        "EXIF as damaged text": odd_png(text(b"Raw profile type exif", b"no digits")),
        "text of 3 MB": odd_png(text(b"Comment", b"x" * 3_000_000), turned),
        "compressed text of 3 MB": odd_png(*compressed_texts(1, 3_000_000), turned),
        "80 compressed texts of 1 MB": odd_png(*compressed_texts(80, 1_000_000), turned),
        "compressed text in an unknown way": odd_png(chunk(b"zTXt", b"key\0\7abc"), turned),
        "text with a wrong sum": odd_png(spoiled(text(b"Comment", b"x"))),
        "colours that grow to 3 MB": odd_png(chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(3_000_000))), turned),
        "damaged colours": odd_png(chunk(b"iCCP", b"name\0\0no zlib"), turned),
        "a short resolution": odd_png(chunk(b"pHYs", b"\0\0"), turned),
        "a short gamma": odd_png(chunk(b"gAMA", b"\0"), turned),
        "short colours": odd_png(chunk(b"cHRM", b"\0"), turned),
        "a long rendering intent": odd_png(chunk(b"sRGB", bytes(9)), turned),
        "an unknown chunk": odd_png(chunk(b"xyZz", bytes(99)), turned),
        "an empty time": odd_png(chunk(b"tIME", b""), turned),
        "pixels in many chunks": split_data(odd_png(turned)),
        "no end": odd_png(turned)[:-12],
        "bytes behind the end": odd_png(turned, end=b"more than twelve bytes"),
        "nothing but a signature and text": SIGNATURE + text(b"Comment", b"x"),
    }


ODD = {f"JPEG, {name}": data for name, data in odd_jpegs().items()} | {
    f"PNG, {name}": data for name, data in odd_pngs().items()
}
