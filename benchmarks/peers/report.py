"""Tables and bars out of the lines of a run: medians over the rounds."""

from __future__ import annotations

from benchmarks.record import Results, table

HOPS = 2
"""Hand-overs that the split form of noop and pipeline has more than the fused one."""


def tables(results: Results, peers: list[str]) -> str:
    """Return the run as markdown."""
    parts = ["\n### hello\n", _plain(results, peers, "hello", split=False)]
    parts += ["\n### no-op chain, 600 KB handed on twice\n", _chain(results, peers)]
    for split in (False, True):
        parts += [
            f"\n### pipeline, {'split' if split else 'fused'}\n",
            _plain(results, peers, "pipeline", split=split),
        ]
    return "\n".join(parts)


def bars(results: Results) -> None:
    """Hold this run against what the project aims at."""
    others = [name for name in ("mosec", "triton", "gunicorn") if results.has(kind="load", peer=name)]
    if not others or not results.has(kind="load", peer="regrain"):
        return
    if results.has(workload="hello"):
        for field in ("rps_c8", "rps_c32"):
            best = max(_median(results, name, "hello", field) for name in others)
            ratio = _median(results, "regrain", "hello", field) / best
            results.bar(f"hello {field} over the best peer's", ratio, at_least=1.0)
        best = min(_median(results, name, "hello", "p50_c1") for name in others)
        results.bar(
            "hello p50 over the best peer's",
            _median(results, "regrain", "hello", "p50_c1") / best,
            at_most=1.2,
        )
    if "triton" in others and results.has(workload="noop", split=True):
        ratio = _hop(results, "regrain", "p50_c1") / _hop(results, "triton", "p50_c1")
        results.bar("600 KB hop over Triton's", ratio, at_most=1 / 3)
    for split in (False, True):
        if results.has(workload="pipeline", split=split):
            form = "split" if split else "fused"
            best = min(_median(results, name, "pipeline", "p50_c1", split=split) for name in others)
            ours = _median(results, "regrain", "pipeline", "p50_c1", split=split)
            results.bar(f"pipeline {form}: p50 over the best peer's", ours / best, at_most=1.0)
            best = max(_median(results, name, "pipeline", "rps_c8", split=split) for name in others)
            ours = _median(results, "regrain", "pipeline", "rps_c8", split=split)
            results.bar(f"pipeline {form}: rps over the best peer's", ours / best, at_least=1.0)
    if "mosec" in others and results.has(kind="start", workload="pipeline", split=True):
        mosec, ours = (_pss(results, name, "pipeline", split=True) for name in ("mosec", "regrain"))
        results.bar("PSS of the split pipeline over mosec's", ours / mosec, at_most=1.0)


def _plain(results: Results, peers: list[str], workload: str, *, split: bool) -> str:
    fields = ("p50_c1", "cpu_c1", "rps_c8", "rps_c32", "p99_c32")
    head = ["peer", "p50 ms", "cpu ms", "rps c8", "rps c32", "p99 ms c32", "PSS MiB", "s to first answer"]
    rows = []
    for peer in peers:
        row = [_median(results, peer, workload, field, split=split) for field in fields]
        start = results.median("seconds", kind="start", peer=peer, workload=workload, split=split)
        rows.append([peer, *row, _pss(results, peer, workload, split=split), start])
    return table(head, rows)


def _chain(results: Results, peers: list[str]) -> str:
    head = [
        "peer",
        "fused p50 ms",
        "split p50 ms",
        "per hop ms",
        "cpu per hop ms",
        "fused rps c8",
        "split rps c8",
        "PSS MiB",
    ]
    rows = []
    for peer in peers:
        p50 = [_median(results, peer, "noop", "p50_c1", split=split) for split in (False, True)]
        rate = [_median(results, peer, "noop", "rps_c8", split=split) for split in (False, True)]
        hop = [_hop(results, peer, field) for field in ("p50_c1", "cpu_c1")]
        rows.append([peer, *p50, *hop, *rate, _pss(results, peer, "noop", split=True)])
    return table(head, rows)


def _hop(results: Results, peer: str, field: str) -> float:
    fused, split = (_median(results, peer, "noop", field, split=form) for form in (False, True))
    return (split - fused) / HOPS


def _median(results: Results, peer: str, workload: str, field: str, *, split: bool = False) -> float:
    return results.median(field, kind="load", peer=peer, workload=workload, split=split)


def _pss(results: Results, peer: str, workload: str, *, split: bool) -> float:
    return results.median("pss_mib", kind="start", peer=peer, workload=workload, split=split)
