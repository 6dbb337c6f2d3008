"""A vault that is made by the operator: what is asked, what is generated, where its password comes from."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import yaml
from conftest import NOT_COPIED, ROOT

KEY = "sk_test_PlantedKeyOfTheVaultsTests1234"
SECRET = "whsec_PlantedSecretOfTheVaultsTests12"  # noqa: S105
BIN = Path(sys.executable).parent
PATIENCE = 120  # seconds, on a busy machine


class Operator:
    """Someone with a checkout and nothing else: neither an engine nor a cluster is asked."""

    def __init__(self, folder, checkout):
        self.folder, self.checkout = folder, checkout
        self.vault = checkout / "inventories/production/group_vars/all/vault.yml"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("TANDEM_", "KUBECONFIG"))}
        self.environment |= {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        }
        self.password = folder / "config/tandem/production.vault-password"

    def run(self, *command, **settings):
        """Return what a command did, with all that it said."""
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | settings
        return subprocess.run(command, cwd=self.checkout, env=self.environment, text=True, check=False, timeout=120, **settings)

    def create(self, *options, **variables):
        """Make the vault."""
        return self.run(*self.command(*options, **variables))

    def command(self, *options, **variables):
        """Return the command that makes the vault."""
        play = [BIN / "ansible-playbook", "-i", "inventories/production", "playbooks/create-vault.yml", *options]
        # An API that nobody is at: Stripe itself is not asked from here.
        return [*play, "-e", json.dumps({"stripe_api_base": "http://127.0.0.1:9"} | variables)]

    def type(self, *answers):
        """Make the vault at a terminal, and answer what is asked; return all that was to be seen there."""
        process, terminal = pty.fork()
        if not process:
            os.chdir(self.checkout)
            os.execve(self.command()[0], self.command(), self.environment)  # noqa: S606
        seen, end = "", time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                try:
                    seen += os.read(terminal, 4096).decode(errors="replace")
                except OSError:  # it has ended
                    break
            elif not termios.tcgetattr(terminal)[3] & termios.ECHO:  # it waits, and would show nothing
                os.write(terminal, f"{answers[seen.count('(output is hidden):') - 1]}\r".encode())
        else:
            os.kill(process, signal.SIGKILL)
        return seen, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def view(self):
        """Return what is in the vault."""
        run = self.run(BIN / "ansible-vault", "view", self.vault)
        assert run.returncode == 0, run.stdout
        return yaml.safe_load(run.stdout)

    def client(self, label):
        """Ask for the password of a label, as Ansible does."""
        return self.run(BIN / "python", "files/vault/password-client.py", "--vault-id", label)


@pytest.fixture
def operator(tmp_path):
    return Operator(tmp_path, shutil.copytree(ROOT, tmp_path / "checkout", ignore=NOT_COPIED))


@pytest.fixture
def files(tmp_path):
    """The variables that name files with Stripe's secrets."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "webhook").write_text(f"{SECRET}\n")
    return {
        "secrets_stripe_secret_key_file": str(tmp_path / "key"),
        "secrets_stripe_webhook_secret_file": str(tmp_path / "webhook"),
    }


def test_a_vault_from_files(operator, files):
    made = operator.create("-vvv", "--diff", **files)
    assert made.returncode == 0, made.stdout
    assert operator.vault.stat().st_mode & 0o777 == 0o600
    encrypted = operator.vault.read_text()
    assert encrypted.startswith("$ANSIBLE_VAULT;1.2;AES256;production\n")
    values = operator.view()
    assert values["vault_stripe_secret_key"] == KEY
    assert values["vault_stripe_webhook_secret"] == SECRET
    others = [value for value in values.values() if value not in (KEY, SECRET)]
    assert len(set(others)) == len(others) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9]{50}", value) for value in others)
    assert not [value for value in values.values() if value in made.stdout]

    again = operator.create(**files)
    assert again.returncode == 0
    assert "changed=0" in again.stdout
    assert "never overwritten" in " ".join(again.stdout.split())
    assert operator.vault.read_text() == encrypted


def test_a_vault_from_a_terminal(operator):
    seen, status = operator.type(KEY, SECRET)
    assert status == 0, seen
    values = operator.view()
    assert (values["vault_stripe_secret_key"], values["vault_stripe_webhook_secret"]) == (KEY, SECRET)
    assert "Stripe's secret key" in seen
    assert KEY not in seen
    assert SECRET not in seen


def test_a_vault_of_a_site_without_stripe(operator):
    made = operator.create(stripe_enabled=False)  # nobody is there to be asked
    assert made.returncode == 0, made.stdout
    assert operator.view()["vault_mysql_password"]


@pytest.mark.parametrize(
    ("variables", "key", "secret", "sentence"),
    [
        ({}, "sk_test_Planted", SECRET, "The Stripe key in stripe_secret_key is malformed: it has to be sk_test_, sk_live_"),
        ({"stripe_mode": "live"}, KEY, SECRET, "is a test key, and stripe_mode, which is live, allows none but live keys"),
        ({}, KEY, "PlantedSecret", "The webhook secret in stripe_webhook_secret is malformed: it has to be whsec_ and"),
        ({}, "", SECRET, "There is no vault without Stripe's secret key"),
        ({"secrets_stripe_secret_key_file": "/nowhere"}, KEY, SECRET, "There is no file /nowhere, which secrets_stripe_secret"),
        ({"secrets_stripe_secret_key_file": ""}, KEY, SECRET, "type it when asked, or name a file that holds it with -e secr"),
    ],
)
def test_what_is_no_secret_of_stripes(operator, files, variables, key, secret, sentence):
    Path(files["secrets_stripe_secret_key_file"]).write_text(key)
    Path(files["secrets_stripe_webhook_secret_file"]).write_text(secret)
    made = operator.create("-vvv", **files | variables)
    assert made.returncode != 0
    assert sentence in " ".join(made.stdout.split())
    assert "Planted" not in made.stdout
    assert not operator.vault.exists()


def test_where_the_password_comes_from(operator, files):
    assert operator.client("staging").returncode == 1
    said = operator.client("staging").stdout
    assert f"There is no password for the vault 'staging': write it to {operator.password.with_stem('staging')}" in said
    assert "TANDEM_VAULT_PASSWORD_STAGING" in said
    assert "`keyring set tandem staging`" in said

    assert operator.run(BIN / "keyring", "set", "tandem", "production", stdin=None, input="from the keyring\n").returncode == 0
    assert operator.client("production").stdout == "from the keyring\n"
    assert operator.create(**files).returncode == 0
    assert not operator.password.exists()
    assert operator.view()["vault_stripe_secret_key"] == KEY

    operator.environment["TANDEM_VAULT_PASSWORD_PRODUCTION"] = "from the environment"  # noqa: S105
    assert operator.client("production").stdout == "from the environment\n"
    refused = " ".join(operator.create(**files).stdout.split())
    assert "The password in the environment variable TANDEM_VAULT_PASSWORD_PRODUCTION does not open" in refused


def test_a_vault_whose_password_is_elsewhere(operator, files):
    assert operator.create(**files).returncode == 0
    operator.password.rename(operator.folder / "elsewhere")
    refused = " ".join(operator.create(**files).stdout.split())
    assert "There is no password for the vault 'production'" in refused
    assert "Where it is lost, so is the vault: remove it" in refused
    assert not operator.password.exists(), "another password would not open it"
