#!/usr/bin/env python3
"""Write the table of variables into each role's README, from its argument specs: the one place that documents them.

``tests/readmes.py`` writes, ``tests/readmes.py --check`` only says which are out of date (exit status 1).
"""

import re
import sys
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[1] / "roles"
BEGIN, END = "<!-- variables: from meta/argument_specs.yml -->", "<!-- /variables -->"


def markup(text):
    """Return a description with Ansible's ``C(...)`` and ``V(...)`` as Markdown code, on one line."""
    if isinstance(text, list):
        text = " ".join(text)
    return re.sub(r"\b[CV]\(([^)]*)\)", r"`\1`", " ".join(text.split())).replace("|", "\\|")


def default(option):
    """Return an option's default as Markdown."""
    if option.get("required"):
        return "required"
    value = option["default"]
    text = value if isinstance(value, str) and value else yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`".replace("|", "\\|")


def table(entry):
    """Return the Markdown table of an entry point's options, sorted as they stand."""
    rows = [f"| `{name}` | {default(option)} | {markup(option['description'])} |" for name, option in entry["options"].items()]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def section(spec):
    """Return all of a role's tables: that of `main`, and those of its other entry points that take something."""
    parts = []
    for name, entry in spec["argument_specs"].items():
        if entry["options"]:
            title = [] if name == "main" else [f"Entry point `{name}`: {markup(entry['short_description'])}."]
            parts += [*title, table(entry)]
    return "\n\n".join([BEGIN, *parts, END])


def main():
    """Write or check all READMEs and return the exit status."""
    stale = []
    for spec in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        readme = spec.parents[1] / "README.md"
        text = readme.read_text()
        new = re.sub(
            re.escape(BEGIN) + ".*" + re.escape(END), lambda _, s=spec: section(yaml.safe_load(s.read_text())), text, flags=re.S
        )
        if BEGIN not in text or END not in text or new != text:
            stale.append(readme.relative_to(ROLES.parent))
            if "--check" not in sys.argv:
                readme.write_text(new)
    for readme in stale:
        print(f"{readme}: {'out of date; run tests/readmes.py' if '--check' in sys.argv else 'written'}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
