"""The commands about the account, as a person or a script runs them, against the simulated cloud."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import time
import tomllib

import pytest

from jobs.ids import InstanceName, new_attempt_id
from runner.sim.faults import Rule
from tests.acceptance.account import FAILED, HOUR, UNREACHABLE, USAGE, Account, name, says
from tests.prefork import RUNNER
from tests.terminal import Terminal

READING = ("gpus", "images", "instances", "reap", "keys", "account")


# ---- what can be rented


def test_gpus(account: Account) -> None:
    products = account.json("gpus")
    cheapest = {product["name"]: product for product in products}["gpu_1x_l40"]
    assert cheapest["price_usd_per_hour"] == "0.86"
    assert cheapest["capacity"] > 0
    lines = account.ok("gpus").splitlines()
    assert lines[0].split()[:2] == ["product", "$/hour"]
    assert [line.split()[0] for line in lines[1:]] == [product["name"] for product in products]
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


def test_gpus_of_an_odd_inventory(account: Account) -> None:
    account.sim.faults.odd_inventory = True
    products = {product["name"]: product for product in account.json("gpus")}
    assert products
    assert None in {product["price_usd_per_hour"] for product in products.values()} | {
        product["capacity"] for product in products.values()
    }
    assert "unknown" in account.ok("gpus")


def test_images(account: Account) -> None:
    assert {image["id"]: image["name"] for image in account.json("images")}[
        84
    ] == "Ubuntu Server 22.04 w/ drivers"
    assert "Ubuntu Server 22.04 w/ drivers" in account.ok("images")


def test_tables_are_neither_cut_nor_wrapped_off_a_terminal(account: Account) -> None:
    long = "n" * 60
    account.rent(long)
    done = account.run("instances", environ={"COLUMNS": "20"})
    assert len(done.stdout.splitlines()) == 2
    assert long.encode() in done.stdout


# ---- machines


def test_instances(account: Account) -> None:
    text = name("default", HOUR)
    ours, stranger = account.rent(text, "stranger")
    account.rename(stranger, "my \x1b[31mred\nmachine")
    found = {instance["uuid"]: instance for instance in account.json("instances")}
    assert (found[ours]["name"], found[ours]["fleet"]) == (text, "default")
    assert found[ours]["expires_at"].endswith("Z")
    assert found[ours]["price_usd_per_hour"] == "0.86"
    assert (found[stranger]["fleet"], found[stranger]["expires_at"]) == (None, None)
    lines = account.ok("instances").splitlines()
    assert len(lines) == 3
    assert not any("\x1b" in line for line in lines)
    assert all("machine" in line for line in lines if stranger in line)


def test_no_instances(account: Account) -> None:
    assert account.json("instances") == []
    done = account.run("instances")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"no machines" in done.stderr


def test_a_listing_that_cannot_be_read_whole_is_said_to_be_so(account: Account) -> None:
    account.rent("one")
    account.sim.faults.listing_bad_items = 1
    done = account.run("instances", "--json")
    assert [instance["name"] for instance in json.loads(done.stdout)] == ["one"]
    assert b"could not be read" in done.stderr


def test_terminate_ends_what_is_named_and_says_so(account: Account) -> None:
    one, two, kept = account.rent("one", "two", "kept")
    done = account.run("terminate", one, two, one)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == [f"terminated one ({one})", f"terminated two ({two})"]
    assert account.live() == {kept}


def test_terminate_finds_what_the_listing_leaves_out(account: Account) -> None:
    (uuid,) = account.rent("late")
    account.sim.faults.listing_hidden = [uuid]
    assert account.ok("terminate", uuid) == f"terminated late ({uuid})\n"
    assert account.live() == set()


def test_terminate_of_an_unknown_machine_ends_the_others(account: Account) -> None:
    (uuid,) = account.rent("one")
    unknown = "8b52a46b-a892-4fde-925c-6d13226908f7"
    done = account.run("terminate", unknown, uuid)
    assert done.returncode == FAILED
    assert done.stdout.decode() == f"terminated one ({uuid})\n"
    assert f"there is no machine {unknown}" in done.stderr.decode()
    assert account.live() == set()


def test_terminate_says_what_was_not_confirmed(account: Account) -> None:
    (uuid,) = account.rent("one")
    account.sim.faults.terminate_omits = 1
    says(account.run("terminate", uuid), FAILED, f"did not confirm the end of {uuid}")
    assert account.ok("terminate", uuid) == f"terminated one ({uuid})\n"


@pytest.mark.parametrize("words", [(), ("../../etc",), ("",), ("a b",)])
def test_terminate_wants_uuids(account: Account, words: tuple[str, ...]) -> None:
    says(account.run("terminate", *words), USAGE, "UUID")
    assert account.sim.requests() == ()


# ---- reap


def test_reap_ends_only_what_is_overdue_in_this_fleet(account: Account) -> None:
    overdue, late_other_installation, live, other_fleet, longer_fleet, stranger, near = account.rent(
        name("default", -HOUR),
        str(InstanceName("default", new_attempt_id("zzz999"), int(time.time() - 120))),
        name("default", HOUR),
        name("other", -HOUR),
        name("default-2", -HOUR),
        "rn-default-something-1",
        name("default", -HOUR).upper(),
    )
    kept = {live, other_fleet, longer_fleet, stranger, near}

    dry = account.run("reap", "--dry-run")
    assert dry.returncode == 0
    assert (
        sorted(line.split()[:2] for line in dry.stdout.decode().splitlines()) == [["would", "terminate"]] * 2
    )
    assert account.live() == kept | {overdue, late_other_installation}
    planned = account.json("reap", "--dry-run")
    assert {item["uuid"]: item["terminated"] for item in planned} == {
        overdue: False,
        late_other_installation: False,
    }

    done = account.json("reap")
    assert {item["uuid"]: item["terminated"] for item in done} == {
        overdue: True,
        late_other_installation: True,
    }
    assert {item["uuid"]: item["overdue_seconds"] >= 119 for item in done}[overdue]
    assert account.live() == kept
    assert account.json("reap") == []


def test_reap_names_what_it_ended_and_needs_no_database(account: Account) -> None:
    text = name("lab", -2 * HOUR - 300)
    (uuid,) = account.rent(text)
    done = account.run(
        "reap", environ={"RUNNER_FLEET": "lab", "RUNNER_DATABASE_URL": "sqlite:////proc/none/runner.db"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith(f"terminated {text} ({uuid}), 2h0")
    assert account.live() == set()
    assert not account.home.exists()


def test_reap_goes_by_the_apis_clock(account: Account) -> None:
    soon, past = account.rent(name("default", HOUR), name("default", -HOUR))
    account.sim.faults.date_offset_seconds = -2 * HOUR
    assert account.json("reap") == []
    account.sim.faults.date_offset_seconds = 2 * HOUR
    assert {item["uuid"] for item in account.json("reap")} == {soon, past}


def test_nothing_overdue(account: Account) -> None:
    done = account.run("reap")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"nothing is overdue in the fleet 'default'" in done.stderr


def test_reap_ends_more_than_one_request_can_carry(account: Account) -> None:
    account.sim.set_stock("gpu_1x_l40", 200)
    account.rent(*(name("default", -HOUR) for _ in range(101)))
    assert sum(item["terminated"] for item in account.json("reap")) == 101
    assert account.live() == set()


def test_reap_says_what_was_not_confirmed(account: Account) -> None:
    (uuid,) = account.rent(name("default", -HOUR))
    account.sim.faults.terminate_omits = 1
    done = account.run("reap", "--json")
    assert done.returncode == FAILED
    assert [item["terminated"] for item in json.loads(done.stdout)] == [False]
    assert uuid in done.stderr.decode()


def test_reap_names_what_it_could_not_end(account: Account) -> None:
    (uuid,) = account.rent(name("default", -HOUR))
    account.sim.faults.add(operation="terminateInstances", status=500)
    says(account.run("reap"), FAILED, uuid)


def test_reap_needs_no_setting_but_its_own(account: Account) -> None:
    (uuid,) = account.rent(name("default", -HOUR))
    wrong = {"RUNNER_GUARD_TOKEN_FILE": "/nowhere", "RUNNER_MAX_BURN": "much", "RUNNER_BROKER_URL": "?"}
    done = account.run("reap", environ=wrong)
    assert (done.returncode, account.live()) == (0, set()), done.stderr
    assert uuid in done.stdout.decode()


# ---- tokens and addresses


@pytest.mark.parametrize("command", READING)
def test_no_token(account: Account, command: str) -> None:
    says(account.run(command, environ={"MASSED_COMPUTE_API_KEY": ""}), UNREACHABLE, "runner init")
    assert account.sim.requests() == ()


@pytest.mark.parametrize("command", READING)
def test_a_wrong_token(account: Account, command: str) -> None:
    done = account.run(command, environ={"MASSED_COMPUTE_API_KEY": "not-the-token"})
    says(done, UNREACHABLE, "refused the API token")
    assert b"not-the-token" not in done.stderr


def test_a_token_that_is_none(account: Account) -> None:
    done = account.run("gpus", environ={"MASSED_COMPUTE_API_KEY": "two words"})
    says(done, USAGE, "MASSED_COMPUTE_API_KEY")
    assert b"two words" not in done.stderr


def test_a_read_only_token_reads_and_ends_nothing(account: Account) -> None:
    (uuid,) = account.rent(name("default", -HOUR))
    account.environ["MASSED_COMPUTE_API_KEY"] = account.sim.read_only_token
    assert [item["uuid"] for item in account.json("instances")] == [uuid]
    says(account.run("terminate", uuid), UNREACHABLE, "may only read")
    says(account.run("reap"), UNREACHABLE, "may only read")
    assert account.live() == {uuid}


@pytest.mark.parametrize(
    "url", ["http://vm.example.com/api/v1", "ftp://127.0.0.1", "127.0.0.1:80", "https://me:pw@x.com"]
)
def test_addresses_that_are_refused(account: Account, url: str) -> None:
    done = account.run("gpus", environ={"RUNNER_API_URL": url})
    says(done, USAGE, "RUNNER_API_URL")
    assert b"pw" not in done.stderr


def test_an_api_that_is_down(account: Account) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: refused at once, and nobody else gets it
        done = account.run("gpus", environ={"RUNNER_API_URL": f"http://127.0.0.1:{taken.getsockname()[1]}"})
    says(done, UNREACHABLE, "cannot be reached")


def test_an_api_that_fails_once_is_asked_again(account: Account) -> None:
    account.sim.faults.add(Rule(operation="listInventory", status=503, times=1))
    assert account.json("gpus")


# ---- init


def test_init_stores_the_token_and_says_what_comes_next(account: Account) -> None:
    del account.environ["MASSED_COMPUTE_API_KEY"]
    done = account.run("init", given=account.sim.token.encode() + b"\nsecond line\n")
    assert done.returncode == 0, done.stderr
    assert b"runner gpus" in done.stdout
    assert account.sim.token.encode() not in done.stdout + done.stderr
    file = account.home / "runner.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(account.home.stat().st_mode) == 0o700
    assert tomllib.loads(file.read_text()) == {"massed_compute_api_key": account.sim.token}
    assert account.json("gpus")


def test_init_keeps_what_else_is_there(account: Account) -> None:
    del account.environ["MASSED_COMPUTE_API_KEY"]
    account.home.mkdir()
    file = account.home / "runner.toml"
    file.write_text('# mine\nfleet = "lab"\nmassed_compute_api_key = "old"\nmax_instances = 3 # few\n')
    file.chmod(0o600)
    assert account.run("init", given=account.sim.token.encode()).returncode == 0
    text = file.read_text()
    assert "# mine\n" in text
    assert "max_instances = 3 # few\n" in text
    assert tomllib.loads(text) == {
        "fleet": "lab",
        "massed_compute_api_key": account.sim.token,
        "max_instances": 3,
    }
    assert [file.name for file in account.home.iterdir()] == ["runner.toml"]


def test_init_asks_without_echo(account: Account) -> None:
    del account.environ["MASSED_COMPUTE_API_KEY"]
    with Terminal([RUNNER, "init"], account.environ, cwd=account.home.parent) as terminal:
        terminal.read_until(b"API token")
        terminal.type(account.sim.token.encode() + b"\n")
        assert terminal.end() == 0, terminal.shown
        assert account.sim.token.encode() not in terminal.shown
    assert account.json("gpus")


def test_init_interrupted_at_its_question(account: Account) -> None:
    with Terminal([RUNNER, "init"], account.environ, cwd=account.home.parent) as terminal:
        terminal.read_until(b"API token")
        terminal.process.send_signal(2)
        assert terminal.end() == 130
        assert b"Traceback" not in terminal.shown
    assert not account.home.exists()


@pytest.mark.parametrize(
    ("given", "code", "part"),
    [
        (b"", USAGE, "No token was given"),
        (b"  \n", USAGE, "No token was given"),
        (b"two words\n", USAGE, "not an API token"),
        (b"\xff\xfe\n", USAGE, "oken"),
        (b"not-the-token\n", UNREACHABLE, "refused the API token"),
    ],
)
def test_init_stores_nothing_that_is_no_token(account: Account, given: bytes, code: int, part: str) -> None:
    done = account.run("init", given=given)
    says(done, code, part)
    assert not account.home.exists()


def test_init_where_nothing_can_be_written(account: Account) -> None:
    account.home.write_text("a file where the folder should be")
    says(account.run("init", given=account.sim.token.encode()), FAILED, "cannot be written")


def test_init_says_that_the_environment_goes_first(account: Account) -> None:
    account.environ["MASSED_COMPUTE_API_KEY"] = account.sim.read_only_token
    done = account.run("init", given=account.sim.token.encode())
    assert done.returncode == 0
    assert b"MASSED_COMPUTE_API_KEY in the environment" in done.stderr


def test_a_token_that_others_may_read_is_refused(account: Account) -> None:
    del account.environ["MASSED_COMPUTE_API_KEY"]
    assert account.run("init", given=account.sim.token.encode()).returncode == 0
    (account.home / "runner.toml").chmod(0o644)
    says(account.run("gpus"), USAGE, "chmod 600")


# ---- sim


def test_sim_prints_its_address_and_serves_until_it_is_interrupted(account: Account) -> None:
    with subprocess.Popen(
        [RUNNER, "sim", "--json", "--fault", "odd_inventory=true"],
        env=account.environ,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            found = json.loads(process.stdout.readline())
            done = account.run(
                "gpus",
                "--json",
                environ={"RUNNER_API_URL": found["url"], "MASSED_COMPUTE_API_KEY": found["token"]},
            )
            assert done.returncode == 0, done.stderr
        finally:
            process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--fault", "no_such_thing=1"), "no_such_thing"),
        (("--fault", "quota"), "runner: --fault takes NAME=VALUE"),
        (("--port", "70000"), "--port"),
        (("--boot-seconds", "-1"), "--boot-seconds"),
        (("--boot-seconds", "nan"), "--boot-seconds"),
    ],
)
def test_sim_used_wrongly(account: Account, words: tuple[str, ...], part: str) -> None:
    says(account.run("sim", *words), USAGE, part)


def test_sim_on_a_port_that_is_taken(account: Account) -> None:
    port = account.sim.url.split(":")[2].split("/")[0]
    done = account.run("sim", "--port", port)
    assert done.returncode == FAILED
    assert b"Traceback" not in done.stderr
    assert b"in use" in done.stderr
