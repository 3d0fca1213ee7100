"""What a viewer shows of a decoded picture: bit depth, transparency and colour space as they are.

A picture that no two viewers would show alike is refused in words, never clipped.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
# Brighter than this share of white, or a viewer shows 16 bits as plain black.
_DARKEST_WHITE = 1 / 16
# A profile that moves no colour by more is sRGB in all but name: its pictures stay as they are.
_SAME_COLOUR = 3
_DISPLAY_GAMMA = 2.2


def as_shown(picture: Image.Image) -> Image.Image:
    """Turn a decoded picture into what a viewer shows on white paper.

    A picture of 8 bits a channel in sRGB without transparency keeps its values.

    Args:
        picture: Of 8 bits a channel (see `in_eight_bits`), of any mode; its embedded colour profile
            is followed where it fits the mode, and so is a PNG's gamma.

    Returns:
        The picture, RGB, of the same size.
    """
    colours = _in_srgb(picture)
    if not picture.has_transparency_data:
        return colours
    alpha = picture.convert("RGBA").getchannel("A")
    return Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha)


def visible(picture: Image.Image) -> Image.Image:
    """Make sure that there is something to see where a picture has transparency.

    A BMP of 32 bits often has an alpha of 0 everywhere, which nobody wrote; viewers pass it over.

    Args:
        picture: a whole picture.

    Returns:
        The picture; without that alpha.

    Raises:
        ValueError: it is transparent everywhere.
    """
    if not picture.has_transparency_data:
        return picture
    whole = picture if "A" in picture.getbands() else picture.convert("RGBA")
    if whole.getchannel("A").getbbox() is not None:
        return picture
    if picture.format == "BMP":
        return picture.convert("RGB")
    raise ValueError("transparent everywhere, so that nothing of it is seen")


def in_eight_bits(picture: Image.Image) -> Image.Image:
    """Bring a grey picture of more than 8 bits to 8, from black to white as its format has them.

    Args:
        picture: A decoded picture; one of 8 bits or fewer comes back as it is.

    Returns:
        The picture; grey where it had 9 to 16 bits.

    Raises:
        ValueError: If its numbers have no white (floating point, 32 bits), or use so little of 16
            bits that a viewer shows black.
    """
    if not (picture.mode == "F" or picture.mode.startswith("I")):
        return picture
    if picture.mode == "F" or (picture.mode == "I" and picture.format != "PPM"):
        kind = "floating-point" if picture.mode == "F" else "32-bit"
        raise ValueError(f"{kind} grey values, which have no agreed white: convert it to 8 bits")
    bits, inverted = 16, False
    if isinstance(picture, TiffImageFile):
        bits = int(picture.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0])
        inverted = picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    values = np.asarray(picture).astype(np.uint16)
    if inverted:
        values = (1 << bits) - 1 - values
    brightest = int(np.max(values))
    if 0 < brightest < _DARKEST_WHITE * (1 << bits):
        raise ValueError(
            f"{bits}-bit grey values that go up to {brightest} alone, which a viewer shows as "
            "black: scale it, or convert it to 8 bits"
        )
    grey = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    kept = ("icc_profile", "gamma", "srgb")
    grey.info = {key: picture.info[key] for key in kept if key in picture.info}
    return grey


def of_sixteen_bits(picture: Image.Image) -> bool:
    """Tell whether a picture that comes in 8 bits a channel has 16 in its file.

    Args:
        picture: Opened, and not decoded yet.
    """
    for tile in getattr(picture, "tile", ()):
        said = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if ";16" in str(said[0]) or (tile[0].startswith("ppm") and 65_535 in said[1:]):
            return not picture.mode.startswith("I")
    return False


def check_bright(picture: Image.Image) -> None:
    """Refuse colours of 16 bits of which so little is used that a viewer shows black.

    Args:
        picture: Decoded to 8 bits a channel.

    Raises:
        ValueError: If it is as dark as 12 bits in 16 are.
    """
    bands = [
        band for name, band in zip(picture.getbands(), picture.split(), strict=True) if name != "A"
    ]
    brightest = max(int(np.asarray(band).max()) for band in bands)
    if 0 < brightest <= _DARKEST_WHITE * 256:
        raise ValueError(
            "16-bit colours of which one part in sixteen alone is used, which a viewer shows as "
            "black: scale it, or convert it to 8 bits"
        )


def reduced(picture: Image.Image, factor: int) -> Image.Image:
    """Show a large picture at a fraction of its size, strip by strip: little memory beside it.

    Args:
        picture: As for `as_shown`.
        factor: How many pixels become one, each way; >= 1.

    Returns:
        RGB, its sides divided by the factor and rounded up.
    """
    width, height = picture.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = 64 * factor
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height)))
        small.paste(as_shown(strip).reduce(factor), (0, top // factor))
    return small


def _in_srgb(picture: Image.Image) -> Image.Image:
    """The colours in sRGB: by the embedded profile, else by a PNG's gamma, else as they are."""
    plain = picture.convert({"LA": "L", "1": "L"}.get(picture.mode, "RGB"))
    if picture.mode == "CMYK":
        plain = picture
    profile = picture.info.get("icc_profile")
    if profile:
        transform = _to_srgb(profile, plain.mode)
        if transform is not None:
            shown: Image.Image | None = ImageCms.applyTransform(plain, transform)
            return shown if shown is not None else plain.convert("RGB")
    colours = plain.convert("RGB")
    gamma = picture.info.get("gamma")
    if not gamma or gamma <= 0 or profile or "srgb" in picture.info:
        return colours
    exponent = 1 / (_DISPLAY_GAMMA * gamma)
    if abs(exponent - 1) < 0.05:
        return colours
    table = [round(255 * (value / 255) ** exponent) for value in range(256)]
    return colours.point(table * 3)


@lru_cache(maxsize=32)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What brings colours of a profile to sRGB; None where they are, or it does not fit."""
    try:
        there = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(there, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # viewers pass a profile over that is damaged, or of other pictures
    if mode == "CMYK":
        return transform
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(cube if mode == "RGB" else steps[None])
    shown = ImageCms.applyTransform(probe, transform)
    if shown is None:
        return None
    moved = np.abs(np.asarray(shown).astype(int) - np.asarray(probe.convert("RGB")).astype(int))
    return None if moved.max() <= _SAME_COLOUR else transform
