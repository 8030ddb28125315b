"""The pods that a front knows."""

import asyncio

from regrain_watchdog.front.config import Config
from regrain_watchdog.front.remote.remote import Remote


def test_a_pod_that_no_function_asks_any_more_is_forgotten():
    """Pods come and go with other addresses for as long as a front serves."""

    async def come_and_go():
        remote = Remote(Config(), "a-secret-of-the-pods")
        for number in range(1, 4):
            pod, peer = remote._pod(f"http://10.0.0.{number}:8080", "v"), object()
            pod.peers.append(peer)
            assert list(remote._pods.values()) == [pod]
            pod.leave(peer)
            assert remote._pods == {}

    asyncio.run(come_and_go())
