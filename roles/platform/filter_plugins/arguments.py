"""Judges the variables of a play against the argument specs of its roles, in sentences for the user."""

import difflib
import json

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator


def argument_options(specs):
    """Return the options of all roles' ``main``, but for the secrets: their vault may not be there yet.

    ``specs`` is the content of ``meta/argument_specs.yml`` by role.
    """
    return {
        name: option
        for spec in specs.values()
        for name, option in spec["argument_specs"]["main"]["options"].items()
        if not option.get("no_log")
    }


def argument_problems(values, specs):
    """Return a sentence for each option that does not accept what ``values`` has for it."""
    # By JSON: plain values, which are quicker to copy than those that Ansible hands over, and no reason to warn.
    options, values = json.loads(json.dumps([argument_options(specs), values]))
    problems = ArgumentSpecValidator(options).validate(values).error_messages
    return [f"{problem}. roles/<role>/README.md says what each variable takes." for problem in problems]


def missing_variables(names, specs):
    """Return a sentence for each required option that is not among ``names``: what refers to it could not be judged."""
    required = [name for name, option in argument_options(specs).items() if option.get("required")]
    return [
        f"{name} is required and not set: roles/<role>/README.md says what it takes, the inventory's group_vars is its place."
        for name in sorted(set(required).difference(names))
    ]


def unknown_variables(names, specs):
    """Return a sentence for each of ``names`` that begins with a role's name, or nearly is a role's variable, and is none."""
    known = {
        role: {name for entry in spec["argument_specs"].values() for name in entry["options"]} for role, spec in specs.items()
    }
    everything = sorted(set().union(*known.values()))
    sentences = []
    for name in sorted(set(names).difference(everything)):
        role = next((role for role in known if name.startswith(f"{role}_")), None)
        # A slip in the role's name is told by the rest; a stranger's variable has to be very near to be taken for one.
        close = difflib.get_close_matches(name, everything, n=1, cutoff=0.85 if role else 0.9)
        if role or close:
            hint = f"did you mean {close[0]}?" if close else f"roles/{role}/README.md lists what there is."
            sentences.append(f"There is no variable {name}: {hint}")
    return sentences


class FilterModule:
    """Make the functions above known to Ansible."""

    def filters(self):
        """Return them by name."""
        functions = argument_options, argument_problems, missing_variables, unknown_variables
        return {function.__name__: function for function in functions}
