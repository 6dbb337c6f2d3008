"""Sites of the tests' own on a cluster: a namespace and a node port each, prepared as a cluster's administrator does it."""

import base64
import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import ROOT, Site, eventually
from kubernetes.client import ApiException, CoreV1Api
from kubernetes.config import new_client_from_config
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import stream

# The cluster that molecule makes, unless another one is named: its administrator's kubeconfig, and a registry as host:port,
# after user:password@ where that takes it.
MADE = yaml.safe_load((ROOT / "molecule/inventory/group_vars/all/cluster.yml").read_text())
USER, PASSWORD = next(iter(MADE["registry_users"].items()))
KUBECONFIG = os.environ.get("TANDEM_TEST_KUBECONFIG", Path.home() / ".cache/tandem/tests/state/kubeconfig")
REGISTRY = os.environ.get("TANDEM_TEST_REGISTRY", f"{USER}:{PASSWORD}@127.0.0.1:{MADE['registry_port']}")
PULL_SECRET = "registry"  # noqa: S105
VERSIONS = {
    "Deployment": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Job": "batch/v1",
    "StatefulSet": "apps/v1",
    "StorageClass": "storage.k8s.io/v1",
}
# All that a site may consist of, its data, and what makes it work.
KINDS = ["ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Job", "PersistentVolumeClaim", "Secret", "Service", "StatefulSet"]


class Cluster:
    """What its administrator sees, and does."""

    def __init__(self, kubeconfig):
        self.kubeconfig = yaml.safe_load(Path(kubeconfig).read_text())
        self.context = self.kubeconfig["current-context"]
        self.client = DynamicClient(new_client_from_config(str(kubeconfig), self.context))
        addresses = self.all("Node")[0]["status"]["addresses"]
        self.address = next(address["address"] for address in addresses if address["type"] == "InternalIP")

    def api(self, kind):
        """Return what talks about a kind of object."""
        return self.client.resources.get(kind=kind, api_version=VERSIONS.get(kind, "v1"))

    def all(self, kind, **selectors):
        """Return all objects of a kind, as plain data."""
        return self.api(kind).get(**selectors).to_dict()["items"]

    def get(self, kind, name, namespace=None):
        """Return an object; nothing, where there is none."""
        try:
            return self.api(kind).get(name=name, namespace=namespace).to_dict()
        except ApiException as error:
            if error.status != 404:
                raise
            return None

    def create(self, kind, name, namespace=None, **fields):
        """Make an object."""
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        body = {"apiVersion": VERSIONS.get(kind, "v1"), "kind": kind, "metadata": metadata, **fields}
        self.api(kind).create(body=body, namespace=namespace)

    def patch(self, kind, name, namespace=None, **fields):
        """Change some fields of an object."""
        content_type = "application/merge-patch+json"
        self.api(kind).patch(body=fields, name=name, namespace=namespace, content_type=content_type)

    def delete(self, kind, name, namespace=None, **options):
        """Delete an object, and do not wait for its end."""
        if self.get(kind, name, namespace):
            self.api(kind).delete(name=name, namespace=namespace, **options)

    def remove(self, kind, name, namespace, path):
        """Take a field away from an object."""
        body, content_type = [{"op": "remove", "path": path}], "application/json-patch+json"
        self.api(kind).patch(body=body, name=name, namespace=namespace, content_type=content_type)

    def evict(self, name, namespace):
        """Ask for a pod's eviction, as a node that is drained does, and return the status of the answer."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
        try:
            self.api("Pod").subresources["eviction"].create(body=body, name=name, namespace=namespace)
        except ApiException as error:
            return error.status
        return 201

    def ask(self, path, query):
        """Return the answer to a question by path."""
        asked = {"query_params": query, "header_params": {"Accept": "application/json"}, "serialize": False}
        return json.loads(self.client.request("get", path, **asked).data)

    def token(self, account, namespace):
        """Return a token of an account."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        request = self.api("ServiceAccount").subresources["token"]
        return request.create(body=body, name=account, namespace=namespace).status.token

    def accepts(self, token):
        """Tell whether a token lets one in."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        review = self.client.resources.get(kind="TokenReview", api_version="authentication.k8s.io/v1")
        return bool(review.create(body=body).status.authenticated)

    def changes(self, kind, name, namespace, since):
        """Return all states that an object had since a version of it."""
        asked = {"namespace": namespace, "field_selector": f"metadata.name={name}", "resource_version": since, "timeout": 2}
        return [event["raw_object"] for event in self.api(kind).watch(**asked)]


class ClusterSite(Site):
    """One in a namespace of its own."""

    inventory = "production"

    def __init__(self, folder, instance, port, **variables):
        self.cluster = Cluster(KUBECONFIG)
        self.address = f"http://{self.cluster.address}:{port}"
        self.kubeconfig = folder / "kubeconfig"
        account, _, self.registry = REGISTRY.rpartition("@")
        user, _, password = account.partition(":")
        access = {
            "kubernetes_admin_kubeconfig": str(KUBECONFIG),
            "kubernetes_admin_context": self.cluster.context,
            "kubernetes_kubeconfig": str(self.kubeconfig),
            "kubernetes_context": "tests",
            "kubernetes_pull_secrets": [PULL_SECRET] if user else [],
            "image_push_registry": self.registry,
            "image_push_username": user,
            "image_push_password": password,
            "platform_url": self.address,
            "nginx_node_port": port,
            "django_allowed_hosts": ["localhost", self.cluster.address],
            "secrets_generate": True,
            "localstripe_enabled": True,
        }
        super().__init__(folder, instance, **access | variables)
        self.environment["PWD"] = str(self.checkout)  # from where a message says which command to type

    def prepare(self):
        """Have the administrator prepare the namespace."""
        play = self.start("prepare-namespace").succeeded()
        access = {name: self.variables[f"image_push_{name}"] for name in ("username", "password")}
        config = base64.b64encode(json.dumps({"auths": {self.registry: access}}).encode()).decode()
        if self.variables["kubernetes_pull_secrets"] and not self.see("Secret", PULL_SECRET):
            kind, data = "kubernetes.io/dockerconfigjson", {".dockerconfigjson": config}
            self.cluster.create("Secret", PULL_SECRET, self.instance, type=kind, data=data)
        return play

    def secrets(self):
        """Return what is in the vault."""
        command = [Path(sys.executable).with_name("ansible-vault"), "view", self.vault]
        run = subprocess.run(command, cwd=self.checkout, env=self.environment, check=True, capture_output=True)
        return yaml.safe_load(run.stdout)

    def password(self):
        """Return the superuser's password."""
        return self.secrets()["vault_django_superuser_password"]

    def see(self, kind, name):
        """Return an object of the namespace; nothing, where there is none."""
        return self.cluster.get(kind, name, self.instance)

    def pods(self, service):
        """Return a service's pods that are not on their way out."""
        pods = self.cluster.all("Pod", namespace=self.instance, label_selector=f"app.kubernetes.io/name={service}")
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def all(self, kind):
        """Return all objects of a kind that the deployment made."""
        return self.cluster.all(kind, namespace=self.instance, label_selector=f"app.kubernetes.io/instance={self.instance}")

    def versions(self):
        """Return the version of each object that the deployment makes: who changes one gives it another."""
        found = {}
        for kind in KINDS:
            for item in self.all(kind):
                metadata = item["metadata"]
                # The status has its versions, too.
                found[kind, metadata["name"]] = metadata["uid"], metadata.get("generation") or metadata["resourceVersion"]
        return found

    def log(self, pod, **query):
        """Return what a pod has written."""
        path = f"/api/v1/namespaces/{self.instance}/pods/{pod}/log"
        return self.cluster.client.request("get", path, query_params=list(query.items()), serialize=False).data.decode()

    def run(self, name, script, *arguments):
        """Start a pod that has all that gunicorn's pods have, and runs a script of Python."""
        spec = copy.deepcopy(self.see("Deployment", "django")["spec"]["template"]["spec"])
        container = spec["containers"][0] | {"args": ["python", "-c", script.read_text(), *arguments]}
        for part in ("lifecycle", "livenessProbe", "ports", "readinessProbe", "startupProbe"):
            container.pop(part, None)
        self.cluster.create("Pod", name, self.instance, spec=spec | {"containers": [container], "restartPolicy": "Never"})

    def scale(self, service, replicas):
        """Have so many pods of a StatefulSet, and wait until it is so."""
        self.cluster.patch("StatefulSet", service, self.instance, spec={"replicas": replicas})
        eventually(lambda: len(self.pods(service)) == replicas)

    def logs(self):
        """The last lines of each of its pods and what happened to them, for whoever reads of a failure."""
        for event in self.cluster.all("Event", namespace=self.instance):
            if event["type"] == "Warning":
                yield f"{event['involvedObject']['name']}: {event['reason']}: {event['message']}"
        for pod in self.cluster.all("Pod", namespace=self.instance):
            name = pod["metadata"]["name"]
            try:
                log = self.log(name, tailLines=20)
            except ApiException as error:
                log = error.reason
            yield f"--- {name} ({pod['status'].get('phase')})\n{log}"

    def execute(self, pod, script):
        """Return what a script says that is run in a pod."""
        api = CoreV1Api(self.cluster.client.client).connect_get_namespaced_pod_exec
        command = {"command": ["sh", "-c", script], "stdout": True, "stderr": True}
        try:
            return stream(api, pod, self.instance, **command)
        finally:
            # It has taught this client to speak by websockets alone.
            self.cluster = Cluster(KUBECONFIG)

    def volumes(self):
        """Return the cluster's volumes that hold its data."""
        claims = [volume["spec"].get("claimRef") or {} for volume in self.cluster.all("PersistentVolume")]
        return [claim["name"] for claim in claims if claim.get("namespace") == self.instance]

    def clear(self):
        """Remove its namespace and its volumes."""
        if self.cluster.get("Namespace", self.instance):
            # Without their grace, for which a namespace waits, and without others in their place.
            if not self.see("ResourceQuota", "none"):
                self.cluster.create("ResourceQuota", "none", self.instance, spec={"hard": {"pods": "0"}})
            everything = f"metadata.namespace={self.instance}"
            self.cluster.api("Pod").delete(namespace=self.instance, field_selector=everything, body={"gracePeriodSeconds": 0})
        self.cluster.delete("Namespace", self.instance)
        eventually(lambda: not self.cluster.get("Namespace", self.instance) and not self.volumes())
