"""From what the services rendered to the objects of one namespace, and from the cluster's objects to what has to be done."""

import base64
import copy
import difflib
import hashlib
import itertools
import json
import re

import yaml

# What every pod and every container has in common; what a service says itself wins.
POD = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
CONTAINER = {
    "imagePullPolicy": "IfNotPresent",
    "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
}
WORKLOADS = ("Deployment", "StatefulSet", "Job")
KEPT_CONFIGURATIONS = 3  # so that a version before still finds its own
# What a server adds to an object, of no interest to who reads a difference.
NOISE = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


def kubernetes_wants(cluster, storage_class, autoscaled):
    """Return a sentence for each thing that the site needs and that the ``cluster`` does not have, as far as it can be seen."""
    wants, classes = [], cluster["storage_classes"]
    if classes is not None:
        names = sorted(item["metadata"]["name"] for item in classes)
        default = "storageclass.kubernetes.io/is-default-class"
        there = f"the cluster has {', '.join(names)}." if names else "the cluster has none."
        if storage_class and storage_class not in names:
            wants.append(f"There is no StorageClass {storage_class}, which kubernetes_storage_class names: {there}")
        if not storage_class and not any(item["metadata"].get("annotations", {}).get(default) == "true" for item in classes):
            wants.append(f"There is no default StorageClass: name one with kubernetes_storage_class; {there}")
    if autoscaled and "metrics.k8s.io" not in cluster["groups"]:
        wants.append(
            "There is no metrics-server, without which an autoscaler does not know the CPU: "
            "have one installed, or set autoscaling_enabled to false."
        )
    return wants


def kubernetes_contexts(text):
    """Return the names of the contexts of a kubeconfig; none where the text is no such thing."""
    try:
        return [context["name"] for context in yaml.safe_load(text)["contexts"]]
    except (yaml.YAMLError, KeyError, TypeError):
        return []


def merge(common, own):
    """Return two dictionaries as one, key by key; what ``own`` says wins."""
    merged = copy.deepcopy(common)
    for key, value in own.items():
        merged[key] = merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged


def digest(data):
    """Return ten hex digits that stand for any plain data: of the JSON that Helm would write, too."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def configuration_name(service, config):
    """Return the name of the ConfigMap that holds ``config``: another content has another name, and so rolls the pods."""
    return f"{service}-{digest(config)}" if config else ""


def labels(service, settings):
    """Return the labels by which a service's objects are selected."""
    return {"app.kubernetes.io/name": service, "app.kubernetes.io/instance": settings["instance"]}


def all_labels(service, settings):
    """Return all labels of a service's objects and pods."""
    return labels(service, settings) | {
        "app.kubernetes.io/part-of": settings["instance"],
        "app.kubernetes.io/managed-by": "tandem",
    }


def named(document, service, settings):
    """Return an object with its namespace, labels and annotations, and with the service's pods where it has to select some."""
    metadata = {"namespace": settings["namespace"], "labels": all_labels(service, settings)}
    if settings["annotations"]:
        metadata["annotations"] = settings["annotations"]
    selected = {
        "Service": {"spec": {"selector": labels(service, settings)}},
        "PodDisruptionBudget": {"spec": {"selector": {"matchLabels": labels(service, settings)}}},
    }
    if document["kind"] == "NetworkPolicy" and "podSelector" not in document["spec"]:
        selected["NetworkPolicy"] = {"spec": {"podSelector": {"matchLabels": labels(service, settings)}}}
    return merge({"apiVersion": "", "kind": "", "metadata": metadata, **selected.get(document["kind"], {})}, document)


def workload(document, service, settings, beside_volumes):
    """Return a Deployment, StatefulSet or Job with what all of them have in common, and with the container that volumes get."""
    document = copy.deepcopy(document)
    spec, own = document["spec"], labels(service, settings)
    pod = merge(POD, spec["template"]["spec"])
    claims = spec.get("volumeClaimTemplates", [])
    for claim in claims if beside_volumes else ():
        mount = {"name": claim["metadata"]["name"], "mountPath": f"/volumes/{service}", "readOnly": True}
        pod["containers"].append(beside_volumes | {"volumeMounts": [mount]})
    pod["containers"] = [merge(CONTAINER, container) for container in pod["containers"]]
    if settings["pull_secrets"]:
        pod["imagePullSecrets"] = [{"name": name} for name in settings["pull_secrets"]]
    for key, value in (("nodeSelector", settings["node_selector"]), ("tolerations", settings["tolerations"])):
        if value:
            pod.setdefault(key, value)
    if document["kind"] == "Job":
        own = own | {"app.kubernetes.io/name": document["metadata"]["name"]}
    else:
        spec["selector"] = {"matchLabels": own}
        spec.setdefault("revisionHistoryLimit", KEPT_CONFIGURATIONS)
        spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        pod.setdefault("topologySpreadConstraints", [{**spread, "labelSelector": {"matchLabels": own}}])
    for claim in claims:
        if settings["storage_class"]:
            claim["spec"].setdefault("storageClassName", settings["storage_class"])
    template = spec["template"] | {"spec": pod}
    template["metadata"] = merge({"labels": all_labels(service, settings) | own}, spec["template"].get("metadata", {}))
    document["spec"] = spec | {"template": template}
    if document["kind"] == "Job":
        document["metadata"]["name"] += f"-{digest(document['spec'])}"
    return document


def kubernetes_objects(rendered, settings):
    """Return all objects but the Secrets, by step: ``data``, ``jobs`` and ``web``, in the order in which they are applied.

    ``settings`` holds ``instance``, ``namespace``, ``annotations``, ``storage_class``, ``node_selector``, ``tolerations``,
    ``pull_secrets`` and ``network_policies``.
    """
    steps = {"data": [], "jobs": [], "web": []}
    # Plain data: copying Ansible's own containers takes minutes.
    rendered, settings = json.loads(json.dumps([rendered, settings]))
    beside_volumes = next(filter(None, (role.get("volume_container") for role in rendered)), {})
    for role in rendered:
        service = role["name"]
        if role["config"]:
            config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": role["config_name"]}, "immutable": True}
            # The jobs need it, too, and they come first.
            steps["data"].append(named(config | {"data": role["config"]}, service, settings))
        for document in filter(None, role["documents"]):
            step = "jobs" if document["kind"] == "Job" else role["stage"]
            whole = workload(document, service, settings, beside_volumes) if document["kind"] in WORKLOADS else document
            steps[step].append(named(whole, service, settings))
    if not settings["network_policies"]:
        steps = {step: [item for item in objects if item["kind"] != "NetworkPolicy"] for step, objects in steps.items()}
    # Services first: pods find them from their start. And a creation of one that is cut off keeps its node port for minutes.
    return {step: sorted(objects, key=lambda item: item["kind"] != "Service") for step, objects in steps.items()}


def kubernetes_secrets(rendered, values, settings):
    """Return the Secrets of all services, each with what its own pods read, and of those that bring no Secret of their own."""
    settings = json.loads(json.dumps(settings))
    return [
        named(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": role["secret_name"]},
                "type": "Opaque",
                "immutable": not role["secrets_once"],
                # Never stringData: the API's refusal of a mistyped value would show it.
                "data": {name: base64.b64encode(str(values.get(name, "")).encode()).decode() for name in role["secrets"]},
            },
            role["name"],
            settings,
        )
        for role in rendered
        if role["secrets"] and not role["existing_secret"]
    ]


def identity(item):
    """Return what tells an object from all others of its namespace."""
    return item["kind"], item["metadata"]["name"]


def kubernetes_stale(live, wanted, kept=KEPT_CONFIGURATIONS):
    """Return those of the ``live`` objects that are no longer among ``wanted``, as much of them as a deletion needs.

    Of each service's ConfigMaps and Secrets ``kept`` stay for the versions before: the wanted one, what the live workloads read,
    however old it is, and the newest.
    """
    belong = {identity(item) for item in wanted}
    others = [item for item in live if identity(item) not in belong and not item["metadata"].get("ownerReferences")]
    in_use = set(itertools.chain.from_iterable(map(volumes, live)))

    def rank(item):
        return identity(item) in in_use, item["metadata"].get("creationTimestamp") or ""

    stale, seen = [], {}
    for item in sorted(others, key=rank, reverse=True):
        group = item["kind"], item["metadata"]["labels"].get("app.kubernetes.io/name")
        seen[group] = seen.get(group, 0) + 1
        if item["kind"] not in ("ConfigMap", "Secret") or seen[group] >= kept:
            stale.append(reference(item))
    return stale


def volumes(item):
    """Yield kind and name of each ConfigMap and Secret that a workload's pods mount."""
    for volume in item.get("spec", {}).get("template", {}).get("spec", {}).get("volumes") or []:
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        for source in volume.get("projected", {}).get("sources", []):
            if "secret" in source:
                yield "Secret", source["secret"]["name"]


def kubernetes_before(live, wanted, manager):
    """Return the ``live`` objects of the version before the ``wanted`` ones, as the ``manager`` applied them, to go back to.

    ConfigMaps and Secrets are there still, and its jobs have run. What holds data stays where its image is another one now: the
    older one may not know what the newer one has made of them.
    """
    live, wanted = json.loads(json.dumps([live, wanted]))  # plain data, which are quicker and have all that dictionaries have
    images = {identity(item): image(item) for item in wanted if item["kind"] == "StatefulSet"}
    return [
        merge(reference(item), applied(item, manager))
        for item in live
        if item["kind"] not in ("ConfigMap", "Secret", "Job") and images.get(identity(item)) in (None, image(item))
    ]


def image(item):
    """Return what a workload's first container runs; nothing for what is no workload."""
    containers = item.get("spec", {}).get("template", {}).get("spec", {}).get("containers")
    return containers[0]["image"] if containers else None


def applied(item, manager):
    """Return the fields of an object that a manager has applied: those that are its own."""
    entries = (entry for entry in item["metadata"]["managedFields"] if entry["operation"] == "Apply")
    return next((owned(item, entry["fieldsV1"]) for entry in entries if entry["manager"] == manager), {})


def owned(value, fields):
    """Return the part of a value that an entry of managedFields names: members by ``f:``, items of a list by keys or by value."""
    names = set(fields) - {"."}
    if not names:
        return value
    if isinstance(value, dict):
        return {name: owned(member, fields[f"f:{name}"]) for name, member in value.items() if f"f:{name}" in names}
    keys = {name: json.loads(name[2:]) for name in names}
    return [
        item if name.startswith("v:") else owned(item, fields[name])
        for item in value
        for name, key in keys.items()
        if item == key or (name.startswith("k:") and key.items() <= item.items())
    ]


def reference(item):
    """Return as much of an object as names it."""
    metadata = {key: item["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata}


def kubernetes_held_replicas(live, wanted, manager):
    """Return objects by which another field manager holds the replicas that ``manager`` is about to let go of.

    Without them the server would reset a Deployment to one replica when an autoscaler is to take over.
    """
    scaled = {identity(item) for item in wanted if item["kind"] == "Deployment" and "replicas" not in item["spec"]}
    return [
        reference(item) | {"spec": {"replicas": item["spec"]["replicas"]}}
        for item in live
        if identity(item) in scaled and any(holds_replicas(entry, manager) for entry in item["metadata"]["managedFields"])
    ]


def holds_replicas(entry, manager):
    """Tell whether an entry of an object's managedFields is the manager's, and has the replicas in it."""
    return entry["manager"] == manager and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})


def kubernetes_due_jobs(jobs, live):
    """Return those of the jobs that are to be ``run``, and those of them that ``failed`` before and are in the way."""
    found = {identity(item): item for item in live}
    run = [job for job in jobs if not condition(found.get(identity(job)), "Complete")]
    return {"run": run, "failed": [reference(job) for job in run if condition(found.get(identity(job)), "Failed")]}


def condition(item, kind):
    """Return an object's condition of a kind, where it has it and it is true."""
    conditions = ((item or {}).get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == kind and entry["status"] == "True"), None)


def kubernetes_differences(wanted, live, after):
    """Return how each of the objects ``wanted`` changes from what is ``live`` to what is there ``after``, as unified diffs."""
    before = {identity(item): item for item in live}
    then = {identity(item): item for item in after if item}
    pairs = [(before.get(identity(item)), then.get(identity(item), item)) for item in wanted]
    return [text for pair in pairs if (text := difference(*pair))]


def difference(before, after):
    """Return how one object changes, as a unified diff; nothing where it does not."""
    title = "/".join(identity(after))
    lines = [yaml.safe_dump(item, sort_keys=True).splitlines() if item else [] for item in shown(before, after)]
    return "\n".join(difflib.unified_diff(*lines, f"{title} (now)", f"{title} (then)", lineterm=""))


def shown(before, after):
    """Yield two states of an object without what the server adds, and without data where they are a secret or unchangeable."""
    for item in (before, after):
        item = json.loads(json.dumps(item))
        for key in NOISE if item else ():
            item["metadata"].pop(key, None)
        if item:
            item.pop("status", None)
            if item["kind"] == "Secret":
                item["data"] = dict.fromkeys(item.get("data") or {}, "(not shown)")
            if before and item["kind"] in ("ConfigMap", "Secret"):
                item.pop("data", None)
            if not item["metadata"].get("annotations", True):
                del item["metadata"]["annotations"]
        yield item


def kubernetes_refusal(result):
    """Return why an API refused an object, as a sentence, from a failed result of ``kubernetes.core.k8s``."""
    text = str(result.get("msg") or result.get("reason") or result)
    message = re.search(r'"message":"(.*?)(?<!\\)"', text)
    return (re.sub(r'\\+"', '"', message[1]) if message else text).rstrip(".") + "."


def kubernetes_summary(objects):
    """Return a line for each Deployment and StatefulSet: its name, how many of its pods are ready, and its image."""
    lines = []
    for item in sorted(objects, key=lambda item: item["metadata"]["name"]):
        ready = (item.get("status") or {}).get("readyReplicas") or 0
        lines.append(f"{item['metadata']['name']:<10} {ready}/{item['spec']['replicas']} ready  {image(item)}")
    return lines


class Manifest(yaml.SafeDumper):
    """Writes texts of several lines as such, for who reads them."""


Manifest.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)


def kubernetes_files(objects):
    """Return all objects as files: one for each service, with its manifests in the order in which they are applied."""
    services = {}
    for item in itertools.chain.from_iterable(json.loads(json.dumps(objects)).values()):
        services.setdefault(item["metadata"]["labels"]["app.kubernetes.io/name"], []).append(item)
    return {
        f"{service}.yaml": yaml.dump_all(items, Dumper=Manifest, sort_keys=False, explicit_start=True)
        for service, items in sorted(services.items())
    }


class FilterModule:
    """Make the functions above known to Ansible."""

    def filters(self):
        """Return them by name."""
        functions = (
            configuration_name,
            kubernetes_before,
            kubernetes_contexts,
            kubernetes_differences,
            kubernetes_due_jobs,
            kubernetes_files,
            kubernetes_held_replicas,
            kubernetes_objects,
            kubernetes_refusal,
            kubernetes_secrets,
            kubernetes_stale,
            kubernetes_summary,
            kubernetes_wants,
        )
        return {function.__name__: function for function in functions}
