"""Tests of what packing decides by itself: archive, PE, checksum and entry names. Run by image/lint."""

import struct
import unittest

from packing import cpio, pe, vhdx
from packing.disk import entry_name
from packing.uki import STUB, os_release


class CpioTest(unittest.TestCase):
    def test_parents_come_before_their_files_whatever_the_order_given(self) -> None:
        archive = cpio.archive({"b/c": cpio.regular(b"x"), "a": cpio.directory()})
        names = [archive.index(name) for name in (b"a\0", b"b\0", b"b/c\0", b"TRAILER!!!\0")]
        self.assertEqual(names, sorted(names))

    def test_every_member_begins_at_a_multiple_of_four(self) -> None:
        archive = cpio.archive({"odd": cpio.regular(b"12345")})
        starts = [index for index in range(len(archive)) if archive.startswith(b"070701", index)]
        self.assertEqual([start % 4 for start in starts], [0] * len(starts))


@unittest.skipUnless(STUB.exists(), "systemd-boot-efi is not installed")
class PeTest(unittest.TestCase):
    def test_a_section_that_was_added_is_read_back(self) -> None:
        image = pe.add_sections(STUB.read_bytes(), [(".cmdline", b"quiet"), (".linux", b"kernel" * 1000)])
        self.assertEqual(pe.section(image, ".cmdline"), b"quiet")
        self.assertEqual(pe.section(image, ".linux"), b"kernel" * 1000)

    def test_the_image_says_how_large_it_is_when_loaded(self) -> None:
        image = pe.add_sections(STUB.read_bytes(), [(".linux", b"k" * 5000)])
        (header,) = struct.unpack_from("<I", image, 0x3C)
        (size,) = struct.unpack_from("<I", image, header + 24 + 56)
        self.assertGreaterEqual(size, len(STUB.read_bytes()) + 4096)
        self.assertEqual(size % 4096, 0)


class NamesTest(unittest.TestCase):
    def test_an_entry_carries_its_tries(self) -> None:
        self.assertEqual(entry_name("a", "1.2.3", 3), "postern-a_1.2.3+3.efi")
        self.assertEqual(entry_name("b", "1.2.3", None), "postern-b_1.2.3.efi")

    def test_the_boot_loader_sorts_by_the_version_of_the_image(self) -> None:
        self.assertIn('IMAGE_ID="postern"\nIMAGE_VERSION="1.2.3"\n', os_release("1.2.3"))


class ChecksumTest(unittest.TestCase):
    def test_crc32c_agrees_with_the_example_of_rfc_3720(self) -> None:
        self.assertEqual(vhdx.crc32c(bytes(32)), 0x8A9136AA)


if __name__ == "__main__":
    unittest.main()
