"""Colours are converted to sRGB, for the model and for people, as browsers do it."""

import struct
import time
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.images import colour
from app.images.cicp import CodePoints, decode_srgb
from app.images.inspection import inspect, strip_metadata
from app.images.preprocessing import render_upright, to_tensor
from tests.pictures import encoded, scene
from tests.profiles import P3, PROPHOTO, SRGB, grey_profile, rgb_profile

WIDTH, HEIGHT = 400, 300
CLOSE = 4.0
"""Mean difference in levels: that of lossy files."""


def picture() -> Image.Image:
    """Colours that all spaces of the tests contain."""
    return Image.blend(scene(WIDTH, HEIGHT), Image.new("RGB", (WIDTH, HEIGHT), "grey"), 0.5)


def in_space(profile: bytes, image: Image.Image) -> Image.Image:
    target = ImageCms.ImageCmsProfile(BytesIO(profile))
    converted = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), target, outputMode=image.mode)
    assert converted is not None
    # Saving would embed the profile.
    converted.info.clear()
    return converted


def difference(data: bytes, expected: Image.Image) -> float:
    """After metadata is removed, as in the service."""
    stored = strip_metadata(data, inspect(data, 10**9))
    shown = np.asarray(render_upright(stored, 1024), dtype=float)
    assert np.abs(to_tensor(stored) - to_tensor(encoded(expected, "PNG"))).mean() * 127.5 < CLOSE
    return float(np.abs(shown - np.asarray(expected.convert("RGB"), dtype=float)).mean())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
@pytest.mark.parametrize(("primaries", "gamma"), [(P3, 2.2), (PROPHOTO, 1.8)], ids=["P3", "ProPhoto"])
def test_profile_is_applied_in_every_format(kind: str, primaries: Any, gamma: float) -> None:
    profile = rgb_profile(primaries, gamma)
    options = {} if kind in {"PNG", "TIFF"} else {"quality": 95}
    ignored = encoded(in_space(profile, picture()), kind, **options)
    data = encoded(in_space(profile, picture()), kind, icc_profile=profile, **options)
    assert difference(data, picture()) < CLOSE
    # The profile makes a difference.
    shown = np.asarray(render_upright(ignored, 1024), dtype=float)
    assert np.abs(shown - np.asarray(picture(), dtype=float)).mean() > CLOSE


def test_grey_profile_is_applied() -> None:
    grey = picture().convert("L")
    linear = (decode_srgb(np.asarray(grey) / 255) * 255).round().astype(np.uint8)
    for kind in ("JPEG", "PNG", "TIFF"):
        data = encoded(Image.fromarray(linear), kind, icc_profile=grey_profile(1.0))
        assert difference(data, grey.convert("RGB")) < CLOSE


def test_srgb_profile_changes_nothing() -> None:
    ordinary = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("PNG", "TIFF"):
        data = encoded(picture(), kind, icc_profile=ordinary)
        assert np.array_equal(to_tensor(data), to_tensor(encoded(picture(), kind)))
    assert colour.of_profile(ordinary, "RGB") is None
    assert colour.of_profile(None, "RGB") is None


def chunked(data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with chunks after its header."""
    inserted = b"".join(
        struct.pack(">L", len(contents)) + kind + contents + struct.pack(">L", zlib.crc32(kind + contents))
        for kind, contents in chunks
    )
    return data[:33] + inserted + data[33:]


def test_gamma_and_chromaticities_of_a_png_are_applied() -> None:
    places = [*D65_PLACES, *(round(100_000 * value) for primary in P3 for value in primary)]
    profile = rgb_profile(P3, 1.0)
    linear = encoded(in_space(profile, picture()), "PNG")
    described = chunked(linear, (b"gAMA", struct.pack(">L", 100_000)), (b"cHRM", struct.pack(">8L", *places)))
    assert difference(described, picture()) < CLOSE
    # Other chunks take precedence.
    overruled = chunked(encoded(picture(), "PNG"), (b"gAMA", struct.pack(">L", 100_000)), (b"sRGB", b"\0"))
    assert difference(overruled, picture()) == 0
    usual = chunked(encoded(picture(), "PNG"), (b"gAMA", struct.pack(">L", 45_455)))
    assert difference(usual, picture()) == 0


D65_PLACES = (31_270, 32_900)


@pytest.mark.parametrize("primaries", [12, 9])
def test_code_points_of_a_png_are_applied(primaries: int) -> None:
    wide = {12: P3, 9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))}[primaries]
    # Gamma 2.2 (4) has an exact counterpart in a profile.
    data = chunked(encoded(in_space(rgb_profile(wide, 2.2), picture()), "PNG"), (b"cICP", bytes((primaries, 4, 0, 1))))
    assert difference(data, picture()) < CLOSE


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_becomes_sdr_without_clipping_or_tints(transfer: int) -> None:
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2))
    points = CodePoints(9, transfer)
    assert not points.is_srgb
    shown = np.asarray(points.to_srgb(ramp), dtype=int)[0]
    assert np.ptp(shown, axis=1).max() <= 1
    assert (np.diff(shown[:, 0]) >= 0).all()
    white = {16: 148, 18: 191}[transfer]
    # White of SDR, 203 nits, is bright but leaves room for highlights.
    assert 150 < shown[white, 0] < 230
    assert shown[0, 0] == 0
    assert shown[-1, 0] == 255


def test_code_points_of_avif_are_applied() -> None:
    data = bytearray(encoded(picture(), "AVIF", quality=95))
    place = data.index(b"nclx") + 4
    assert difference(bytes(data), picture()) < CLOSE
    # The same pixels, said to be Display P3, are more saturated.
    data[place : place + 4] = struct.pack(">HH", 12, 13)
    shown = np.asarray(render_upright(bytes(data), 1024), dtype=float)
    expected = in_space(rgb_profile(SRGB, 2.2), picture())
    assert np.abs(shown - np.asarray(expected, dtype=float)).mean() > 2
    assert np.ptp(shown, axis=2).mean() > np.ptp(np.asarray(picture(), dtype=float), axis=2).mean()


def test_hostile_profiles_are_ignored_quickly() -> None:
    whole = rgb_profile(P3, 2.2)
    chance = np.random.default_rng(1)
    began = time.thread_time()
    for number in range(300):
        damaged = bytearray(whole)
        for _ in range(1 + number % 20):
            damaged[int(chance.integers(len(damaged)))] = int(chance.integers(256))
        data = encoded(picture(), "PNG", icc_profile=bytes(damaged[: len(damaged) - number % 7]))
        inspect(data, 10**9)
        to_tensor(data)
    assert colour.of_profile(whole[:100], "RGB") is None
    assert colour.of_profile(b"x" * (colour.MAX_PROFILE_BYTES + 1), "RGB") is None
    assert time.thread_time() - began < 60


def test_profile_of_a_jpeg_may_be_spread_over_segments() -> None:
    profile = rgb_profile(P3, 2.2)
    data = encoded(in_space(profile, picture()), "JPEG", quality=95)
    parts = [profile[start : start + 200] for start in range(0, len(profile), 200)]
    segments = [b"ICC_PROFILE\0" + bytes((number, len(parts))) + part for number, part in enumerate(parts, 1)]
    packed = [b"\xff\xe2" + struct.pack(">H", 2 + len(segment)) + segment for segment in segments]
    # In any order; one that is missing makes the profile useless.
    assert difference(data[:2] + b"".join(reversed(packed)) + data[2:], picture()) < CLOSE
    incomplete = data[:2] + b"".join(packed[:-1]) + data[2:]
    assert np.abs(to_tensor(incomplete) - to_tensor(data)).max() < 0.05


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_profile_of_grey_is_ignored_in_a_colour_picture(kind: str) -> None:
    data = encoded(picture(), kind, icc_profile=grey_profile(1.0))
    assert np.array_equal(to_tensor(data), to_tensor(encoded(picture(), kind)))


def test_profile_of_rgb_is_ignored_in_a_cmyk_picture() -> None:
    inks = picture().convert("CMYK")
    for kind in ("JPEG", "TIFF"):
        data = encoded(inks, kind, icc_profile=rgb_profile(P3, 1.0))
        assert np.abs(to_tensor(data) - to_tensor(encoded(inks, kind))).max() < 0.1


def test_profile_of_a_bmp_is_applied_and_kept() -> None:
    profile = rgb_profile(P3, 2.2)
    plain = encoded(in_space(profile, picture()), "BMP")
    (offset,) = struct.unpack_from("<L", plain, 10)
    pixels, moved = plain[offset:], 14 + 124
    head = bytearray(plain[:14] + struct.pack("<L", 124) + plain[18:54] + bytes(124 - 40))
    struct.pack_into("<L", head, 10, moved)
    head[70:74] = b"DEBM"
    struct.pack_into("<LL", head, 126, moved - 14 + len(pixels), len(profile))
    data = bytes(head) + pixels + profile
    assert difference(data, picture()) < CLOSE
    assert difference(strip_metadata(data, inspect(data, 10**9)), picture()) < CLOSE


def test_colours_are_converted_before_transparency_becomes_white() -> None:
    profile = rgb_profile(P3, 1.0)
    opaque = in_space(profile, Image.new("RGB", (64, 64), (200, 80, 40)))
    half = opaque.copy()
    half.putalpha(128)
    expected = tuple(round(level * 128 / 255 + 127) for level in (200, 80, 40))
    for kind in ("PNG", "WEBP"):
        shown = render_upright(encoded(half, kind, icc_profile=profile, lossless=True), 64)
        assert np.abs(np.asarray(shown.getpixel((32, 32)), dtype=int) - expected).max() <= 3, kind


@pytest.mark.parametrize("cicp", [(99, 13, 0, 1), (9, 99, 0, 1), (99, 16, 0, 1), (9, 16, 0, 0), (9, 16, 1, 1)], ids=str)
def test_code_points_that_browsers_do_not_know_are_ignored(cicp: tuple[int, ...]) -> None:
    assert difference(chunked(encoded(picture(), "PNG"), (b"cICP", bytes(cicp))), picture()) == 0
    # What comes after them counts.
    profile = rgb_profile(P3, 2.2)
    data = encoded(in_space(profile, picture()), "PNG", icc_profile=profile)
    assert difference(chunked(data, (b"cICP", bytes(cicp))), picture()) < CLOSE


def test_chromaticities_of_a_png_are_ignored_without_gamma() -> None:
    places = [*D65_PLACES, *(round(100_000 * value) for primary in P3 for value in primary)]
    assert difference(chunked(encoded(picture(), "PNG"), (b"cHRM", struct.pack(">8L", *places))), picture()) == 0


# What Chromium 156 shows for (200, 80, 40), (60, 160, 90), (40, 70, 190) and (180, 180, 180).
@pytest.mark.parametrize(
    ("cicp", "expected"),
    [
        ((1, 1), [(197, 70, 28), (49, 155, 81), (28, 60, 186), (176, 176, 176)]),
        ((12, 1), [(214, 57, 0), (0, 157, 72), (14, 61, 194), (176, 176, 176)]),
        ((9, 14), [(242, 2, 0), (0, 163, 68), (0, 60, 195), (176, 176, 176)]),
        ((1, 7), [(206, 97, 58), (77, 170, 106), (58, 87, 197), (188, 188, 188)]),
        ((22, 13), [(202, 84, 39), (54, 157, 90), (40, 78, 190), (180, 180, 180)]),
    ],
    ids=str,
)
def test_code_points_look_as_in_chromium(cicp: tuple[int, int], expected: list[tuple[int, ...]]) -> None:
    quarters = np.array([[(200, 80, 40), (60, 160, 90)], [(40, 70, 190), (180, 180, 180)]], np.uint8)
    data = encoded(Image.fromarray(quarters.repeat(32, 0).repeat(32, 1)), "PNG")
    data = chunked(data, (b"cICP", bytes((*cicp, 0, 1))))
    image = render_upright(data, 64)
    found = [image.getpixel(place) for place in ((16, 16), (48, 16), (16, 48), (48, 48))]
    assert np.abs(np.asarray(found) - np.asarray(expected)).max() <= 3


def test_brightest_pixel_of_an_hdr_png_becomes_white() -> None:
    # 400 nits in PQ (SMPTE ST 2084) are 166 of 255.
    bright = encoded(Image.new("RGB", (64, 64), (166, 166, 166)), "PNG")
    hdr = (b"cICP", bytes((9, 16, 0, 1)))
    shown = {
        nits: render_upright(chunked(bright, hdr, (b"cLLI", struct.pack(">LL", nits * 10_000, 0))), 64).getpixel((9, 9))
        for nits in (400, 1_000, 4_000)
    }
    assert min(shown[400]) >= 250  # type: ignore[arg-type]
    assert shown[400] > shown[1_000] > shown[4_000]  # type: ignore[operator]
    assert render_upright(chunked(bright, hdr), 64).getpixel((9, 9)) == shown[1_000]
