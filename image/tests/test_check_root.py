"""image/check-root refuses each thing that it names, and nothing else."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests import small_root

CHECK_ROOT = Path(__file__).resolve().parent.parent / "check-root"


class CheckRoot(unittest.TestCase):
    """Each test spoils a root in one way."""

    program: Path
    folder: tempfile.TemporaryDirectory[str]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.program = compiled(Path(cls.folder.name), "-pie", "-Wl,-z,relro,-z,now")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.folder.cleanup()

    def setUp(self) -> None:
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.root.chmod(0o755)
        small_root.make(self.root, self.program)

    def findings(self, *options: str) -> str:
        done = subprocess.run([CHECK_ROOT, *options, self.root], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode == 0, done.stderr == "", done.stderr)
        return done.stderr

    def assert_refused(self, *words: str) -> None:
        found = self.findings()
        for word in words:
            self.assertIn(word, found)

    def test_a_root_in_order_is_accepted(self) -> None:
        self.assertEqual(self.findings(), "")

    def test_setuid_is_refused(self) -> None:
        (self.root / "usr/bin/postern-gateway").chmod(0o4755)
        self.assert_refused("/usr/bin/postern-gateway gives its caller other rights")

    def test_world_writable_is_refused(self) -> None:
        (self.root / "etc/systemd/system").chmod(0o777)
        self.assert_refused("/etc/systemd/system may be written by everyone")

    def test_interpreters_shells_and_package_managers_are_refused(self) -> None:
        for name in ("python3.11", "perl", "bash", "sh", "mawk", "gcc-12", "apt-get", "dpkg", "curl", "sudo"):
            (self.root / "usr/bin" / name).write_bytes(b"")
        self.assert_refused("python3.11", "/perl", "/bash", "/sh ", "/mawk", "/gcc-12", "/apt-get", "/dpkg", "/curl", "/sudo")

    def test_a_script_is_refused_whatever_its_name(self) -> None:
        (self.root / "usr/lib/postern/fix").write_text("#!/bin/sh\n")
        self.assert_refused("/usr/lib/postern/fix is a script")

    def test_a_password_is_refused(self) -> None:
        (self.root / "etc/shadow").write_text("root:$y$j9T$abc$def:20000:0:99999:7:::\n")
        self.assert_refused("root has a password")

    def test_an_empty_password_is_refused(self) -> None:
        (self.root / "etc/shadow").write_text("root::20000:0:99999:7:::\n")
        self.assert_refused("root has a password")

    def test_a_second_root_is_refused(self) -> None:
        (self.root / "etc/passwd").write_text("root:x:0:0::/root:\ntoor:x:0:0::/root:\n")
        self.assert_refused("toor is root under another name")

    def test_keys_are_refused(self) -> None:
        (self.root / "etc/ssh").mkdir()
        (self.root / "etc/ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA\n")
        (self.root / "etc/ssh/authorized_keys").write_text("ssh-ed25519 AAAA\n")
        (self.root / "etc/some.pem").write_text("-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n")
        self.assert_refused("ssh_host_ed25519_key.pub", "authorized_keys", "/etc/some.pem holds a private key")

    def test_a_machine_id_is_refused(self) -> None:
        (self.root / "etc/machine-id").write_text("0" * 32)
        self.assert_refused("/etc/machine-id must be empty")

    def test_an_snmp_community_is_refused(self) -> None:
        (self.root / "etc/snmpd.conf").write_text("# who may read\nrocommunity public\n")
        self.assert_refused("/etc/snmpd.conf speaks of an SNMP community")

    def test_a_link_that_leads_nowhere_is_refused(self) -> None:
        (self.root / "usr/bin/tool").symlink_to("/usr/bin/gone")
        (self.root / "etc/mtab").symlink_to("/proc/self/mounts")
        found = self.findings()
        self.assertIn("/usr/bin/tool leads nowhere", found)
        self.assertNotIn("mtab", found)

    def test_a_link_is_followed_inside_the_root_only(self) -> None:
        (self.root / "usr/bin/tool").symlink_to("/etc/hostname")
        self.assert_refused("/usr/bin/tool leads nowhere")

    def test_a_unit_without_its_program_or_user_is_refused(self) -> None:
        (self.root / "etc/systemd/system/a.service").write_text("[Service]\nExecStart=/usr/bin/gone now\nUser=nobody-here\n")
        self.assert_refused("a.service runs /usr/bin/gone", "a.service runs as nobody-here")

    def test_a_module_that_nothing_needs_is_refused(self) -> None:
        modules = self.root / "usr/lib/modules" / small_root.VERSION
        (modules / "kernel/fs/jbd2/pcspkr.ko").write_bytes(b"")
        found = self.findings()
        self.assertIn("kernel/fs/jbd2/pcspkr.ko is not listed", found)
        self.assertNotIn("jbd2.ko", found)

    def test_a_missing_library_is_refused(self) -> None:
        (self.root / "usr/lib/libc.so.6").unlink()
        self.assert_refused("/usr/bin/postern-gateway needs libc.so.6")

    def test_a_program_without_protections_is_refused(self) -> None:
        plain = compiled(Path(self.enterContext(tempfile.TemporaryDirectory())), "-no-pie", "-Wl,-z,lazy,-rpath,/opt/lib")
        (self.root / "usr/lib/postern/broker").write_bytes(plain.read_bytes())
        self.assert_refused("/usr/lib/postern/broker must be position independent", "looks for libraries in /opt/lib")

    def test_a_program_that_needs_a_newer_c_library_is_refused(self) -> None:
        status = self.root / "usr/lib/sysimage/dpkg/status"
        status.write_text(status.read_text().replace("99.1-1", "2.1-1"))
        self.assert_refused("/usr/bin/postern-gateway needs GLIBC_2.", "the root has 2.1-1")

    def test_a_build_folder_in_a_program_is_refused_in_a_release(self) -> None:
        named = str(Path.home() / ".cargo/registry/src").encode()
        with (self.root / "usr/bin/postern-gateway").open("ab") as program:
            program.write(named)
        self.assertEqual(self.findings(), "")
        self.assertIn(".cargo: build it as", self.findings("--release"))

    def test_file_capabilities_are_refused(self) -> None:
        # cap_net_raw+ep, as the kernel stores it (struct vfs_cap_data, revision 2).
        value = bytes.fromhex("0100000200200000000000000000000000000000")
        try:
            os.setxattr(self.root / "usr/lib/postern/console", "security.capability", value)
        except PermissionError:
            self.skipTest("only root may set file capabilities")
        self.assert_refused("/usr/lib/postern/console gives its caller other rights")


def compiled(folder: Path, *options: str) -> Path:
    """Compiles a program that does nothing."""
    source, program = folder / "nothing.c", folder / "nothing"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["cc", *options, "-o", program, source], check=True)
    return program


if __name__ == "__main__":
    unittest.main()
