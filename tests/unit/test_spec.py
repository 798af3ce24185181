"""The specification of a job: what is completed, what is refused, and in which words."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidJob
from jobs.settings import Settings, load_settings
from jobs.spec import JobSpec, Spec, read_env_file, validate
from tests.properties import examples

SOURCES = {
    name: "--" + name.replace("_", "-")
    for name in ("gpu", "name", "max_cost", "max_runtime", "image", "env", "key", "retries", "retry_on")
}


def settings(**environ: str) -> Settings:
    return load_settings({"RUNNER_HOME": "/home/of/nobody", **environ})


def valid(**changed: Any) -> Spec:
    spec = cast(JobSpec, {"command": "true", "gpu": "gpu_1x_l40", **changed})
    return validate(spec, settings(), sources=SOURCES)


def refused(part: str, **changed: Any) -> str:
    """The one sentence with which this job is refused."""
    with pytest.raises(InvalidJob) as error:
        valid(**changed)
    text = str(error.value)
    assert part in text, text
    assert text.isprintable(), "one line, nothing that a terminal would obey"
    assert text.endswith((".", "them.")), text
    assert len(text) < 400
    return text


def test_the_least_that_makes_a_job() -> None:
    spec = validate({"command": "nvidia-smi", "gpu": "gpu_1x_l40"}, settings(RUNNER_DEFAULT_MAX_COST="3"))
    assert spec.command == spec.command_text == "nvidia-smi"
    assert spec.products == ("gpu_1x_l40",)
    assert (spec.name, spec.key, spec.env) == (None, None, {})
    assert spec.image == "Ubuntu Server 22.04 w/ drivers"
    assert (spec.max_cost, spec.max_cost_source) == (3_000_000, "RUNNER_DEFAULT_MAX_COST")
    assert (spec.max_runtime, spec.max_runtime_source) == (86_400, "default")


def test_everything_that_can_be_said() -> None:
    spec = valid(
        command=["python", "train.py", "--note", "two words"],
        name="my training 😀",
        max_cost=Decimal("2.5"),
        max_runtime=timedelta(hours=2),
        image=84,
        env={"A": "1", "_b": "x=y\nz", "EMPTY": ""},
        key="nightly/2026-11-23",
    )
    assert spec.command == ("python", "train.py", "--note", "two words")
    assert spec.command_text == "python train.py --note 'two words'"
    assert (spec.name, spec.image, spec.key) == ("my training 😀", "84", "nightly/2026-11-23")
    assert spec.env == {"A": "1", "_b": "x=y\nz", "EMPTY": ""}
    assert (spec.max_cost, spec.max_cost_source) == (2_500_000, "--max-cost")
    assert (spec.max_runtime, spec.max_runtime_source) == (7200, "--max-runtime")


def test_the_working_folders_defaults_stand_between_options_and_settings() -> None:
    defaults = {
        "gpu": "gpu_1x_a6000",
        "max_cost": "3.50",
        "max_runtime": "2h",
        "image": 7,
        "env": {"A": "folder", "B": "b"},
    }
    found = validate(
        {"command": "x", "max_runtime": 60, "env": {"A": "option"}}, settings(), defaults, SOURCES
    )
    assert found.products == ("gpu_1x_a6000",)
    assert (found.max_cost, found.max_cost_source) == (3_500_000, "max_cost in ./runner.toml")
    assert (found.max_runtime, found.max_runtime_source) == (60, "--max-runtime")
    assert found.image == "7"
    assert found.env == {"A": "option", "B": "b"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("gpu", 5), ("max_cost", "free"), ("max_runtime", "soon"), ("image", []), ("env", "A=b"), ("name", 1)],
)
def test_a_bad_default_names_the_file(key: str, value: object) -> None:
    with pytest.raises(InvalidJob, match=rf"{key} in \./runner\.toml"):
        validate({"command": "x", "gpu": "a"} if key != "gpu" else {"command": "x"}, settings(), {key: value})


def test_a_default_of_the_working_folder_is_switched_off_for_one_job() -> None:
    defaults = {"budget": "team", "coupon": "Code", "idle_timeout": "1h", "max_price": 2, "gpu": "a"}
    found = validate({"command": "x"}, settings(), defaults)
    assert (found.budget, found.coupon, found.idle_timeout, found.max_price) == (
        "team",
        "Code",
        3600,
        2_000_000,
    )
    in_file = validate({"command": "x", "gpu": "a"}, settings(), dict.fromkeys(("budget", "coupon"), "none"))
    assert (in_file.budget, in_file.coupon) == (None, None)
    off: JobSpec = {"budget": "none", "coupon": "none", "idle_timeout": "none", "max_price": "none"}
    found = validate({"command": "x", **off}, settings(), defaults)
    assert (found.budget, found.coupon, found.idle_timeout, found.max_price) == (None, None, None, None)
    with pytest.raises(InvalidJob, match="max_cost must be an amount"):
        validate({"command": "x", "max_cost": "none"}, settings(), defaults)


def test_without_sources_the_keyword_is_named() -> None:
    with pytest.raises(InvalidJob, match=r"^max_cost must be"):
        validate({"command": "x", "gpu": "a", "max_cost": "free"}, settings())
    with pytest.raises(InvalidJob, match="with gpu; `runner gpus`"):
        validate({"command": "x"}, settings())


def test_an_unknown_keyword() -> None:
    refused("'again'", again=3)


# ---- the command


@pytest.mark.parametrize("command", ["", " \n\t", [], [""], ["  ", "x"], (), None])
def test_an_empty_command(command: object) -> None:
    refused("command is empty", command=command)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("a\0b", "NUL"),
        (["a", "b\0"], "NUL"),
        ("x" * (256 * 1024 + 1), "longer than 256 KiB"),
        ("é" * (128 * 1024 + 1), "longer than 256 KiB"),
        (["x" * 100_000] * 3, "longer than 256 KiB"),
        (["echo", "x" * 128 * 1024], "128 KiB"),
        ("caf\udce9", "not UTF-8"),
        (b"true", "text"),
        (["a", b"b"], "Each word"),
        (["a", 5], "Each word"),
        (5, "text"),
        ({"a": "b"}, "text"),
    ],
)
def test_a_command_that_cannot_be_run(command: object, part: str) -> None:
    refused(part, command=command)


@pytest.mark.parametrize(
    "command",
    [
        "x" * 256 * 1024,
        ["true", ""],
        ["x"],
        "a'b\"c $HOME `id` \\",
        "line one\nline two\r\n",
        "émoji 😀",
        "\x1b[31m",
        "-- -x",
    ],
)
def test_a_command_is_kept_to_the_letter(command: str | list[str]) -> None:
    kept = valid(command=command).command
    assert kept == (command if isinstance(command, str) else tuple(command))


@examples
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_any_words_that_a_program_can_be_given(words: list[str]) -> None:
    if words[0].strip():
        assert valid(command=words).command == tuple(words)
    else:
        refused("empty", command=words)


def test_a_spec_does_not_show_what_may_be_private() -> None:
    text = repr(valid(command="curl -H secret", env={"TOKEN": "hunter2"}))
    assert "secret" not in text
    assert "hunter2" not in text


# ---- the options


@pytest.mark.parametrize(
    "gpu", ["", " ", "a b", "gpu\n", "../x", "x" * 101, "gpu_1x_l40;rm", 5, ["gpu_1x_l40", ""], "l40\u200b"]
)
def test_what_is_no_product(gpu: object) -> None:
    refused("--gpu must be the name of a product", gpu=gpu)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"gpu": ["a", "b", "a"]}, (("a", "b"), False)),
        ({"gpu": None, "cheapest": True}, ((), True)),
        ({"gpu": ["a", "b"], "cheapest": True}, (("a", "b"), True)),
    ],
)
def test_several_products(options: dict[str, Any], expected: tuple[tuple[str, ...], bool]) -> None:
    spec = valid(**options)
    assert (spec.products, spec.cheapest) == expected


def test_which_product_is_one_choice_of_the_file_or_of_the_person(tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path)
    defaults = {"gpu": ["a", "b"], "cheapest": True}
    found = [
        validate(JobSpec(command="true", **given), settings, defaults)
        for given in ({}, {"gpu": "c"}, {"cheapest": True})
    ]
    assert [(spec.products, spec.cheapest) for spec in found] == [
        (("a", "b"), True),
        (("c",), False),
        ((), True),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpu": []}, "--gpu takes 1 to 20 products"),
        ({"gpu": ["a"] * 21}, "--gpu takes 1 to 20 products"),
        ({"cheapest": "yes"}, "cheapest must be true or false"),
    ],
)
def test_what_is_no_choice_of_products(options: dict[str, Any], said: str) -> None:
    refused(said, **options)


def test_no_product() -> None:
    assert "`runner gpus`" in refused("--gpu", gpu=None)


@pytest.mark.parametrize("gpu", ["gpu_8x_DGX_A100", "cpu_small_amd_epyc", "a.b-c", "x" * 100])
def test_products(gpu: str) -> None:
    assert valid(gpu=gpu).products == (gpu,)


@pytest.mark.parametrize(
    "name", ["", "  ", "a\x1b[31m", "a\nb", "tab\t", "nul\0", "n" * 101, "\u202eevil", "\udcff", 5]
)
def test_what_is_no_name(name: object) -> None:
    refused("--name must be 1 to 100 printable characters", name=name)


@pytest.mark.parametrize("name", ["n", "n" * 100, "two words", "größe", "日本", "😀"])
def test_names(name: str) -> None:
    assert valid(name=name).name == name


@pytest.mark.parametrize("key", ["", "k" * 201, "a\nb", 5])
def test_what_is_no_key(key: object) -> None:
    refused("--key must be 1 to 200 printable characters", key=key)


@pytest.mark.parametrize("image", ["", "i" * 201, "a\nb", True, 1.5])
def test_what_is_no_image(image: object) -> None:
    refused("--image", image=image)


@pytest.mark.parametrize(
    "max_cost", [0, "0", "-5", "5,00", "nan", "1e400", float("inf"), "$5", "", 2_000_000]
)
def test_what_is_no_ceiling(max_cost: object) -> None:
    refused("--max-cost m", max_cost=max_cost)


@pytest.mark.parametrize("max_runtime", [0, "0s", "-1h", "soon", "99999d", "", "30m2h", 1.5])
def test_what_is_no_runtime(max_runtime: object) -> None:
    refused("--max-runtime must be", max_runtime=max_runtime)


@pytest.mark.parametrize(
    ("env", "part"),
    [
        ({"1A": "x"}, "'1A' is no name of a variable"),
        ({"A-B": "x"}, "'A-B' is no name"),
        ({"": "x"}, "'' is no name"),
        ({"A=B": "x"}, "'A=B' is no name"),
        ({"Ä": "x"}, "'Ä' is no name"),
        ({"A\n": "x"}, r"'A\n' is no name"),
        ({5: "x"}, "5 is no name"),
        ({"RUNNER_JOB_ID": "x"}, "'RUNNER_JOB_ID' cannot be set"),
        ({"A": "x\0y"}, "NUL"),
        ({"A": "\udcff"}, "not UTF-8"),
        ({"A": 5}, "the value of A must be a text"),
        ({"A": "x" * 128 * 1024}, "128 KiB"),
        ({f"A{number}": "x" * 100_000 for number in range(11)}, "1 MiB"),
        (["A=b"], "--env must map"),
        ("A=b", "--env must map"),
    ],
)
def test_what_is_no_environment(env: object, part: str) -> None:
    refused(part, env=env)


def test_no_value_of_a_variable_stands_in_a_message() -> None:
    assert "hunter2" not in refused("NUL", env={"PASSWORD": "hunter2\0"})


# ---- environment files


def env_file(folder: Path, text: str | bytes) -> dict[str, str]:
    file = folder / "a.env"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_env_file(file)


def test_an_environment_file(tmp_path: Path) -> None:
    text = (
        "\ufeff# a comment\n\nA=1\n  B = two words  \nC=\"quoted \"\nD='it''s'\nE=\nF=a=b#c\r\n"
        'G="# kept"\nH=\'\n export  A=again\nexport = x'
    ).replace("H='\n", "")
    assert env_file(tmp_path, text) == {
        "A": "again",
        "export": "x",
        "B": "two words",
        "C": "quoted ",
        "D": "it''s",
        "E": "",
        "F": "a=b#c",
        "G": "# kept",
    }
    assert env_file(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("A=1\nnonsense", "a.env, line 2: write KEY=VALUE"),
        ("A=1\n\n1A=x", "a.env, line 3: '1A' is no name"),
        ("=x", "line 1: '' is no name"),
        ("exports A=x", "line 1: 'exports A' is no name"),
        ("export A", "line 1: write KEY=VALUE"),
        ("RUNNER_X=x", "line 1: 'RUNNER_X' cannot be set"),
        ("A='hunter2", "line 1: the quote that opens the value of 'A' is not closed"),
        ("A='", "line 1: the quote"),
        ("A=hunter2\0", "line 1: the value of A holds a NUL"),
        (b"A=\xff", "a.env is not UTF-8"),
        (b"A=" + b"x" * (1 << 20), "larger than 1 MiB"),
    ],
)
def test_an_environment_file_that_makes_no_sense(tmp_path: Path, text: str | bytes, part: str) -> None:
    with pytest.raises(InvalidJob, match=re.escape(part)) as error:
        env_file(tmp_path, text)
    assert "hunter2" not in str(error.value)


def test_an_environment_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match=r"none\.env cannot be read: no such file or directory"):
        read_env_file(tmp_path / "none.env")
    with pytest.raises(InvalidJob, match="is a directory"):
        read_env_file(tmp_path)
    with pytest.raises(InvalidJob, match="is not a path"):
        read_env_file("a\0b")


@pytest.mark.parametrize(("retries", "found"), [(0, 0), ("3", 3), (100, 100), (None, 0)])
def test_retries(retries: object, found: int) -> None:
    assert valid(retries=retries).retries == found


@pytest.mark.parametrize("retries", [-1, 101, "many", "-1", "", "1.5", 1.5, True, "9" * 5000])
def test_what_is_no_number_of_retries(retries: object) -> None:
    refused("--retries must be a whole number from 0 to 100", retries=retries)


@pytest.mark.parametrize(
    ("reasons", "found"),
    [
        (None, ("lost", "exit_code")),
        ("lost", ("lost",)),
        ("exit_code, lost,lost", ("exit_code", "lost")),
        (["lost"], ("lost",)),
    ],
)
def test_reasons_to_try_again(reasons: object, found: tuple[str, ...]) -> None:
    assert valid(retry_on=reasons).retry_on == found


@pytest.mark.parametrize("reasons", ["", "host_key", "lost,", [], [5], 5, "lost;exit_code"])
def test_what_is_no_reason_to_try_again(reasons: object) -> None:
    refused("--retry-on", retry_on=reasons)
