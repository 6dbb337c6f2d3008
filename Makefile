# The two commands that matter: make local, make test. `make` alone prints them all.
.DEFAULT_GOAL := help
.PHONY: help local remove production test lint build push deploy
# The vault's password client and molecule find the environment's programs there, as after `. .venv/bin/activate`.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
PLAY = ansible-playbook $(BECOME)
# Without root, and with a sudo that asks for a password, Ansible has to ask for it.
BECOME = $(shell [ "$$(id -u)" = 0 ] || docker info >/dev/null 2>&1 || sudo -n true 2>/dev/null || echo --ask-become-pass)
DATA = no
INVENTORY = inventories/production
# A person has these in their places; Jenkins brings them as files.
FILES = $(if $(VAULT_FILE),-e secrets_file=$(VAULT_FILE) -e @$(VAULT_FILE)) $(if $(KUBECONFIG_FILE),-e kubernetes_kubeconfig=$(KUBECONFIG_FILE))
# Without an account at Stripe; with one, create-vault.yml asks for the key, and neither is needed.
DEMONSTRATION = -e localstripe_enabled=true -e secrets_generate=true

help: ## print these lines
	@awk -F ' *:.*## *' '/^[a-z-]+:.*##/ { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

local: .venv/installed ## put the whole site on this machine, in Docker Compose
	@$(PLAY) -i inventories/local playbooks/deploy-site.yml

remove: .venv/installed ## take the site away; DATA=yes gives up its data, too
	@$(PLAY) -i inventories/local playbooks/remove-site.yml -e platform_remove_data=$(DATA)

production: .venv/installed ## put it on a Kubernetes that is made on this machine for it; yours takes deploy-site alone
	@$(PLAY) playbooks/create-demo-cluster.yml
	@$(PLAY) -i inventories/production playbooks/prepare-namespace.yml
	@$(PLAY) -i inventories/production playbooks/deploy-site.yml $(DEMONSTRATION)

test: .venv/installed-test ## run all tests; ONLY=<part> runs one of them
	@.venv/bin/python tests/run.py $(ONLY)

lint: .venv/installed-test ## run the linters
	@.venv/bin/python tests/run.py lint

build: .venv/installed ## build the images of INVENTORY's site, or pull what it is made of
	@$(PLAY) -i $(INVENTORY) playbooks/build-images.yml

push: .venv/installed ## push what its registry lacks, tagged with the commit and, on master, the branch
	@$(PLAY) -i $(INVENTORY) playbooks/push-images.yml

deploy: .venv/installed ## put the site there, and ask every endpoint
	@$(PLAY) -i $(INVENTORY) $(FILES) playbooks/deploy-site.yml

.venv/installed: requirements.txt
	@files/bootstrap/venv.sh
	@touch $@

.venv/installed-test: .venv/installed tests/requirements.txt
	@.venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	@touch $@
