"""The directory of one attempt: the hand-off between a shim and whoever comes after it (see also `attempt_lock`).

Files: ``spec.json``, ``lock``, ``identity.json``, ``exec.json``, ``main.json`` (only until=tree),
``exit.json``, ``sweep.json``, ``stdout.log``, ``stderr.log``. A record is one line,
``{"body":{…},"crc32":"8 hex"}``, in one canonical encoding, so that any changed, missing or added byte
is noticed: reading encodes the body again and compares every byte. It also names its attempt and says what it
is a record of: one that got here from elsewhere is damage, too.
"""

import errno
import json
import os
import stat
import time
from binascii import crc32
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from eventstore.crashpoints import crash_point

CLAIMED = "claimed"  # written under the lock by recovery: the shim that finds it starts nothing
MAX_RECORD_BYTES = 8 * 1024 * 1024  # twice the largest request; a larger file is not ours
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
# The C encoder that JSONEncoder.encode would make on each call. Made once it costs a forked shim 150 KB less.
_C_ENCODER: Any = getattr(json.encoder, "c_make_encoder", None)
_ENCODE: Callable[[Any, int], Iterable[str]] = (
    _C_ENCODER(
        None, _ENCODER.default, json.encoder.encode_basestring_ascii, None, ":", ",", True, False, False
    )
    if _C_ENCODER is not None
    else lambda body, _: _ENCODER.encode(body)
)
# What open says to nothing, a link, a socket, a device.
NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV)
_READS = 4  # a disk that recovers from an error at once shall cost nobody an exit
_READ_AGAIN_SECONDS = 0.02
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Missing(NamedTuple):
    """The record does not exist (yet)."""

    path: str


class Damaged(NamedTuple):
    """The record exists and cannot be trusted: what it would have said is unknown."""

    path: str
    reason: str


Record = dict[str, Any] | Missing | Damaged


class AttemptFiles:
    """What the attempt's directory `path` holds: each record as it was when it was first asked for.

    What nobody asks for is not read: a coordinator that watched an attempt wants to know how it ended, no more. Asking
    raises OSError when we, not the files, are at fault (EMFILE).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: dict[str, Record] = {}

    @property
    def spec(self) -> Record:
        """The request that it was started with."""
        return self._record("spec")

    @property
    def identity(self) -> Record:
        """Who its processes are."""
        return self._record("identity")

    @property
    def exec(self) -> Record:
        """Whether the program was executed."""
        return self._record("exec")

    @property
    def main(self) -> Record:
        """With until=tree, how its first process ended."""
        return self._record("main")

    @property
    def exit(self) -> Record:
        """How it ended."""
        return self._record("exit")

    @property
    def sweep(self) -> Record:
        """What was left of its tree."""
        return self._record("sweep")

    def _record(self, name: str) -> Record:
        if name not in self._read:
            self._read[name] = read_as(name, self._path)
        return self._read[name]


def encode(body: dict[str, Any]) -> bytes:
    """The one line that stands for `body`. Raises ValueError for NaN and infinities."""
    return encode_canonical(canonical(body))


def encode_named(content: bytes, attempt: bytes) -> bytes:
    """The line for the body that `canonical` has encoded and that is to name its attempt, given as JSON.

    "attempt" is the first of the sorted keys of every record that has it.
    """
    return encode_canonical(b'{"attempt":%b,%b' % (attempt, content[1:]))


def encode_canonical(content: bytes) -> bytes:
    """The line for a body that `canonical` has encoded."""
    return b'{"body":%b,"crc32":"%08x"}\n' % (content, crc32(content))


def decode(line: bytes) -> dict[str, Any]:
    """The body of a record's line. Raises ValueError when a single bit is not as `encode` wrote it."""
    try:
        document = json.loads(line)
        body = document["body"]
        intact = isinstance(body, dict) and encode(body) == line
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError(f"cannot read the record: {error}; treat what it says as unknown") from error
    if not intact:
        raise ValueError("cannot read the record: its checksum differs; treat what it says as unknown")
    return dict(body)


def write_record(directory: int, name: str, line: bytes, *, durable: bool) -> None:
    """Put a record in place whole or not at all; `directory` is a descriptor, `line` comes from `encode`.

    `durable` also survives power loss. It is for exits only: a spec, an identity and an exec report matter while
    the process lives, and after a power loss the boot id differs. Named before it is synced: a journal takes both with
    one commit, which halves the time, and who kills us meanwhile finds the record. A power loss may leave one with
    a name and not its bytes, which reads as damaged.

    Raises OSError with nothing in place, or where a sync fails, with a record that may be lost yet.
    """
    temporary = name + ".tmp"
    crash_point("shim.before_record")
    try:
        descriptor = os.open(temporary, _CREATE, 0o600, dir_fd=directory)
    except FileExistsError:  # left over by a write that failed; a new inode, since fsync forgets old errors
        crash_point("shim.before_stale_record_removed")
        os.unlink(temporary, dir_fd=directory)
        crash_point("shim.after_stale_record_removed")
        descriptor = os.open(temporary, _CREATE, 0o600, dir_fd=directory)
    crash_point("shim.after_record_made")
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
            crash_point("shim.after_record_written")
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        crash_point("shim.after_record_named")
        if durable:
            os.fsync(descriptor)
            crash_point("shim.after_record_synced")
    finally:
        os.close(descriptor)
    if durable:
        os.fsync(directory)
        crash_point("shim.after_record_durable")


def read_as(name: str, path: str) -> Record:
    """``NAME.json`` of the attempt's directory `path`; what no shim would write is Damaged, however well it is formed.

    Raises OSError when we, not the file, are at fault (EMFILE).
    """
    from manager.process import record_shapes  # for readers alone: a shim has no memory to spare

    record = read_record(f"{path}/{name}.json")
    reason = record_shapes.problem(name, record, name_of(path)) if isinstance(record, dict) else None
    return record if reason is None else Damaged(f"{path}/{name}.json", f"no shim wrote it: {reason}")


def name_of(directory: str) -> str:
    """What an attempt's records call it, wherever its home was moved to: ``agent/number``."""
    return "/".join(directory.split("/")[-2:])


def read_record(path: str) -> Record:
    """The body of one record, or why there is none. Raises OSError when it cannot be read now."""
    why = ""
    for number in range(_READS):
        if number:  # a pause of 0 s would not be none: it lets others run, for 0.1 ms and more
            time.sleep(_READ_AGAIN_SECONDS)
        try:
            return _read_record(path)
        except OSError as error:
            if error.errno != errno.EIO:
                raise  # out of descriptors, no permission: what it says is not lost
            why = error.strerror or ""
    return Damaged(path, f"cannot be read: {why}")


def _read_record(path: str) -> Record:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return Missing(path)
    except OSError as error:
        if error.errno in NOT_A_FILE:
            return Damaged(path, f"cannot be read: {error.strerror}")
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return Damaged(path, "not a regular file")
        if found.st_uid != os.geteuid():
            return Damaged(path, f"written by uid {found.st_uid}")
        line = b""
        while len(line) <= MAX_RECORD_BYTES and (piece := os.read(descriptor, 1 << 20)):
            line += piece
    finally:
        os.close(descriptor)
    if len(line) > MAX_RECORD_BYTES:
        return Damaged(path, f"larger than {MAX_RECORD_BYTES} bytes")
    try:
        return decode(line)
    except ValueError as error:
        return Damaged(path, str(error))


def canonical(body: dict[str, Any]) -> bytes:
    """`body` in the one encoding that records have: sorted keys, no spaces, ASCII. Raises ValueError for NaN."""
    return "".join(_ENCODE(body, 0)).encode("ascii")
