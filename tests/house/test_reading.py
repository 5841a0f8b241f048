"""What a reader meets: short files and functions, nothing unfinished, no code run from data."""

import ast
import re

LONGEST_FILE, LONGEST_FUNCTION = 500, 60
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")

# Where text of our own making becomes code, and why that is no door for foreign code.
RUNS_TEXT = {
    "frontend/guards.py": "a variant's guards, generated from what the trace saw",
    "frontend/record.py": "run-time numbers as functions: expressions that the trace put together from its own names",
    "ir/loops/interpret.py": "a loop nest as Python: identifiers and numbers of a checked nest",
}


def test_no_file_is_long(everything):
    lengths = {str(source.path): len(source.text.splitlines()) for source in everything}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_long(everything):
    long = []
    for source in everything:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                span = (node.end_lineno or node.lineno) - node.lineno + 1
                if span > LONGEST_FUNCTION:
                    long.append(f"{source.path}:{node.lineno}: {node.name} has {span} lines")
    assert long == []


def test_every_file_opens_with_a_sentence(everything):
    silent = [
        str(source.path)
        for source in everything
        if source.text.strip() and not ast.get_docstring(source.tree)
    ]
    assert silent == []


def test_nothing_is_left_unfinished(everything, root):
    pages = [
        *root.glob("*.md"),
        *root.glob("docs/**/*.md"),
        root / ".ci" / "run",
        root / "pyproject.toml",
    ]
    texts = {str(source.path): source.text for source in everything}
    texts |= {str(page.relative_to(root)): page.read_text(encoding="utf-8") for page in pages}
    found = [
        f"{path}: {hit[0]}" for path, text in texts.items() for hit in UNFINISHED.finditer(text)
    ]
    assert found == []


def packages(node: ast.AST) -> set[str]:
    """The top names that an import statement loads."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {(node.module or "").split(".")[0]}
    return set()


def allows_pickle(node: ast.AST) -> bool:
    if not isinstance(node, ast.keyword) or node.arg != "allow_pickle":
        return False
    return not (isinstance(node.value, ast.Constant) and node.value.value is False)


def test_no_file_is_read_by_pickle(rooms, doors):
    """Neither imported nor asked for: a file that a user loads can never run code."""
    unsafe = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "copyreg"}
    found = [
        str(source.path)
        for source in rooms + doors
        for node in ast.walk(source.tree)
        if packages(node) & unsafe or allows_pickle(node)
    ]
    assert found == []


def runs_text(node: ast.AST) -> bool:
    """Whether this is a call of ``exec``, ``eval`` or ``__import__``."""
    called = getattr(node, "func", None)
    return isinstance(called, ast.Name) and called.id in {"exec", "eval", "__import__"}


def test_text_becomes_code_only_where_a_reason_is_given(rooms, doors, root):
    runs = {str(s.path) for s in rooms + doors if any(map(runs_text, ast.walk(s.tree)))}
    assert runs == {path for path in RUNS_TEXT if (root / path).exists()}


def test_the_check_runs_what_the_readme_promises(root):
    """``.ci/run`` holds the README's second command, letter for letter."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    commands = [line for line in readme.splitlines() if line.startswith("pip install ")]
    check = (root / ".ci" / "run").read_text(encoding="utf-8")
    assert len(commands) == 2
    assert commands[1] in map(str.strip, check.splitlines())
