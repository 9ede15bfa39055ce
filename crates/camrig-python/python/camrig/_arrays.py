"""Conversions of frames with NumPy and Pillow. The extension module calls these functions."""

from typing import Any, NamedTuple

try:
    import numpy as np
except ImportError as missing:
    raise ImportError(
        "camrig needs NumPy for arrays, and this Python has none: `pip install numpy`; "
        "without it `memoryview(frame)` and `frame.tobytes()` work"
    ) from missing


class Points(NamedTuple):
    """Points in metres, float32 of the shape (n, 3), and their colors, uint8 of the shape (n, 3)."""

    xyz: Any
    rgb: Any


def view(frame):
    """Returns a view of a frame's memory."""
    return np.asarray(memoryview(frame))


def scratch(dtype, shape):
    return np.empty(shape, dtype)


def fill(own, given, stream):
    """Copies an array into a frame to be published."""
    given = np.asarray(given)
    if given.shape != own.shape or not np.can_cast(given.dtype, own.dtype, "same_kind"):
        wanted = f"{own.dtype} {own.shape}"
        raise ValueError(f"the array of stream `{stream}` is {given.dtype} {given.shape}; it is declared as {wanted}")
    np.copyto(own, given, casting="same_kind")


def array(frame, dtype, copy):
    """Implements `__array__`: returns a view, or a copy if one is requested or needed."""
    found = view(frame)
    if dtype is not None and np.dtype(dtype) != found.dtype:
        if copy is False:
            raise ValueError(f"a frame of {found.dtype} cannot be viewed as {np.dtype(dtype)} without a copy")
        return found.astype(dtype)
    return found.copy() if copy else found


def copy(frame):
    return np.array(memoryview(frame), copy=True)


def meters(frame, unit, out):
    found = view(frame)
    if out is None:
        out = np.empty(found.shape, np.float32)
    elif not isinstance(out, np.ndarray) or out.shape != found.shape or out.dtype != np.float32:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"`out` is {got}; it must be an array of float32 {found.shape}")
    return np.multiply(found, np.float32(unit), out=out)


def points(xyz, rgb):
    return Points(np.frombuffer(xyz, "<f4").reshape(-1, 3), np.frombuffer(rgb, np.uint8).reshape(-1, 3))


def image(data, height, width):
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def matrix(numbers, shape):
    return np.array(numbers, np.float64).reshape(shape)


def to_pil(frame):
    try:
        from PIL import Image
    except ImportError as missing:
        raise ImportError("`to_pil` needs Pillow, and this Python has none: `pip install pillow`") from missing
    if frame.format in ("z16", "y16"):
        found = np.ascontiguousarray(view(frame))
        return Image.frombytes("I;16", (frame.width, frame.height), found.tobytes())
    if frame.format == "y8":
        return Image.fromarray(np.ascontiguousarray(view(frame)))
    return Image.fromarray(frame.rgb())
