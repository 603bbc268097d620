"""Pictures as a request carries them, whole or at fault."""

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def text_of(pixels: Any, kind: str = "PNG", **options: Any) -> str:
    """An array of levels, (H, W) or (H, W, C), or an image → base64."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
    content = io.BytesIO()
    image.save(content, kind, **options)
    return base64.b64encode(content.getvalue()).decode()


def animated(pixels: Any) -> str:
    frames = [Image.fromarray(np.asarray(pixels, np.uint8) + step) for step in (0, 1)]
    return text_of(frames[0], save_all=True, append_images=frames[1:])


def bomb(width: int, height: int) -> str:
    """A PNG whose head promises more than any memory holds, in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def wordy(pixels: Any) -> str:
    """A PNG with a text of a hundred megabytes, packed."""
    whole = base64.b64decode(text_of(pixels))
    data = b"Comment\x00\x00" + zlib.compress(bytes(100 << 20), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return base64.b64encode(whole[:33] + chunk + whole[33:]).decode()


def scans(count: int) -> str:
    """A JPEG whose pixels are gone over again and again."""
    whole = base64.b64decode(text_of(np.zeros((5, 4)), "JPEG", progressive=True))
    at = whole.rindex(b"\xff\xda")
    return base64.b64encode(whole[:at] + whole[at:-2] * count + whole[-2:]).decode()
