"""Makes the files by which firmware learns our Secure Boot keys: DER, ESL and AUTH for admins, a UEFI variable store for tests.

Called by `image/pack`.
"""

import shutil
from pathlib import Path

from .tools import existing, run

# Each key is enrolled by the one above it; PK signs itself.
_SIGNED_BY = {"PK": "PK", "KEK": "PK", "db": "KEK"}
_OVMF_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def enrolment_files(keys: Path, folder: Path) -> None:
    """Writes NAME.der, NAME.esl and NAME.auth for PK, KEK and db. Where a key above db is not at hand, its ready-made .auth must be."""
    folder.mkdir(exist_ok=True)
    owner = (keys / "owner.guid").read_text().strip()
    for name, signer in _SIGNED_BY.items():
        run("openssl", "x509", "-in", keys / f"{name}.crt", "-outform", "DER", "-out", folder / f"{name}.der")
        run("sbsiglist", "--owner", owner, "--type", "x509", "--output", folder / f"{name}.esl", folder / f"{name}.der")
        if (keys / f"{name}.auth").exists():
            shutil.copyfile(keys / f"{name}.auth", folder / f"{name}.auth")
            continue
        key = existing(keys / f"{signer}.key", f"it signs {name}.auth; without it put {name}.auth beside the certificates")
        run("sbvarsign", "--key", key, "--cert", keys / f"{signer}.crt", "--output", folder / f"{name}.auth", name, folder / f"{name}.esl")


def test_variables(keys: Path, output: Path, virt_fw_vars: str) -> None:
    """Writes an OVMF variable store in which our keys, and no others, are enrolled and Secure Boot is on."""
    template = existing(_OVMF_VARIABLES, "install ovmf")
    owner = (keys / "owner.guid").read_text().strip()
    enrolled: list[str | Path] = ["--set-pk", owner, keys / "PK.crt", "--add-kek", owner, keys / "KEK.crt", "--add-db", owner, keys / "db.crt"]
    run(virt_fw_vars, "--input", template, "--output", output, *enrolled, "--secure-boot")
