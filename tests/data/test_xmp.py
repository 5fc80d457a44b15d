"""XMP: single values of it, and packets that are damaged or hostile."""

from __future__ import annotations

import time

import pytest

from dips.data.xmp import MAX_BYTES, xmp_values

WANTED = {"Yaw", "Camera:Pitch"}
BOMB = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


def packet(inside: str, before: str = "") -> bytes:
    return (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{before}<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{inside}</rdf:RDF></x:xmpmeta>'
        f'{" " * 200}<?xpacket end="w"?>\0\0'
    ).encode()


@pytest.mark.parametrize(
    ("inside", "found"),
    [
        ('<rdf:Description d:Yaw="+1.5" Camera:Pitch="-90"/>', {"Yaw": "+1.5", "Camera:Pitch": "-90"}),
        ("<rdf:Description><d:Yaw>\n +1.5 </d:Yaw><Camera:Pitch>3</Camera:Pitch></rdf:Description>",
         {"Yaw": "+1.5", "Camera:Pitch": "3"}),
        ('<a Yaw="1"/><b Yaw="2"/>', {"Yaw": "1"}),
        ('<a d:Yaw=""/><b d:Yaw="2"/>', {"Yaw": "2"}),
        ('<a other:Pitch="1" d:yaw="2"/>', {}),
        ("<d:Yaw>1<e/>2</d:Yaw>", {"Yaw": "2"}),
        (f'<a d:Yaw="{"1" * 101}"/>', {}),
        ('<a d:Yaw="7"/><b', {"Yaw": "7"}),
        ('<a d:Yaw="7"></b><c Camera:Pitch="8"/>', {"Yaw": "7"}),
        ('<a d:Yaw="&unknown;"/>', {}),
    ],
)  # fmt: skip
def test_values(inside: str, found: dict[str, str]) -> None:
    assert xmp_values(packet(inside), WANTED) == found


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe\0", b"Yaw=3", bytes(range(256))])
def test_what_is_no_xml_has_no_values(data: bytes) -> None:
    assert xmp_values(data, WANTED) == {}


@pytest.mark.parametrize(
    ("document_type", "value"),
    [
        (f'<!DOCTYPE x [<!ENTITY a0 "lol">{BOMB}]>', "&a9;"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>', "&a;"),
        ('<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">', "1"),
        (f'<!DOCTYPE x [<!ENTITY a "{"b" * 500_000}">]>', "&a;" * 50_000),
    ],
)
def test_entities_are_refused(document_type: str, value: str) -> None:
    start = time.process_time()
    assert xmp_values(packet(f"<d:Yaw>{value}</d:Yaw>", before=document_type), WANTED) == {}
    assert time.process_time() - start < 1


def test_a_large_packet_is_left_alone() -> None:
    inside = '<a d:Yaw="7"/>'
    room = MAX_BYTES - len(packet(inside))
    assert xmp_values(packet(inside + " " * room), WANTED) == {"Yaw": "7"}
    assert xmp_values(packet(inside + " " * (room + 1)), WANTED) == {}


def test_nesting_costs_no_stack() -> None:
    assert xmp_values(packet("<a>" * 100_000 + '<b d:Yaw="7"/>'), WANTED) == {"Yaw": "7"}
