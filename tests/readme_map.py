"""The README's map: every file with the first line of its docstring. ``python -m tests.readme_map`` writes it anew."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- map: begin -->\n", "<!-- map: end -->"
OTHERS = {
    "samples/": "small real media for the demonstration and the tests, with their licences",
    "tests/": "mirrors the tree; `tests/e2e` runs whole systems",
    "docs/": "what does not fit here",
    "pyproject.toml": "dependencies, tools and their settings",
    "requirements.lock": "the versions that were tested, all of them",
    "Makefile": "the two commands, and a few for development",
    "pom.xml": "the jars of Apache Kafka",
    "docker-compose.yml": "Kafka, Milvus and one service a stage",
    "Dockerfile": "the image of the services",
    ".ci/run": "what continuous integration runs: `make test`",
}


def module_line(file: Path) -> str:
    """The first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return docstring.partition("\n")[0].replace("``", "`")


def render() -> str:
    """The map as Markdown."""
    lines = []
    for folder in ("schemas", "workers", "streams"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            lines.append(f"- `{name}`: {module_line(file)}")
    lines += [f"- `{name}`: {text}" for name, text in OTHERS.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the map into the README."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(before + BEGIN + render() + END + after)


if __name__ == "__main__":
    main()
