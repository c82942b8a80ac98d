"""The example files and docs/configuration.md say what the declarations say."""

import re
from pathlib import Path

import pytest

from pandatx.config import declared, load
from pandatx.config.reference import document, example

ROOT = Path(__file__).parents[2]
FILES = ("panda_server.cfg", "panda_common.cfg")


@pytest.mark.parametrize("name", FILES)
def test_the_example_file_is_what_pandatx_config_explain_prints(name):
    assert (ROOT / "etc" / name).read_text() == example(name)


def test_the_document_is_what_pandatx_config_explain_prints():
    assert (ROOT / "docs" / "configuration.md").read_text() == document()


def test_every_key_is_documented_with_its_meaning():
    text = document()
    for key in declared():
        assert key.doc and f"| `{key.name}` |" in text, key


def test_every_key_stands_in_an_example_and_every_variable_in_the_environment_file():
    files = "".join((ROOT / "etc" / name).read_text() for name in FILES)
    variables = (ROOT / "etc" / "sysconfig" / "panda_server").read_text()
    for key in declared():
        assert re.search(rf"^[;#]{re.escape(key.name)} ?=", variables if key.section == "environment" else files, re.M)


def test_the_example_file_changes_nothing(tmp_path):
    empty = tmp_path / "empty.cfg"
    empty.write_text("")
    environ = {"PANDA_SERVER_CONF_SERVERNAME": "here"}
    shipped, default = load(ROOT / "etc" / "panda_server.cfg", environ), load(empty, environ)
    assert shipped.origins == default.origins
    assert shipped.warnings == ()


def test_each_default_in_the_example_file_is_taken_when_its_mark_is_removed(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text(re.sub(r"^;(?!config| |})(\w)", r"\1", example(name), flags=re.M))
    environ = {"PANDA_SERVER_CONF_SERVERNAME": "here"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "panda_server.cfg").write_text("")
    live = load(tmp_path / "panda_server.cfg", environ)
    default = load(tmp_path / "empty" / "panda_server.cfg", environ)
    assert {key: origin.value for key, origin in live.origins.items()} == {
        key: origin.value for key, origin in default.origins.items()
    }
    assert live.warnings == ()
