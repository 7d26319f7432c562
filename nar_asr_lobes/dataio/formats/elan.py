"""ELAN annotations (.eaf) -> texts with times, and back."""

from __future__ import annotations

import os
from collections.abc import Iterable
from xml.etree import ElementTree

from nar_asr_lobes.dataio.formats.textgrid import Interval
from nar_asr_lobes.errors import UserError, describe_os_error

_NO_TIME = float("nan")


def read_elan(path: str | os.PathLike) -> list[Interval]:
    """Read the annotations of all tiers.

    Arguments
    ---------
    path : str or path
        An .eaf file of any version.

    Returns
    -------
    list of Interval
        Tier by tier in the order of the file, without lines. Annotations that
        refer to others have their times; NaN where a slot has no time.

    Raises
    ------
    UserError
        For a file that cannot be read or is not ELAN's.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.eaf"
    >>> with open(path, "w") as file:
    ...     size = file.write(format_elan([(0.5, 2.0, "no <pain>")], "A"))
    >>> found = read_elan(path)[0]
    >>> found.tier, found.start, found.end, found.text
    ('A', 0.5, 2.0, 'no <pain>')
    """
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise UserError(describe_os_error(error)) from error
    except ElementTree.ParseError as error:
        raise UserError(
            f"{path}:{error.position[0]}: is not whole XML; save it again "
            "with ELAN"
        ) from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise UserError(f"{path}: is not a file of ELAN; give an .eaf file")
    slots = {
        slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) / 1000
        for slot in root.iter("TIME_SLOT")
        if slot.get("TIME_VALUE", "").isdecimal()
    }
    elements = {
        element.get("ANNOTATION_ID"): element
        for kind in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")
        for element in root.iter(kind)
    }
    return [
        Interval(
            tier.get("TIER_ID", ""),
            *_times(element, elements, slots),
            element.findtext("ANNOTATION_VALUE") or "",
            0,
        )
        for tier in root.iter("TIER")
        for element in tier.iterfind("ANNOTATION/*")
    ]


def _times(
    element: ElementTree.Element | None,
    elements: dict[str | None, ElementTree.Element],
    slots: dict[str | None, float],
) -> tuple[float, float]:
    """Times of an annotation, or of the one it refers to in the end."""
    for _ in range(len(elements)):  # references may go round in circles
        if element is None or element.tag == "ALIGNABLE_ANNOTATION":
            break
        element = elements.get(element.get("ANNOTATION_REF"))
    if element is None:
        return _NO_TIME, _NO_TIME
    references = (element.get(f"TIME_SLOT_REF{end}") for end in (1, 2))
    start, end = (slots.get(slot, _NO_TIME) for slot in references)
    return start, end


def format_elan(
    rows: Iterable[tuple[float, float, str]], tier: str, media: str = ""
) -> str:
    """Lay out texts as the one tier of an .eaf file.

    Arguments
    ---------
    rows : iterable of (float, float, str)
        Start and end in seconds, and text of each.
    tier : str
        The tier's name.
    media : str
        Path of the recording, relative to the file.

    Returns
    -------
    str
        The content of a file of version 3.0.

    Example
    -------
    >>> '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500" />' in format_elan(
    ...     [(0.5, 2.0, "no pain")], "A"
    ... )
    True
    """
    rows = list(rows)
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "",
            "DATE": "1970-01-01T00:00:00+00:00",  # the same file each time
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": (
                "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
            ),
        },
    )

    def add(parent: ElementTree.Element, name: str, **values: str):
        return ElementTree.SubElement(parent, name, values)

    header = add(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if media:
        add(
            header,
            "MEDIA_DESCRIPTOR",
            MEDIA_URL=media,
            MIME_TYPE="audio/x-wav",
            RELATIVE_MEDIA_URL=media,
        )
    order = add(document, "TIME_ORDER")
    parent = add(
        document, "TIER", LINGUISTIC_TYPE_REF="default-lt", TIER_ID=tier
    )
    for number, (*times, text) in enumerate(rows, 1):
        slots = [f"ts{2 * number - 1}", f"ts{2 * number}"]
        for slot, time in zip(slots, times, strict=True):
            value = str(round(1000 * time))
            add(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=value)
        annotation = add(
            add(parent, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number}",
            TIME_SLOT_REF1=slots[0],
            TIME_SLOT_REF2=slots[1],
        )
        add(annotation, "ANNOTATION_VALUE").text = text
    add(
        document,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID="default-lt",
        TIME_ALIGNABLE="true",
    )
    ElementTree.indent(document)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(
        document, encoding="unicode"
    )
