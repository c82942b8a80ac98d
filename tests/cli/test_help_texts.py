"""What operators and clients read cites no paper that they do not have, and leaves nothing unexplained."""

import re
from collections.abc import Iterator

import click
from prometheus_client import generate_latest

from pandatx import app  # noqa: F401 - with it come all modules that count something
from pandatx.cli.api import described_api, whole
from pandatx.cli.main import main
from pandatx.config.reference import document, example

OURS = re.compile(r"\brules? R\d|\(R\d+|reference/|(?:lifecycle|wire|database|stack|design|rules)\.md|\btraps? \d")
SAYS_ALL = {"--http-port", "--https-port", "--hours"}
"""Options whose name needs no more words."""


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, by how they are typed."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, f"{path} {name}")


ALL = dict(commands(main, "pandatx"))


def texts() -> Iterator[tuple[str, str]]:
    for path, command in ALL.items():
        yield f"{path} --help", command.get_help(click.Context(command, info_name=path))
    yield "/openapi.json", whole(described_api())
    yield "/metrics", generate_latest().decode()
    yield "configuration.md", document()
    yield "panda_server.cfg", example("panda_server.cfg")


def test_texts_for_others_cite_none_of_our_papers() -> None:
    cited = {name: [line.strip() for line in text.splitlines() if OURS.search(line)] for name, text in texts()}
    assert {name: lines for name, lines in cited.items() if lines} == {}


def test_every_option_is_explained() -> None:
    options = (option for command in ALL.values() for option in command.params if isinstance(option, click.Option))
    assert {option.opts[-1] for option in options if not option.help} == SAYS_ALL
