import os
from urllib.request import getproxies_environment

import pytest

from regrain_watchdog.gateway.plane.kinds.fork import variables
from regrain_watchdog.gateway.plane.route import Below


class Asked:
    method = "POST"
    path = "/function/a/b"
    query_string = "c=d"
    headers = None


def test_a_request_is_told_in_variables() -> None:
    headers = {"content-type": "text/plain", "x-my-key": "v", "x-odd": "a\0b", "content-length": "2"}

    assert variables(Below(Asked(), "/b", headers)) == {
        "Http_Method": "POST",
        "Http_Path": "/b",
        "Http_Query": "c=d",
        "Http_ContentLength": "2",
        "Http_Content_Length": "2",
        "Http_Content_Type": "text/plain",
        "Http_X_My_Key": "v",
    }


@pytest.mark.parametrize("query", ["", "c=d"])
def test_a_header_does_not_pass_for_what_was_asked(query: str) -> None:
    headers = {"path": "/admin", "method": "DELETE", "query": "all", "host": "h"}
    asked = Asked()
    asked.query_string = query

    expected = {"Http_Method": "POST", "Http_Path": "/b", "Http_Host": "h"}
    assert variables(Below(asked, "/b", headers)) == expected | ({"Http_Query": query} if query else {})


@pytest.mark.parametrize("name", ["proxy", "http-proxy", "https-proxy", "all-proxy", "no-proxy"])
def test_no_caller_chooses_the_proxy_of_a_functions_own_requests(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for there in [there for there in os.environ if there.lower().endswith("_proxy")]:
        monkeypatch.delenv(there)
    for variable, text in variables(Below(Asked(), "/b", {name: "http://evil.example"})).items():
        monkeypatch.setenv(variable, text)

    taken = getproxies_environment()

    assert {"http", "https", "all", "no"}.isdisjoint(taken)
