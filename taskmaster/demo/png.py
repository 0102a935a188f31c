"""Write a PNG. The format is small enough to need no library."""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB = 2
UNFILTERED = b"\0"
LEVEL = 6


def write(path: Path, width: int, height: int, pixels: bytes) -> None:
    """Write `pixels`, three bytes each, row by row. The file appears as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(SIGNATURE)
            for kind, content in _chunks(width, height, pixels):
                file.write(struct.pack(">I", len(content)) + kind + content)
                file.write(struct.pack(">I", zlib.crc32(kind + content)))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _chunks(width: int, height: int, pixels: bytes) -> Iterator[tuple[bytes, bytes]]:
    yield b"IHDR", struct.pack(">IIBBBBB", width, height, 8, RGB, 0, 0, 0)
    rows = (UNFILTERED + pixels[row * width * 3 : (row + 1) * width * 3] for row in range(height))
    yield b"IDAT", zlib.compress(b"".join(rows), LEVEL)
    yield b"IEND", b""
