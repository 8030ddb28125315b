from dataclasses import replace

import pytest
from benchmarks.granularity import run

from regrain.errors import SpecError

ORDER = run.Order(part="traces", only=("faces",), seeds=1, resume=False, traces=None, out=None, workers=1)


@pytest.mark.parametrize("where", [None, "elsewhere"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_is_recorded_of_traces_stays_where_there_are_none_to_replay(tmp_path, where, resume):
    recorded = tmp_path / "traces.jsonl"
    recorded.write_text(
        '{"granularity":5,"part":"traces"}\n{"part":"traces","policy":"esg"}\n', encoding="utf-8"
    )
    before = recorded.read_bytes()
    order = replace(ORDER, out=tmp_path, resume=resume, traces=tmp_path / where if where else None)

    with pytest.raises(SpecError, match=r"azure_llm_2023_code\.csv.*--traces"):
        run.run(order)

    assert recorded.read_bytes() == before
