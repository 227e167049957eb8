"""python-install.py: locked Python distributions as virtual environments, without network.

python-install.py tree:      /out/tree, a tar of all prefixes with their distributions.
python-install.py requires:  JSON on standard output: what each source distribution needs to be built.

/in/plan is JSON: {"wheels": [{"prefix", "name", "filename", "object", "sdist", "buildOf"}], "without": {prefix: [name]}};
objects are below /in/objects.
Formats: https://packaging.python.org/en/latest/specifications/ (binary distribution format, recording installed
packages, entry points, pyproject.toml), PEP 517 for building.
"""

import base64
import configparser
import csv
import hashlib
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

WORK = "/work"
EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def main():
    with open("/in/plan") as file:
        plan = json.load(file)
    wheels = plan["wheels"]
    os.umask(0o022)
    if sys.argv[1] == "requires":
        sources = [wheel for wheel in wheels if wheel["sdist"]]
        json.dump({source["name"]: requires(source, wheels) for source in sources}, sys.stdout)
        return
    root = f"{WORK}/root"
    for prefix in sorted({wheel["prefix"] for wheel in wheels}):
        owners = {}
        make_environment(root, prefix)
        for wheel in wheels:
            if wheel["prefix"] == prefix and wheel["buildOf"] is None:
                file = build(wheel, wheels) if wheel["sdist"] else object_path(wheel)
                Installer(root, prefix, owners, wheel["filename"]).install(file)
        check_needs(root, prefix, plan["without"].get(prefix, []))
    pack(root)


def object_path(wheel):
    path = f"/in/objects/{wheel['object']}"
    if not os.path.exists(path):
        sys.exit(f"{wheel['filename']} is not in the store")
    return path


# Building source distributions -----------------------------------------------------------------------------------


def unpack_source(source):
    """The source tree of an sdist: its one top directory."""
    target = f"{WORK}/source/{source['filename']}"
    if not os.path.exists(target):
        os.makedirs(target)
        if source["filename"].endswith(".zip"):
            with zipfile.ZipFile(object_path(source)) as archive:
                archive.extractall(target)
        else:
            with tarfile.open(object_path(source)) as archive:
                archive.extractall(target, filter="data")
    entries = os.listdir(target)
    if len(entries) != 1:
        sys.exit(f"{source['filename']}: not a source distribution, it has {len(entries)} top directories")
    return f"{target}/{entries[0]}"


def build_system(tree):
    """[build-system] of pyproject.toml, with PEP 517's defaults."""
    try:
        with open(f"{tree}/pyproject.toml", "rb") as file:
            table = tomllib.load(file).get("build-system", {})
    except FileNotFoundError:
        table = {}
    return {
        "requires": table.get("requires", ["setuptools>=40.8.0"]),
        "backend": table.get("build-backend", "setuptools.build_meta:__legacy__"),
        "path": table.get("backend-path", []),
    }


# Runs in a process of its own: backends change directory, environment and modules.
HOOK = """
import importlib, json, sys
target, hook, argument = sys.argv[1:]
module, _, attribute = target.partition(":")
backend = importlib.import_module(module)
for part in filter(None, attribute.split(".")):
    backend = getattr(backend, part)
done = getattr(backend, hook)(argument) if argument else getattr(backend, hook, lambda: [])()
print("\\n" + json.dumps(done))
"""


def call_backend(tree, site, hook, argument=""):
    system = build_system(tree)
    path = [os.path.join(tree, entry) for entry in system["path"]] + [site]
    environment = {**os.environ, "PYTHONPATH": ":".join(path), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-c", HOOK, system["backend"], hook, argument]
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        sys.exit("\n".join([f"{os.path.basename(tree)} cannot be built:", *lines[-25:]]))
    return json.loads(done.stdout.strip().splitlines()[-1])


def backend_site(source, wheels):
    """The distributions that build this source, and no others."""
    root = f"{WORK}/backend/{source['filename']}"
    if not os.path.exists(root):
        owners = {}
        os.makedirs(root)
        for wheel in wheels:
            if wheel["prefix"] == source["prefix"] and wheel["buildOf"] == source["name"]:
                Installer(root, "/", owners, wheel["filename"]).install(object_path(wheel))
    return f"{root}/lib/python{VERSION}/site-packages"


def requires(source, wheels):
    tree = unpack_source(source)
    static = build_system(tree)["requires"]
    # Only with the backend at hand the rest can be asked for.
    known = any(wheel["buildOf"] == source["name"] for wheel in wheels)
    return static + (call_backend(tree, backend_site(source, wheels), "get_requires_for_build_wheel") if known else [])


def build(source, wheels):
    out = f"{WORK}/built/{source['filename']}"
    os.makedirs(out)
    name = call_backend(unpack_source(source), backend_site(source, wheels), "build_wheel", out)
    return f"{out}/{name}"


# Installing wheels -----------------------------------------------------------------------------------------------


def make_environment(root, prefix):
    """A virtual environment by hand (PEP 405): Debian's python3, its packages visible behind the prefix's own."""
    os.makedirs(f"{root}{prefix}/bin")
    os.symlink("/usr/bin/python3", f"{root}{prefix}/bin/python3")
    with open(f"{root}{prefix}/pyvenv.cfg", "w") as file:
        file.write(f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {VERSION}\n")


class Installer:
    def __init__(self, root, prefix, owners, filename):
        self.root, self.prefix, self.owners, self.filename = root, prefix.rstrip("/"), owners, filename
        self.site = f"{self.prefix}/lib/python{VERSION}/site-packages"
        self.record = []

    def install(self, file):
        with zipfile.ZipFile(file) as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith("/"))
            info = [name.split("/")[0] for name in names if re.fullmatch(r"[^/]+\.dist-info/WHEEL", name)]
            if len(info) != 1:
                sys.exit(f"{self.filename}: not a wheel")
            self.check_tag(archive.read(f"{info[0]}/WHEEL").decode())
            points = f"{info[0]}/entry_points.txt"
            scripts = self.entry_points(archive.read(points).decode()) if points in names else {}
            for name in names:
                if name in (f"{info[0]}/RECORD", f"{info[0]}/RECORD.jws", f"{info[0]}/RECORD.p7s"):
                    continue
                if re.fullmatch(r"[^/]+\.data/scripts/[^/]+", name) and name.split("/")[-1] in scripts:
                    continue  # as pip does: the entry point is the newer way to say the same
                mode = (archive.getinfo(name).external_attr >> 16) & 0o111
                self.put(name, archive.read(name), 0o755 if mode else 0o644)
            for name, content in scripts.items():
                self.write(f"{self.prefix}/bin/{name}", content, 0o755)
        self.write(f"{self.site}/{info[0]}/INSTALLER", b"kubedos\n", 0o644)
        self.write_record(f"{self.site}/{info[0]}/RECORD")

    def check_tag(self, text):
        version = re.search(r"^Wheel-Version: (\d+)\.", text, re.MULTILINE)
        if version is None or version[1] != "1":
            sys.exit(f"{self.filename}: wheel format {version and version[1]}; only 1 is known")

    def put(self, name, content, mode):
        """One member: below site-packages, or where its `.data` scheme says."""
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "" in parts:
            sys.exit(f"{self.filename}: holds the path {name}")
        if parts[0].endswith(".data") and len(parts) > 2:
            scheme, rest = parts[1], "/".join(parts[2:])
            if scheme == "scripts":
                return self.write(f"{self.prefix}/bin/{rest}", self.script(content), 0o755)
            base = {"purelib": self.site, "platlib": self.site, "data": self.prefix}.get(scheme)
            if scheme == "headers":
                return None  # nothing is compiled on a node
            if base is None:
                sys.exit(f"{self.filename}: unknown scheme {scheme}")
            return self.write(f"{base}/{rest}", content, mode)
        return self.write(f"{self.site}/{name}", content, mode)

    def script(self, content):
        first, _, rest = content.partition(b"\n")
        return self.shebang() + rest if first.startswith(b"#!python") else content

    def shebang(self):
        return f"#!{self.prefix}/bin/python3\n".encode()

    def entry_points(self, text):
        """Scripts by name that call what the distribution names."""
        found = {}
        parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str
        parser.read_string(text)
        for section in ("console_scripts", "gui_scripts"):
            for name, target in parser[section].items() if section in parser else ():
                module, _, attribute = target.split("[")[0].strip().partition(":")
                if not re.fullmatch(r"[\w.-]+", name) or not re.fullmatch(r"[\w.]+", module + attribute):
                    sys.exit(f"{self.filename}: entry point {name} = {target}")
                lines = f"import sys\nfrom {module} import {attribute.split('.')[0]}\nsys.exit({attribute}())\n"
                found[name] = self.shebang() + lines.encode()
        return found

    def write(self, path, content, mode):
        before = self.owners.setdefault(path, (self.filename, content))
        if before[1] != content:
            sys.exit(f"{path} is in {before[0]} and in {self.filename}, with other contents")
        file = f"{self.root}{path}"
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as handle:
            handle.write(content)
        os.chmod(file, mode)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        self.record.append((os.path.relpath(path, self.site), f"sha256={digest}", len(content)))

    def write_record(self, path):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows(sorted(self.record))
        writer.writerow((os.path.relpath(path, self.site), "", ""))
        self.write(path, text.getvalue().encode(), 0o644)


def check_needs(root, prefix, without):
    """Whatever an installed distribution needs is there, or was left out on purpose: else the lock has a hole."""
    from pip._vendor.packaging.requirements import Requirement

    site = f"{root}{prefix}/lib/python{VERSION}/site-packages"
    found = {plain_name(one.name): one for one in importlib.metadata.distributions(path=[site])}
    for name, one in sorted(found.items()):
        for text in one.requires or []:
            need = Requirement(text)
            wanted = plain_name(need.name)
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            if wanted not in found and wanted not in without:
                sys.exit(f"{wanted} is needed by {name} {one.version} in {prefix}, and is not in the lock")


def plain_name(name):
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pack(root):
    """One tar, the same bytes whatever the order of directories: names sorted, one time, root's."""

    def plain(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = EPOCH
        return entry

    with tarfile.open("/out/tree", "w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(os.listdir(root)):
            archive.add(f"{root}/{name}", name, filter=plain)


main()
