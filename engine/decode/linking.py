"""Makes an object file an image that runs wherever it is put: one piece of code and constants, with nothing left to fill in.

For x86-64 in ELF, as LLVM writes it for Linux. The code calls nothing outside of itself and has no variables, so every reference is
relative and can be settled for good; what holds anything else is `Unlinkable`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

WRITABLE, ALLOCATED = 1, 2
"""Flags of a section."""
SYMBOLS, RELOCATIONS, EMPTY = 2, 4, 8
"""Types of a section."""
RELATIVE = (2, 4)
"""Relocations that are 32-bit distances: R_X86_64_PC32 and R_X86_64_PLT32."""
X86_64 = 62
UNWIND = b".eh_frame"


class Unlinkable(Exception):
    """An object file that needs a real linker."""


@dataclass(frozen=True)
class Section:
    name: bytes
    kind: int
    flags: int
    data: bytes
    linked: int
    """The section of symbols that relocations speak of."""
    about: int
    """The section that relocations belong to."""
    alignment: int


def link(code: bytes, entry: str) -> tuple[bytes, int]:
    """The image of an object file, and where in it the function `entry` begins. Raises `Unlinkable`."""
    sections = _sections(code)
    image, starts = bytearray(), {}
    for number, section in enumerate(sections):
        if section.flags & ALLOCATED and section.data and not section.name.startswith(UNWIND):
            if section.flags & WRITABLE:
                raise Unlinkable("it has variables")
            image += bytes(-len(image) % max(section.alignment, 64))
            starts[number] = len(image)
            image += section.data
    names, symbols = _symbols(sections)
    for section in sections:
        if section.kind != RELOCATIONS or section.about not in starts:
            continue
        for offset, information, addend in struct.iter_unpack("<QQq", section.data):
            home, value = symbols[information >> 32]
            if information & 0xFFFFFFFF not in RELATIVE or home not in starts:
                raise Unlinkable("it refers to something outside of itself")
            place = starts[section.about] + offset
            struct.pack_into("<i", image, place, starts[home] + value + addend - place)
    home, value = symbols[names[entry.encode()]]
    return bytes(image), starts[home] + value


def _sections(code: bytes) -> list[Section]:
    if code[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", code, 18)[0] != X86_64:
        raise Unlinkable("it is not for x86-64 in ELF")
    (table,) = struct.unpack_from("<Q", code, 40)
    size, count, naming = struct.unpack_from("<HHH", code, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", code, table + size * number) for number in range(count)]
    texts = heads[naming][4]
    found = []
    for name, kind, flags, _, offset, length, linked, about, alignment, _ in heads:
        title = code[texts + name : code.index(b"\0", texts + name)]
        data = b"" if kind == EMPTY else code[offset : offset + length]
        found.append(Section(title, kind, flags, data, linked, about, alignment))
    return found


def _symbols(sections: list[Section]) -> tuple[dict[bytes, int], list[tuple[int, int]]]:
    """The number of each name, and by number (section, offset in it)."""
    table = next(section for section in sections if section.kind == SYMBOLS)
    texts, names, found = sections[table.linked].data, {}, []
    for number, (name, _, _, section, value, _) in enumerate(struct.iter_unpack("<IBBHQQ", table.data)):
        names[texts[name : texts.index(b"\0", name)]] = number
        found.append((section, value))
    return names, found
