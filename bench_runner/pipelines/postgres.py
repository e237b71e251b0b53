"""PostgreSQL, by psycopg: a database of the run's own, filled, indexed, and dropped; and calls as prepared statements.

Calls go through libpq's own asynchronous functions, not through a cursor: the worker's loop decides when a socket is read, and takes the
kernel's stamp of what came before the library does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tokenmark_schemas.database import DatabaseSpec, Operation
from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.result import DatabaseFacts
from tokenmark_schemas.run import RunTarget

from ..load.calls import FAILED, Broken
from .mix import Mix

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGconn, PGresult

    Connection = psycopg.Connection[Any]

OURS = "made by a tokenmark run, and dropped at its end"
CONNECT_S, LOCK_PATIENCE_MS = 10, 30_000
LOCK = "hashtext('tokenmark'), hashtext(%s)"
MINE = "remark = %s and owner = (select oid from pg_roles where rolname = current_user)"
NAMES = "^tokenmark_[a-z0-9_]{1,52}$"  # as runs call theirs: nothing that could end a quotation
STATEMENTS = {
    "PointRead": "select id, payload from records where id = $1",
    "Insert": "insert into records (id, category, payload, embedding) values ($1, $2, $3, $4)",
    "InsertPlain": "insert into records (id, category, payload) values ($1, $2, $3)",
    "Update": "update records set payload = $2 where id = $1",
    "Search": "select id from records order by embedding <-> $1 limit {k}",
    "FilteredSearch": "select id from records where category = $2 order by embedding <-> $1 limit {k}",
}
PARAMETERS = {
    "PointRead": ("Id",), "Insert": ("NewId", "Category", "Payload", "Vector"), "InsertPlain": ("NewId", "Category", "Payload"), "Update": ("Id", "Payload"),
    "Search": ("Vector",), "FilteredSearch": ("Vector", "QueryCategory"),
}  # fmt: skip
COPY_HEAD, COPY_END = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0), struct.pack(">h", -1)


class Postgres:
    """`prepare` it, take `calls`, `drop` it. `name` is of the database, or of the schema in one that is there already."""

    def __init__(self, target: RunTarget, password: str | None, name: str, mix: Mix) -> None:
        if importlib.util.find_spec("psycopg") is None:
            raise InvalidInput("engine postgres needs two more packages: pip install 'tokenmark[databases]'")
        self.spec = target.database or DatabaseSpec()
        self.target, self.password, self.name, self.mix = target, password, name, mix
        self.facts: DatabaseFacts | None = None
        self.version: str | None = None
        self._made = False
        self._keeper: Connection | None = None

    # --- before and after -------------------------------------------------------------------------------------------

    def prepare(self, stopped: Callable[[], bool]) -> None:
        """Makes, fills and indexes. Raises RunFailed; what was made by then is dropped by `drop`."""
        try:
            self._keeper = self._connect(None)
            self._make(self._keeper)
            with self._connected(self._home) as connection, interrupted_by(stopped, connection):
                self._fill(connection)
        except _errors() as exc:
            if stopped():
                raise RunFailed("stopped while the database was filled") from exc
            raise RunFailed(f"the database at {self.target.url} could not be filled: {_words(exc)}") from exc

    def _make(self, connection: Connection) -> None:
        """Under a lock that the run holds as long as it lives. What has its name already is an earlier attempt's of this very run, which a
        lost node may have left connected. Raises RunFailed where it is a stranger's."""
        self.version = str(connection.info.parameter_status("server_version"))[:200]
        self._end_own(connection)
        connection.execute(f"select pg_advisory_lock({LOCK})", [self.name])
        self._drop_abandoned(connection)
        if self._number(connection, f"select count(*) {self._catalog} where name = %s", self.name):
            if not self._number(
                connection, f"select count(*) {self._catalog} where name = %s and {MINE}", self.name, OURS
            ):
                raise RunFailed(
                    f"{self._kind} {self.name} is there already, and no run of this user made it; rename one of the two"
                )
            connection.execute(self._dropping(self.name))
        connection.execute(f'create {self._kind} "{self.name}"')
        self._made = True
        connection.execute(f"comment on {self._kind} \"{self.name}\" is '{OURS}'")

    def _fill(self, connection: Connection) -> None:
        records, index = self.mix.records, self.spec.index
        began = time.monotonic()
        vectors = records.spec.dimensions > 0
        if vectors:
            self._extension(connection)
        column = f", embedding vector({records.spec.dimensions})" if vectors else ""
        connection.execute(
            f"create table records (id bigint primary key, category int not null, payload text not null{column})"
        )
        with connection.cursor() as cursor, cursor.copy("copy records from stdin (format binary)") as copy:
            copy.write(COPY_HEAD)
            for number in range(records.spec.count):
                copy.write(self._row(number, vectors=vectors))
            copy.write(COPY_END)
        loaded = time.monotonic()
        index_s = index_bytes = None
        if vectors and index.kind == "Hnsw":
            connection.execute(
                f"create index nearest on records using hnsw (embedding vector_l2_ops) with (m = {index.m}, ef_construction = {index.ef_construction})"
            )
            index_s, index_bytes = (
                time.monotonic() - loaded,
                self._number(connection, "select pg_relation_size('nearest')"),
            )
        connection.execute("analyze records")
        self.facts = DatabaseFacts(
            records=records.spec.count, dimensions=records.spec.dimensions, load_s=loaded - began, index_s=index_s,
            index=index.described if vectors else "none", index_bytes=index_bytes,
            data_bytes=self._number(connection, "select pg_table_size('records')"),
        )  # fmt: skip

    def _extension(self, connection: Connection) -> None:
        if self.spec.name is None:
            connection.execute("create extension if not exists vector")
        elif not self._number(connection, "select count(*) from pg_extension where extname = 'vector'"):
            raise RunFailed(
                f"database {self.spec.name} has no extension vector, and a run adds none to a database of yours"
            )

    def _row(self, number: int, *, vectors: bool) -> bytes:
        """Of the copy's binary format: each value with its length before it."""
        records = self.mix.records
        payload = records.payload(number).encode()
        fixed = struct.pack(">hiqii", 3 + vectors, 8, number, 4, records.category(number))
        row = b"%b%b%b" % (fixed, struct.pack(">i", len(payload)), payload)
        if vectors:
            vector = binary(records.vectors[number])
            row += struct.pack(">i", len(vector)) + vector
        return row

    def drop(self) -> str | None:
        """What could not be removed, in a sentence; None where nothing is left."""
        if not self._made:
            self._let_go()
            return None
        try:
            with self._connected(None) as connection:
                self._end_own(connection)  # what a statement that was given up still locks
                connection.execute(self._dropping(self.name))
        except _errors() as exc:
            return f"{self._kind} {self.name} could not be dropped: {_words(exc)}"
        finally:
            self._let_go()
        self._made = False
        return None

    def _let_go(self) -> None:
        if self._keeper is not None:
            self._keeper.close()

    def _end_own(self, connection: Connection) -> None:
        """Every other connection of this run, of whatever attempt: they carry its name."""
        asked = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = %s and pid <> pg_backend_pid()"
        self._number(connection, asked, self.name)

    # --- calls ------------------------------------------------------------------------------------------------------

    def calls(self, begins: int) -> PostgresCalls:
        """Of a phase that begins there in the mix."""
        return PostgresCalls(self, begins)

    def connected(self) -> Connection:
        """To where the records are, with the session's settings. Raises Broken."""
        try:
            connection = self._connect(self._home)
            if self.mix.records.spec.dimensions and self.spec.index.kind == "Hnsw":
                connection.execute(f"set hnsw.ef_search = {self.spec.index.ef_search}")
            return connection
        except _errors() as exc:
            raise Broken(_words(exc)) from exc

    # --- the server -------------------------------------------------------------------------------------------------

    @property
    def _kind(self) -> str:
        return "database" if self.spec.name is None else "schema"

    @property
    def _home(self) -> str:
        return self.name if self.spec.name is None else self.spec.name

    def _dropping(self, name: str) -> str:
        return f'drop database "{name}" with (force)' if self.spec.name is None else f'drop schema "{name}" cascade'

    @property
    def _catalog(self) -> str:
        """Of databases, or of schemas: name, owner, and what is remarked of each."""
        if self.spec.name is None:
            return "from (select datname as name, datdba as owner, shobj_description(oid, 'pg_database') as remark from pg_database) as found"
        return "from (select nspname as name, nspowner as owner, obj_description(oid, 'pg_namespace') as remark from pg_namespace) as found"

    def _drop_abandoned(self, connection: Connection) -> None:
        """What runs of this user made that were killed: nobody holds their lock. What cannot be dropped is left to whoever can."""
        named = f"select name {self._catalog} where {MINE} and name ~ '{NAMES}' and name <> %s"
        for (name,) in connection.execute(named, [OURS, self.name]).fetchall():
            if not self._number(connection, f"select pg_try_advisory_lock({LOCK})::int", name):
                continue
            with contextlib.suppress(*_errors()):
                connection.execute(self._dropping(name))
            self._number(connection, f"select pg_advisory_unlock({LOCK})::int", name)

    @staticmethod
    def _number(connection: Connection, query: str, *values: str) -> int:
        row = connection.execute(query, values or None).fetchone()
        return int(row[0]) if row else 0

    @contextlib.contextmanager
    def _connected(self, database: str | None) -> Iterator[Connection]:
        with self._connect(database) as connection:
            yield connection

    def _connect(self, database: str | None) -> Connection:
        import psycopg

        url, target = urlsplit(self.target.url), self.target
        tls: dict[str, Any] = (
            {"sslmode": "verify-full", "sslrootcert": target.ca_file} if target.ca_file else {"sslmode": "prefer"}
        )
        path = "" if self.spec.name is None else f" -c search_path={self.name},public"
        where: dict[str, Any] = {"options": f"-c lock_timeout={LOCK_PATIENCE_MS}{path}"}
        return psycopg.connect(
            host=url.hostname, port=url.port or 5432, dbname=database or self.spec.name or "postgres", user=self.spec.user,
            password=self.password, connect_timeout=CONNECT_S, application_name=self.name, autocommit=True, **tls, **where,
        )  # fmt: skip


class PostgresCalls:
    """Statements are prepared once a connection; a call binds its parameters and sends."""

    def __init__(self, server: Postgres, begins: int) -> None:
        self._server, self.begins, self.mix = server, begins, server.mix
        self._vectors = (
            [binary(vector) for vector in self.mix.records.asked] if self.mix.records.spec.dimensions else []
        )
        self.wanted = [_parameters(operation, self.mix) for operation in self.mix.operations]

    def open(self) -> PostgresChannel:
        return PostgresChannel(self._server.connected(), self)

    def parameters(self, seq: int) -> tuple[int, list[bytes], list[int]]:
        """(operation, values, their formats: 1 is binary)."""
        call, records = self.mix.call(seq, self.begins), self.mix.records
        values: list[bytes] = []
        wanted = self.wanted[call.operation]
        for name in wanted:
            if name == "Vector":
                adds = "NewId" in wanted
                values.append(binary(records.added(call.query)) if adds else self._vectors[call.query])
            elif name == "Payload":
                values.append(records.payload(call.new).encode())
            else:
                number = {
                    "Id": call.record, "NewId": call.new, "Category": records.category(call.record),
                    "QueryCategory": records.asked_category(call.query),
                }[name]  # fmt: skip
                values.append(b"%d" % number)
        return call.operation, values, [int(name == "Vector") for name in wanted]


class PostgresChannel:
    """One connection, as the worker's loop drives it."""

    def __init__(self, connection: Connection, calls: PostgresCalls) -> None:
        self._connection, self._calls = connection, calls
        self._libpq: PGconn = connection.pgconn
        self._answer: bytes | None = None
        try:
            self.fd = self._libpq.socket
            for number, operation in enumerate(calls.mix.operations):
                prepared = self._libpq.prepare(b"s%d" % number, _statement(operation, calls.mix).encode())
                if prepared.status != _status().COMMAND_OK:
                    raise Broken(f"operation {operation.name}: {_said(prepared)}")
            self._libpq.nonblocking = 1
        except _errors() as exc:
            raise Broken(_words(exc)) from exc

    def begin(self, seq: int) -> tuple[int, int]:
        operation, values, formats = self._calls.parameters(seq)
        self._answer, began = None, time.monotonic_ns()
        try:
            self._libpq.send_query_prepared(b"s%d" % operation, values, formats)
        except _errors() as exc:
            raise Broken(_words(exc)) from exc
        return began, sum(map(len, values))

    def unsent(self) -> bool:
        try:
            return bool(self._libpq.flush())
        except _errors() as exc:
            raise Broken(_words(exc)) from exc

    def take(self) -> bytes | None:
        try:
            self._libpq.consume_input()
            while not self._libpq.is_busy():
                result = self._libpq.get_result()
                if result is None:
                    return self._answer
                self._answer = _answer(result)
        except _errors() as exc:
            raise Broken(_words(exc)) from exc
        return None

    def close(self) -> None:
        self._connection.close()


def _answer(result: PGresult) -> bytes:
    """`ok` and the first column of every row, or `er` and the server's words."""
    status = _status()
    if result.status == status.TUPLES_OK:
        return b"ok\n" + b",".join(result.get_value(row, 0) or b"" for row in range(result.ntuples))
    if result.status == status.COMMAND_OK:
        return b"ok\n"
    return FAILED + _said(result).encode()


def _said(result: Any) -> str:
    return " ".join(result.get_error_message().split())[:300]


def _statement(operation: Operation, mix: Mix) -> str:
    return operation.statement or STATEMENTS[_form(operation, mix)].format(k=operation.k)


def _parameters(operation: Operation, mix: Mix) -> tuple[str, ...]:
    return tuple(operation.parameters or ()) if operation.statement else PARAMETERS[_form(operation, mix)]


def _form(operation: Operation, mix: Mix) -> str:
    """Records without vectors are inserted without them."""
    return "InsertPlain" if operation.kind == "Insert" and not mix.records.spec.dimensions else operation.kind


def binary(vector: Any) -> bytes:
    """pgvector's binary form: dimensions, nought, then floats, all with the high byte first."""
    return struct.pack(">hh", len(vector), 0) + bytes(vector.astype(">f4").tobytes())


def _errors() -> tuple[type[Exception], ...]:
    import psycopg

    return (psycopg.Error, OSError)


def _status() -> Any:
    from psycopg.pq import ExecStatus

    return ExecStatus


def _words(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:300] or type(exc).__name__


@contextlib.contextmanager
def interrupted_by(stopped: Callable[[], bool], connection: Connection) -> Iterator[None]:
    """A statement that takes its time ends where the run is to stop."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            if stopped():
                connection.cancel_safe(timeout=5)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
