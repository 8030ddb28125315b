"""What `regrain gateway` tells Prometheus of the functions that it serves."""

from __future__ import annotations

import psutil
import requests

from regrain_watchdog.front.listen import bind

PATIENCE = 30.0


def scrape(gateway) -> set[str]:
    """Return the lines of the metrics' page, which has a port that the kernel chose."""
    ports = {
        one.laddr.port
        for one in gateway.child("plane").net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    } - {int(gateway.url.rpartition(":")[2])}
    (port,) = ports
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE)
    assert answer.status_code == 200
    return set(answer.text.splitlines())


def test_an_app_tells_of_itself_under_its_name_until_it_is_removed(gateway, until) -> None:
    assert gateway.build("Hello")["status"] == "success"
    gateway.deploy()
    assert gateway.invoke("hello", json={"name": "x"}).text == "Hello x"
    hits = 'regrain_hits_total{app="hello",function_name="hello.openfaas-fn"} 1.0'
    until(lambda: hits in scrape(gateway), "the request is counted", PATIENCE)
    gateway.ask("DELETE", "/system/functions", json={"functionName": "hello"})

    until(
        lambda: not any("hello" in line for line in scrape(gateway)),
        "nothing is told of what is no more",
        PATIENCE,
    )


def test_requests_of_an_app_are_traced_where_the_gateways_variables_ask_for_it(
    collector, start_gateway, until
) -> None:
    gateway = start_gateway()
    assert gateway.build("Hello")["status"] == "success"
    gateway.deploy()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert gateway.invoke("hello", json={"name": "x"}, headers=headers).text == "Hello x"

    spans = until(lambda: len(found := collector.of(trace)) == 3 and found, "three spans have come", PATIENCE)
    assert {span.name for span in spans} == {"POST /", "group greet", "stage greet"}
    assert {span.resource["service.name"] for span in spans} == {"hello"}


def test_functions_are_served_without_metrics_where_their_port_is_taken(start_gateway, until) -> None:
    with bind("127.0.0.1", 0, name="port", backlog=1) as taken:
        port = taken.getsockname()[1]
        gateway = start_gateway(metrics_port=port)
        gateway.deploy("red", "theaxer/redirector", envVars={"destination": "http://x"})

        answer = gateway.invoke("red", allow_redirects=False)

        assert answer.status_code == 302
        said = (
            f"metrics are not served: port {port} on 127.0.0.1 is taken; choose another with --metrics-port or "
            "REGRAIN_GATEWAY_METRICS_PORT (0: any free one)"
        )
        until(lambda: said in gateway.output, "it is said", PATIENCE)
