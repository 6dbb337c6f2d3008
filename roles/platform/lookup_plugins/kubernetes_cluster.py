"""What a cluster holds of a site, asked for at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ansible.plugins.lookup import LookupBase
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client

DOCUMENTATION = """
name: kubernetes_cluster
short_description: Look at a cluster, and at a site's objects in it
description:
  - One connection and one import of the client for all questions; kubernetes.core.k8s_info takes half a second for each kind.
  - Returns a dictionary of C(error) (a sentence, where the cluster does not answer as it should), C(namespace) (whether there
    is one), C(time), C(storage_classes) (all of them, or V(None) where the account may not see them), C(groups) (the API's),
    and C(objects), without the data of ConfigMaps and Secrets.
options:
  _terms:
    description: The kinds of objects, each a dictionary of C(kind) and C(apiVersion).
    required: true
  namespace:
    description: The namespace.
    type: str
    required: true
  label_selector:
    description: The label selector of the objects.
    type: str
    default: ""
  kubeconfig:
    description: The kubeconfig.
    type: path
    required: true
  context:
    description: Its context.
    type: str
    required: true
"""


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        answer = {
            "error": "",
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "namespace": False,
            "storage_classes": None,
            "groups": [],
            "objects": [],
        }
        try:
            client = get_api_client(kubeconfig=self.get_option("kubeconfig"), context=self.get_option("context"))
            answer["groups"] = list(client.client.resources.api_groups)
            answer["storage_classes"] = self.ask(client, "storage.k8s.io/v1", "StorageClass", forbidden=None)
            name = self.get_option("namespace")
            answer["namespace"] = self.ask(client, "v1", "Namespace", name=name, forbidden=True, missing=False)
            for term in terms if answer["namespace"] else []:
                asked = {"namespace": name, "label_selector": self.get_option("label_selector")}
                answer["objects"] += map(without_data, self.ask(client, term["apiVersion"], term["kind"], **asked))
        except Exception as error:  # whatever the client, its transport or its configuration raise: the user gets a sentence
            answer["error"] = sentence(error)
        answer["namespace"] = bool(answer["namespace"])
        return [answer]

    @staticmethod
    def ask(client, version, kind, *, forbidden=NotImplemented, missing=NotImplemented, **asked):
        """Return what there is of a kind, or what stands for "you may not know" and for "there is none"."""
        try:
            found = client.get(client.resource(kind, version), **asked).to_dict()
        except Exception as error:
            instead = {403: forbidden, 404: missing}.get(getattr(error, "status", None), NotImplemented)
            if instead is NotImplemented:
                raise
            return instead
        return found.get("items", found)


def without_data(item):
    """Return an object without its data, and without an annotation in which kubectl would keep them."""
    annotations = dict(item["metadata"].get("annotations") or {})
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    kept = {key: value for key, value in item.items() if key not in ("data", "binaryData", "stringData")}
    return kept | {"metadata": item["metadata"] | {"annotations": annotations}}


def sentence(error):
    """Return why the cluster did not answer, in a few words."""
    status, text = getattr(error, "status", None), str(error)
    if status == 401 or "Unauthorized" in text:
        return "it does not accept the credentials: they are wrong, or they have expired"
    if status == 403:
        message = re.search(r'"message":"(.*?)(?<!\\)"', str(getattr(error, "body", "")))
        return "its account may not look there: " + (re.sub(r'\\+"', '"', message[1]) if message else text)
    if "certificate" in text.lower() and "verify" in text.lower():
        return "its certificate is not signed by the authority in the kubeconfig"
    for sign, meaning in (
        ("refused", "the connection is refused"),
        ("timed out", "it does not answer in time"),
        ("No route", "there is no route to it"),
        ("resolve", "its name is not known"),
    ):
        if sign in text:
            return meaning
    return text.splitlines()[0]
