import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch import ConfigError, convert, load_config, to_plain


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    steps: int = 10
    precision: Literal["no", "bf16"] = "no"

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; give 1 or more")


@dataclasses.dataclass(frozen=True)
class Outer:
    out: Path
    name: str = "run"
    flag: bool = False
    size: tuple[int, int, int] = (1, 2, 3)
    greys: tuple[float, ...] = ()
    limit: float | None = None
    either: int | str = 0
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    inner: Inner = Inner()


def read(tmp_path, text, *overrides):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(Outer, path, overrides)


def test_file_and_overrides_become_one_nested_frozen_dataclass(tmp_path):
    config = read(
        tmp_path,
        "out: a/b\nsize: [4, 5, 6]\ngreys: [1, 0.5]\ninner: {rate: 2}\nrecipe: {generator: x, porosity: 0.4}\n",
        "inner.steps=7",
        "recipe.porosity=0.3",
        "limit=3",
    )
    assert config == Outer(
        out=Path("a/b"),
        size=(4, 5, 6),
        greys=(1.0, 0.5),
        limit=3.0,
        recipe={"generator": "x", "porosity": 0.3},
        inner=Inner(rate=2.0, steps=7),
    )
    assert all(type(n) is float for n in (*config.greys, config.limit, config.inner.rate))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "other"


def test_override_wins_over_the_file_and_the_last_override_over_the_first(tmp_path):
    assert read(tmp_path, "out: a\nname: file\n", "name=first", "name=last").name == "last"


def test_override_of_one_mapping_leaves_another_that_shares_its_alias(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Two:
        a: Inner = Inner()
        b: Inner = Inner()

    path = tmp_path / "two.yaml"
    path.write_text("a: &both {rate: 3}\nb: *both\n")
    assert load_config(Two, path, ["a.rate=9"]) == Two(Inner(rate=9.0), Inner(rate=3.0))


def test_without_a_file_the_defaults_hold():
    assert load_config(Inner) == Inner()


def test_empty_file_is_an_empty_mapping(tmp_path):
    assert read(tmp_path, "# nothing yet\n", "out=x") == Outer(out=Path("x"))


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001"])
def test_float_may_be_written_as_in_python(text):
    assert load_config(Inner, None, [f"rate={text}"]).rate == 1e-4


@pytest.mark.parametrize("text", ["no", "'no'", "No", "false"])
def test_bare_no_of_yaml_is_the_choice_no(text):
    assert load_config(Inner, None, [f"precision={text}"]).precision == "no"


def test_optional_takes_null_or_its_type(tmp_path):
    assert read(tmp_path, "out: a\nlimit: null\n").limit is None
    assert read(tmp_path, "out: a\nlimit: 1e-3\n").limit == 1e-3


def test_union_takes_the_first_type_that_fits(tmp_path):
    assert read(tmp_path, "out: a\neither: 5\n").either == 5
    assert read(tmp_path, "out: a\neither: five\n").either == "five"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nane=x", "unknown configuration key 'nane'; did you mean 'name'"),
        ("inner.stpes=3", "unknown configuration key 'inner.stpes'; did you mean 'inner.steps'"),
        ("qqqq=1", "known keys: either, flag, greys, inner, limit, name, out, recipe, size"),
        ("inner.steps=3.5", "'inner.steps' is 3.5; it must be a whole number"),
        ("inner.steps=true", "'inner.steps' is True; it must be a whole number"),
        ("inner.rate=fast", "'inner.rate' is 'fast'; it must be a number"),
        ("inner.rate=true", "'inner.rate' is True; it must be a number"),
        ("inner.steps=0", "configuration inner: steps is 0; give 1 or more"),
        ("inner=3", "'inner' is 3; it must be a mapping"),
        ("inner=", "'inner' is None; it must be a mapping"),
        ("name.first=x", "'name' is a single value"),
        ("name=3", "'name' is 3; it must be text"),
        ("flag=1", "'flag' is 1; it must be true or false"),
        ("out=5", "'out' is 5; it must be a path"),
        ("size=[1, 2]", "'size' has 2 entries; it must have 3"),
        ("size=7", "'size' is 7; it must be a list"),
        ("size=[1, 2, x]", r"'size\[2\]' is 'x'; it must be a whole number"),
        ("greys=[0.1, [2]]", r"'greys\[1\]' is \[2\]; it must be a number"),
        ("limit=low", "'limit' is 'low'; it must be a number"),
        ("inner.precision=fp8", "'inner.precision' is 'fp8'; it must be one of 'no', 'bf16'"),
        ("inner.precision=true", "it must be one of 'no', 'bf16'"),
        ("recipe=[1]", r"'recipe' is \[1\]; it must be a mapping"),
        ("name", "override 'name' is not of the form key=value"),
        ("=3", "override '=3' is not of the form key=value"),
        ("size=[1, 2", "override 'size=\\[1, 2': the value cannot be read as YAML"),
        ("name=2024-13-45", "the value cannot be read as YAML"),
    ],
)
def test_bad_value_is_refused_by_the_name_of_its_key(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, "out: a\nname: text\n", override)
    assert "\n" not in str(caught.value)


def test_whole_number_is_no_choice_of_true_and_false_of_numbers():
    with pytest.raises(ConfigError, match="must be one of 0, 1"):
        convert(True, Literal[0, 1], "axis")


def test_missing_key_without_default_is_named(tmp_path):
    with pytest.raises(ConfigError, match="key 'out' is missing"):
        read(tmp_path, "name: x\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "holds a list"),
        (b"just text\n", "holds a str"),
        (b"out: [a\n", "cannot be read as YAML"),
        (b"out: 2024-13-45\n", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
    ],
)
def test_file_that_is_no_mapping_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(Outer, path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=f"'{path}' does not exist or is no file"):
            load_config(Outer, path)


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
configs = st.builds(
    Outer,
    out=st.sampled_from([Path("a"), Path("a/b.c"), Path("/x")]),
    name=words,
    flag=st.booleans(),
    size=st.tuples(st.integers(), st.integers(), st.integers()),
    greys=st.lists(numbers, max_size=4).map(tuple),
    limit=st.none() | numbers,
    either=st.integers() | words,
    recipe=st.dictionaries(words, st.integers() | numbers | words | st.lists(st.integers())),
    inner=st.builds(Inner, rate=numbers, steps=st.integers(min_value=1), precision=st.sampled_from(["no", "bf16"])),
)


@given(configs)
def test_plain_form_through_yaml_makes_the_same_configuration_again(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(yaml.safe_dump(to_plain(config), allow_unicode=True), encoding="utf-8")
    assert load_config(Outer, path) == config


def test_plain_form_has_no_numpy_in_it():
    plain = to_plain({"a": np.float64(0.5), "b": np.arange(3), 3: (np.int64(2), Path("x"))})
    assert plain == {"a": 0.5, "b": [0, 1, 2], "3": [2, "x"]}
    assert type(plain["a"]) is float
    assert all(type(n) is int for n in (*plain["b"], plain["3"][0]))
