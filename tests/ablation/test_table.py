"""What is said of an ablation follows from its numbers."""

from ivn.ablation.table import ResultLine, agreement, markdown, mean_and_deviation


def line(name: str, paper: float, *scores: float) -> ResultLine:
    return ResultLine(name, (paper,), {"action": list(scores)})


def test_a_pair_in_the_papers_order_counts_as_the_same():
    found = agreement([line("a", 10, 50, 52), line("b", 20, 60, 61)], 0, "action")
    assert (found.pairs, found.same, found.consistent, found.consistent_same) == (1, 1, 1, 1)


def test_a_pair_in_the_other_order_does_not():
    found = agreement([line("a", 10, 60, 61), line("b", 20, 50, 52)], 0, "action")
    assert (found.pairs, found.same, found.consistent, found.consistent_same) == (1, 0, 1, 0)


def test_a_pair_whose_seeds_disagree_is_not_consistent():
    found = agreement([line("a", 10, 50, 70), line("b", 20, 60, 65)], 0, "action")
    assert (found.pairs, found.same, found.consistent) == (1, 1, 0)


def test_one_seed_tells_nothing_apart():
    found = agreement([line("a", 10, 50), line("b", 20, 60)], 0, "action")
    assert (found.pairs, found.same, found.consistent) == (1, 1, 0)


def test_rows_that_the_paper_ties_and_rows_that_were_not_run_are_left_out():
    lines = [
        line("a", 10, 50),
        line("b", 10, 60),
        line("c", 20),
        ResultLine("raw", (), {"action": [1]}),
    ]
    assert agreement(lines, 0, "action").pairs == 0


def test_scores_are_shown_as_mean_and_standard_deviation_over_seeds():
    assert mean_and_deviation([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert mean_and_deviation([1.25]) == "1.2"
    assert mean_and_deviation([]) == ""


def test_markdown_has_both_numbers_and_says_why_a_row_is_empty():
    lines = [line("a|b", 47.2, 20.0, 22.0), ResultLine("c", (70.7,), {}, "no text <encoder>")]
    text = markdown(["K400"], ["Smaller."], lines, ["action"])
    assert "| a\\|b | 47.2 | 21.0 ± 1.4 |" in text
    assert "| c | 70.7 | not run: no text &lt;encoder> |" in text
    assert "* Smaller." in text
