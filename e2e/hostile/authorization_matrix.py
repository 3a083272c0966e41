"""The authorisation matrix: every operation of the published document by every caller.

What a cell must be comes from the operation's `security`, from one table of roles, and from the exceptions in
`authorization_exceptions.toml`. A call that must be refused is made on a record on which it would succeed, and the tenant's
audit log and records are compared before and after.
"""
import dataclasses
import pathlib
import re
import tomllib

import authorization_world as world_of

METHODS = ("get", "post", "put", "patch", "delete")
REVIEWED = pathlib.Path(__file__).with_name("authorization_exceptions.toml")


@dataclasses.dataclass(frozen=True)
class Operation:
    method: str
    path: str
    id: str
    security: tuple
    body: str | None
    is_body_required: bool

    @property
    def name(self):
        return f"{self.method} {self.path}"

    @property
    def kind(self):
        """The segment before the id in the address."""
        found = re.search(r"([^/]+)/\{\w+\}", self.path)
        return found.group(1) if found else None

    @property
    def needs(self):
        """The permissions of which one must be held."""
        return {permission for demand in self.security for permission in dict(demand).get("root_key", ())}

    def takes(self, scheme):
        return any(scheme in dict(demand) for demand in self.security)

    @property
    def is_open(self):
        """Whether no credential is asked for."""
        return not self.security or () in self.security

    @property
    def is_safe(self):
        return self.method == "GET"


def operations(document):
    """Every operation of a document, with the second address of those that Clerk's clients call."""
    for operation in published(document):
        yield operation
        if operation.path.startswith("/v1/api_keys"):
            yield dataclasses.replace(operation, path=operation.path.removeprefix("/v1"))


def published(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                found = item[method]
                body = found.get("requestBody", {})
                security = tuple(tuple((name, tuple(held)) for name, held in demand.items()) for demand in found["security"])
                yield Operation(method.upper(), path, found["operationId"], security, next(iter(body.get("content", {})), None),
                                has_required(document, body))


def has_required(document, body):
    """Whether an empty object is no valid content."""
    schema = next(iter(body.get("content", {}).values()), {}).get("schema", {})
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return bool(schema.get("required")) or schema.get("type") == "array"


def permissions(document):
    """Every permission of the product, in the order of the document."""
    return document["components"]["schemas"]["Permission"]["pattern"].strip("^()$").split("|")


@dataclasses.dataclass(frozen=True)
class Expected:
    """`status` is one status, `2xx`, or `2xx or 404`; `keeps` is that the tenant is as it was before; `hides` names what the
    answer must not have."""

    word: str
    status: object
    code: str | None = None
    keeps: bool = True
    hides: str | None = None

    def fits(self, answer):
        if isinstance(self.status, str):
            return 200 <= answer.status_code < 300 or str(answer.status_code) in self.status
        return answer.status_code == self.status and f"/errors/{self.code or ''}" in answer.text


DONE = Expected("done", "2xx", keeps=False)
STRANGER = Expected("stranger", 401, "ROOT_KEY_")
NO_KEY = Expected("no key", 401, "API_KEY_")
DENIED = Expected("denied", 403, "PERMISSION_DENIED", hides="tenant")
HIDDEN = Expected("hidden", 404, "NOT_FOUND", hides="tenant")
UNREADABLE = Expected("unreadable", 400, "BAD_REQUEST", hides="tenant")
OWN = Expected("own data", "2xx or 404", hides="tenant")
NOT_OWNER = Expected("own keys", "2xx", hides="key")


class Rules:
    """What the document and the reviewed file say of each cell."""

    def __init__(self, reviewed=None):
        self.file = reviewed or tomllib.loads(REVIEWED.read_text())
        self.roles = {role: set(held) for role, held in self.file["roles"].items()}
        self.also = {one["operation"]: set(one["permissions"]) for one in self.file["also_needs"]}
        self.instance_only = {name for one in self.file["instance_only"] for name in one["operations"]}
        self.open = {name for one in self.file["open"] for name in one["operations"]}
        self.reads = {name for one in self.file["reads"] for name in one["operations"]}

    def of(self, operation, caller):
        """What a cell must be by the rules alone."""
        if operation.is_open:
            return DONE
        if not operation.takes("root_key"):
            return DONE if caller.name == "API key" else NO_KEY
        if caller.standing != "root key" or (caller.root_key_id and not operation.takes("root_key_basic")):
            return STRANGER
        if caller.names == "unknown" or (caller.names and caller.reach not in ("instance", caller.names)):
            return HIDDEN
        return self.of_person(operation, caller) if caller.acts else self.of_root_key(operation, caller)

    def holds(self, operation, held):
        return bool(operation.needs & held) and self.also.get(operation.id, set()) <= held

    def of_root_key(self, operation, caller):
        if not self.holds(operation, caller.permissions):
            return DENIED
        if operation.id in self.instance_only and caller.reach != "instance":
            return DENIED
        if caller.group != "foreign":
            return DONE
        return HIDDEN if operation.kind else OWN

    def of_person(self, operation, caller):
        if caller.acts == "no id":
            return UNREADABLE
        if "users:act" not in caller.permissions:
            return DENIED
        if caller.acts in ("of the other tenant", "unknown", "removed admin"):
            return HIDDEN
        if caller.acts.startswith("suspended"):
            return DENIED
        role = {"owner": "member", "another member": "member"}.get(caller.acts, caller.acts)
        if not self.holds(operation, self.roles[role] & caller.permissions):
            return DENIED
        # As a user, too, a root key sees no more than as itself.
        if operation.id in self.instance_only and caller.reach != "instance":
            return DENIED
        if caller.acts == "another member":
            return HIDDEN if operation.kind in ("api_keys", "operations") else NOT_OWNER
        return DONE

    def reviewed(self, kind, operation, caller, rule):
        """The entry of the reviewed file that is about a cell, with its number."""
        for number, one in enumerate(self.file.get(kind, [])):
            if operation.id in one["operations"] and rule.word in one["in_place_of"] \
                    and re.fullmatch(one.get("callers", ".*"), caller.name):
                return number, one
        return None, None


@dataclasses.dataclass
class Cell:
    operation: Operation
    caller: object
    rule: Expected
    expected: Expected
    exception: int | None
    fault: int | None
    status: int = 0
    wrong: list = dataclasses.field(default_factory=list)
    is_stale: bool = False

    def __str__(self):
        return f"{self.operation.name} [{self.caller.name}]"


class Matrix:
    """All cells, each called once."""

    def __init__(self, server, document, rules=None):
        self.rules, self.world = rules or Rules(), world_of.World(server)
        self.operations = list(operations(document))
        self.permissions = permissions(document)
        self.cells, self.changed, self.controls, self.uncovered = [], [], {}, []
        self.revision = 1
        self.callers = self.all_callers()

    def all_callers(self):
        everything, world = set(self.permissions), self.world
        also = {f"all but {', '.join(sorted(one.needs))}": everything - one.needs
                for one in self.operations if one.needs}
        enough = {"with " + ", ".join(sorted(needed)): needed for needed in self.enough()}
        return [*world_of.strangers(world, everything), *world_of.root_keys(world, self.permissions, {**also, **enough}),
                *world_of.foreigners(world, everything), *world_of.actors(world, everything)]

    def enough(self):
        """Sets of permissions with which operations can be called that need more than one."""
        for operation in self.operations:
            if operation.id in self.rules.also:
                yield operation.needs | self.rules.also[operation.id]

    def concerns(self, operation, caller):
        """Without those root keys that are made for other operations; by basic authentication one of each kind; and where
        no credential is asked for (some of those calls are limited by address) only root keys of the tenant."""
        if operation.is_open and caller.reach == "instance" and caller.group != "foreign":
            return False
        if caller.name.startswith("all but "):
            needed = caller.name.removeprefix("all but ").split(",")[0]
            return needed in operation.needs and not (caller.permissions & operation.needs)
        if caller.name.startswith("with "):
            return operation.id in self.rules.also
        if caller.root_key_id and caller.group == "permission":
            return operation.takes("root_key_basic") or caller.permissions == operation.needs
        return True

    def run(self):
        for operation in self.operations:
            if operation.kind not in world_of.KINDS or self.content(operation) is None:
                self.uncovered.append(operation.name)
                continue
            self.run_operation(operation)
        return self

    def content(self, operation):
        if operation.id in world_of.BODIES:
            return world_of.BODIES[operation.id]
        return None if operation.is_body_required else lambda world, record: {}

    def run_operation(self, operation):
        cells = [self.cell(operation, caller) for caller in self.callers if self.concerns(operation, caller)]
        record = self.world.record(operation)
        self.run_refused(operation, [cell for cell in cells if cell.expected.keeps], record)
        self.control(operation, record)
        self.run_allowed(operation, [cell for cell in cells if not cell.expected.keeps], record)
        record.close()
        self.cells += cells

    def run_refused(self, operation, cells, record):
        """Calls that must change nothing, all on the same record."""
        if not cells:
            return
        self.settle()
        before = None if operation.is_safe else self.world.state()
        for number, cell in enumerate(cells):
            self.call(cell, record, f"cell-{number}")
        written, self.revision = self.world.journal(self.revision)
        for entry in written:
            # Each call had a request id of its own, which is in the entries that it led to.
            cell = cells[int(entry["request_id"].removeprefix("cell-"))]
            cell.wrong.append(f"changed: {entry['action']} {entry['target']['id']}")
        if before and self.world.state() != before:
            self.changed.append(operation.name)

    def cell(self, operation, caller):
        rule = self.rules.of(operation, caller)
        fault, _ = self.rules.reviewed("faults", operation, caller, rule)
        number, exception = self.rules.reviewed("exceptions", operation, caller, rule)
        expected = rule
        if exception:
            done = exception["status"] == "2xx"
            expected = Expected("exception", exception["status"], exception.get("code"), not done, None if done else rule.hides)
        return Cell(operation, caller, rule, expected, number, fault)

    def run_allowed(self, operation, cells, record):
        """Calls that must succeed: those that change something each have a record of their own."""
        for cell in cells:
            is_kept = operation.is_safe or operation.is_open or not (operation.kind or operation.id in world_of.ENDING)
            own = record if is_kept else self.world.record(operation)
            self.call(cell, own)
            if own is not record:
                own.close()

    def control(self, operation, record):
        """The call that all others were refused, on the very record: it succeeds, and changes something."""
        caller = world_of.Caller("control", "permission", self.world.root_key, frozenset(self.permissions), reach="instance",
                                 names="own")
        if not operation.takes("root_key") or operation.is_open:
            return
        cell = self.cell(operation, caller)
        self.settle()
        self.call(cell, record)
        written, self.revision = self.world.journal(self.revision)
        reads = operation.is_safe or operation.id in self.rules.reads
        if operation.kind != "tenants" and operation.id != "createTenant" and bool(written) == reads:
            cell.wrong.append(f"entries in the audit log: {[entry['action'] for entry in written]}")
        self.controls[operation.name] = cell

    def call(self, cell, record, request_id="allowed"):
        operation, world, caller = cell.operation, self.world, cell.caller
        if caller.standing == "API key" and operation.takes("api_key"):
            caller = dataclasses.replace(caller, secret=record.key["secret"])
        if caller.group == "foreign":
            record = dataclasses.replace(record, subject="user_elsewhere")
        path = re.sub(r"\{\w+\}", record.id, operation.path)
        body = self.content(operation)(world, record) if operation.body else None
        is_form = operation.body == "application/x-www-form-urlencoded"
        answer = world.send(operation.method, path, {**caller.headers(world), "X-Request-Id": request_id}, body, is_form)
        cell.status = answer.status_code
        is_kept = operation.is_safe or cell.expected.keeps == cell.rule.keeps
        cell.is_stale = cell.exception is not None and is_kept and cell.rule.fits(answer) \
            and not self.shown(cell.rule, record, path, answer.text)
        if not cell.expected.fits(answer):
            cell.wrong.append(f"{answer.status_code} {answer.text[:160]}")
        shown = self.shown(cell.expected, record, f"{path} {body}", answer.text)
        if shown:
            cell.wrong.append(f"shows {shown}: {answer.text[:300]}")

    def shown(self, expected, record, sent, text):
        """What of the tenant's data an answer has that the call did not send."""
        world = self.world
        hidden = {"tenant": [world.marker, *world.issued, *world.people.values()],
                  "key": [record.key["id"], record.key["name"], record.key["secret"]]}.get(expected.hides, [])
        return [one for one in hidden if one in text and one not in sent]

    def settle(self):
        _, self.revision = self.world.journal(self.revision)

    def table(self):
        """The matrix for people: one line an operation, one column a caller."""
        names = [caller.name for caller in self.callers if not caller.name.startswith(("all but", "with "))]
        lines = ["| operation | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for operation in self.operations:
            found = {cell.caller.name: str(cell.status) for cell in self.cells if cell.operation is operation}
            lines.append(f"| {operation.name} | " + " | ".join(found.get(name, "") for name in names) + " |")
        return "\n".join(lines) + "\n"
