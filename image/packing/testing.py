"""The second archive of the test variant's initrd: it replaces nothing, and adds what hands the test units over.

Called by `image/uki` and `image/test-variant`.
"""

from pathlib import Path

from . import cpio, initrd
from .tools import existing


def extra_initrd(sources: Path) -> bytes:
    """Packs `image/testing`."""
    entries = {f"testing/{name}": cpio.regular((sources / name).read_bytes()) for name in ("postern-test.service", "run-tools.mount")}
    entries["sbin/switch_root"] = cpio.regular((sources / "switch_root").read_bytes(), 0o755)
    return initrd.compress(cpio.archive(entries))


def require_test_keys(keys: Path) -> None:
    """The test variant is signed by a set of keys that `image/keys` made, and by no other."""
    existing(keys / "TEST-KEYS", "the test variant is signed by test keys (image/keys) and by nothing else")
