"""Makes a root directory that image/check-root finds in order, for tests that then spoil it."""

from __future__ import annotations

from pathlib import Path

VERSION = "6.1.0-1-amd64"
FOLDERS = ("var", "run", "tmp", "home", "root", "dev", "proc", "sys", "etc/systemd/system", "usr/lib/systemd/system", "usr/lib/sysimage/dpkg/info", "usr/bin", "usr/lib/postern")
MODULES = ("kernel/fs/ext4/ext4.ko", "kernel/fs/jbd2/jbd2.ko")


def make(root: Path, program: Path) -> None:
    """Fills `root`; `program` stands for every program of ours."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "lib64").symlink_to("usr/lib")
    modules = root / "usr/lib/modules" / VERSION
    for module in MODULES:
        (modules / module).parent.mkdir(parents=True)
        (modules / module).write_bytes(b"")
    texts = {
        "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n",
        "etc/group": "root:x:0:\n",
        "etc/shadow": "root:*:20000:0:99999:7:::\n",
        "etc/machine-id": "",
        "usr/lib/os-release": "ID=debian\nVERSION_ID=12\n",
        f"usr/lib/modules/{VERSION}/vmlinuz": "",
        f"usr/lib/modules/{VERSION}/modules.dep": f"{MODULES[0]}: {MODULES[1]}\n{MODULES[1]}:\n",
        f"usr/lib/modules/{VERSION}/modules.softdep": "",
        "usr/lib/sysimage/dpkg/status": "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 99.1-1\n\n",
        "usr/lib/sysimage/dpkg/info/libc6.list": "/.\n/lib\n",
    }
    for path, text in texts.items():
        (root / path).write_text(text)
    (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/resolv.conf")
    for path in ("usr/bin/postern-gateway", "usr/lib/postern/broker", "usr/lib/postern/console", "usr/lib/postern/firstboot"):
        (root / path).write_bytes(program.read_bytes())
        (root / path).chmod(0o755)
    for library in ("ld-linux-x86-64.so.2", "libc.so.6"):
        (root / "usr/lib" / library).write_bytes(b"")
