"""Every call of the page, without a browser; what the server refuses; and the page in a browser, where there is one."""

from __future__ import annotations

import http.client
import json
import threading

import browser
import pytest

from metarl.play.policies import find
from metarl.play.server import GET, HOST, PAGE, POST, Server

GOAL = {"goal": [2, 2]}


@pytest.fixture(scope="module")
def server(runs):
    with Server(find([runs])) as server:
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield server
        server.stop()
        thread.join()


@pytest.fixture
def ask(server):
    """Asks the server; returns the status and what it answered, from JSON where it is that."""

    def ask(method, path, body=None, **headers):
        connection = http.client.HTTPConnection(HOST, server.server_port, timeout=60)
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, content, {**kind, **{k.replace("_", "-"): v for k, v in headers.items()}})
        answer = connection.getresponse()
        content, kind = answer.read(), answer.headers.get_content_type()
        connection.close()
        return answer.status, json.loads(content) if kind == "application/json" else (kind, content)

    return ask


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1" and server.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("path", PAGE)
def test_the_page_and_its_parts_are_whole_and_ask_for_nothing_from_elsewhere(ask, path):
    status, (kind, content) = ask("GET", path)
    assert status == 200 and kind == PAGE[path][1]
    links = content.decode().replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in links and "https:" not in links and "//cdn" not in links


def test_a_policy_is_chosen_a_task_set_and_the_adaptation_played(ask):
    status, offers = ask("GET", "/api/policies")
    assert status == 200 and [o["id"] for o in offers] == ["gradient", "memory"]
    status, details = ask("GET", "/api/policy?policy=memory")
    assert status == 200 and details["family"] == "gridworld"
    status, drawn = ask("POST", "/api/sample", {"policy": "memory", "split": "train"})
    assert status == 200 and set(drawn["task"]) == {"goal"}
    status, begun = ask("POST", "/api/begin", {"policy": "memory", "task": GOAL, "seed": 1})
    assert status == 200 and begun["seed"] == 1
    stages = [ask("POST", "/api/play", {"trial": begun["trial"]}) for _ in range(3)]
    assert [s[0] for s in stages] == [200] * 3 and [s[1]["done"] for s in stages] == [False, False, True]
    status, (kind, picture) = ask("GET", f"/api/frame?trial={begun['trial']}&stage=2&step=3")
    assert status == 200 and kind == "image/png" and picture.startswith(b"\x89PNG")
    status, curves = ask("POST", "/api/curves", {"policy": "memory", "task": GOAL})
    assert status == 200 and len(curves["policy"]["mean"]) == 3 and "random" in curves["references"]


WRONG = {
    "an unknown path": ("GET", "/api/nonsense", None, 404),
    "a file of the machine": ("GET", "/../server.py", None, 404),
    "an unknown policy": ("GET", "/api/policy?policy=memry", None, 404),
    "no policy": ("POST", "/api/begin", {"task": GOAL}, 404),
    "an unknown trial": ("POST", "/api/play", {"trial": "x"}, 404),
    "a task out of range": ("POST", "/api/begin", {"policy": "memory", "task": {"goal": [9, 9]}}, 400),
    "a task of another family": ("POST", "/api/curves", {"policy": "memory", "task": {"mean": [0.5]}}, 400),
    "no task": ("POST", "/api/begin", {"policy": "memory"}, 400),
    "numbers that are none": ("POST", "/api/begin", {"policy": "gradient", "task": {"goal": ["x", 1]}}, 400),
    "a seed that is none": ("POST", "/api/begin", {"policy": "memory", "task": GOAL, "seed": -1}, 400),
    "an unknown split": ("POST", "/api/sample", {"policy": "memory", "split": "exam"}, 400),
    "what is not JSON": ("POST", "/api/play", b"{", 400),
    "a list": ("POST", "/api/play", [], 400),
    "POST for GET": ("POST", "/api/policies", {}, 405),
    "GET for POST": ("GET", "/api/play", None, 405),
    "a method of its own": ("DELETE", "/api/play", None, 501),
    "POST to the page": ("POST", "/", {}, 405),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_it_does_not_know_is_refused_with_one_sentence(ask, sentence, wrong):
    method, path, body, expected = WRONG[wrong]
    status, answer = ask(method, path, body)
    assert status == expected and set(answer) == {"error"}
    assert answer["error"].endswith((".", ")")) and "\n" not in answer["error"]


def test_every_call_answers_under_one_method():
    assert not GET.keys() & POST.keys()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
    ids=str,
)
def test_other_sites_are_refused(ask, headers):
    for method, path, body in (("GET", "/api/policies", None), ("POST", "/api/begin", {}), ("GET", "/", None)):
        status, answer = ask(method, path, body, **headers)
        assert status == 403 and "alone" in answer["error"]


def test_a_request_that_is_too_large_is_refused_unread(ask):
    assert ask("POST", "/api/play", b"{}", Content_Length="1000001")[0] == 413


def test_a_form_of_another_site_is_refused(ask):
    assert ask("POST", "/api/begin", b"{}", Content_Type="text/plain")[0] == 415


def test_its_own_page_is_answered_under_both_names(ask, server):
    for name in sorted(server.names):
        assert ask("GET", "/api/policies", Host=name, Origin=f"http://{name}")[0] == 200


@pytest.mark.skipif(browser.executable() is None, reason="no Chromium or Chrome here; METARL_BROWSER names one")
def test_in_a_browser_a_goal_is_clicked_and_the_curve_grows(server, tmp_path):
    page = browser.Browser(tmp_path / "profile")
    try:
        page.open(server.url)
        page.wait("document.querySelector('#curve .policy') !== null")  # what others earn on the task that was drawn
        page.value("document.querySelector('#speed').value = '1000'")
        for family, x, y, fields in (("gridworld", 0.8, 0.5, ["1", "2"]), ("point", 0.7, 0.3, ["0.25", "0.25"])):
            choose = "f.dispatchEvent(new Event('change'))"
            page.value(f"(() => {{ const f = document.querySelector('#family'); f.value = '{family}'; {choose}; }})()")
            page.wait(f"document.querySelector('#scene').getAttribute('aria-label') === 'Scene of {family}'")
            page.wait("!document.querySelector('#play').disabled")  # the task is drawn
            page.click("#scene", x, y)
            values = "[...document.querySelectorAll('#editor input')].map((e) => e.value)"
            assert page.value(values) == fields
            assert page.value("document.querySelector('#curve').dataset.points") == "0"
            page.press("Enter")  # the scene has the focus
            page.wait("document.querySelector('#play').textContent === 'Watch again'")
            stages = page.value("document.querySelectorAll('#stages button:enabled').length")
            assert page.value("document.querySelector('#curve').dataset.points") == str(stages) and stages >= 3
        page.press("ArrowLeft")  # another task: it begins anew
        assert page.value("document.querySelector('#curve').dataset.points") == "0"
        for width in (1280, 390):
            page.size(width, 800)
            assert page.value("document.documentElement.scrollWidth") <= width
        assert page.errors == []
    finally:
        page.close()
