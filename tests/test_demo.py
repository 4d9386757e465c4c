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
    assert found["kinds"] == {"procedural": 50}
    assert [row["encoder"] for row in found["rows"]] == list(demo.LABELS)
    for row in found["rows"]:
        score = row["top1"]
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
        (said,) = [line for line in lines if line.startswith(row["encoder"] + "  ")]
        assert f"{score['value']:.1%}" in said
    trained, *beside = demo.LABELS
    pairs = [(gain["encoder"], gain["baseline"]) for gain in found["differences"]]
    assert pairs == [(trained, name) for name in beside]
    kept = tmp_path / "demo" / "stage2" / "probes" / "motion"
    assert json.loads((kept / "result.json").read_text()) == found
    assert (tmp_path / "demo" / "demo.png").exists()
    page = (tmp_path / "demo" / "report.html").read_text()
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in lines
    for row in found["rows"]:
        score = row["top1"]
        assert row["encoder"] in page and f"{score['low']:.1%} to {score['high']:.1%}" in page
    assert "No results of stage1 yet" in page and "Not on this page" not in page


def test_losses_are_those_of_the_first_and_the_last_tenth_of_steps(tmp_path):
    (tmp_path / "config.toml").write_text("")
    rows = [{"step": n, "loss": 2.0 * n, "terms": {"pixels": float(n)}} for n in range(1, 21)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert demo.losses(tmp_path) == "loss 3.000 -> 39.000, pixels 1.500 -> 19.500"
