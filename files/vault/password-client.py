#!/usr/bin/env python3
"""Print the vault password for a label (an Ansible vault client script).

The password is the content of ``~/.config/tandem/<label>.vault-password`` (``XDG_CONFIG_HOME`` is respected), readable by its
owner alone. For the labels ``local``, ``production`` and ``tests`` one is generated when there is none.

Ansible calls ``password-client.py --vault-id <label>``, as "Storing and accessing vault passwords" in its documentation says.
"""

import argparse
import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = "local", "production", "tests"


def vaults():
    """Return the vaults of the inventories that a play was asked for, as far as this machine lets one see the command."""
    try:
        program, *arguments = Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\0")[1:]
    except (OSError, ValueError):
        return []
    if not program.endswith("/ansible-playbook"):
        return []
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-i", "--inventory", action="append", type=Path)
    inventories = parser.parse_known_args(arguments)[0].inventory or [ROOT / "inventories/local"]
    folders = (path.resolve() if path.is_dir() else path.resolve().parent for path in inventories)
    return [vault for folder in folders if (vault := folder / "group_vars/all/vault.yml").is_file()]


def opens(password, lines):
    """Tell whether a password opens the vault that these lines are the body of: its key's second part signs its text."""
    salt, digest, text = map(bytes.fromhex, bytes.fromhex("".join(lines)).decode().split())
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 10_000, 80)[32:64]
    return hmac.compare_digest(hmac.digest(key, text, "sha256"), digest)


def check(folder):
    """Exit with a sentence where a password does not open its vault: Ansible names neither the vault then, nor a way out.

    Whichever label was asked for: Ansible goes on with a warning as long as one of its labels has a password.
    """
    for vault in vaults():
        header, *lines = vault.read_text().split()
        file = folder / f"{header.rpartition(';')[2]}.vault-password"
        if header.startswith("$ANSIBLE_VAULT;1.2;AES256;") and file.exists() and not opens(file.read_text().strip(), lines):
            sys.exit(
                f"The password in {file} does not open {vault}: put the right one there. Where it is lost, so is the vault: "
                "remove it, give the site's data up with `make remove DATA=yes`, and start afresh."
            )


def main() -> str:
    """Return the password for the label on the command line, or exit with a sentence that says how to give it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vault-id", default="local", metavar="LABEL", help="whose password to print (default: local)")
    label = parser.parse_args().vault_id

    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tandem"
    file = folder / f"{label}.vault-password"
    if label in GENERATED and not file.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
                new.write(secrets.token_urlsafe(32) + "\n")
        except FileExistsError:  # another run was quicker
            pass
    if not file.exists():
        sys.exit(f"There is no password for the vault '{label}': write it to {file}, readable by you alone.")
    check(folder)
    return file.read_text().strip()


if __name__ == "__main__":
    print(main())
