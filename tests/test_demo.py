import json
import sys

import pytest

from ivn import demo
from ivn.errors import RunError
from ivn.evaluate import linear


def test_without_the_extra_nothing_is_trained_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(RunError, match=r'the linear probe needs scikit-learn .*"ivn\[demo\]"'):
        demo.demo(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


@pytest.mark.soak  # CI runs `ivn demo --short`
def test_a_small_demo_ends_with_its_measurement_as_one_line_of_json(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setattr(linear, "STRENGTHS", (0.01,))  # a sixth of the fits
    sizes = demo.Sizes(stage1_steps=1, stage2_steps=1, sampling_steps=2, per_scene=0, procedural=5)
    assert demo.demo(tmp_path / "demo", sizes) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert (found["n"], found["groups"], found["chance"]) == (50, 5, 0.1)
    assert found["kinds"]["procedural"]["share"] == 1
    assert list(found["accuracy"]) == list(demo.LABELS)
    for name, row in found["accuracy"].items():
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        (said,) = [line for line in lines if line.startswith(demo.LABELS[name] + "  ")]
        assert f"{row['value']:.1%}" in said
    assert found["difference"]["of"] == ["trained", "random"]
    assert (tmp_path / "demo" / "demo.png").exists()
    page = (tmp_path / "demo" / "report.html").read_text()
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in lines
    for name, row in found["accuracy"].items():
        assert demo.LABELS[name] in page and f"{row['low']:.1%} to {row['high']:.1%}" in page
    assert "stage1 has no probe yet" in page and "Not on this page" not in page
