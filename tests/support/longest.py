"""The files of tests that take longest, which are begun first: else one worker has a long one left at the end."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
LONGEST_FIRST = (
    "faults/test_storm.py",
    "faults/test_syscalls.py",
    "faults/test_pid_reuse.py",
    "faults/test_four_homes.py",
    "faults/test_log_damage.py",
    "faults/test_many_events.py",
    "faults/test_silent_network.py",
    "faults/test_postgres_killed.py",
    "store/test_crashes.py",
    "store/test_following.py",
    "faults/test_crash_points.py",
    "faults/test_limits_processes.py",
    "faults/test_crash_points_commands.py",
    "faults/test_damaged_files.py",
    "faults/test_crash_situations.py",
    "security/test_home.py",
    "faults/test_crash_openings.py",
    "project/test_wheel.py",
    "faults/test_power_loss.py",
    "faults/test_log_postgres.py",
    "interfaces/test_cli_agents.py",
    "faults/test_limits_descriptors.py",
    "manager/test_fallbacks.py",
    "faults/test_oracle_lies.py",
    "faults/test_oracle_broken.py",
    "faults/test_migration.py",
    "manager/test_one_coordinator.py",
    "manager/test_control.py",
    "store/test_schema.py",
)
_PLACES = {TESTS / name: number for number, name in enumerate(LONGEST_FIRST)}


def place_of(path: Path) -> int:
    """In which order files are begun; those that take less long come behind, as they are found."""
    return _PLACES.get(path, len(_PLACES))
