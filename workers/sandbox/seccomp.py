"""A filter on system calls: no network, no programs, no other processes, no file opened for writing, no memory
but the process's own.

In: nothing. Out: the filter holds for this thread and all that it starts, for ever. Raises ``OSError`` where the kernel
has no seccomp, ``NotImplementedError`` on a processor whose numbers are not written down here.

What is refused fails with EPERM, as if it were not permitted, so that libraries that only try go on without it; calls
that libraries know how to do without, and calls younger than this table, fail with ENOSYS.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from typing import Final

_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By name: the column of ``_CALLS``, and what the kernel calls it."""
_CALLS: Final = """
socket=41/198 socketpair=53/199 connect=42/203 bind=49/200 listen=50/201 accept=43/202 accept4=288/242
execve=59/221 execveat=322/281 fork=57/- vfork=58/- ptrace=101/117 process_vm_readv=310/270 process_vm_writev=311/271
process_madvise=440/440 pidfd_open=434/434 pidfd_getfd=438/438 pidfd_send_signal=424/424 kcmp=312/272 tkill=200/130
rt_sigqueueinfo=129/138 rt_tgsigqueueinfo=297/240 setrlimit=160/164
mount=165/40 umount2=166/39 pivot_root=155/41 chroot=161/51 setns=308/268 unshare=272/97 move_mount=429/429
open_tree=428/428 fsopen=430/430 fsconfig=431/431 fsmount=432/432 fspick=433/433 mount_setattr=442/442
bpf=321/280 perf_event_open=298/241 io_uring_setup=425/425 io_uring_enter=426/426 io_uring_register=427/427
userfaultfd=323/282 keyctl=250/219 add_key=248/217 request_key=249/218 kexec_load=246/104 kexec_file_load=320/294
init_module=175/105 finit_module=313/273 delete_module=176/106 open_by_handle_at=304/265 name_to_handle_at=303/264
memfd_create=319/279 memfd_secret=447/447 shmget=29/194 shmat=30/196 semget=64/190 msgget=68/186 mq_open=240/180
fanotify_init=300/262
creat=85/- truncate=76/45 mkdir=83/- mkdirat=258/34 rmdir=84/- rename=82/- renameat=264/38 renameat2=316/276
link=86/- linkat=265/37 symlink=88/- symlinkat=266/36 unlink=87/- unlinkat=263/35 mknod=133/- mknodat=259/33
chmod=90/- fchmod=91/52 fchmodat=268/53 chown=92/- fchown=93/55 lchown=94/- fchownat=260/54
utime=132/- utimes=235/- utimensat=280/88 futimesat=261/- setxattr=188/5 lsetxattr=189/6 fsetxattr=190/7
removexattr=197/14 lremovexattr=198/15 fremovexattr=199/16
"""
"""What is refused whatever its arguments: number on x86_64 / on aarch64."""
_CLONE, _KILL, _TGKILL, _PRLIMIT, _OPEN, _OPENAT = (56, 220), (62, 129), (234, 131), (302, 261), (2, None), (257, 56)
_MMAP = (9, 222)
_CLONE3, _OPENAT2, _LAST_KNOWN = 435, 437, 449
_X32: Final = 0x40000000
_CLONE_THREAD: Final = 0x00010000
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_PR_SET_SECCOMP, _FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def apply() -> None:
    """Refuse from now on. The process must have given up new privileges before."""
    code = b"".join(_program(platform.machine(), os.getpid()))
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        code_of = ctypes.get_errno()
        raise OSError(code_of, os.strerror(code_of))


def _program(machine: str, pid: int) -> Iterator[bytes]:
    """The filter, instruction by instruction."""
    if machine not in _ARCHITECTURES:
        raise NotImplementedError(f"no system calls are written down for {machine}")
    column, architecture = _ARCHITECTURES[machine]
    yield _step(_LOAD, _ARCHITECTURE)
    yield _step(_EQUAL, architecture, yes=1)
    yield _step(_RETURN, _KILL_PROCESS)
    yield _step(_LOAD, _NUMBER)
    yield from _when(_ABOVE, _X32 - 1, _REFUSE)
    yield from _when(_ABOVE, _LAST_KNOWN, _UNKNOWN)
    for number in (_CLONE3, _OPENAT2):
        yield from _when(_EQUAL, number, _UNKNOWN)
    for call in _CALLS.split():
        found = call.partition("=")[2].split("/")[column]
        if found != "-":
            yield from _when(_EQUAL, int(found), _REFUSE)
    yield from _checked(_CLONE[column], 0, [_step(_ANY_BIT, _CLONE_THREAD, no=1)])
    for number in (_KILL[column], _TGKILL[column]):
        yield from _checked(number, 0, [_step(_EQUAL, pid, no=1)])
    yield from _checked(_PRLIMIT[column], 2, [_step(_EQUAL, 0, no=3), _step(_LOAD, _high(2)), _step(_EQUAL, 0, no=1)])
    # Memory that is shared with nobody, but is not counted as the process's own.
    unnamed = [_step(_ANY_BIT, _MAP_ANONYMOUS, no=1), _step(_ANY_BIT, _MAP_SHARED, yes=1)]
    yield from _checked(_MMAP[column], 3, unnamed)
    for opening, flags in ((_OPEN[column], 1), (_OPENAT[column], 2)):
        if opening is not None:
            yield from _checked(opening, flags, [_step(_ANY_BIT, _WRITES, yes=1)])
    yield _step(_RETURN, _ALLOW)


def _when(test: int, value: int, verdict: int) -> Iterator[bytes]:
    yield _step(test, value, no=1)
    yield _step(_RETURN, verdict)


def _checked(number: int, argument: int, test: list[bytes]) -> Iterator[bytes]:
    """Allow call ``number`` if ``test`` of its argument goes on to the next step, refuse it if it skips that one."""
    yield _step(_EQUAL, number, no=len(test) + 3)
    yield _step(_LOAD, _ARGUMENTS + 8 * argument)
    yield from test
    yield _step(_RETURN, _ALLOW)
    yield _step(_RETURN, _REFUSE)


def _high(argument: int) -> int:
    return _ARGUMENTS + 8 * argument + 4


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
