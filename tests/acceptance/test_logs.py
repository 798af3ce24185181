"""The log of a job is what its command wrote, to the byte: every awkward way of writing there is."""

from __future__ import annotations

import hashlib

import pytest

from tests.acceptance.harness import GPU, Installation

PY = "python3 -c"
ALL_BYTES = bytes(range(256))

AWKWARD: dict[str, tuple[str, bytes]] = {
    "nothing at all": ("true", b""),
    "no newline at the end": ("printf x", b"x"),
    "every byte value": (f"{PY} 'import sys; sys.stdout.buffer.write(bytes(range(256)))'", ALL_BYTES),
    "progress bars": (r"for i in 1 2 3; do printf '\r%d%%' $i; done", b"\r1%\r2%\r3%"),
    "split inside a character": (r"printf '\303'; sleep 0.2; printf '\251\n'", "é\n".encode()),
    "a truncating redirection": ("echo a; echo b > /dev/stderr; echo c", b"a\nb\nc\n"),
    "a child that keeps the output": ("sleep 1000 & echo done", b"done\n"),
    "tee in a process substitution": ("echo x > >(tee copy)", b"x\n"),
    "output closed early": ("echo x; exec >&- 2>&-; true", b"x\n"),
    "empty input": ("cat; echo end", b"end\n"),
}

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service",)


@pytest.mark.timeout(300)
def test_awkward_output(shared: Installation) -> None:
    ids = {case: shared.submit(command) for case, (command, _) in AWKWARD.items()}
    wrong = {}
    for case, job_id in ids.items():
        job = shared.final(job_id)
        attempt = job["attempts"][-1]
        seen = (job["state"], shared.log(job_id), attempt["log"], attempt["log_bytes"])
        expected = AWKWARD[case][1]
        if seen != ("succeeded", expected, "sealed", len(expected)):
            wrong[case] = seen
    assert wrong == {}


HUGE: dict[str, tuple[str, int, str]] = {
    "a million lines": (
        "seq 1 1000000",
        6_888_896,
        hashlib.sha256(b"".join(b"%d\n" % n for n in range(1, 1_000_001))).hexdigest(),
    ),
    "a line of 50 MB": (
        "head -c 50000000 /dev/zero | tr '\\0' x",
        50_000_000,
        hashlib.sha256(b"x" * 50_000_000).hexdigest(),
    ),
}


@pytest.mark.parametrize("case", HUGE)
@pytest.mark.timeout(300)
def test_huge_output(shared: Installation, case: str) -> None:
    command, size, digest = HUGE[case]
    job_id = shared.submit(command)
    job = shared.final(job_id, timeout=240)
    assert job["state"] == "succeeded", shared.tail()
    log = shared.log(job_id)
    assert (len(log), hashlib.sha256(log).hexdigest()) == (size, digest)
    assert job["attempts"][0]["log"] == "sealed"


@pytest.mark.arrangements("service", "openssh")
@pytest.mark.timeout(600)
def test_200_mb_and_the_memory_of_who_serves(shared: Installation) -> None:
    """Memory does not grow with the log: what is not yet on the disk is bounded."""

    def memory() -> int:
        return sum(process.memory_info().rss for process in shared.serving())

    warm = shared.submit("head -c 2000000 /dev/zero | tr '\\0' y")
    shared.final(warm)
    before = memory()
    job_id = shared.submit("head -c 200000000 /dev/zero | tr '\\0' z")
    peak = before
    with shared.quick() as client:
        job = client.get(job_id)
        for _ in job.logs(follow=True, raw=True):
            peak = max(peak, memory())
    shown = shared.final(job_id, timeout=300)
    assert shown["state"] == "succeeded", shared.tail()
    assert shown["attempts"][0]["log"] == "sealed"
    assert shown["attempts"][0]["log_bytes"] == 200_000_000
    assert peak - before < 64 * 1024 * 1024, f"grew by {(peak - before) >> 20} MiB"


def test_a_large_command_and_its_quotes(shared: Installation) -> None:
    text = "x'\"$HOME `id` \\ \n é 😀 " * 4000
    done = shared.run("run", *GPU, "--", "printf", "%s", text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == text
