"""Twelve hex digits that stand for the content of folders and whatever else goes into an image."""

from __future__ import annotations

import hashlib
import json
import os
from fnmatch import fnmatch

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: image_content
short_description: Address an image by what goes into it
description:
  - Hashes the files of folders (relative path, content, executable bit, link target) together with other values.
  - A pure function of its input, so that an image has its name before there is an image, or an engine.
options:
  _terms:
    description: The folders.
    required: true
  also:
    description: Any other values that go in.
    type: list
    default: []
  exclude:
    description: Patterns of the names of files and folders that do not go in.
    type: list
    default: []
"""


def entries(folder, exclude):
    """Yield what identifies each file below a folder, in a stable order; excluded folders are never entered."""
    for parent, folders, files in os.walk(folder):
        kept = sorted(name for name in folders + files if not any(fnmatch(name, pattern) for pattern in exclude))
        folders[:] = [name for name in kept if name in folders]
        for name in kept:
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, folder)
            if os.path.islink(path):
                yield relative, "link", os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    yield relative, os.access(path, os.X_OK), hashlib.file_digest(file, "sha256").hexdigest()


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        for folder in terms:
            if not os.path.isdir(folder):
                raise AnsibleLookupError(f"The folder {folder} does not exist.")
        content = [list(entries(folder, self.get_option("exclude"))) for folder in terms]
        text = json.dumps([content, self.get_option("also")], default=str)
        return [hashlib.sha256(text.encode()).hexdigest()[:12]]
