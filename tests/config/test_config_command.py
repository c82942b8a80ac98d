"""The pandatx command itself, and its subcommand config."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pandatx.cli import main as command
from pandatx.cli.config import report
from pandatx.config import Config
from pandatx.errors import NotFound, StartFault


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("PANDA_HOME", raising=False)
    monkeypatch.setenv("PANDA_SERVER_CONF_SERVERNAME", "here")
    return lambda *words: CliRunner().invoke(command.main, [str(word) for word in words])


def test_check_prints_each_value_and_where_it_came_from(run, tmp_path):
    path = tmp_path / "panda_server.cfg"
    path.write_text(
        '[server]\ndbhost = db.example.org\ndbpasswd = hush\nuseJEDI = True\n[daemon]\nconfig = {\n  "x": {}}\n'
    )
    result = run("config", "check", path)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert f"  dbhost = db.example.org    ({path}:2)" in lines
    assert f"  dbpasswd = ********    ({path}:3)" in lines
    assert "  db_pool = 10    (default)" in lines
    assert "  PANDA_SERVER_CONF_SERVERNAME = here    (environment PANDA_SERVER_CONF_SERVERNAME)" in lines
    assert "hush" not in result.output
    assert result.stderr.splitlines() == [
        f"warning: [server]: the older server's, not used here, no harm: useJEDI ({path}:4)",
        f"warning: {path}:6: daemon x is left out: it has no period",
    ]


def test_check_prints_all_faults_and_ends_with_3(run, tmp_path):
    path = tmp_path / "panda_server.cfg"
    path.write_text("[server]\ndbport = a\nnDBConnection = b\n")
    result = run("config", "check", path)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines() == [
        f'fault: {path}:2: [server] dbport: "a" is not a whole number',
        f'fault: {path}:3: [server] nDBConnection: "b" is not a whole number',
    ]


def test_the_sum_of_connections_is_held_against_what_the_database_gives(tmp_path):
    config = Config.for_tests(tmp_path)
    parts = "10 for requests + 4 for the scheduler + 1 for children = 15 per process"
    assert report(config, 100)[-1] == f"database connections: {parts}; max_connections 100: enough"
    assert report(config, 17)[-1] == f"database connections: {parts}; max_connections 17: too many"
    assert report(config)[-1].startswith(f"database connections: {parts}; hold this, ")


def test_help_lists_all_commands_without_importing_any():
    code = "import sys; from click.testing import CliRunner; from pandatx.cli.main import main, COMMANDS\n"
    code += "text = CliRunner().invoke(main, ['--help']).output\n"
    code += "assert all(name in text for name in COMMANDS)\n"
    code += "assert not [name for name in sys.modules if name.startswith(('pandatx.config', 'twisted'))]\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path("/"))


def test_an_unknown_command_is_a_fault_of_usage(run):
    result = run("nonsense")
    assert (result.exit_code, "No such command 'nonsense'" in result.stderr) == (2, True)


@pytest.mark.parametrize(("fault", "code"), [(StartFault(6, "database away"), 6), (NotFound("no such job"), 1)])
def test_a_refusal_is_one_line_and_an_exit_code(run, monkeypatch, fault, code):
    @click.command()
    def failing() -> None:
        raise fault

    monkeypatch.setattr(command.Commands, "get_command", lambda self, ctx, name: failing)
    result = run("job")
    assert (result.exit_code, result.stderr, result.stdout) == (code, f"pandatx: {fault}\n", "")


def test_home_is_handed_to_the_subcommand(run, monkeypatch):
    seen = []
    subcommand = click.Command("job", callback=click.pass_obj(seen.append))
    monkeypatch.setattr(command.Commands, "get_command", lambda self, ctx, name: subcommand)
    assert run("--home", "/some/where", "job").exit_code == 0
    assert seen == [Path("/some/where")]
