"""Fixtures that the tests here share."""

import sys
import textwrap

import extensions_build
import pytest

import isles

# Private copies stay in the process for good, and each is some mappings more.  CPython from 3.14 on
# reads the list of all mappings a dozen times to make an interpreter on the main thread.
LAST = {"test_arrays.py", "test_extensions.py"}


# What main has imported it keeps, and these look at what an import does there.
IN_ORDER = {"test_extensions.py"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    collected = {item: number for number, item in enumerate(items)}
    result = yield  # pytest-randomly shuffles

    def place(item):
        name = item.path.name
        return name in LAST, collected[item] if name in IN_ORDER else 0

    items.sort(key=place)
    return result


@pytest.fixture
def interp():
    """An isolated interpreter; a test may close it itself."""
    interp = isles.create()
    yield interp
    if interp in isles.list_all():
        interp.close()


@pytest.fixture
def in_main():
    """Run source in __main__, as if it were the user's script; give what it called `name`."""
    namespace = sys.modules["__main__"].__dict__
    before = set(namespace)

    def define(source, name):
        exec(textwrap.dedent(source), namespace)
        return namespace[name]

    yield define
    for name in set(namespace) - before:
        del namespace[name]


@pytest.fixture(scope="session", autouse=True)
def copies_of_the_session(tmp_path_factory):
    """Private copies of extension modules don't stay among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISLES_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def traps(tmp_path_factory):
    """The modules of tests/extensions/, compiled, in a folder on sys.path."""
    built = extensions_build.build(tmp_path_factory.mktemp("extensions"))
    if built is None:
        pytest.skip("no C compiler")
    sys.path.append(str(built.folder))
    yield built
    sys.path.remove(str(built.folder))
