from pathlib import Path

import pytest

from ivn.corpus.mix.recipe import given_to, read_recipe, shipped
from ivn.errors import DataError


def test_kinetics_710_has_the_classes_and_renames_that_were_published():
    recipe = read_recipe("k710")
    assert [one.name for one in recipe.sources] == ["kinetics400", "kinetics600", "kinetics700"]
    assert len(recipe.class_names) == len(set(recipe.class_names)) == 710
    assert recipe.training_only and recipe.one_source_a_group
    assert recipe.label("abseiling") == "abseiling"
    assert recipe.label("balloon blowing") == "inflating balloons"
    assert recipe.label("drinking") == "sipping cup"
    # Kinetics 400 has this class beside the longer one of 600 and 700.
    assert recipe.label("throwing ball") == "throwing ball"
    assert recipe.label("juggling planets") == ""
    for rename in recipe.renames:
        assert rename.new in recipe.class_names


def test_k_mash_has_the_papers_sources_and_leaves_labels_alone():
    recipe = read_recipe("k-mash")
    assert {one.name for one in recipe.sources} == {
        *("kinetics400", "kinetics600", "kinetics700", "ssv2", "activitynet", "hacs", "moments")
    }
    assert recipe.label("anything") == "anything"
    assert shipped() == ["k-mash", "k710"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sources is missing"),
        ("sources = []", "sources are , expected some, each once"),
        ('sources = [{name = "a"}, {name = "a"}]', "sources are a, a, expected some, each once"),
        ('sources = [{name = "a", weight = 0}]', "weight 0.0, expected more than 0"),
        ('sources = [{nam = "a"}]', "unknown key; did you mean"),
        ('sources = [{name = "a"}]\nclasses = "no.txt"', "classes = 'no.txt': .*No such file"),
        ("sources = [", "not TOML"),
    ],
)
def test_a_wrong_recipe_is_one_line_that_names_the_file(tmp_path, text, message):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_recipe(str(file))
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_a_file_of_classes_may_have_a_byte_order_mark_and_odd_characters(tmp_path):
    (tmp_path / "classes.txt").write_bytes("\ufeffwave\r\n\r\none\u2028two".encode())
    (tmp_path / "own.toml").write_text('sources = [{name = "a"}]\nclasses = "classes.txt"\n')
    assert read_recipe(str(tmp_path / "own.toml")).class_names == ("wave", "one\u2028two")


def test_names_that_do_not_fit_are_told(tmp_path):
    with pytest.raises(DataError, match=r"k7: no such recipe; there are k-mash, k710, or FILE"):
        read_recipe("k7")
    with pytest.raises(DataError, match="no recipe that can be read"):
        read_recipe(str(tmp_path / "none.toml"))
    recipe = read_recipe("k710")
    given = {f"kinetics{n}": Path(f"{n}.parquet") for n in (700, 400)}
    with pytest.raises(DataError, match=r"kinetics600 not given; it takes kinetics400=M.parquet,"):
        given_to(recipe, given)
    with pytest.raises(DataError, match="no source ssv2"):
        given_to(recipe, {**given, "ssv2": Path("s.parquet")})
    given["kinetics600"] = Path("600.parquet")
    assert [str(path) for _, path in given_to(recipe, given)] == [
        "400.parquet",
        "600.parquet",
        "700.parquet",
    ]
