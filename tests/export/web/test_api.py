"""The API as programs use it, over real connections; schemathesis asks what nobody would think of."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.applications import Starlette

import reports
from builders import namespace, process, snapshot, socket
from export.web.serving import Served, published
from sockwatch.export.history.reader import History
from sockwatch.export.history.store import Store
from sockwatch.export.web.openapi import openapi
from sockwatch.export.web.published import Published
from sockwatch.export.web.site import build_site
from sockwatch.model.poll import Poll
from sockwatch.model.settings import HistorySettings
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State

APP, WEB = process(812, "app"), process(900, "nginx")


def host() -> Snapshot:
    """23 leaked connections of one program, 13 of another, 7 in TIME_WAIT in a second namespace, two listeners."""
    leaked = [
        socket(
            State.CLOSE_WAIT,
            "10.0.0.1:8080",
            f"10.0.0.9:{40000 + i}",
            inode=5000 + i,
            last_ack_recv=i * 10_000.0,
            last_data_recv=1e6,
            last_data_sent=1e6,
        )
        for i in range(23)
    ]
    used = [
        socket(State.ESTABLISHED, f"[2001:db8::1]:{50000 + i}", "[2001:db8::2]:5432", inode=6000 + i) for i in range(13)
    ]
    over = [
        socket(State.TIME_WAIT, "10.0.0.1:80", f"192.0.2.{i}:3000", netns=1, expires_ms=1000 * i, timer=3)
        for i in range(7)
    ]
    listening = [socket(State.LISTEN, f"0.0.0.0:{port}", inode=100 + port) for port in (80, 8080)]
    holders = {**{5000 + i: [APP] for i in range(23)}, **{6000 + i: [WEB] for i in range(11)}, 180: [WEB]}
    return snapshot(*leaked, *used, *over, *listening, holders=holders, namespaces=[namespace(), namespace("blue")])


def of(seen: Snapshot, number: int = 1) -> Published:
    """A poll that saw this."""
    last = published(reports.report(reports.leak()), number=number)
    return replace(last, poll=replace(last.poll, snapshot=seen))


def ask(query: str = "", seen: Snapshot | None = None) -> Any:
    """The answer of /api/v1/sockets."""
    with Served() as served:
        served.last = of(seen or host())
        answer = served.get(f"/api/v1/sockets{query}")
        assert answer.headers["content-type"] == "application/json"
        return json.loads(answer.text)


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("", 45),
        ("?state=close_wait", 23),
        ("?state=close_wait&state=time_wait", 30),
        ("?state=close_wait,time_wait", 30),
        ("?port=8080", 24),
        ("?port=5432", 13),
        ("?port=40000", 1),
        ("?port=5432&side=remote", 13),
        ("?port=5432&side=local", 0),
        ("?port=8080&side=local", 24),
        ("?process=app", 23),
        ("?process=nginx", 12),
        ("?process=", 10),
        ("?process=nobody", 0),
        ("?peer=10.0.0.9", 23),
        ("?peer=10.0.0.0/8", 23),
        ("?peer=10.0.0.9:40007", 1),
        ("?peer=2001:db8::2", 13),
        ("?peer=[2001:db8::2]:5432", 13),
        ("?peer=2001:db8::/32", 13),
        ("?peer=::/0", 43),
        ("?peer=0.0.0.0/0", 30),
        ("?netns=blue", 7),
        ("?min_age=60&state=close_wait", 17),
        ("?min_age=58", 20),
        ("?min_age=0", 30),
        ("?state=close_wait&process=app&port=8080&peer=10.0.0.9&netns=host&min_age=220", 1),
    ],
)
def test_filters_choose_exactly(query: str, total: int) -> None:
    answer = ask(query)
    assert (answer["total"], len(answer["sockets"])) == (total, total)


def test_groups_count_all_that_match_and_name_the_largest() -> None:
    groups = ask("?groups=1&limit=1")["groups"]
    assert groups["state"] == [{"state": "close_wait", "count": 23}, {"state": None, "count": 22}]
    assert groups["process"] == [{"name": "app", "count": 23}, {"name": None, "count": 22}]
    assert groups["peer"] == [{"address": "10.0.0.9", "count": 23}, {"address": None, "count": 20}]
    assert groups["port"] == [
        {"port": 8080, "count": 24, "side": "local"},
        {"port": None, "count": 21, "side": None},
    ]
    assert groups["netns"] == [{"netns": "host", "count": 38}, {"netns": None, "count": 7}]


def test_the_service_port_is_the_remote_one_where_nothing_listens_here() -> None:
    groups = ask("?state=established")["groups"]
    assert groups["port"] == [{"port": 5432, "count": 13, "side": "remote"}]
    assert groups["process"] == [{"name": "nginx", "count": 11}, {"name": "", "count": 2}]


def test_a_row_says_what_is_known_and_null_for_the_rest() -> None:
    (row,) = ask("?port=40007")["sockets"]
    assert row == {
        "netns": "host",
        "state": "close_wait",
        "local": "10.0.0.1:8080",
        "remote": "10.0.0.9:40007",
        "pid": 812,
        "process": "app",
        "inode": 5007,
        "uid": 0,
        "recv_q": 0,
        "send_q": 0,
        "age_seconds": 70.0,
        "timer": "off",
        "retransmits": 0,
        "cookie": "1007",
    }
    (row,) = ask("?port=50012")["sockets"]
    assert (row["pid"], row["process"], row["age_seconds"]) == (None, None, None)
    assert {row["remote"] for row in ask("?state=listen")["sockets"]} == {"0.0.0.0:*"}


def test_pages_give_each_socket_once_even_while_others_come_and_go() -> None:
    first = host()
    turned = replace(first, sockets=first.sockets.take(reversed_rows(first)))
    with Served() as served:
        seen: list[str] = []
        query, looks = "?limit=7", (first, turned)
        for number in range(100):
            served.last = of(looks[number % 2], number + 1)
            answer = json.loads(served.get(f"/api/v1/sockets{query}").text)
            assert (answer["poll"], answer["total"]) == (number + 1, 45)
            seen += [row["cookie"] for row in answer["sockets"]]
            if answer["next"] is None:
                break
            query = f"?limit=7&cursor={answer['next']}"
    assert seen == [str(1000 + i) for i in range(45)]


def reversed_rows(seen: Snapshot) -> Any:
    """All rows from the last to the first."""
    return seen.sockets.netns.argsort(kind="stable")[::-1]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("?state=clsoe_wait", 'unknown state "clsoe_wait"; did you mean close_wait?'),
        ("?stat=close_wait", 'unknown parameter "stat"; did you mean state?'),
        ("?port=80&port=81", "port is there twice"),
        ("?port=65536", "port must be a whole number from 0 to 65535"),
        ("?port=%d9%a3", "port must be a whole number from 0 to 65535"),
        ("?limit=0", "limit must be a whole number from 1 to 1000"),
        ("?limit=1001", "limit must be a whole number from 1 to 1000"),
        ("?cursor=18446744073709551616", "cursor must be a whole number from 0 to 18446744073709551615"),
        ("?side=local", "side is that of a port: port is missing"),
        ("?port=80&side=here", 'unknown side "here"; valid: local, remote'),
        ("?min_age=nan", "min_age must be a number from 0 to 1000000000"),
        ("?min_age=-1", "min_age must be a number from 0 to 1000000000"),
        ("?peer=example.org", "peer must be an address, ADDR/BITS or ADDR:PORT"),
        ("?peer=10.0.0.1:99999", "peer must be an address, ADDR/BITS or ADDR:PORT"),
        ("?peer=", "peer must be an address, ADDR/BITS or ADDR:PORT"),
        ("?netns=bleu", 'unknown netns "bleu"; did you mean blue?'),
        ("?process=" + "x" * 257, "process: no value is that long"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_nearest_name(query: str, error: str) -> None:
    with Served() as served:
        served.last = of(host())
        answer = served.get(f"/api/v1/sockets{query}")
        page = served.get(f"/sockets{query}")
    assert (answer.status, json.loads(answer.text)) == (400, {"error": error})
    # The page has a length of its own, and no limit.
    assert page.status == 400
    assert "limit" in query or error.split('"', maxsplit=1)[0] in page.text


def test_after_a_look_that_failed_there_are_no_sockets_instead_of_old_ones() -> None:
    with Served() as served:
        served.last = published(reports.failed())
        answer = served.get("/api/v1/sockets")
        page = served.get("/sockets?state=close_wait")
        assert (answer.status, page.status) == (503, 503)
        assert json.loads(answer.text) == {"error": "the last look failed; /api/v1/report says why"}
        served.last = None
        assert served.get("/api/v1/sockets").status == 503


def test_sockets_that_were_counted_and_not_read_are_not_passed_over() -> None:
    last = published(reports.report(by_state={State.TIME_WAIT: 1007, State.CLOSE_WAIT: 23}))
    with Served() as served:
        served.last = replace(last, poll=replace(last.poll, snapshot=host()))
        assert "1,000 more were counted and not read" in served.get("/sockets?state=time_wait").text
        for query in ("?state=close_wait", "?state=time_wait&peer=10.0.0.9"):
            assert "not read" not in served.get(f"/sockets{query}").text


def test_an_unknown_path_of_the_api_is_answered_with_the_nearest() -> None:
    with Served() as served:
        answer = served.get("/api/v1/socket")
    assert answer.status == 404
    assert json.loads(answer.text) == {"error": 'unknown path "/api/v1/socket"; did you mean /api/v1/sockets?'}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """23 looks, 10 s apart until a minute ago, of which the first 13 had a leak."""
    store = Store(tmp_path_factory.mktemp("history") / "history.db", HistorySettings())
    store.start()
    now = int(published().poll.time)
    for i in range(23):
        report = reports.report(*([reports.leak()] if i < 13 else []), by_state={State.CLOSE_WAIT: 23 - i})
        time = now - 60 - 10 * (22 - i)
        store.take(
            Poll(
                number=i + 1,
                time=time,
                monotonic=1000.0 + 10 * i,
                ended=1000.5 + 10 * i,
                interval=10.0,
                report=replace(report, time=time),
                snapshot=host(),
            )
        )
    assert store.stop(20)
    return History(store.path)


class HeldClock:
    """It is always the time of the last look."""

    def monotonic(self) -> float:
        return 101.0

    def unixtime(self) -> float:
        return reports.TIME

    def cpu(self) -> float:
        return 0.0

    def wait(self, seconds: float) -> None:
        raise AssertionError(seconds)


def site(history: History | None = None) -> Starlette:
    """The application with one poll."""
    last = of(host())
    return build_site(lambda: last, clock=HeldClock(), history=history)


@pytest.fixture
def served_history(history: History) -> Iterator[Served]:
    with Served() as served:
        served.server._gate._site = site(history)  # noqa: SLF001 - the same server with a history
        yield served


def test_the_history_is_a_chart_and_what_was_found(served_history: Served) -> None:
    body = json.loads(served_history.get("/api/v1/history?since=-300&points=30").text)
    assert (body["kind"], body["step"], len(body["times"])) == ("state", 10, 30)
    (line,) = [line for line in body["series"] if line["name"] == "close_wait"]
    assert [value for value in line["high"] if value is not None] == [23 - i for i in range(23)]
    (finding,) = body["findings"]
    assert (finding["name"], finding["process"], finding["most"]) == ("close_wait_leak/not_closed", "app", 23)
    assert finding["closed"] is not None
    found = json.loads(served_history.get("/api/v1/history?kind=finding&since=-300&points=30").text)
    (line,) = found["series"]
    assert (line["name"], max(value or 0 for value in line["high"])) == ("close_wait_leak/not_closed", 23)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("?kind=states", 'unknown kind "states"; did you mean state?'),
        ("?since=yesterday", "since must be a number from -4000000000 to 4000000000"),
        ("?since=-10&until=-20", "since must be before until"),
        ("?points=2001", "points must be a whole number from 1 to 2000"),
    ],
)
def test_a_wrong_question_about_the_past_is_answered_with_what_is_wrong(
    served_history: Served, query: str, error: str
) -> None:
    answer = served_history.get(f"/api/v1/history{query}")
    assert (answer.status, json.loads(answer.text)) == (400, {"error": error})


def test_without_a_history_it_says_so(tmp_path: Path) -> None:
    with Served() as served:
        answer = served.get("/api/v1/history")
        assert (answer.status, json.loads(answer.text)["error"]) == (
            404,
            "no history is kept: the daemon has no state directory",
        )
        served.server._gate._site = site(History(tmp_path / "history.db"))  # noqa: SLF001 - the same server with another
        answer = served.get("/api/v1/history")
        assert answer.status == 404
        assert "there is no history" in json.loads(answer.text)["error"]


def test_a_history_that_cannot_be_read_is_not_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"no database" * 1000)
    with Served() as served:
        served.server._gate._site = site(History(path))  # noqa: SLF001 - the same server with another
        answer = served.get("/api/v1/history")
    assert answer.status == 503
    assert json.loads(answer.text)["error"].startswith(f"{path}: ")
    assert "503" in openapi()["paths"]["/api/v1/history"]["get"]["responses"]


def test_each_poll_is_one_event_with_what_the_page_replaces() -> None:
    with Served() as served:
        served.last = of(host())
        with served.connect() as client:
            client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            text = b""
            while b"\n\n" not in text.split(b"\r\n\r\n", 1)[-1]:
                text += client.recv(1 << 16)
        head = served.get("/api/v1/events", method="HEAD")
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    event = dict(line.split(": ", 1) for line in text.decode().splitlines() if line.startswith(("event: ", "data: ")))
    data = json.loads(event["data"])
    jsonschema.validate(data, schema("Event"))
    assert (event["event"], data["poll"], data["status"]) == ("poll", 1, "warning")
    assert data["sockets"]["by_state"]["listen"] == 14
    assert {"verdict-text", "findings", "states"} <= data["parts"].keys()


def schema(name: str) -> dict[str, Any]:
    """A schema of the document."""
    document = openapi()
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def test_answers_are_what_the_document_says(served_history: Served) -> None:
    for path, name in (("report", "Report"), ("sockets", "Sockets"), ("history", "History")):
        jsonschema.validate(json.loads(served_history.get(f"/api/v1/{path}").text), schema(name))
    assert json.loads(served_history.get("/api/v1/openapi.json").text) == openapi()


def test_every_route_of_the_api_is_in_the_document() -> None:
    paths = {getattr(route, "path", "") for route in site().routes}
    assert {path for path in paths if path.startswith("/api/")} == openapi()["paths"].keys()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: str(mode.value))
def test_schemathesis_finds_no_answer_that_the_document_does_not_foresee(
    served_history: Served, mode: GenerationMode
) -> None:
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{served_history.port}/api/v1/openapi.json")
    chosen = [
        operation
        for result in document.get_all_operations()
        if isinstance(result, Ok)
        # The events have no end; their data are tested above. The document itself is left out by schemathesis, and
        # what has no parameters has no wrong ones.
        and (operation := result.ok()).path != "/api/v1/events"
        and (mode is GenerationMode.POSITIVE or operation.query)
    ]
    assert len(chosen) == (3 if mode is GenerationMode.POSITIVE else 2)
    for operation in chosen:

        @settings(
            max_examples=30,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_foreseen(case: Any) -> None:
            # A text may be no address or no namespace: more than a schema can say.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        answers_as_foreseen()
