"""Records what SQLite does to its files: a VFS around the system's own, made with ctypes.

`Recorder.install` makes it the default of this process, for the very library that the `sqlite3` module uses.
Everything still happens; writes, truncations, syncs and deletions are noted in the order in which they were
done, a sync after it has returned. What a crash leaves of them is decided in `disk_images`.
Source: the SQLite documentation, "The OS Interface or VFS".
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any, ClassVar

SQLITE_OK = 0
RECORDED = ".db", ".db-wal", ".db-journal"


@dataclass(frozen=True, slots=True)
class Created:
    """A file that was not there is there, and is empty."""

    path: str


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes were handed to the system."""

    path: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """The file has another length."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """What was done to the file so far survives a power cut."""

    path: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """The file is gone."""

    path: str


@dataclass(frozen=True, slots=True)
class FolderSynced:
    """Which files there are survives a power cut."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The server has read the request of that number."""

    number: int


@dataclass(frozen=True, slots=True)
class Replied:
    """The server is about to write the reply to the request of that number."""

    number: int
    status: int
    body: bytes


DiskEntry = Created | Written | Truncated | Synced | Deleted | FolderSynced
Entry = DiskEntry | Asked | Replied


class _File(Structure):
    _fields_: ClassVar[Any] = [("methods", c_void_p)]


_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_OpenDirectory = CFUNCTYPE(c_int, c_char_p, POINTER(c_int))
_SetSystemCall = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_GetSystemCall = CFUNCTYPE(c_void_p, c_void_p, c_char_p)


class _Methods(Structure):
    """sqlite3_io_methods, as far as version 3."""

    _fields_: ClassVar[Any] = [
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        ("others", c_void_p * 13),
    ]


class _Vfs(Structure):
    """sqlite3_vfs, as far as version 3."""

    _fields_: ClassVar[Any] = [
        ("version", c_int),
        ("file_size", c_int),
        ("max_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("app_data", c_void_p),
        ("open", _Open),
        ("delete", _Delete),
        ("others", c_void_p * 11),
        ("set_system_call", _SetSystemCall),
        ("get_system_call", _GetSystemCall),
        ("next_system_call", c_void_p),
    ]


def can_record() -> bool:
    """Whether the SQLite of this Python can be reached; a few builds hide it."""
    return hasattr(_library(), "sqlite3_vfs_register")


def _library() -> Any:
    return ctypes.CDLL(getattr(_sqlite3, "__file__", None))


class Recorder:
    """What happened to databases of this process since `install`, in order, each with the wall time."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.log: list[tuple[int, Entry]] = []
        self._now_ms = now_ms
        self._paths: dict[int, str] = {}
        self._methods: dict[int, _Methods] = {}
        self._library: Any = None
        self._original: Any = None
        self._vfs: Any = None
        self._here = threading.local()
        # ctypes does not keep functions alive that C holds.
        self._kept: list[Any] = []

    def install(self) -> None:
        """Record every database that this process opens from now on."""
        library = self._library = _library()
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        library.sqlite3_vfs_find.argtypes = [c_char_p]
        library.sqlite3_vfs_register.argtypes = [POINTER(_Vfs), c_int]
        library.sqlite3_vfs_unregister.argtypes = [POINTER(_Vfs)]
        self._original = library.sqlite3_vfs_find(None)
        original = self._original.contents
        if original.version < 3:
            raise RuntimeError("this SQLite is older than any that minihs runs with")
        vfs = self._vfs = _Vfs()
        ctypes.pointer(vfs)[0] = original
        vfs.next = None
        vfs.name = b"recorded"
        vfs.open = self._keep(_Open(self._open))
        vfs.delete = self._keep(_Delete(self._delete))
        # SQLite opens a folder for one purpose only: to sync it.
        opens = original.get_system_call(self._original, b"openDirectory")
        self._open_directory = _OpenDirectory(opens)
        ours = ctypes.cast(self._keep(_OpenDirectory(self._opens_directory)), c_void_p)
        self._check(original.set_system_call(self._original, b"openDirectory", ours))
        self._check(library.sqlite3_vfs_register(ctypes.byref(vfs), 1))

    def uninstall(self) -> None:
        """Databases are opened without being recorded; those that are open still are."""
        self._check(self._original.contents.set_system_call(self._original, b"openDirectory", None))
        self._check(self._library.sqlite3_vfs_register(self._original, 1))
        self._check(self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs)))

    def note(self, entry: Entry) -> None:
        """One more thing has happened."""
        self.log.append((self._now_ms(), entry))

    def _check(self, code: int) -> None:
        if code != SQLITE_OK:
            raise RuntimeError(f"SQLite would not take the VFS: {code}")

    def _keep(self, function: Any) -> Any:
        self._kept.append(function)
        return function

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out_flags: int | None) -> int:
        path = None if name is None else os.fsdecode(ctypes.string_at(name))
        is_new = path is not None and not os.path.exists(path)
        code = int(self._original.contents.open(vfs, name, file, flags, out_flags))
        if code == SQLITE_OK and path is not None and path.endswith(RECORDED):
            if is_new:
                self.note(Created(path))
            self._paths[file] = path
            opened = _File.from_address(file)
            opened.methods = ctypes.addressof(self._recording(opened.methods))
        return code

    def _recording(self, address: int) -> _Methods:
        """The table of functions at `address`, with ours for what changes a file."""
        if address in self._methods:
            return self._methods[address]
        original = _Methods.from_address(address)
        note, paths = self.note, self._paths

        def write(file: int, data: int, count: int, offset: int) -> int:
            # Noted first, so that an entry of another thread that stands before it was done before it.
            note(Written(paths[file], offset, ctypes.string_at(data, count)))
            return int(original.write(file, data, count, offset))

        def truncate(file: int, size: int) -> int:
            note(Truncated(paths[file], size))
            return int(original.truncate(file, size))

        def sync(file: int, flags: int) -> int:
            code = int(original.sync(file, flags))
            if code == SQLITE_OK:
                note(Synced(paths[file]))
                self._note_folder()
            return code

        methods = self._methods[address] = _Methods()
        ctypes.pointer(methods)[0] = original
        methods.write = self._keep(_Write(write))
        methods.truncate = self._keep(_Truncate(truncate))
        methods.sync = self._keep(_Sync(sync))
        return methods

    def _delete(self, vfs: int, name: bytes, sync_directory: int) -> int:
        code = int(self._original.contents.delete(vfs, name, sync_directory))
        path = os.fsdecode(name)
        if code == SQLITE_OK and path.endswith(RECORDED):
            self.note(Deleted(path))
            self._note_folder()
        return code

    def _opens_directory(self, name: bytes, descriptor: Any) -> int:
        self._here.folder_synced = True
        return int(self._open_directory(name, descriptor))

    def _note_folder(self) -> None:
        if getattr(self._here, "folder_synced", False):
            self._here.folder_synced = False
            self.note(FolderSynced())
