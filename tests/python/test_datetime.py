"""`datetime` in many interpreters: on plain 3.13 two of them and an end crash the process.

A script for each, because what fails here fails as a crash."""

import textwrap

import pytest
from child_process import check_clean

USE = """
import datetime, pickle
moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
assert (moment + datetime.timedelta(days=1)).day == 3
assert datetime.datetime.strptime("2026-01-02", "%Y-%m-%d").date() == moment.date()
assert datetime.datetime.fromisoformat(moment.isoformat()) == moment
assert pickle.loads(pickle.dumps(moment)) == moment
assert datetime.datetime.now() > datetime.datetime(2000, 1, 1)
"""

PRELUDE = f"import isles, threading\nUSE = {USE!r}\n"


def run(body):
    return check_clean(PRELUDE + textwrap.dedent(body), timeout=60)


isolation = pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "shared"])


@isolation
def test_one_after_the_other(isolated):
    run(f"""
        for _ in range(8):
            with isles.create(isolated={isolated}) as interp:
                interp.exec(USE)
    """)


@isolation
def test_two_at_once_and_ended(isolated):
    run(f"""
        one, two = isles.create(isolated={isolated}), isles.create(isolated={isolated})
        one.exec(USE); two.exec(USE)
        one.close()
        two.exec(USE)
        two.close()
    """)


@isolation
def test_alive_at_exit(isolated):
    run(f"""
        interps = [isles.create(isolated={isolated}) for _ in range(4)]
        for interp in interps:
            interp.exec(USE)
    """)


@pytest.mark.parametrize("first", ["main", "interpreter"])
def test_main_as_well(first):
    body = ["exec(USE, {})", "interp = isles.create()\ninterp.exec(USE)"]
    if first == "interpreter":
        body.reverse()
    run("\n".join([*body, "interp.close()", "exec(USE, {})", "isles.create().exec(USE)"]))


@isolation
def test_made_used_and_ended_concurrently(isolated):
    run(f"""
        failures = []
        threading.excepthook = lambda args: failures.append(args.exc_value)
        def work():
            for _ in range(8):
                with isles.create(isolated={isolated}) as interp:
                    interp.exec(USE)
                exec(USE, {{}})
        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not failures, failures
    """)


def test_values_travel():
    run("""
        import datetime
        values = [
            datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc),
            datetime.date(2026, 1, 2),
            datetime.time(1, 2, 3),
            datetime.timedelta(days=1, microseconds=5),
            datetime.timezone(datetime.timedelta(hours=2), "x"),
        ]
        def give_back(values):
            return values
        one, two = isles.create(), isles.create()
        for interp in (one, two, one):
            back = interp.call(give_back, values)
            assert back == values, back
            assert [type(v) for v in back] == [type(v) for v in values], back
        one.close()
        assert two.call(give_back, values) == values
        def make():
            import datetime
            return datetime.datetime(2026, 1, 2)
        assert two.call(make) == datetime.datetime(2026, 1, 2)
        assert type(two.call(make)) is datetime.datetime
    """)


def test_what_imports_it():
    run(
        """
        MODULES = "import calendar, email.utils, http.cookiejar, sqlite3, zoneinfo, logging"
        for _ in range(3):
            interps = [isles.create() for _ in range(3)]
            threads = [i.call_in_thread(exec_there, MODULES) for i in interps]
            for t in threads: t.join()
            for i in interps:
                i.exec("import zoneinfo, datetime; zoneinfo.ZoneInfo")
                i.close()
    """.replace(
            "MODULES = ",
            "def exec_there(source):\n            exec(source, {})\n        MODULES = ",
            1,
        )
    )


def test_beside_the_standard_librarys_own():
    """Interpreters of `_interpreters` are not isles' to mend: only those of isles use it here."""
    run("""
        import _interpreters as std
        id = std.create()
        for _ in range(4):
            with isles.create() as interp:
                interp.exec(USE)
        std.destroy(id)
    """)
