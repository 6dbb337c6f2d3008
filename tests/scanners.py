"""The programs that judge manifests, made once for each version: kube-score by Go, checkov in an environment of its own."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "tools"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tandem"
GO_SETTINGS = {"GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}


def scanners():
    """Return the folder of the programs, after making them where there are none of these versions."""
    pins = [path.read_bytes() for path in sorted(SOURCES.rglob("*")) if path.is_file()]
    folder = CACHE / f"tests-tools-{hashlib.sha256(b''.join(pins) + sys.version.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            run(go(), "build", "-trimpath", f"-o={folder}/", "tool", cwd=SOURCES / "kube-score", env=os.environ | GO_SETTINGS)
            run(sys.executable, "-m", "venv", "--clear", folder / "python")
            run(folder / "python/bin/pip", "install", "--quiet", "--requirement", SOURCES / "checkov.txt")
            (folder / "complete").touch()
    return folder


def go():
    """Return a Go that builds: one from the PATH, its usual place, or one that the demonstration cluster was built with."""
    kept = sorted(Path.home().glob("go/pkg/mod/golang.org/toolchain@*/bin/go"), reverse=True)
    for program in filter(None, [shutil.which("go"), shutil.which("/usr/local/go/bin/go"), *kept]):
        version = subprocess.run([program, "version"], cwd="/", capture_output=True, text=True, check=False).stdout
        if (found := re.search(r"go1\.(\d+)", version)) and int(found[1]) >= 21:
            return program
    raise FileNotFoundError("kube-score is built by Go, and there is no Go 1.21 or newer on this machine: install golang-go.")


def run(*command, good=(0,), **settings):
    """Return what a command prints; fail with what it says when it does not end well."""
    process = subprocess.run(command, capture_output=True, text=True, check=False, **settings)
    assert process.returncode in good, f"{command[0]}: {process.stdout}{process.stderr}"
    return process.stdout


def kube_score(folder):
    """Yield what kube-score finds in a folder of manifests, as rule and object."""
    command = ["score", "--kubernetes-version=v1.34", "--output-format=json"]
    for optional in ("container-seccomp-profile", "container-ports-check"):
        command.append(f"--enable-optional-test={optional}")
    for item in json.loads(run(scanners() / "kube-score", *command, *sorted(folder.glob("*.yaml")), good=(0, 1))):
        for check in item["checks"]:
            if not check["skipped"] and check["grade"] < 10:
                yield f"kube-score/{check['check']['id']}", f"{item['type_meta']['kind']}/{item['object_meta']['name']}"


def checkov(folder):
    """Yield what checkov finds in a folder of manifests, as rule and object; it asks nobody for more rules."""
    command = ["--compact", "--quiet", "--framework=kubernetes", "--skip-download", "--output=json", f"--directory={folder}"]
    report = json.loads(run(scanners() / "python/bin/checkov", *command, good=(0, 1), cwd=folder))
    assert report["summary"]["parsing_errors"] == 0
    for finding in report["results"]["failed_checks"]:
        kind, _, name = finding["resource"].split(".", 2)
        yield f"checkov/{finding['check_id']}", f"{kind}/{name}"
