"""The machine's end: the script that runs one command where nobody may be connected, and what talks to it.

``supervisor.sh`` and ``bootstrap.sh`` run on the machine; ``build`` makes what is sent there, ``answers``
reads what comes back, ``attestation`` is how its host keys are proved; ``agent``, ``enter`` and ``guard`` are
programs for the machine's Python. Nothing here opens a connection.
"""

from __future__ import annotations

from workers.supervisor.answers import (
    ExitRecord,
    GoAnswer,
    MachineState,
    parse_go,
    parse_state,
    parse_stop,
)
from workers.supervisor.attestation import (
    attestation,
    attested,
    new_attestation_key,
    parse_attestations,
)
from workers.supervisor.build import (
    FOLDER,
    IDLE_PROTOCOL,
    NO_NVIDIA_SMI,
    NO_PYTHON,
    NO_SUDO,
    PROTOCOL,
    SETUP_PROTOCOL,
    SLOW_SUDO,
    agent_source,
    bootstrap_script,
    enter,
    go_payload,
    guard_line,
    guard_payload,
    keys_only_script,
    shell,
    startup_command,
    supervisor_script,
    transfer,
)
from workers.supervisor.errors import UnreadableAnswer

__all__ = [
    "FOLDER",
    "IDLE_PROTOCOL",
    "NO_NVIDIA_SMI",
    "NO_PYTHON",
    "NO_SUDO",
    "PROTOCOL",
    "SETUP_PROTOCOL",
    "SLOW_SUDO",
    "ExitRecord",
    "GoAnswer",
    "MachineState",
    "UnreadableAnswer",
    "agent_source",
    "attestation",
    "attested",
    "bootstrap_script",
    "enter",
    "go_payload",
    "guard_line",
    "guard_payload",
    "keys_only_script",
    "new_attestation_key",
    "parse_attestations",
    "parse_go",
    "parse_state",
    "parse_stop",
    "shell",
    "startup_command",
    "supervisor_script",
    "transfer",
]
