"""The Jenkinsfile and what a Jenkins is configured with: what runs when, what stops it, and that all of it goes together."""

import json
import os
import re
import subprocess
from functools import partial
from xml.etree import ElementTree

import pytest
import yaml
from conftest import ROOT
from harness import COMMANDS, JENKINSFILE, MASTER, jenkins
from programs import groovy_lint, jenkins_job

FILES = ROOT / "files/jenkins"
CONFIGURATION = yaml.safe_load((FILES / "jenkins.yaml").read_text())
CREDENTIALS = {
    credential["id"]: {"type": kind} | credential
    for entry in CONFIGURATION["credentials"]["system"]["domainCredentials"]
    for item in entry["credentials"]
    for kind, credential in item.items()
}
BRANCH = {"BRANCH_NAME": "masterful"}
# From a fork's master into this one's
PROPOSAL = {"BRANCH_NAME": "PR-7", "CHANGE_ID": "7", "CHANGE_BRANCH": "master", "CHANGE_TARGET": "master"}
PUSHES = {"tandem-registry"}
DEPLOYS = {"tandem-registry", "tandem-kubeconfig", "tandem-vault", "tandem-vault-password"}
ACCOUNT = {"IMAGE_PUSH_USERNAME", "IMAGE_PUSH_PASSWORD"}


@pytest.fixture(scope="module")
def play():
    """Builds what a Jenkinsfile says, with the credentials of files/jenkins/jenkins.yaml."""
    with jenkins() as build:
        yield partial(build, credentials=CREDENTIALS)


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
    assert "is missing a value" in refusal.stderr
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
