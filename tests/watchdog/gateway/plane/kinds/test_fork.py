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
