"""Adds sections to a PE image: all that it takes to turn systemd's stub into a unified kernel image. Called by `uki`."""

import struct

from .tools import PackError

# Offsets of PE/COFF (Microsoft PE format, "COFF File Header" and "Optional Header PE32+").
_PE_POINTER = 0x3C
_SECTION_COUNT = 2 + 4
_SYMBOLS = 8 + 4
_OPTIONAL_HEADER_SIZE = 16 + 4
_OPTIONAL_HEADER = 24
_INITIALIZED_SIZE = 8
_FILE_ALIGNMENT = 36
_IMAGE_SIZE = 56
_HEADERS_SIZE = 60
_CHECKSUM = 64
_SECTION_HEADER = struct.Struct("<8sIIIIIIHHI")
# Initialised data, readable.
_CHARACTERISTICS = 0x40000040
_PAGE = 4096


def add_sections(image: bytes, sections: list[tuple[str, bytes]]) -> bytes:
    """Appends the sections in this order, each on its own page of the loaded image.

    A symbol table behind the sections is dropped: signers and firmware must not have to agree on how to hash what no section owns.
    """
    output = bytearray(image)
    pe = _read(output, "<I", _PE_POINTER)
    if output[pe : pe + 4] != b"PE\0\0":
        raise PackError("the boot stub is no PE image")
    optional = pe + _OPTIONAL_HEADER
    count = _read(output, "<H", pe + _SECTION_COUNT)
    table = optional + _read(output, "<H", pe + _OPTIONAL_HEADER_SIZE)
    alignment = _read(output, "<I", optional + _FILE_ALIGNMENT)
    if table + (count + len(sections)) * _SECTION_HEADER.size > _read(output, "<I", optional + _HEADERS_SIZE):
        raise PackError("the boot stub has no room for more section headers")
    headers = [_SECTION_HEADER.unpack_from(output, table + index * _SECTION_HEADER.size) for index in range(count)]
    del output[max(offset + stored for _, _, _, stored, offset, *_ in headers) :]
    struct.pack_into("<II", output, pe + _SYMBOLS, 0, 0)
    address = max(start + max(size, stored) for _, size, start, stored, *_ in headers)
    initialized = _read(output, "<I", optional + _INITIALIZED_SIZE)
    for index, (name, content) in enumerate(sections, start=count):
        output += b"\0" * (-len(output) % alignment)
        address += -address % _PAGE
        stored = len(content) + -len(content) % alignment
        header = _SECTION_HEADER.pack(name.encode(), len(content), address, stored, len(output), 0, 0, 0, 0, _CHARACTERISTICS)
        output[table + index * _SECTION_HEADER.size : table + (index + 1) * _SECTION_HEADER.size] = header
        output += content + b"\0" * (stored - len(content))
        address += len(content)
        initialized += stored
    struct.pack_into("<H", output, pe + _SECTION_COUNT, count + len(sections))
    struct.pack_into("<I", output, optional + _INITIALIZED_SIZE, initialized)
    struct.pack_into("<I", output, optional + _IMAGE_SIZE, address + -address % _PAGE)
    struct.pack_into("<I", output, optional + _CHECKSUM, 0)
    return bytes(output)


def section(image: bytes, wanted: str) -> bytes:
    """The content of one section."""
    pe = _read(image, "<I", _PE_POINTER)
    table = pe + _OPTIONAL_HEADER + _read(image, "<H", pe + _OPTIONAL_HEADER_SIZE)
    for index in range(_read(image, "<H", pe + _SECTION_COUNT)):
        name, size, _, _, offset, *_ = _SECTION_HEADER.unpack_from(image, table + index * _SECTION_HEADER.size)
        if name.rstrip(b"\0").decode() == wanted:
            return bytes(image[offset : offset + size])
    raise PackError(f"the image has no section {wanted}")


def _read(image: bytes | bytearray, form: str, offset: int) -> int:
    value: int = struct.unpack_from(form, image, offset)[0]
    return value

