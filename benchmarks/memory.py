"""Measure what splitting costs in memory, on the OCR example, and that every grain reads the same text.

PSS of front, zygote and replicas together, after each replica has read the page a few times: a page that is
shared by several processes counts once.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import machine, processes, product
from benchmarks.record import Results, arguments, table

GRAINS = ("coarse", "decode+detect+crop | orient+recognise+assemble", "fine")
WARM_UP = 3


def main() -> None:
    options = arguments("memory", __doc__ or "", rounds=3, seconds=0.0).parse_args()
    results = Results.open("memory", options)
    texts = set()
    for turn in range(options.rounds):
        for grain in GRAINS:
            if not results.has(kind="memory", round=turn, grain=grain):
                line, text = _measure(grain)
                texts.add(text)
                results.add({"kind": "memory", "round": turn, "grain": grain, **line})
    fields = ("processes", "pss_mib", "front_mib", "zygote_mib", "replicas_mib", "rss_mib")
    print(
        table(
            ["grain", *fields],
            [[grain, *(results.median(field, grain=grain) for field in fields)] for grain in GRAINS],
        )
    )
    results.bar("different texts read over all grains", len(texts), at_most=1)
    ratio = results.median("pss_mib", grain="fine") / results.median("pss_mib", grain="coarse")
    results.add({"kind": "note", "name": "PSS of fine over coarse", "value": ratio})


def _measure(grain: str) -> tuple[dict[str, float], str]:
    import skimage

    page = (Path(skimage.__file__).parent / "data" / "page.png").read_bytes()
    request = processes.Request(page, headers={"Content-Type": "image/png"})
    port = processes.free_ports(1)
    with processes.Served(
        [product.command(product.EXAMPLES / "ocr", port=port, grain=grain)], port=port
    ) as served:
        served.wait(request, lambda data: b"text" in data)
        answers = [json.loads(request.send(port)[1]) for _ in range(WARM_UP)]
        pids = served.pids()
        pss = {pid: processes.memory([pid])[0] / machine.MEBIBYTE for pid in pids}
        zygote = next(pid for pid in pids if processes.parent(pid) == served.front)
        rss = processes.memory(pids)[1] / machine.MEBIBYTE
    others = sum(pss.values()) - pss[served.front] - pss[zygote]
    parts = {"front_mib": pss[served.front], "zygote_mib": pss[zygote], "replicas_mib": others}
    line = {"processes": len(pids), "pss_mib": sum(pss.values()), **parts, "rss_mib": rss}
    return line, str(answers[-1]["text"])


if __name__ == "__main__":
    main()
