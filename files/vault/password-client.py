#!/usr/bin/env python3
"""Print the vault password for a label (an Ansible vault client script).

The password is the content of ``~/.config/tandem/<label>.vault-password`` (``XDG_CONFIG_HOME`` is respected), readable by its
owner alone. The label ``local`` stands for a vault of throw-away values: its password is generated when there is none.

Ansible calls ``password-client.py --vault-id <label>``, as "Storing and accessing vault passwords" in its documentation says.
"""

import argparse
import os
import secrets
import sys
from pathlib import Path


def main() -> str:
    """Return the password for the label on the command line, or exit with a sentence that says how to give it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vault-id", default="local", metavar="LABEL", help="whose password to print (default: local)")
    label = parser.parse_args().vault_id

    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tandem"
    file = folder / f"{label}.vault-password"
    if label == "local" and not file.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
                new.write(secrets.token_urlsafe(32) + "\n")
        except FileExistsError:  # another run was quicker
            pass
    if not file.exists():
        sys.exit(f"There is no password for the vault '{label}': write it to {file}, readable by you alone.")
    return file.read_text().strip()


if __name__ == "__main__":
    print(main())
