"""From a site's objects to a Helm chart: what a table of knobs names is lifted into values, everything else stays as it is.

What Helm is to put somewhere is kept in names that no YAML has to quote, until the objects are text.
"""

import fnmatch
import hashlib
import itertools
import json
import re
import textwrap

import yaml
from ansible.module_utils.parsing.convert_bool import boolean

NAME = "app.kubernetes.io/name"
SHORT = {"pod": "spec.template.spec", "container": "spec.template.spec.containers.0"}
HASHED = ("ConfigMap", "Job", "Secret")  # whose names tell what is in them
REFERENCES = ("**.configMap.name", "**.secret.name", "**.secret.secretName")
TYPES = {"str": "string", "path": "string", "int": "integer", "bool": "boolean", "list": "array", "dict": "object"}
EMPTY = {"string": "", "integer": 0, "boolean": False, "array": [], "object": {}}


# Names that keep a text for Helm


def kept(sort, text):
    """Return a name that keeps a text for Helm: to ``put`` somewhere, an ``if`` before a key, or a ``line`` of its own."""
    return f"__{sort}_{text.encode().hex()}__"


def told(name):
    """Return the text that a name, or the digits of one, keeps."""
    return bytes.fromhex(name.removeprefix("__put_").removesuffix("__")).decode()


def lifted(value):
    """Tell whether a value is Helm's already."""
    return isinstance(value, str) and re.fullmatch("__put_[0-9a-f]+__", value)


def expression(text):
    """Return how Helm says a text that may have something of Helm's in it."""
    parts = re.split("__put_([0-9a-f]+)__", text)
    values = [f"({told(digits).removesuffix(' | toJson')})" for digits in parts[1::2]]
    if not values or lifted(text):
        return "".join(values) or json.dumps(text)
    pattern = "%s".join(part.replace("%", "%%") for part in parts[::2])
    return f"(printf {json.dumps(pattern)} {' '.join(values)})"


# The way to a field


def identity(item):
    """Return service, kind and name of an object, without the hash in its name."""
    name = item["metadata"]["name"]
    return f"{service(item)}/{item['kind']}/{re.sub('-[0-9a-f]{10}$', '', name) if item['kind'] in HASHED else name}"


def service(item):
    """Return the service that an object is of."""
    return item["metadata"]["labels"][NAME]


def called(item):
    """Return what an item of a list goes by: its name or key, whose Secret it is, or whom or which port a rule is about."""
    if not isinstance(item, dict):
        return None
    source = item.get("secret", {}).get("name")
    owner = re.search(r'\$ "(\w+)"', told(source)) if lifted(source) else None
    peers = item.get("to") or item.get("from") or [item]
    peer = peers[0].get("podSelector", {}).get("matchLabels", {}) if len(peers) == 1 else {}
    name = item.get("name") or item.get("key") or (owner and owner[1]) or peer.get(NAME)
    ports = item.get("ports")
    return name or (str(ports[0].get("port")) if isinstance(ports, list) else None)


def entries(node):
    """Return the key, the content and the names of each entry of a dictionary or a list."""
    if isinstance(node, dict):
        return [(key, child, {key}) for key, child in node.items()]
    return [(index, child, {str(index), called(child)}) for index, child in enumerate(node)] if isinstance(node, list) else []


def places(node, path):
    """Yield container and key of each place that names lead to, as the table has them; ``**`` is any text, or any way down."""
    if path.startswith("**."):
        yield from places(node, path[3:])
    for key, child, names in entries(node):
        if names.intersection(path.split("|")) or (path == "**" and isinstance(child, str)):
            yield node, key
        if path.startswith("**"):
            yield from places(child, path)
        for name in filter(None, names):
            if path.startswith(f"{name}."):
                yield from places(child, path[len(name) + 1 :])


def found(item, row):
    """Return the places in an object that a row of the table is about; one that may be absent is one although it is."""
    first, dot, rest = row["field"].partition(".")
    path = SHORT.get(first, first) + dot + rest
    parent, _, name = path.rpartition(".")
    nodes = [node[key] for node, key in places(item, parent) if "when" in row and isinstance(node[key], dict)]
    return list(places(item, path)) or [(node, name) for node in nodes if not any(key.endswith(f"__{name}") for key in node)]


# Lifting


def lift(item, row, own, inventory):
    """Lift what a row of the table says out of an object, and return what was there before, in a list."""
    usual = {"value": "@" if "match" in row else "@ | toJson", "when": ""} | row
    text, when = (usual[part].replace("@", own).replace("<service>", service(item)) for part in ("value", "when"))
    if "field" not in row:
        item.setdefault("when", []).append(when)
        return [None]
    before = []
    for container, key in reversed(found(item, row)):
        old = container[key] if isinstance(container, list) else container.get(key)
        if "match" in row:
            new = substitute(row["match"], old, kept("put", text), kept("put", f"if {when}") if when else "")
            before += [old] * (new != old)
            container[key] = new
            continue
        if lifted(old):
            continue
        before.append(old)
        if "but" in row:
            container[key] = environment(old, row["but"], own, inventory)
        elif row.get("when") == "each":
            container[:] = [kept("line", f"range {own}"), old, kept("line", "end")]
        elif isinstance(container, list):
            container[key : key + 1] = [kept("line", f"if {when}"), old, kept("line", "end")]
        elif when:
            container.pop(key, None)
            container[kept("if", when) + key] = kept("put", text)
        else:
            container[key] = kept("put", text)
    return before


def substitute(match, text, value, condition=""):
    """Return a text with a value in the place of whatever the pattern's group matches, or with it under a condition."""

    def replace(found):
        start, end = (place - found.start() for place in found.span(1))
        new = f"{condition}{found[1]}{kept('put', 'end')}" if condition else value
        return found[0][:start] + new + found[0][end:]

    return re.sub(match, replace, text)


def environment(variables, but, own, inventory):
    """Return a container's environment, to which a value's variables add and over which they win; those in ``but`` stay."""
    entries, names = [], []
    for entry in variables:
        if isinstance(entry, str) or re.fullmatch(but, entry["name"]):
            entries.append(entry)
            continue
        name = json.dumps(entry["name"])
        new = entry | {"value": kept("put", f"dig {name} {expression(entry['value'])} {own} | toJson")}
        added = entry["name"] in inventory  # which may be taken away again
        entries += [kept("line", f"if hasKey {own} {name}"), new, kept("line", "end")] if added else [new]
    names = " ".join(json.dumps(entry["name"]) for entry in variables if isinstance(entry, dict))
    more = {part: kept("put", f"${part} | toJson") for part in ("name", "value")}
    return [*entries, kept("line", f"range $name, $value := omit {own} {names}"), more, kept("line", "end")]


def lift_all(objects, rows, own="", inventory=None):
    """Lift what the rows say out of all objects; return what was there before, and ``None`` where the first row finds nothing."""
    before = []
    for row in rows:
        chosen = [item for item in objects if any(fnmatch.fnmatch(identity(item), pattern) for pattern in row["objects"])]
        before += [old for item in chosen for old in lift(item, row, own, inventory)]
        if not before:
            return None
    return before


def expanded(table, services):
    """Return names and entries of a table, with one for each of the services in the place of one for ``<service>``."""
    for name, entry in table.items():
        for each in services if "<service>" in name else [""]:
            text = json.dumps(entry).replace("<service>", each).replace("<SERVICE>", each.upper())
            yield name.replace("<service>", each), json.loads(text)


# The parts of a chart


def chart_lift(objects, more, table, site):
    """Lift what the ``table`` says out of the objects of a ``site``, as there are with all of it on: ``more``, and more in them.

    Return the ``objects``, ready for ``kubernetes_files`` and ``chart_templates``, and the ``values``. The ``site`` has its
    ``variables``, those that are ``secrets``, and the ``files`` of its Secrets, and the ``options`` of all roles, by name.
    """
    objects, more, table, site = json.loads(json.dumps([objects, more, table, site]))  # plain data, which are quicker
    there = {identity(item) for item in more}
    existing = {service(item): item["metadata"]["name"] for item in objects if item["kind"] == "Secret"}
    objects = more + [item for item in objects if identity(item) not in there]
    services = sorted({service(item) for item in objects})
    own, knobs = dict(expanded(table["own"], services)), {}
    for name, rows in expanded(table["knobs"], services):
        knobs.setdefault(name, []).extend(rows)
    options = site["options"] | {name: site["options"].get(name, {}) | option for name, option in own.items()}
    for name in [name for name in options if name.endswith("_enabled") and name not in table["switches"]]:
        del options[name]
    secrets = [make_secret(item, site | {"options": options}, services) for item in objects if item["kind"] == "Secret"]
    defaults = dict.fromkeys(itertools.chain.from_iterable(secrets), "")
    named = {item["metadata"]["name"]: item for item in objects if item["kind"] in ("ConfigMap", "Secret")}
    for name, item in named.items():
        if item["kind"] == "Secret":
            defaults[f"{service(item)}_existing_secret"] = existing.get(service(item), name)
    for item in objects:
        refer(item, named)
    lift_all(objects, table["fixed"])
    for name in (name for name in knobs if "description" in options.get(name, {})):
        default = site["variables"].get(name)
        before = lift_all(objects, knobs[name], f"$.Values.{value_name(name)}", default)
        if before is not None or not knobs[name]:
            defaults[name] = next(filter(None, before or []), None) if name in own else default
    values = [described(name, options[name], defaults) for name in sorted(defaults, key=list(options).index)]
    return {"objects": {"all": [finished(item) for item in objects]}, "values": sorted(values, key=part)}


def refer(item, named):
    """Have Helm name ConfigMaps and Secrets, by what it puts into them, in an object that reads ``named`` ones or is one.

    What is not immutable keeps its name.
    """
    own = [(item["metadata"], "name")] if item["kind"] in ("ConfigMap", "Secret") else []
    early = "early." if identity(item) == "django/Job/release" else ""
    for node, key in itertools.chain(own, *(list(places(item, path)) for path in REFERENCES)):
        if other := named.get(node[key]):
            name = "" if other["immutable"] else f' "{node[key]}"'
            node[key] = kept("put", f'include "tandem.{early}{other["kind"].lower()}" (list $ "{service(other)}"{name})')


def make_secret(item, site, services):
    """Have Helm make a Secret where it is given what belongs into it; return the options that it is made of."""
    owner, data, taken = service(item), {}, []
    for file in item["data"]:
        options, text = secret_file(file, owner, site)
        other = file.split("_")[0]  # whose it is
        switched = other in services and switchable(other, owner, site)
        data[(kept("if", f"$.Values.{other}.enabled") if switched else "") + file] = text
        taken += options
    given = " ".join(f"$.Values.{value_name(option)}" for option in taken if option.startswith(f"{owner}_"))
    item["data"] = {kept("line", f"if or {given}"): None, **data, kept("line", "end"): None}
    item["when"] = [f'(include "tandem.Secret.{owner}" $ | fromYaml).data']
    return taken


def secret_file(file, owner, site):
    """Return the options that Helm makes a file of a Secret of, and how: of one as it is, or of a text with some in it."""
    if file in site["options"]:
        return [file], kept("put", f"{needed(file, owner)} | b64enc")
    # Its own come first: others may happen to have the same value.
    names = sorted(site["secrets"], key=lambda name: not name.startswith(f"{owner}_"))
    ways = {checksum(site["secrets"][name]): (name, " | sha256sum") for name in reversed(names)}
    ways |= {site["secrets"][name]: (name, "") for name in reversed(names) if site["secrets"][name]}
    lines = site["files"][file].splitlines(keepends=True)
    options, text = secret_text(lines, ways, owner)
    if not options:
        raise ValueError(
            f"A chart cannot make {file} of {owner}: it is no variable, and holds none that is secret, nor its checksum."
        )
    others = [{name.split("_")[0] for name in secret_text([line], ways, owner)[0]} for line in lines]
    for other in set().union(*others):
        if switchable(other, owner, site):
            rest = [line for line, whose in zip(lines, others, strict=True) if other not in whose]
            without = secret_text(rest, ways, owner)[1]
            text = f"if $.Values.{other}.enabled }}}}{{{{ {text} }}}}{{{{ else }}}}{{{{ {without} }}}}{{{{ end"
    return options, kept("put", text)


def switchable(other, owner, site):
    """Tell whether what one service has of another one goes when that is switched off."""
    return other != owner and f"{other}_enabled" in site["options"]


def secret_text(lines, ways, owner):
    """Return the options that lines have something of, and how Helm makes the lines; ``ways`` tells of what by what option."""
    parts = re.split(f"({'|'.join(map(re.escape, ways))})", "".join(lines).replace("%", "%%"))
    used = [ways[text] for text in parts[1::2]]
    values = "".join(f" ({needed(name, owner)}{way})" for name, way in used)
    return [name for name, _ in used], f"printf {json.dumps('%s'.join(parts[::2]))}{values} | b64enc"


def needed(option, owner):
    """Return how Helm asks for a value without which a service's Secret would not be whole."""
    name = value_name(option)
    sentence = (
        f"{name} is missing: give all secrets of {owner}, or none of them and a Secret of your own in {owner}.existingSecret."
    )
    return f"required {json.dumps(sentence)} $.Values.{name}"


def checksum(text):
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(str(text).encode()).hexdigest()


def finished(item):
    """Return an object with its condition at the beginning, and with the data that its name is made of at the end."""
    conditions, data = item.pop("when", []), item.pop("data", None)
    both = " ".join(["and", *(f"({condition})" for condition in conditions)]) if conditions[1:] else "".join(conditions)
    first = {kept("when", both): None} if conditions else {}
    return first | item | ({kept("data", f"tandem.{item['kind']}.{service(item)}"): data} if data else {})


def chart_templates(files):
    """Return the files of objects as Helm's templates, in which nothing but what was lifted means anything to Helm."""
    return {f"templates/{name}": template(text) for name, text in files.items()}


def template(text):
    """Return objects as text in which Helm finds what was kept for it."""
    text = text.replace("{{", '{{ "{{" }}')
    text = re.sub(r"(?m)^( *)\? (__\w+)\n\1: ", r"\1\2: ", text)  # YAML's form of a long key
    definitions = []

    def define(match):
        _, kind, owner = told(match[1]).split(".")
        definitions.append(f'{{{{- define "{told(match[1])}" }}}}\ndata:\n{match[2]}{{{{ end }}}}\n')
        return f'{{{{- include "{told(match[1])}" $ }}}}\n{{{{- include "tandem.kept" (list $ "{kind}" "{owner}") }}}}\n'

    text = re.sub(r"(?m)^__data_(\w+)__:\n((?:(?: .*)?\n)+)", define, text)
    text = re.sub(
        r"(?ms)^---\n__when_(\w+?)__: null\n(.*?)(?=^---|\Z)",
        lambda m: f"---\n{control('if', m[1])}\n{m[2]}{{{{- end }}}}\n",
        text,
    )
    text = "".join(definitions) + text
    text = re.sub(r"(?m)^ *(?:- )?__line_(\w+?)__(?:: null)?$", lambda m: control("", m[1]), text)
    text = re.sub(r"(?m)^( *)__if_(\w+?)__(.*)$", lambda m: f"{control('if', m[2])}\n{m[1]}{m[3]}\n{{{{- end }}}}", text)
    return re.sub(r"__put_(\w+?)__", lambda m: f"{{{{ {told(m[1])} }}}}", text)


def control(word, digits):
    """Return a line that controls the ones after it."""
    return f"{{{{- {f'{word} {told(digits)}'.strip()} }}}}"


# Its values


def value_name(variable):
    """Return the name of a variable's value: ``django_cpu_request`` is ``django.cpuRequest``."""
    role, _, name = variable.partition("_")
    return f"{role}.{re.sub('_([a-z])', lambda match: match[1].upper(), name)}"


def chart_options(specs):
    """Return the options of all roles, by name."""
    return {name: option for spec in specs for name, option in spec["argument_specs"]["main"]["options"].items()}


def described(name, option, defaults):
    """Return a value: its name, default, schema and description, and whether it is secret."""
    kind = TYPES[option["type"]]
    default = defaults[name] if defaults[name] is not None else EMPTY[kind]
    if isinstance(default, str) and kind in ("boolean", "integer"):  # as -e gives it
        default = boolean(default) if kind == "boolean" else int(default)
    schema = {"type": kind}
    if "choices" in option:
        schema["enum"] = option["choices"]
    if kind == "array":
        schema["items"] = {"type": TYPES[option["elements"]]}
    if kind == "object" and not any(isinstance(value, dict | list) for value in default.values()):
        schema["additionalProperties"] = {"type": "string"}
        default = {key: str(value) for key, value in default.items()}
    text = re.sub(r"\b[CV]\(([^)]*)\)", r"`\1`", " ".join(option["description"].split()))
    text = re.sub(r"`[^`<]*`|\w+", lambda match: value_name(match[0]) if match[0] in defaults else match[0], text)
    value = {"name": value_name(name), "default": default, "schema": schema, "description": text}
    return value | {"secret": option.get("no_log", False)}


def part(value):
    """Return the part of the values that one belongs to."""
    return value["name"].split(".")[0]


def chart_values(values):
    """Return ``values.yaml``: each value with its default, under its explanation."""
    lines = []
    for name, members in itertools.groupby(json.loads(json.dumps(values)), key=part):
        lines += [f"{name}:"]
        for value in members:
            text = {value["name"].split(".")[1]: value["default"]}
            lines += textwrap.wrap(value["description"], 120, initial_indent="  # ", subsequent_indent="  # ")
            lines += textwrap.indent(yaml.safe_dump(text, width=10**6, sort_keys=False), "  ").splitlines()
    return "\n".join([*lines, ""])


def chart_schema(values):
    """Return ``values.schema.json``, which refuses what it does not name."""
    parts = {"global": {"type": "object"}}  # what a chart around this one gives to all of its own
    for value in values:
        name = value["name"].split(".")[1]
        parts.setdefault(part(value), {"type": "object", "additionalProperties": False, "properties": {}})
        parts[part(value)]["properties"][name] = value["schema"] | {"description": value["description"]}
    schema = {"type": "object", "additionalProperties": False, "properties": parts}
    return json.dumps({"$schema": "https://json-schema.org/draft-07/schema#", **schema}, indent=2) + "\n"


def chart_table(values):
    """Return the Markdown table of all values."""
    rows = [
        f"| `{value['name']}` | `{json.dumps(value['default'])}` | {value['description']} |".replace("||", "|")
        for value in values
    ]
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows])


class FilterModule:
    """Make the functions above known to Ansible."""

    def filters(self):
        """Return them by name."""
        functions = (chart_lift, chart_options, chart_schema, chart_table, chart_templates, chart_values)
        return {function.__name__: function for function in functions}
