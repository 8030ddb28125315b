"""mosec. Split: one worker type per stage, each in its own process."""

import os

from mosec import Server, Worker

from benchmarks.peers import workloads

WORKLOAD, SPLIT = os.environ["BENCH_WORKLOAD"], os.environ["BENCH_SPLIT"] == "1"


class Raw(Worker):
    """A worker that takes the body as it came; mosec reads JSON by default."""

    def deserialize(self, data: bytes) -> bytes:
        return data


class Fused(Raw):
    def __init__(self) -> None:
        super().__init__()
        self.run = workloads.fused(WORKLOAD)

    def forward(self, data: bytes) -> object:
        return self.run(data)


class Staged(Raw):
    place = 0

    def __init__(self) -> None:
        super().__init__()
        self.call = workloads.stage(WORKLOAD, self.place)

    def forward(self, data: object) -> object:
        return self.call(data)


class First(Staged):
    place = 0


class Second(Staged):
    place = 1


class Third(Staged):
    place = 2


if __name__ == "__main__":
    server = Server()
    for worker in (First, Second, Third) if SPLIT else (Fused,):
        server.append_worker(worker)
    server.run()
