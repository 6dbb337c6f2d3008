"""Waits for workloads, and no longer than until one of them cannot succeed any more."""

from __future__ import annotations

import time

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: kubernetes_wait
short_description: Wait for workloads to be ready
description:
  - Looks every other second, where an C(until) would look at what was there when the task began.
  - Returns a dictionary of C(waiting) and C(failed) (sentences), C(pods) (whose logs may tell more) and C(events).
options:
  _terms:
    description: The objects to wait for, as they were applied; those that are no workloads are left out.
    required: true
  since:
    description: Events before this time, an RFC 3339 one, do not count.
    type: str
    required: true
  timeout:
    description: Seconds to wait.
    type: int
    required: true
  cluster:
    description: The options of the lookup kubernetes_cluster.
    type: dict
    required: true
"""

KINDS = [
    {"apiVersion": "apps/v1", "kind": "Deployment"},
    {"apiVersion": "apps/v1", "kind": "StatefulSet"},
    {"apiVersion": "batch/v1", "kind": "Job"},
    {"apiVersion": "v1", "kind": "Pod"},
    {"apiVersion": "v1", "kind": "Event"},
]
PAUSE = 2  # seconds
PATIENCE = 15  # seconds, in which a kubelet tries again: a pull may come before the Secret that it takes
# A container that stays in one of these states does not get better by waiting.
HOPELESS = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
)


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        look = lookup_loader.get("kubernetes_cluster", loader=self._loader, templar=self._templar)
        names = [identity(item) for item in terms if item["kind"] in ("Deployment", "StatefulSet", "Job")]
        good = start = time.monotonic()
        while True:
            progress = judge(look.run(KINDS, **self.get_option("cluster"))[0], names, self.get_option("since"))
            now = time.monotonic()
            stuck = progress.pop("stuck")
            good = good if stuck else now
            if now - good > PATIENCE:
                progress["failed"] += stuck
            if not progress["waiting"] or progress["failed"] or now - start > self.get_option("timeout"):
                return [progress]
            time.sleep(PAUSE)


def identity(item):
    """Return what tells an object from all others of its namespace."""
    return item["kind"], item["metadata"]["name"]


def condition(item, kind):
    """Return an object's condition of a kind, where it has it and it is true."""
    conditions = ((item or {}).get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == kind and entry["status"] == "True"), None)


def unready(item):
    """Return what a workload still lacks, in a word or two; nothing when it is as it should be."""
    if item is None:
        return "does not exist"
    status, spec = item.get("status") or {}, item["spec"]
    if item["kind"] == "Job":
        return "" if condition(item, "Complete") else "is not complete"
    if (status.get("observedGeneration") or 0) < item["metadata"]["generation"]:
        return "was not looked at yet"
    replicas = spec.get("replicas", 1)
    ready, updated = status.get("readyReplicas") or 0, status.get("updatedReplicas") or 0
    if item["kind"] == "StatefulSet" and status.get("updateRevision") == status.get("currentRevision"):
        updated = ready
    if min(ready, updated) < replicas or (status.get("replicas") or 0) > replicas:
        return f"has {min(ready, updated)} of {replicas} ready"
    return ""


def judge(cluster, names, since):
    """Judge workloads, named by kind and name, by what the cluster says of them, of their pods and of what happened."""
    found = {identity(item): item for item in cluster["objects"]}
    progress = {"waiting": [], "failed": [], "stuck": [], "pods": [], "events": []}
    if cluster["error"]:
        return progress | {"waiting": [f"The cluster does not answer: {cluster['error']}."]}
    for kind, name in names:
        owner = found.get((kind, name))
        if lacks := unready(owner):
            progress["waiting"].append(f"{kind}/{name} {lacks}.")
        if ended := condition(owner, "Failed"):
            progress["failed"].append(f"{kind}/{name} failed: {ended.get('message') or ended.get('reason')}.")
        elif (refused := condition(owner, "ReplicaFailure")) and lacks not in ("", "was not looked at yet"):
            progress["failed"].append(f"{kind}/{name} cannot make its pods: {refused['message']}.")
        for pod in (item for item in cluster["objects"] if item["kind"] == "Pod" and identity(item)[1].startswith(f"{name}-")):
            if owner and not is_ready(pod) and is_newest(pod, owner):
                progress["pods"].append(identity(pod)[1])
                progress["stuck"] += [f"Pod/{identity(pod)[1]}: {reason}" for reason in hopeless(pod)]
    for about, reason, message in troubles(cluster["objects"], {name for _, name in names}, since):
        told = f"{'/'.join(about)}: {reason}: {message}"
        missing = reason == "FailedMount" and message.endswith("not found") and about[1] in progress["pods"]
        if missing or (reason == "FailedCreate" and about in names):
            progress["failed"].append(told)
        elif not any(message in line for line in progress["failed"] + progress["stuck"]):
            progress["events"].append(told)
    progress["events"] = progress["events"][-8:]
    return progress


def troubles(objects, names, since):
    """Return what happened since then to what has one of the names in its own: of each sort, what lacks or tells most."""
    found = {}
    for event in (item for item in objects if item["kind"] == "Event" and item.get("type") == "Warning"):
        about, message = event["involvedObject"], event["message"]
        late = (event.get("lastTimestamp") or event.get("eventTime") or "") >= since
        if late and any(f"-{name}-" in f"-{about['name']}-" for name in names):
            key = (about["kind"], about["name"]), event["reason"]
            found[key] = max(found.get(key, ""), message, key=lambda told: (told.endswith("not found"), len(told)))
    return [(*key, message) for key, message in found.items()]


def is_ready(pod):
    """Tell whether a pod is ready, or done, or on its way out."""
    done = (pod.get("status") or {}).get("phase") == "Succeeded" or pod["metadata"].get("deletionTimestamp")
    return bool(condition(pod, "Ready") or done)


def is_newest(pod, owner):
    """Tell whether a pod is of its workload's newest version: an older one's trouble is not this run's."""
    if owner["kind"] == "StatefulSet":
        return pod["metadata"]["labels"].get("controller-revision-hash") == (owner.get("status") or {}).get("updateRevision")
    wanted = owner["spec"]["template"]["spec"]
    return runs(pod["spec"]) == runs(wanted) and all(
        volume in pod["spec"].get("volumes", []) for volume in wanted.get("volumes", [])
    )


def runs(spec):
    """Return what a pod runs."""
    return [[container.get(key) for key in ("image", "args", "env")] for container in spec["containers"]]


def hopeless(pod):
    """Yield for each container that waiting does not help what it waits for."""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in HOPELESS or (waiting.get("reason") == "CrashLoopBackOff" and container["restartCount"] > 1):
            yield f"{waiting['reason']}: {waiting.get('message', '')}"
