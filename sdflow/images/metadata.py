"""The metadata of a result: what still holds for its pixels, and how it was made.

Broken metadata never makes an image fail: what cannot be kept is left out, and named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sdflow.images import exif, xmp
from sdflow.images.formats import BrokenImageError, ImageFormat, Metadata
from sdflow.images.ifd import Directory
from sdflow.images.provenance import PREVIOUS_SOFTWARE

if TYPE_CHECKING:
    from sdflow.geometry import Size
    from sdflow.images.provenance import Provenance

SEGMENT_BYTES = 65_533  # JPEG: the length field counts itself
_EXIF_BYTES = SEGMENT_BYTES - len(b"Exif\0\0")
_XMP_BYTES = SEGMENT_BYTES - len(b"http://ns.adobe.com/xap/1.0/\0")
_IPTC_BYTES = SEGMENT_BYTES - 27  # what stands around it, see containers.photoshop
_ICC_BYTES = 255 * (SEGMENT_BYTES - 14)
_MAX_DENSITY = 65_535


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
    with tags that describe how the source stored its pixels. A MakerNote keeps its bytes, and its
    offset where that is below 16 KiB. EXIF with damaged tags loses those alone.

    Args:
        metadata: Of the source.
        size: Of the result, upright.
        provenance: Goes into EXIF's Software and, property by property, into XMP, where a former
            Software is remembered; None leaves both alone.
        mode: ``strip`` keeps the ICC profile alone, for without it the colours would be others.
    """
    if mode == "strip":
        return Finished(Metadata(icc=metadata.icc))
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
            packet = xmp.updated(packet, size, properties)
    except BrokenImageError as error:
        notes.append(f"XMP left out: {error}")
        packet = None
    if packet is None and properties:
        packet = xmp.new_packet(properties)
    stream = exif.write(tags) if has_tags else None
    return Finished(replace(metadata, exif=stream, xmp=packet), "; ".join(notes) or None)


def fitted(metadata: Metadata, name: ImageFormat) -> Finished:
    """Leave out what a format has no room for; what ``encode`` does before it writes.

    JPEG takes 64 KB each of EXIF (else without its MakerNote, else none), XMP (else without its
    padding, else none) and IPTC, and densities up to 65,535. WebP and AVIF have no place for IPTC
    and density, and as grey becomes RGB in them, none for a profile of grey. TIFF needs EXIF that
    can be read.
    """
    if name is ImageFormat.JPEG:
        return _fitted_to_jpeg(metadata)
    notes = []
    if name in (ImageFormat.WEBP, ImageFormat.AVIF):
        if metadata.iptc:
            notes.append(f"{name} has no place for IPTC")
        metadata = replace(metadata, iptc=None, dpi=None)
        if metadata.icc and metadata.icc[16:20] == b"GRAY":
            notes.append(f"{name} has no grey, so its profile is left out")
            metadata = replace(metadata, icc=None)
    if name is ImageFormat.TIFF and metadata.exif is not None:
        try:
            exif.read(metadata.exif)
        except BrokenImageError as error:
            notes.append(f"EXIF left out: {error}")
            metadata = replace(metadata, exif=None)
    return Finished(metadata, "; ".join(notes) or None)


def _fitted_to_jpeg(metadata: Metadata) -> Finished:
    notes: list[str] = []
    stream, packet, iptc = metadata.exif, metadata.xmp, metadata.iptc
    if stream is not None and len(stream) > _EXIF_BYTES:
        notes.append("EXIF above 64 KB: its MakerNote is left out")
        stream = _without_maker_note(stream)
        if stream is None or len(stream) > _EXIF_BYTES:
            notes[-1], stream = "EXIF above 64 KB is left out", None
    if packet is not None and len(packet) > _XMP_BYTES:
        packet = xmp.without_padding(packet)
        if len(packet) > _XMP_BYTES:
            notes.append("XMP above 64 KB is left out")
            packet = None
    if iptc is not None and len(iptc) > _IPTC_BYTES:
        notes.append("IPTC above 64 KB is left out")
        iptc = None
    icc, dpi = metadata.icc, metadata.dpi
    if icc is not None and len(icc) > _ICC_BYTES:
        notes.append("an ICC profile above 16 MB is left out")
        icc = None
    if dpi is not None and max(dpi) > _MAX_DENSITY:
        notes.append(f"a density of {max(dpi):.0f} dpi is left out")
        dpi = None
    return Finished(Metadata(icc, stream, packet, iptc, dpi), "; ".join(notes) or None)


def _without_maker_note(stream: bytes) -> bytes | None:
    try:
        return exif.write(exif.without_maker_note(exif.read(stream)))
    except BrokenImageError:
        return None
