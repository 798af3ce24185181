"""Bad input gets one clear sentence, the right exit code and no traceback, and leaves nothing behind."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.harness import GPU, RUNNER, Installation

USAGE, UNREACHABLE, UNKNOWN = 2, 3, 4

WRONG_OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "no product": (("--", "true"), "--gpu"),
    "an empty product": (("--gpu", "", "--", "true"), "--gpu"),
    "an empty command": ((*GPU, "--", ""), "command"),
    "no command": ((*GPU,), "COMMAND"),
    "a blank command": ((*GPU, "--", "  \n "), "command"),
    "a command over the limit": ((*GPU, "--", *(["x" * 100_000] * 3)), "256 KiB"),
    "control characters in the name": ((*GPU, "--name", "a\x1b[31mb", "--", "true"), "name"),
    "a long name": ((*GPU, "--name", "n" * 101, "--", "true"), "name"),
    "a price of zero": ((*GPU, "--max-cost", "0", "--", "true"), "--max-cost"),
    "a negative price": ((*GPU, "--max-cost", "-5", "--", "true"), "--max-cost"),
    "an absurd price": ((*GPU, "--max-cost", "1e400", "--", "true"), "--max-cost"),
    "a price that is no number": ((*GPU, "--max-cost", "5,00", "--", "true"), "--max-cost"),
    "not a number": ((*GPU, "--max-cost", "nan", "--", "true"), "--max-cost"),
    "a currency": ((*GPU, "--max-cost", "$5", "--", "true"), "--max-cost"),
    "a duration of zero": ((*GPU, "--max-runtime", "0s", "--", "true"), "--max-runtime"),
    "a negative duration": ((*GPU, "--max-runtime", "-1h", "--", "true"), "--max-runtime"),
    "an absurd duration": ((*GPU, "--max-runtime", "99999d", "--", "true"), "--max-runtime"),
    "a duration without sense": ((*GPU, "--max-runtime", "soon", "--", "true"), "--max-runtime"),
    "env without a value": ((*GPU, "--env", "A", "--", "true"), "--env"),
    "env with a bad name": ((*GPU, "--env", "1A=x", "--", "true"), "1A"),
    "env of ours": ((*GPU, "--env", "RUNNER_JOB_ID=x", "--", "true"), "RUNNER_JOB_ID"),
    "an env file that is not there": ((*GPU, "--env-file", "/no/such/file", "--", "true"), "/no/such/file"),
    "a secret that is not set": (
        (*GPU, "--secret", "NO_SUCH", "--", "true"),
        "NO_SUCH: that variable",
    ),
    "a secret from a variable that is not set": (
        (*GPU, "--secret", "HF_TOKEN=NO_SUCH", "--", "true"),
        "--secret HF_TOKEN: the variable that you name behind the '=' is not set",
    ),
    "a secret with a bad name": ((*GPU, "--secret", "1A=PATH", "--", "true"), "1A"),
    "a secret of ours": ((*GPU, "--secret", "RUNNER_X=PATH", "--", "true"), "RUNNER_X"),
    "a secret that env has as well": (
        (*GPU, "--env", "A=x", "--secret", "A=PATH", "--", "true"),
        "give it once",
    ),
    "retries that are no number": ((*GPU, "--retries", "x", "--", "true"), "--retries must be"),
    "a reason that is none": ((*GPU, "--retry-on", "idle", "--", "true"), "--retry-on knows"),
    "an option of a later time": ((*GPU, "--after", "first", "--", "true"), "--after"),
    "no such folder": ((*GPU, "--workdir", "/no/such", "--", "true"), "--workdir /no/such: there is no such"),
    "a file for a folder": ((*GPU, "--workdir", "/etc/passwd", "--", "true"), "/etc/passwd is not a folder"),
    "the whole file system": ((*GPU, "--workdir", "/", "--", "true"), "--workdir / is the whole file system"),
    "an empty folder name": ((*GPU, "--workdir", "", "--", "true"), "--workdir must be the path of a folder"),
    "an empty set-up": ((*GPU, "--setup", " ", "--", "true"), "--setup must be a shell command line"),
    "an output above": ((*GPU, "--output", "a/../../b", "--", "true"), "leaves the folder in which"),
    "an output at the root": ((*GPU, "--output", "/etc/passwd", "--", "true"), "leaves the folder in which"),
    "an empty output": ((*GPU, "--output", "", "--", "true"), "--output must name files"),
    "a sync of nothing": ((*GPU, "--sync-every", "5m", "--", "true"), "--sync-every needs --output"),
    "a sync without sense": (
        (*GPU, "--output", "x", "--sync-every", "often", "--", "true"),
        "--sync-every must be",
    ),
    "a ceiling without time for outputs": (
        (*GPU, "--max-cost", "0.03", "--output", "x", "--", "true"),
        "60 s for its command, 120 s for its end",
    ),
}


def _one_sentence(stderr: bytes, part: str) -> None:
    text = stderr.decode()
    assert "Traceback" not in text
    assert part in text, text
    assert "\x1b[31m" not in text


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_wrong_options(installation: Installation, case: str) -> None:
    words, part = WRONG_OPTIONS[case]
    done = installation.run("submit", *words)
    assert done.returncode == USAGE, done.stderr
    assert done.stdout == b""
    _one_sentence(done.stderr, part)
    assert installation.jobs() == []


@pytest.mark.parametrize("usd", ["-1", "--1", "-0.5"])
def test_a_budget_of_less_than_nothing_is_called_so(installation: Installation, usd: str) -> None:
    done = installation.run("budget", "set", "team", usd)
    assert (done.returncode, done.stdout) == (2, b"")
    _one_sentence(done.stderr, "USD must be")


def test_an_option_of_a_command_within_a_group_is_given_once_too(installation: Installation) -> None:
    done = installation.run("budget", "set", "team", "5", "--every", "day", "--every", "week")
    assert (done.returncode, done.stdout) == (2, b"")
    _one_sentence(done.stderr, "--every may be given only once")


def test_an_unknown_product_is_refused_once_the_inventory_is_known(served: Installation) -> None:
    served.final(served.submit("true"))
    done = served.run("submit", "--gpu", "gpu_1x_l400", "--", "true")
    assert done.returncode == USAGE
    _one_sentence(done.stderr, "gpu_1x_l40")


def test_an_unknown_product_or_image_fails_later_where_nothing_is_known(served: Installation) -> None:
    product = served.submit("true", gpu="gpu_9x_none")
    job = served.final(product)
    assert (job["state"], job["reason"]) == ("failed", "deploy_failed")
    assert "gpu_9x_none" in job["detail"]
    image = served.final(served.submit("true", image="No Such Image"))
    assert (image["state"], image["reason"]) == ("failed", "deploy_failed")
    assert "No Such Image" in image["detail"]
    assert served.sim.ledger().charges == ()


@pytest.mark.parametrize("words", [("submit",), ("run",), ("run", "--dry-run")], ids=" ".join)
@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--gpu", "gpu_1x_l400"), "did you mean gpu_1x_l40"),
        (("--gpu", "nothing like it"), "`runner gpus`"),
        ((*GPU, "--image", "Ubuntu Server 22.04 w/o drivers"), "Ubuntu Server 22.04 w/ drivers"),
        ((*GPU, "--image", "9999"), "`runner images`"),
    ],
)
def test_an_unknown_product_or_image_is_refused_at_once(
    installation: Installation, words: tuple[str, ...], options: tuple[str, ...], hint: str
) -> None:
    """Nobody has asked the API yet, and there is a token: it is asked before anything is queued."""
    done = installation.run(*words, *options, "--", "true")
    assert done.returncode == USAGE, done.stderr
    assert done.stdout == b""
    _one_sentence(done.stderr, hint)
    assert installation.jobs() == []


def test_what_the_api_cannot_say_is_accepted(installation: Installation) -> None:
    installation.environ["RUNNER_API_URL"] = "http://127.0.0.1:9/api/v1"
    job_id = installation.ok("submit", "--gpu", "gpu_9x_none", "--", "true").strip()
    assert installation.show(job_id)["state"] == "queued"


def test_a_ceiling_that_is_too_small_rents_nothing(served: Installation) -> None:
    job = served.final(served.submit("true", max_cost="0.02"))
    assert (job["state"], job["reason"]) == ("expired", "max_cost")
    assert served.sim.ledger().charges == ()


@pytest.mark.parametrize("words", [("show",), ("logs",), ("wait",), ("cancel",)])
def test_unknown_job(installation: Installation, words: tuple[str, ...]) -> None:
    done = installation.run(*words, "nothing-like-it")
    assert done.returncode == UNKNOWN
    _one_sentence(done.stderr, "nothing-like-it")


@pytest.mark.parametrize(
    "command", ["a'b\"c $HOME `id` \\", "line one\nline two", "émoji 😀", "-- -x --help"]
)
def test_commands_are_kept_to_the_letter(installation: Installation, command: str) -> None:
    job_id = installation.ok("submit", *GPU, "--", command).strip()
    assert installation.show(job_id)["command"] == command


@pytest.mark.parametrize("token", ["wrong", "read-only", ""])
def test_tokens(installation: Installation, token: str) -> None:
    chosen = {"wrong": "not-a-token", "read-only": installation.sim.read_only_token, "": ""}[token]
    installation.environ["MASSED_COMPUTE_API_KEY"] = chosen
    done = installation.run("run", *GPU, "--", "true")
    if token == "read-only":
        # Whether a token may write is only known when it is used: the job says so.
        assert done.returncode == 125
    else:
        assert done.returncode == UNREACHABLE
        assert installation.jobs() == [], "nothing was queued"
    _one_sentence(done.stderr, "token")
    assert b"not-a-token" not in done.stderr
    assert installation.sim.ledger().charges == ()


@pytest.mark.parametrize(
    "line", ["init {}", "{}", "show {}", "ls --{}", "submit --gpu gpu_1x_l40 --max-cost {} -- true"]
)
def test_a_token_in_the_wrong_place_is_not_repeated(installation: Installation, line: str) -> None:
    token = installation.sim.token
    done = installation.run(*line.format(token).split())
    assert done.returncode in (USAGE, UNKNOWN)
    installation.environ["RUNNER_API_URL"] = f"http://127.0.0.1:9/?{token}"
    misplaced = installation.run("gpus")
    assert misplaced.returncode == USAGE
    said = done.stdout + done.stderr + misplaced.stderr
    assert b"Traceback" not in said
    assert token[:8].encode() not in said


def test_an_address_that_is_neither_https_nor_loopback(installation: Installation) -> None:
    installation.environ["RUNNER_API_URL"] = "http://vm.example.com/api/v1"
    done = installation.run("ls")
    assert done.returncode == USAGE
    _one_sentence(done.stderr, "RUNNER_API_URL")


@pytest.mark.parametrize(
    ("words", "code"),
    [(("submit", *GPU, "--", "true"), USAGE), (("down",), USAGE), (("reap",), 0), (("--version",), 0)],
)
def test_a_working_folder_may_not_redirect(
    installation: Installation, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    """Whoever reads settings refuses it, but for what must work from anywhere."""
    folder = tmp_path / "cloned"
    folder.mkdir()
    (folder / "runner.toml").write_text('api_url = "https://example.com"\n')
    done = installation.run(*words, cwd=folder)
    assert done.returncode == code
    _one_sentence(done.stderr, "'api_url' must not stand" if code else "")


def test_a_broken_standard_error_hides_no_id(installation: Installation) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" 2>/dev/full', *RUNNER, "submit", *GPU, "--", "true"],
        env=installation.environ,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.decode().split() == installation.jobs()


def test_a_current_folder_that_is_gone(installation: Installation) -> None:
    enter = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" "$@"'
    done = subprocess.run(
        ["sh", "-c", enter, *RUNNER, "submit", *GPU, "--", "true"],
        env=installation.environ,
        cwd=installation.home.parent,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_working_folder_may_hold_defaults(installation: Installation, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "runner.toml").write_text('gpu = "gpu_1x_a6000"\nmax_cost = "3.50"\nmax_runtime = "2h"\n')
    done = installation.run("submit", "--max-runtime", "1h", "--", "true", cwd=folder)
    assert done.returncode == 0, done.stderr
    job = installation.show(done.stdout.decode().strip())
    assert (job["products"], job["max_cost_usd"], job["max_runtime_seconds"]) == (
        ["gpu_1x_a6000"],
        "3.50",
        3600,
    )
    assert b"runner.toml" in done.stderr


def _database(installation: Installation) -> Path:
    return installation.home / "runner.db"


def test_a_database_that_is_something_else(installation: Installation) -> None:
    _database(installation).write_bytes(b"this is not a database at all" * 100)
    done = installation.run("ls")
    assert done.returncode == UNREACHABLE
    _one_sentence(done.stderr, "not a database")


def test_a_database_that_is_newer(installation: Installation) -> None:
    assert installation.jobs() == []  # which makes it
    with sqlite3.connect(_database(installation)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE agreement SET least_code = 99")
    connection.close()
    done = installation.run("ls")
    assert done.returncode == UNREACHABLE
    _one_sentence(done.stderr, "newer")


def test_a_database_that_cannot_be_there(installation: Installation) -> None:
    installation.environ["RUNNER_DATABASE_URL"] = "sqlite:////proc/none/runner.db"
    done = installation.run("ls")
    assert done.returncode == UNREACHABLE
    _one_sentence(done.stderr, "/proc/none")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_that_is_read_only(installation: Installation) -> None:
    assert installation.jobs() == []  # which makes it
    _database(installation).chmod(0o400)
    done = installation.run("submit", *GPU, "--", "true")
    assert done.returncode == UNREACHABLE
    _one_sentence(done.stderr, "read-only")


def test_a_ceiling_that_is_too_small_is_refused_once_the_price_is_known(served: Installation) -> None:
    served.final(served.submit("true"))
    done = served.run("submit", *GPU, "--max-cost", "0.02", "--", "true")
    assert done.returncode == USAGE
    _one_sentence(done.stderr, "pays for 1 whole min")
    assert b"Make it $0.05 or more." in done.stderr


@pytest.mark.parametrize("odd", ["fifo", "link"])
def test_a_folder_that_holds_what_cannot_go(installation: Installation, tmp_path: Path, odd: str) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    if odd == "fifo":
        os.mkfifo(folder / "odd")
    else:
        (folder / "odd").symlink_to("../../etc/passwd")
    done = installation.run("submit", *GPU, "--workdir", str(folder), "--", "true")
    assert done.returncode == USAGE
    _one_sentence(done.stderr, "'odd' is a ")
    assert installation.jobs() == []


def test_a_folder_that_is_too_large(installation: Installation, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "weights").write_bytes(bytes(5000))
    installation.environ["RUNNER_MAX_WORKDIR_BYTES"] = "4KiB"
    done = installation.run("submit", *GPU, "--workdir", str(folder), "--", "true")
    assert done.returncode == USAGE
    _one_sentence(done.stderr, "The largest files: 'weights' (4.9 KiB)")


def test_a_store_that_is_down_queues_nothing(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    installation.environ["RUNNER_ARTIFACTS_URL"] = str(tmp_path / "file" / "store")
    done = installation.run("submit", *GPU, "--workdir", str(installation.home.parent), "--", "true")
    assert done.returncode == UNREACHABLE
    _one_sentence(done.stderr, "The artifact store")
    assert installation.jobs() == []


def test_pulling_what_is_not_there(installation: Installation, tmp_path: Path) -> None:
    job_id = installation.submit("true")
    done = installation.run("pull", job_id, str(tmp_path / "results"))
    assert done.returncode == 1
    _one_sentence(done.stderr, "was submitted without --output")
    job_id = installation.submit("true", output="x")
    done = installation.run("pull", job_id, str(tmp_path / "results"))
    assert done.returncode == 1
    _one_sentence(done.stderr, "is here yet; it is queued")
    assert not (tmp_path / "results").exists()


def test_a_folder_in_the_working_folders_file_stays_below_it(
    installation: Installation, tmp_path: Path
) -> None:
    folder = tmp_path / "cloned"
    folder.mkdir()
    (folder / "runner.toml").write_text('workdir = ".."\n')
    done = installation.run("submit", *GPU, "--", "true", cwd=folder)
    assert done.returncode == USAGE
    _one_sentence(done.stderr, "workdir in ./runner.toml must lie in the working folder")


def test_a_dry_run_lists_what_would_go(installation: Installation, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text("print()")
    (folder / "link").symlink_to("train.py")
    (folder / "secret").write_text("x")
    (folder / ".runnerignore").write_text("secret\n")
    listed = installation.ok("submit", *GPU, "--dry-run", "--workdir", str(folder), "--", "true")
    assert "workdir      3 files, 14 B" in listed
    assert "train.py" in listed
    assert "link to train.py" in listed
    assert "secret" not in listed
    assert installation.jobs() == []
    assert not (installation.home / "artifacts").exists()
