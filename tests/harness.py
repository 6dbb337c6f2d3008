"""Jenkins, as far as the Jenkinsfile needs one: jenkins/Harness.groovy, for whoever wants to have builds."""

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path

from programs import install

HERE = Path(__file__).resolve().parent
JENKINSFILE = (HERE.parent / "Jenkinsfile").read_text()
COMMANDS = ["make test", "make build", "make push", "make deploy"]
MASTER = {"BRANCH_NAME": "master"}


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


@contextmanager
def jenkins():
    """Have a function that builds what a Jenkinsfile says; all builds in one process."""
    jar = "/usr/share/java/groovy-all.jar"
    install("groovy", jar)
    command = ["java", "-cp", jar, "groovy.ui.GroovyMain", HERE / "jenkins/Harness.groovy"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as harness:

        def build(jenkinsfile, environment, credentials, **case):
            case = {"jenkinsfile": jenkinsfile, "environment": environment, "credentials": credentials, **case}
            print(json.dumps(case), file=harness.stdin, flush=True)
            return Build(json.loads(harness.stdout.readline()))

        yield build
