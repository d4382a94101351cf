"""The metadata of a result: what still holds for its pixels, and how it was made.

Broken metadata never makes an image fail: what cannot be kept is left out, and named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sdflow.images import exif, xmp
from sdflow.images.containers import (
    EXIF_PREFIX,
    ICC_PART_BYTES,
    PHOTOSHOP_BYTES,
    SEGMENT_BYTES,
    XMP_PREFIX,
)
from sdflow.images.formats import BrokenImageError, ImageFormat, Metadata
from sdflow.images.ifd import Directory
from sdflow.images.png_colour import says_srgb
from sdflow.images.provenance import PREVIOUS_SOFTWARE

if TYPE_CHECKING:
    from sdflow.geometry import Size
    from sdflow.images.provenance import Provenance

_EXIF_BYTES = SEGMENT_BYTES - len(EXIF_PREFIX)
_XMP_BYTES = SEGMENT_BYTES - len(XMP_PREFIX)
_IPTC_BYTES = SEGMENT_BYTES - PHOTOSHOP_BYTES
_ICC_BYTES = 255 * ICC_PART_BYTES
_MIN_DENSITY, _MAX_DENSITY = 0.1, 65_535
_GREY, _RGB, _CMYK = b"GRAY", b"RGB ", b"CMYK"  # bytes 16 to 20 of a profile
_SPACES = {_GREY: "grey", _RGB: "RGB", _CMYK: "CMYK"}
_WITHOUT_GREY = (ImageFormat.WEBP, ImageFormat.AVIF)


@dataclass(frozen=True, slots=True)
class Finished:
    """Metadata that can be written.

    Attributes:
        metadata: The rest.
        note: What was left out and why, for people; None where nothing was.
    """

    metadata: Metadata
    note: str | None = None


def finished(
    metadata: Metadata,
    *,
    size: Size,
    provenance: Provenance | None,
    mode: Literal["keep", "strip"] = "keep",
) -> Finished:
    """Make a source's metadata those of the result.

    Orientation becomes 1 and stated sizes become the new ones, in EXIF and XMP; thumbnails go,
    with tags that describe how the source stored its pixels, and XMP that points at data beside
    the image. A MakerNote keeps its bytes, and its offset where that is below 16 KiB. EXIF with
    damaged tags loses those alone.

    Args:
        metadata: Of the source.
        size: Of the result, upright.
        provenance: Goes into EXIF's Software and, property by property, into XMP, where a former
            Software is remembered; None leaves both alone.
        mode: ``strip`` keeps the ICC profile and PNG's words on colour alone, for without them the
            colours would be others.
    """
    if mode == "strip":
        return Finished(Metadata(icc=metadata.icc, png_colour=metadata.png_colour))
    notes: list[str] = []
    software = None if provenance is None else provenance.software
    properties = {} if provenance is None else provenance.properties()
    tags = exif.Exif("<", Directory({}))
    if metadata.exif is not None:
        try:
            tags = exif.read(metadata.exif)
            if not tags.is_whole:
                notes.append("damaged tags of EXIF left out")
        except BrokenImageError as error:
            notes.append(f"EXIF left out: {error}")
    if software and tags.software not in (None, software):
        properties[PREVIOUS_SOFTWARE] = tags.software or ""
    tags = exif.updated(tags, size, software)
    has_tags = tags.directory.entries or tags.directory.children
    packet = metadata.xmp
    try:
        if packet is not None:
            packet, has_lost = xmp.updated(packet, size, properties)
            if has_lost:
                notes.append("extended XMP, gain map or motion video left out")
    except BrokenImageError as error:
        notes.append(f"XMP left out: {error}")
        packet = None
    if packet is None and properties:
        packet = xmp.new_packet(properties)
    stream = exif.write(tags) if has_tags else None
    return Finished(replace(metadata, exif=stream, xmp=packet), "; ".join(notes) or None)


def fitted(metadata: Metadata, name: ImageFormat, *, num_bands: int | None = None) -> Finished:
    """Leave out what a format has no room for; what ``encode`` does before it writes.

    JPEG takes 64 KB each of EXIF (else without its MakerNote, else none), XMP (else without its
    padding, else none) and IPTC. WebP and AVIF have no place for IPTC and density. Densities are
    0.1 to 65,535. TIFF needs EXIF that can be read. PNG alone has words of its own on colour. A
    profile is for the colours of the result: grey, or RGB, which grey becomes in WebP and AVIF.

    Args:
        metadata: Of the result.
        name: What is to be written.
        num_bands: Channels of the result; None where they are not known: then a profile is looked
            at for WebP and AVIF alone.
    """
    notes: list[str] = []
    if name is not ImageFormat.PNG and metadata.png_colour:
        if not says_srgb(metadata.png_colour, has_profile=metadata.icc is not None):
            notes.append("colour description of the PNG (gAMA, cICP) left out")
        metadata = replace(metadata, png_colour=())
    metadata = replace(
        metadata,
        icc=_fitting_profile(metadata.icc, name, num_bands, notes),
        dpi=_fitting_density(metadata.dpi, notes),
    )
    if name is ImageFormat.JPEG:
        metadata = _fitted_to_jpeg(metadata, notes)
    elif name is ImageFormat.TIFF:
        metadata = _fitted_to_tiff(metadata, notes)
    elif name is not ImageFormat.PNG:
        if metadata.iptc:
            notes.append(f"{name} has no place for IPTC")
        metadata = replace(metadata, iptc=None, dpi=None)
    return Finished(metadata, "; ".join(notes) or None)


def _fitting_profile(
    icc: bytes | None, name: ImageFormat, num_bands: int | None, notes: list[str]
) -> bytes | None:
    """The profile, or None if it is for colours of another kind than those of the result."""
    if name in _WITHOUT_GREY:
        expected = _RGB
    elif num_bands is not None:
        expected = _RGB if num_bands > 2 else _GREY
    else:
        return icc
    space = b"" if icc is None else icc[16:20]
    if space not in _SPACES or space == expected:
        return icc
    colours = f"{name} is" if name in _WITHOUT_GREY else "the result is"
    notes.append(f"{colours} {_SPACES[expected]}, so a profile of {_SPACES[space]} is left out")
    return None


def _fitting_density(
    dpi: tuple[float, float] | None, notes: list[str]
) -> tuple[float, float] | None:
    if dpi is None or all(_MIN_DENSITY <= value <= _MAX_DENSITY for value in dpi):
        return dpi
    notes.append(f"a density of {dpi[0]:.3g} x {dpi[1]:.3g} dpi is left out")
    return None


def _fitted_to_tiff(metadata: Metadata, notes: list[str]) -> Metadata:
    try:
        if metadata.exif is not None:
            exif.read(metadata.exif)
    except BrokenImageError as error:
        notes.append(f"EXIF left out: {error}")
        return replace(metadata, exif=None)
    return metadata


def _fitted_to_jpeg(metadata: Metadata, notes: list[str]) -> Metadata:
    stream, packet = metadata.exif, metadata.xmp
    iptc, icc = metadata.iptc, metadata.icc
    if stream is not None and len(stream) > _EXIF_BYTES:
        stream = _without_maker_note(stream)
        if stream is not None and len(stream) <= _EXIF_BYTES:
            notes.append("EXIF above 64 KB: its MakerNote is left out")
        else:
            notes.append("EXIF above 64 KB is left out")
            stream = None
    if packet is not None and len(packet) > _XMP_BYTES:
        packet = xmp.without_padding(packet)
        if len(packet) > _XMP_BYTES:
            notes.append("XMP above 64 KB is left out")
            packet = None
    if iptc is not None and len(iptc) > _IPTC_BYTES:
        notes.append("IPTC above 64 KB is left out")
        iptc = None
    if icc is not None and len(icc) > _ICC_BYTES:
        notes.append("an ICC profile above 16 MB is left out")
        icc = None
    return replace(metadata, icc=icc, exif=stream, xmp=packet, iptc=iptc)


def _without_maker_note(stream: bytes) -> bytes | None:
    try:
        return exif.write(exif.without_maker_note(exif.read(stream)))
    except BrokenImageError:
        return None
