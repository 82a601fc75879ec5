"""All readers of foreign bytes, by name."""

from fuzz import adapters, asked, bases, page, stored, tables
from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for group in (tables, asked, adapters, bases, stored, page)
    for target in group.TARGETS
}
