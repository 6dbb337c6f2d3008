"""From what a registry answers to what it is to be told."""


def image_aliases(images, tags):
    """Return the image that each other name stands for, where each of ``images`` gets one for each of ``tags``."""
    return {f"{image.rpartition(':')[0]}:{tag}": image for image in images for tag in tags}


def image_unpushed(names, digests):
    """Return what of ``names``, images by name, a registry that gave ``digests`` lacks, or has for another image."""
    return {name: image for name, image in names.items() if image not in digests or digests.get(name) != digests[image]}


class FilterModule:
    """Make the functions above known to Ansible."""

    def filters(self):
        """Return them by name."""
        return {function.__name__: function for function in (image_aliases, image_unpushed)}
