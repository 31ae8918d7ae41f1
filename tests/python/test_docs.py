"""Every example of README.md and of docs/ runs, and prints what its page says.

The ```python blocks of a page are one script, in their order; what a block prints is the ```text
block that follows it, if one does, in which `...` stands for anything.

- One whose first line is `# name.py` is that file, which the others and the commands can import.
- One below `<!-- alone -->` is a script of its own.

In ```console blocks a line after `$ ` is run by the shell, and what follows is what it prints.
Other commands, such as those that install something, are ```sh blocks, and are not run.
"""

import importlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import child_process
import pytest

SOURCE = Path(__file__).resolve().parents[2]
MARK = "\0block "
NAME = re.compile(r"# (\w+\.py)$")

START = "import sys; sys.stdout.reconfigure(line_buffering=True)"  # as on a terminal


@dataclass
class Block:
    """line: of the page, from 0, with its first line of code.  printed: None if nobody says."""

    language: str
    line: int
    lines: list[str]
    alone: bool = False
    printed: str | None = None

    @property
    def file(self) -> str | None:
        named = NAME.match(self.lines[0]) if self.lines else None
        return named[1] if named and self.language == "python" else None


def read(page: Path) -> list[Block]:
    blocks: list[Block] = []
    inside: Block | None = None
    alone = between = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if inside is not None:
            if line.startswith("```"):
                keep(blocks, inside, follows=not between)
                inside, between = None, False
            else:
                inside.lines.append(line)
        elif line.startswith("```"):
            inside, alone = Block(line[3:].strip(), number, [], alone), False
        elif line.strip() == "<!-- alone -->":
            alone = True
        elif line.startswith("#"):
            between = True  # what is below another heading belongs to that
    return blocks


def keep(blocks: list[Block], block: Block, *, follows: bool) -> None:
    if block.language == "text":
        if follows and blocks and blocks[-1].printed is None and blocks[-1].file is None:
            blocks[-1].printed = "\n".join(block.lines)
    elif block.language in ("python", "console"):
        blocks.append(block)


PAGES = [SOURCE / "README.md", *sorted((SOURCE / "docs").rglob("*.md"))]
EXAMPLES = {str(page.relative_to(SOURCE)): blocks for page in PAGES if (blocks := read(page))}


def script_of(blocks: list[Block]) -> str:
    """The blocks where they are on the page, so that a traceback shows the page's lines."""
    lines = [START]
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines))
        lines.append("" if block.alone else f"print({MARK + str(block.line)!r})")
        lines += block.lines
    return "\n".join(lines) + "\n"


def check(expected: str | None, printed: str, where: str) -> None:
    if expected is None:
        return
    pattern = ".*?".join(map(re.escape, expected.strip().split("...")))
    if not re.fullmatch(pattern, printed.strip(), re.DOTALL):
        pytest.fail(f"{where} prints\n{printed}\nand the page says\n{expected}")


def run_script(page: str, blocks: list[Block], folder: Path) -> None:
    path = folder / f"line_{blocks[0].line}.py"
    path.write_text(script_of(blocks), encoding="utf-8")
    command = [sys.executable, "-W", "always", str(path)]
    ended = child_process.run(command, cwd=str(folder))
    assert ended.code == 0, ended
    assert ended.err == "", ended
    if blocks[0].alone:  # maybe run by processes of its own, too
        check(blocks[0].printed, ended.out, f"{page}:{blocks[0].line}")
        return
    _, *parts = ended.out.split(MARK)
    for block, part in zip(blocks, parts, strict=True):
        check(block.printed, part.partition("\n")[2], f"{page}:{block.line}")


def run_commands(page: str, block: Block, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for part in re.split(r"^\$ ", "\n".join(block.lines), flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        ended = child_process.run(
            ["sh", "-c", f"{command} 2>&1"], cwd=str(folder), env=os.environ | {"PATH": path}
        )
        check(expected, ended.out, f"{page}:{block.line}: {command}")


@pytest.mark.slow
@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_of(page, tmp_path):
    together = []
    for block in EXAMPLES[page]:
        if block.file is not None:
            (tmp_path / block.file).write_text("\n".join(block.lines) + "\n", encoding="utf-8")
        elif block.alone:
            run_script(page, [block], tmp_path)
        elif block.language == "python":
            together.append(block)
    if together:
        run_script(page, together, tmp_path)
    for block in EXAMPLES[page]:
        if block.language == "console":
            run_commands(page, block, tmp_path)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(name):
    text = (SOURCE / name).read_text(encoding="utf-8")
    paths = [path for path in re.findall(r"\]\(([^)]+)\)", text) if "://" not in path]
    assert [path for path in paths if not (SOURCE / path).exists()] == []


def test_the_page_of_figures_is_what_make_chart_writes(tmp_path):
    page = tmp_path / "performance.md"
    ended = child_process.run([sys.executable, str(SOURCE / "bench/page.py"), str(page)])
    assert ended.code == 0, ended
    assert page.read_text() == (SOURCE / "docs/explanation/performance.md").read_text()


@pytest.mark.parametrize("module", ["isles", "isles.futures", "isles.logging", "isles.queues"])
def test_every_public_name_is_in_the_reference(module):
    pages = "".join(page.read_text() for page in (SOURCE / "docs/reference").glob("*.md"))
    found = set(re.findall(r":: isles[\w.]*?\.(\w+)\b(?:\(|$)", pages, re.MULTILINE))
    assert set(importlib.import_module(module).__all__) <= found


def test_every_option_is_on_the_page_of_the_command_line():
    from isles._cli.main import build_parsers

    page = (SOURCE / "docs/reference/command-line.md").read_text()
    _, commands = build_parsers()
    for name, command in commands.items():
        part = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        options = {option for action in command._actions for option in action.option_strings}
        missing = {option for option in options - {"-h", "--help"} if f"`{option}" not in part}
        assert not missing, f"{name}: {missing}"


def test_every_variable_is_on_the_page_of_the_environment():
    page = (SOURCE / "docs/reference/environment.md").read_text()
    sources = [*SOURCE.glob("isles/*.py"), *SOURCE.glob("binding/*.c"), *SOURCE.glob("core/*.c")]
    pattern = re.compile(r"(?:getenv|environ\.get)\(\"(ISLES_\w+)\"")
    found = {name for source in sources for name in pattern.findall(source.read_text())}
    assert found
    assert {name for name in found if f"`{name}`" not in page} == set()
