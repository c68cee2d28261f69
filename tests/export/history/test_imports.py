"""SQLite is the history's own business."""

from contract.repository import PACKAGE, imports, modules


def test_only_the_history_imports_sqlite() -> None:
    users = {path.parent for path in modules() if any(name.split(".")[0] == "sqlite3" for name in imports(path))}
    assert users == {PACKAGE / "export" / "history"}
