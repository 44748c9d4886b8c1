"""Replaces the random identifiers that qemu-img writes into a VHDX file by ones that follow from the build. Called by `formats`.

MS-VHDX: 2.2.2 headers (two copies, CRC-32C over 4 KiB), 2.3 log (empty when the header's log GUID is zero), 2.6 metadata (no checksum).
"""

import struct
import uuid
from pathlib import Path

from .tools import PackError
from .verity import derived_uuid

_HEADERS = (64 << 10, 128 << 10)
_HEADER_SIZE = 4096
_CHECKSUM = 4
_SEQUENCE = 8
_FILE_WRITE_GUID = 16
_DATA_WRITE_GUID = 32
_LOG_GUID = 48
_LOG_LENGTH = 68
_LOG_OFFSET = 72
_METADATA = 3 << 20
_METADATA_ENTRY = struct.Struct("<16sIII4x")
_PAGE_83 = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
_POLYNOMIAL = 0x82F63B78


def fix_identity(path: Path, identity: str) -> None:
    """Sets sequence numbers and file, data and disk identifiers, and clears the log that qemu-img has left behind it, done with."""
    with path.open("r+b") as stream:
        content = bytearray(stream.read(_METADATA + (1 << 20)))
        for sequence, offset in enumerate(_HEADERS, start=1):
            _fix_header(content, offset, sequence, identity)
        disk_id = _metadata_item(content, _PAGE_83)
        content[disk_id : disk_id + 16] = derived_uuid(f"{identity} vhdx disk").bytes_le
        stream.seek(0)
        stream.write(content)


def _fix_header(content: bytearray, offset: int, sequence: int, identity: str) -> None:
    header = content[offset : offset + _HEADER_SIZE]
    if header[:4] != b"head" or any(header[_LOG_GUID : _LOG_GUID + 16]):
        raise PackError("qemu-img wrote a VHDX header that is none, or left its log to be replayed")
    struct.pack_into("<Q", header, _SEQUENCE, sequence)
    header[_FILE_WRITE_GUID : _FILE_WRITE_GUID + 16] = derived_uuid(f"{identity} vhdx file").bytes_le
    header[_DATA_WRITE_GUID : _DATA_WRITE_GUID + 16] = derived_uuid(f"{identity} vhdx data").bytes_le
    header[_CHECKSUM : _CHECKSUM + 4] = bytes(4)
    header[_CHECKSUM : _CHECKSUM + 4] = struct.pack("<I", crc32c(header))
    content[offset : offset + _HEADER_SIZE] = header
    (length,) = struct.unpack_from("<I", header, _LOG_LENGTH)
    (start,) = struct.unpack_from("<Q", header, _LOG_OFFSET)
    content[start : start + length] = bytes(length)


def _metadata_item(content: bytearray, wanted: uuid.UUID) -> int:
    """Where an item of the metadata region lies."""
    if content[_METADATA : _METADATA + 8] != b"metadata":
        raise PackError("qemu-img put the VHDX metadata elsewhere")
    (count,) = struct.unpack_from("<H", content, _METADATA + 10)
    for index in range(count):
        item, offset, _, _ = _METADATA_ENTRY.unpack_from(content, _METADATA + 32 * (index + 1))
        if item == wanted.bytes_le:
            return _METADATA + int(offset)
    raise PackError("qemu-img wrote VHDX metadata without a disk id")


def crc32c(content: bytes | bytearray) -> int:
    """CRC-32C (Castagnoli), as RFC 3720 appendix B.4 computes it."""
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register ^ 0xFFFFFFFF
