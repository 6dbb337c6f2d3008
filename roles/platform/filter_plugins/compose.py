"""From what the services rendered to the files of one Compose project, and from two sets of files to what has to be done."""

import hashlib
import hmac
import json
from pathlib import PurePosixPath

import yaml

FOLDER_MODE = "0700"
FILE_MODE = "0444"  # for the containers' own users: the folders are closed to everyone else

# What every container has in common; what a service says itself wins.
COMMON = {
    "restart": "unless-stopped",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "pids_limit": 512,
    "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
}
NETWORKS = {
    "web": {},
    "data": {"internal": True},  # no way out, and no way in for nginx
}


def keyed_checksum(data, key):
    """Return the HMAC-SHA256, in hex, of any data under the text ``key``: it tells of a change and nothing of the data."""
    return hmac.new(key.encode(), json.dumps(data, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def compose_project(rendered, name):
    """Return the Compose project that all rendered services make together, as the dictionary for ``compose.yml``."""
    project = {"name": name, "services": {}, "networks": NETWORKS, "volumes": {}, "configs": {}, "secrets": {}}
    for role in rendered:
        document = role["documents"][0]
        for service, own in document["services"].items():
            common = {} if "extends" in own else COMMON
            # The label starts the container anew when its configuration or a secret changes.
            project["services"][service] = {**common, **own, "labels": {"tandem.checksum": role["checksum"]}}
        project["volumes"] |= document.get("volumes", {})
        # As a volume, a file that is missing for the moment would become a folder of that name.
        project["configs"] |= {config: {"file": f"./{role['name']}/{config}"} for config in role["config"]}
        project["secrets"] |= {secret: {"file": f"./secrets/{secret}"} for secret in role["secrets"]}
    return project


def compose_files(rendered, project):
    """Return the project's files without the secrets, as path below the project's folder: content."""
    files = {f"{role['name']}/{name}": content for role in rendered for name, content in role["config"].items()}
    return {"compose.yml": yaml.safe_dump(json.loads(json.dumps(project)), sort_keys=False)} | files


def compose_before(before, project, data):
    """Return the project ``before`` this one, to go back to, but for those of the services ``data`` whose image has changed.

    The older one may not know what the newer one has made of its data.
    """
    newer = {
        name: project["services"][name]
        for name in data
        if name in project["services"] and name in before["services"]
        if project["services"][name]["image"] != before["services"][name]["image"]
    }
    return before | {"services": before["services"] | newer}


def compose_job_name(project, job):
    """Return the name of the container that runs ``job``: it changes with anything that the container is started with."""
    services = project["services"]
    definition = services[job], services.get(services[job].get("extends", {}).get("service"))
    return f"{project['name']}-{job}-{hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:12]}"


def file_changes(wanted, found, folder):
    """Compare ``wanted`` (path below ``folder``: content) with the files that ``ansible.builtin.find`` found there.

    Return the ``folders`` to make, the ``files`` to write and the ``stale`` paths to remove, all below ``folder``.
    """
    present = {str(PurePosixPath(entry["path"]).relative_to(folder)): entry for entry in found}
    folders = sorted({str(parent) for path in wanted for parent in PurePosixPath(path).parents})

    def same(path, mode, content=None):
        entry = present.get(path, {})
        return entry.get("mode") == mode and (
            content is None or entry.get("checksum") == hashlib.sha256(content.encode()).hexdigest()
        )

    return {
        "folders": [path for path in folders if (not present if path == "." else not same(path, FOLDER_MODE))],
        "files": sorted(path for path, content in wanted.items() if not same(path, FILE_MODE, content)),
        "stale": sorted(set(present) - set(wanted) - set(folders)),
    }


class FilterModule:
    """Make the functions above known to Ansible."""

    def filters(self):
        """Return them by name."""
        return {
            function.__name__: function
            for function in (keyed_checksum, compose_project, compose_files, compose_before, compose_job_name, file_changes)
        }
