"""Two batched stages that hold an emulated GPU for as long as `sighted.toml` says, behind one on the CPU."""

from __future__ import annotations

from regrain import GPU, SLO, App

app = App("sighted", slo=SLO(latency=0.3, attainment=0.95), sample=b"a picture")


@app.stage()
def read(body: bytes) -> bytes:
    return body


@app.batched(max_size=8, max_wait=0.005, gpu=GPU(memory="2Gi"))
def find(pictures: list[bytes]) -> list[bytes]:
    return pictures


@app.batched(max_size=8, max_wait=0.005, gpu=GPU(memory="2Gi"))
def tell(pictures: list[bytes]) -> list[int]:
    return [len(picture) for picture in pictures]


@app.flow
def run(body: bytes) -> int:
    return tell(find(read(body)))
