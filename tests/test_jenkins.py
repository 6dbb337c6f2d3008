"""The Jenkinsfile, played by a harness: what runs when, what stops it, and one build of master that really goes to production."""

import json
import os
import re
import secrets
import shutil
import subprocess
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import requests
import yaml
from cluster import PASSWORD, USER, ClusterSite
from conftest import ROOT, docker
from programs import groovy_lint, install, jenkins_job

JENKINSFILE = (ROOT / "Jenkinsfile").read_text()
FILES = ROOT / "files/jenkins"
CONFIGURATION = yaml.safe_load((FILES / "jenkins.yaml").read_text())
CREDENTIALS = {
    credential["id"]: {"type": kind} | credential
    for entry in CONFIGURATION["credentials"]["system"]["domainCredentials"]
    for item in entry["credentials"]
    for kind, credential in item.items()
}
COMMANDS = ["make test", "make build", "make push", "make deploy"]
MASTER = {"BRANCH_NAME": "master"}
BRANCH = {"BRANCH_NAME": "masterful"}
# From a fork's master into this one's
PROPOSAL = {"BRANCH_NAME": "PR-7", "CHANGE_ID": "7", "CHANGE_BRANCH": "master", "CHANGE_TARGET": "master"}
PUSHES = {"tandem-registry"}
DEPLOYS = {"tandem-registry", "tandem-kubeconfig", "tandem-vault", "tandem-vault-password"}
ACCOUNT = {"IMAGE_PUSH_USERNAME", "IMAGE_PUSH_PASSWORD"}


class Build:
    """What the harness tells of a build."""

    def __init__(self, answer):
        assert "refused" not in answer, answer["refused"]
        self.result, self.stages, self.steps = answer["result"], answer["stages"], answer["steps"]
        self.options, self.agent, self.reasons = answer["options"], answer["agent"], answer["reasons"]

    @property
    def commands(self):
        """The commands of the shell, in their order."""
        return [step["argument"] for step in self.steps if step["step"] == "sh"]

    def others(self):
        """The other steps, in their order."""
        return [step["step"] for step in self.steps if step["step"] != "sh"]

    def given(self, part):
        """What each command was given: credentials, or the variables that these are in."""
        return {step["argument"]: set(step[part]) for step in self.steps if step[part]}


@pytest.fixture(scope="module")
def play():
    """Plays a Jenkinsfile; all of them in one process."""
    install("groovy", "/usr/share/java/groovy-all.jar")
    command = ["java", "-cp", "/usr/share/java/groovy-all.jar", "groovy.ui.GroovyMain", ROOT / "tests/jenkins/Harness.groovy"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as harness:

        def play(jenkinsfile, environment, credentials=CREDENTIALS, **case):
            case = {"jenkinsfile": jenkinsfile, "environment": environment, "credentials": credentials, **case}
            print(json.dumps(case), file=harness.stdin, flush=True)
            return Build(json.loads(harness.stdout.readline()))

        yield play
        harness.stdin.close()


def assert_promises(play, jenkinsfile):
    """What files/jenkins/README.md promises of a build."""
    master, branch, proposal = (play(jenkinsfile, who) for who in (MASTER, BRANCH, PROPOSAL))
    assert master.agent == CONFIGURATION["jenkins"]["nodes"][0]["permanent"]["labelString"]
    assert [build.result for build in (master, branch, proposal)] == ["SUCCESS"] * 3
    assert master.commands == COMMANDS
    assert branch.commands == COMMANDS[:3]
    assert proposal.commands == COMMANDS[:2]

    assert master.given("credentials") == {"make push": PUSHES, "make deploy": DEPLOYS}
    files = {"KUBECONFIG_FILE", "VAULT_FILE", "ANSIBLE_VAULT_PASSWORD_FILE"}
    assert master.given("variables") == {"make push": ACCOUNT, "make deploy": ACCOUNT | files}
    assert branch.given("credentials") == {"make push": PUSHES}
    assert proposal.given("credentials") == {}

    for number, command in enumerate(COMMANDS):
        stopped = play(jenkinsfile, MASTER, failing=[command])
        assert stopped.result == "FAILURE"
        assert stopped.commands == COMMANDS[: number + 1]
    unstable = play(jenkinsfile, MASTER, unstable=[".artifacts/junit/*.xml"])
    assert (unstable.result, unstable.commands) == ("UNSTABLE", COMMANDS[:1])
    for build in (master, proposal, unstable, play(jenkinsfile, MASTER, failing=["make test"])):
        assert build.others() == ["junit", "archiveArtifacts", "deleteDir"]

    options = master.options["pipeline"]
    assert {"timestamps", "disableConcurrentBuilds", "buildDiscarder", "timeout"} <= options.keys()
    assert options["buildDiscarder"].keys() == {"numToKeepStr", "artifactNumToKeepStr"}
    for part in ("pipeline", "Lint and test", "Deploy"):
        assert re.fullmatch(r"[1-9]\d* HOURS", (master.options[part] or {}).get("timeout", ""))


def swap(first, second):
    """Return what swaps two stages of a Jenkinsfile."""

    def swapped(text):
        head, *stages = re.split(r"(?m)^(?=        stage\()", text)
        tail = stages[-1].partition("    }\n    post")
        stages[-1] = tail[0]
        names = [re.match(r" *stage\('([^']+)'", stage)[1] for stage in stages]
        one, other = names.index(first), names.index(second)
        stages[one], stages[other] = stages[other], stages[one]
        return head + "".join(stages) + "".join(tail[1:])

    return swapped


def change(old, new=""):
    """Return what changes a text in a Jenkinsfile."""
    return lambda text: text.replace(old, new)


MUTATIONS = {
    "no condition for deploying": change("            when { branch 'master' }\n"),
    "another branch deploys": change("branch 'master'", "branch 'masterful'"),
    "every other branch deploys": change("branch 'master'", "not { branch 'master' }"),
    "proposals are pushed": change("            when { not { changeRequest() } }\n"),
    "only proposals are pushed": change("not { changeRequest() }", "changeRequest()"),
    "only master is pushed": change("not { changeRequest() }", "branch 'master'"),
    "pushed before it is built": swap("Build", "Push"),
    "deployed before it is pushed": swap("Push", "Deploy"),
    "deployed before it is tested": swap("Lint and test", "Deploy"),
    "a credential has another name": change("'tandem-kubeconfig'", "'tandem-kube'"),
    "the registry's has another name": change("'tandem-registry'", "'registry'"),
    "a credential is of another kind": change("file(credentialsId: 'tandem-vault'", "file(credentialsId: 'tandem-registry'"),
    "a credential is left out": change("file(credentialsId: 'tandem-vault', variable: 'VAULT_FILE'),\n"),
    "a variable has another name": change("'VAULT_FILE'", "'VAULT'"),
    "the tests see a credential": change(
        "steps { sh 'make test' }",
        "steps { withCredentials([file(credentialsId: 'tandem-vault', variable: 'VAULT_FILE')]) { sh 'make test' } }",
    ),
    "failing tests are passed over": change("sh 'make test'", "sh 'make test || true'"),
    "a failing push is passed over": change("sh 'make push'", "sh 'make push || true'"),
    "the tests do not run": change("sh 'make test'", "sh 'make lint'"),
    "unstable builds go on": change("        skipStagesAfterUnstable()\n"),
    "builds overtake each other": change("        disableConcurrentBuilds()\n"),
    "builds are kept for ever": change("        buildDiscarder(logRotator(numToKeepStr: '50', artifactNumToKeepStr: '10'))\n"),
    "no timestamps": change("        timestamps()\n"),
    "no end": change("        timeout(time: 3, unit: 'HOURS')\n"),
    "no end of a deployment": change("            options { timeout(time: 1, unit: 'HOURS') }\n"),
    "no results": change("                    junit '.artifacts/junit/*.xml'\n"),
    "no screenshots": change("                    archiveArtifacts '.artifacts/**'\n"),
    "results of good builds only": change("always {", "success {"),
    "no clean-up": change("        cleanup { deleteDir() }\n"),
    "clean-up after good builds only": change("cleanup {", "success {"),
    "another agent": change("label 'tandem'", "label 'linux'"),
}


def test_the_jenkinsfile_keeps_its_promises(play):
    assert_promises(play, JENKINSFILE)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_jenkinsfile_is_told_from_it(play, name):
    changed = MUTATIONS[name](JENKINSFILE)
    assert changed != JENKINSFILE
    with pytest.raises(AssertionError):
        assert_promises(play, changed)


STEP = "steps { sh 'make build' }"


@pytest.mark.parametrize(
    "changed",
    [
        JENKINSFILE.replace(STEP, "steps { script { sh 'make build' } }"),
        JENKINSFILE.replace(STEP, "steps { sh(script: 'make build', returnStatus: true) }"),
        JENKINSFILE.replace(STEP, "steps { catchError { sh 'make build' } }"),
        JENKINSFILE.replace(STEP, "steps { sh env.COMMAND }"),
        JENKINSFILE.replace(STEP, f"environment {{ TOKEN = credentials('tandem-registry') }}\n{STEP}"),
        JENKINSFILE.replace(STEP, f"parallel {{ stage('One') {{ {STEP} }} }}"),
        JENKINSFILE.replace(STEP, f"{STEP}\n{STEP}"),
        JENKINSFILE.replace(STEP, "options { timestamps() }"),
        JENKINSFILE.replace("branch 'master'", "branch 'release/*'"),
        JENKINSFILE.replace("branch 'master'", "tag 'v1'"),
        JENKINSFILE.replace("branch 'master'", "expression { true }"),
        JENKINSFILE.replace("    agent { label 'tandem' }\n", ""),
        JENKINSFILE.replace("label 'tandem'", "docker 'python'"),
        JENKINSFILE.replace("timestamps()", "retry(3)"),
        JENKINSFILE.replace("cleanup {", "regression {"),
        JENKINSFILE.replace("pipeline {", "node {"),
        JENKINSFILE.replace("stages {", "stages"),
    ],
)
def test_the_harness_refuses_what_it_does_not_know(play, changed):
    assert changed != JENKINSFILE
    with pytest.raises(AssertionError, match=r"does not know|There (is|are)|No signature|unexpected|expecting"):
        assert_promises(play, changed)


def test_every_command_is_a_target_that_the_makefile_explains():
    targets = re.findall(r"(?m)^([a-z-]+):.*## ", (ROOT / "Makefile").read_text())
    assert {command.removeprefix("make ") for command in COMMANDS} <= set(targets)


def test_its_syntax(tmp_path):
    for folder, text in {"good": JENKINSFILE, "broken": JENKINSFILE.replace("steps {", "steps", 1)}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "Jenkinsfile").write_text(text)
    said = groovy_lint(tmp_path)
    assert "NglParseError" in said.partition("broken/Jenkinsfile")[2]
    assert "good/Jenkinsfile" not in said


def test_the_configuration_knows_every_credential(play):
    job = CONFIGURATION["jobs"][0]["script"]
    repository = set(re.findall(r"credentialsId\('(.+)'\)", job))
    asked_for = set().union(*play(JENKINSFILE, MASTER).given("credentials").values())
    assert repository | asked_for == set(CREDENTIALS)
    assert repository == {"tandem-github"}
    for trait in ("gitHubBranchDiscovery { strategyId(3) }", "trust { gitHubTrustNobody() }"):
        assert trait in job
    assert "OriginPullRequest" not in job


def test_the_configuration_holds_no_secret_and_compose_brings_all_of_them():
    text = (FILES / "jenkins.yaml").read_text()
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    command = ["docker", "compose", "--file", FILES / "compose.yml", "config", "--format=json"]
    refusal = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "JENKINS_URL" in refusal.stderr
    named = re.findall(r"\$\{([A-Z_]+):\?", (FILES / "compose.yml").read_text())
    run = subprocess.run(command, env=environment | dict.fromkeys(named, "x"), capture_output=True, text=True, check=True)
    controller = json.loads(run.stdout)["services"]["controller"]
    files = {secret["source"] for secret in controller["secrets"]}
    assert set(re.findall(r"\$\{([^}:]+)\}", text)) <= files | set(controller["environment"])
    assert set(re.findall(r"\$\{readFileBase64:/run/secrets/([^}]+)\}", text)) <= files
    for field in re.findall(r"(?:password|secretBytes): (.+?)\}?$", text, flags=re.MULTILINE):
        assert field.startswith('"${'), field
    assert json.loads(run.stdout)["services"]["controller"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_the_plugins_are_pinned_and_enough():
    lines = [line for line in (FILES / "plugins.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z-]+:\d\S+", line) for line in lines)
    # Whose words these files use: withCredentials, its files, junit, timestamps, jobs and their source.
    needed = {"credentials-binding", "plain-credentials", "junit", "timestamper", "job-dsl", "github-branch-source"}
    assert needed | {"configuration-as-code", "workflow-aggregator"} <= {line.partition(":")[0] for line in lines}


def test_the_job_that_jenkins_job_builder_makes():
    job = ElementTree.fromstring(jenkins_job(FILES / "job.yaml"))  # noqa: S314 - our own
    assert job.tag.endswith("WorkflowMultiBranchProject")
    assert job.findtext("factory/scriptPath") == "Jenkinsfile"
    source = job.find("sources/data/*/source")
    assert source.get("class").endswith("GitHubSCMSource")
    assert source.findtext("credentialsId") == "tandem-github"
    assert source.findtext("repoOwner") == "example"
    traits = {trait.tag.rpartition(".")[2]: trait for trait in source.find("traits")}
    assert traits.keys() == {"BranchDiscoveryTrait", "ForkPullRequestDiscoveryTrait", "WipeWorkspaceTrait"}
    assert traits["BranchDiscoveryTrait"].findtext("strategyId") == "3"
    assert traits["ForkPullRequestDiscoveryTrait"].find("trust").get("class").endswith("$TrustNobody")


# What is in Jenkins' own files and no other test's: the site's name, which is in the tags of its images, too.
NAME, PORT = "tandem-jenkins", 30097
SMALL = {"autoscaling_enabled": False, "django_replicas": 1, "nginx_replicas": 1, "django_workers": 1, "image_version": NAME}


def forget_images():
    """Remove the images that a build made."""
    lines = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    for image in (line for line in lines if f":{NAME}-" in line):
        docker("rmi", "--force", image)


def check_out(site):
    """Make a team's repository of the site's folder, with a change that no image has yet, and return its commit."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file() and not (site.checkout / name).exists():
            (site.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, site.checkout / name)
    own = {name: value for name, value in site.variables.items() if "admin" not in name and name not in ACCOUNT_VARIABLES}
    lines = [f"{name}: {json.dumps(value)}" for name, value in own.items()]
    (site.checkout / "inventories/production/group_vars/all/team.yml").write_text("\n".join(["---", *lines, ""]))
    with (site.checkout / "django_site/status/views.py").open("a") as views:
        views.write("\n# The team's own.\n")
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (["init", "--quiet", "--initial-branch=master"], ["add", "--all"], ["commit", "--quiet", "--message=Ours"]):
        subprocess.run([*git, *command], cwd=site.checkout, check=True)
    subprocess.run(["git", "checkout", "--quiet", "--detach"], cwd=site.checkout, check=True)
    (site.checkout / ".venv").symlink_to(ROOT / ".venv")  # or it would be made anew, in a minute
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=site.checkout, text=True).strip()


ACCOUNT_VARIABLES = {"image_push_username", "image_push_password"}


@pytest.fixture(scope="module")
def built(alone, tmp_path_factory, play):
    """A build of master that really runs: in a workspace, with credentials of its own, to a namespace that is prepared for it."""
    folder = tmp_path_factory.mktemp("jenkins")
    forget_images()  # what a run that was killed has left
    with ClusterSite(folder, NAME, PORT, **SMALL) as site:
        site.prepare()
        commit = check_out(site)
        generated = yaml.safe_load((ROOT / "roles/secrets/vars/main.yml").read_text())["__secrets_generated"]
        values = {name: secrets.token_hex(25) for name in generated}
        password, vault = folder / "vault-password", folder / "vault"
        password.write_text(secrets.token_hex(25))
        vault.write_text(yaml.safe_dump(values))
        encrypt = [ROOT / ".venv/bin/ansible-vault", "encrypt", f"--vault-id=production@{password}", vault]
        subprocess.run(encrypt, cwd=folder, check=True, capture_output=True)
        credentials = {
            "tandem-registry": {"type": "usernamePassword", "username": USER, "password": PASSWORD},
            "tandem-kubeconfig": {"type": "file", "file": str(site.kubeconfig)},
            "tandem-vault": {"type": "file", "file": str(vault)},
            "tandem-vault-password": {"type": "file", "file": str(password)},
        }
        # As Jenkins starts it: nothing of the make that runs these tests.
        environment = {
            name: value for name, value in site.environment.items() if not re.match("M(AKE|FLAGS)|ANSIBLE_|PYTEST_", name)
        }
        environment |= MASTER | {"ONLY": "contracts", "PWD": str(site.checkout), "ANSIBLE_VERBOSITY": "3"}
        log, archive = folder / "log", folder / "archive"
        log.touch()
        where = {"workspace": str(site.checkout), "log": str(log), "archive": str(archive)}
        build = play(JENKINSFILE, environment, credentials, **where)
        told = [
            PASSWORD,
            password.read_text(),
            *values.values(),
            yaml.safe_load(site.kubeconfig.read_text())["users"][0]["user"]["token"],
        ]
        yield SimpleNamespace(site=site, build=build, commit=commit, log=log.read_text(), archive=archive, secrets=told)
    forget_images()


def digest(site, service, tag):
    """Return what the registry has by a tag."""
    types = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
    url = f"http://{site.registry}/v2/tandem/{service}/manifests/{tag}"
    answer = requests.head(url, headers={"Accept": types}, auth=(USER, PASSWORD), timeout=60)
    answer.raise_for_status()
    return answer.headers["Docker-Content-Digest"]


def test_a_build_of_master_goes_to_production(built):
    assert (built.build.result, built.build.commands) == ("SUCCESS", COMMANDS), built.log[-6000:]
    assert built.site.get().text == "running in production\n"
    for service, deployment in {"django": "django", "static": "nginx"}.items():
        pod = built.site.see("Deployment", deployment)["spec"]["template"]["spec"]
        names = [container["image"] for container in pod.get("initContainers", []) + pod["containers"]]
        [image] = {name for name in names if f"tandem/{service}:" in name}
        tag = image.rpartition(":")[2]
        assert re.fullmatch(NAME + r"-[0-9a-f]{12}", tag)
        assert (
            digest(built.site, service, tag) == digest(built.site, service, built.commit) == digest(built.site, service, "master")
        )


def test_it_tells_no_secret(built):
    assert "+ make deploy" in built.log
    assert [secret for secret in built.secrets if secret in built.log] == []


def test_it_leaves_its_results_and_nothing_else(built):
    reports = [ElementTree.parse(file).getroot() for file in built.archive.glob(".artifacts/junit/*.xml")]  # noqa: S314
    cases = {case.get("name") for report in reports for case in report.iter("testcase")}
    assert {"contracts", "test_readmes_are_current"} <= cases
    assert (built.archive / ".artifacts/logs/contracts.log").exists()
    assert not built.site.checkout.exists()
    assert (ROOT / ".venv/installed").exists()
