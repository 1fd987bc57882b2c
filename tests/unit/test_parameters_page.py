"""docs/reference/parameters.md, and the command that writes it."""

from commands.parameters import PAGE
from src.config.reference import allowed_values, comments, page
from src.yaml_files import read_yaml
from tests.conftest import PARAMS_YAML, REPOSITORY
from tests.unit.test_dvc_graph import LEAVES

YAML = """\
# Of the file.

plain: 1  # at its end
quoted: 'a # b'  # a #, quoted
# one line
# and another
group:  # of the group
  none: x
  flow: [1, 2]  # of a list
  block:  # of a block
  - 1  # of an item
"""


def test_the_page_is_what_the_command_writes() -> None:
    written = page(PARAMS_YAML.read_text(encoding="utf-8"), read_yaml(REPOSITORY / "dvc.yaml"))
    assert (REPOSITORY / PAGE).read_text(encoding="utf-8") == written, "run: python -m commands.parameters"


def test_comments_belong_to_their_keys() -> None:
    assert comments(YAML) == {
        "plain": "at its end",
        "quoted": "a #, quoted",
        "group": "one line and another of the group",
        "group.none": "",
        "group.flow": "of a list",
        "group.block": "of a block",
    }


def test_every_parameter_says_what_it_takes() -> None:
    allowed = allowed_values()
    assert sorted(allowed) == LEAVES
    assert allowed["model.width"] == "whole number, at least 4, at most 512"
    assert allowed["lr_range.start"] == "number, above 0"
    assert allowed["train.keep"] == "`last`, `best`"
    assert allowed["lr"] == "number or `auto`"
    assert allowed["model.strides"] == "list of 4: whole number, at least 1, at most 4"
