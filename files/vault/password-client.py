#!/usr/bin/env python3
"""Print the vault password for a label (an Ansible vault client script).

It is looked for in the environment variable ``TANDEM_VAULT_PASSWORD_<LABEL>``, in the file
``~/.config/tandem/<label>.vault-password`` (``XDG_CONFIG_HOME`` is respected), readable by its owner alone, and in the system's
keyring, as Python's ``keyring`` finds it: ``keyring set tandem <label>``. For the labels ``local``, ``production`` and ``tests``
one is generated into the file where there is none and no vault that it should open.

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
FOLDER = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tandem"
GENERATED = "local", "production", "tests"
LOST = "Where it is lost, so is the vault: remove it, give the site's data up with `make remove DATA=yes`, and start afresh."


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


def label_of(vault):
    """Return the label of a vault; nothing, where it has none."""
    header = vault.read_text().partition("\n")[0]
    return header.rpartition(";")[2] if header.startswith("$ANSIBLE_VAULT;1.2;AES256;") else ""


def opens(password, vault):
    """Tell whether a password opens a vault: its key's second part signs its text."""
    lines = vault.read_text().split()[1:]
    salt, digest, text = map(bytes.fromhex, bytes.fromhex("".join(lines)).decode().split())
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 10_000, 80)[32:64]
    return hmac.compare_digest(hmac.digest(key, text, "sha256"), digest)


def places(label):
    """Return where the password of a label may be."""
    return f"TANDEM_VAULT_PASSWORD_{label.upper().replace('-', '_')}", FOLDER / f"{label}.vault-password"


def from_keyring(label):
    """Return what the system's keyring has for a label; nothing, where there is no keyring."""
    try:
        import keyring
    except ImportError:
        return None
    try:
        return keyring.get_password("tandem", label)
    except keyring.errors.KeyringError:
        return None


def find(label):
    """Return the password for a label and where it was found; nothing, where it is nowhere."""
    variable, file = places(label)
    if password := os.environ.get(variable):
        return password, f"the environment variable {variable}"
    if file.exists():
        return file.read_text().strip(), file
    if password := from_keyring(label):
        return password, "the system's keyring"
    return None, None


def generate(label):
    """Write a new password to the file of a label."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(places(label)[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(32) + "\n")
    except FileExistsError:  # another run was quicker
        pass


def check():
    """Exit with a sentence where a password does not open its vault: Ansible names neither the vault then, nor a way out.

    Whichever label was asked for: Ansible goes on with a warning as long as one of its labels has a password.
    """
    for vault in vaults():
        password, place = find(label_of(vault)) if label_of(vault) else (None, None)
        if password and not opens(password, vault):
            sys.exit(f"The password in {place} does not open {vault}: put the right one there. {LOST}")


def main() -> str:
    """Return the password for the label on the command line, or exit with a sentence that says how to give it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vault-id", default="local", metavar="LABEL", help="whose password to print (default: local)")
    label = parser.parse_args().vault_id

    guarded = label in map(label_of, vaults())
    if label in GENERATED and not guarded and not find(label)[0]:
        generate(label)
    password, _ = find(label)
    if not password:
        variable, file = places(label)
        sys.exit(
            f"There is no password for the vault '{label}': write it to {file}, readable by you alone, put it into the "
            f"environment variable {variable}, or into the system's keyring with `keyring set tandem {label}`. {LOST * guarded}"
        )
    check()
    return password


if __name__ == "__main__":
    print(main())
