"""python-resolve.py: the closures of Python requirements, found by pip; the only script that has the network.

Standard input is JSON: {"pip": text of a pip.conf, "netrc": text or null, "closures": [{"requirements": [...],
"without": [...], "onlyBinary": bool}]}. /in/resolv, /in/hosts and /in/certificates are the host's files. Standard
output is JSON, for each closure a list of {"name", "version", "filename", "sha256", "sdist"}.
pip's report: https://pip.pypa.io/en/stable/reference/installation-report/
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname


def main():
    asked = json.load(sys.stdin)
    environment = prepare(asked)
    json.dump([closure(request, environment) for request in asked["closures"]], sys.stdout)


def prepare(asked):
    """Names can be resolved, and pip finds its configuration; credentials are in memory only."""
    os.umask(0o077)
    shutil.copytree("/etc", "/work/etc", symlinks=True)
    os.chmod("/work/etc", 0o755)
    targets = {"resolv": "resolv.conf", "hosts": "hosts", "certificates": "ssl/certs/ca-certificates.crt"}
    for name, target in targets.items():
        if os.path.exists(f"/in/{name}"):
            os.makedirs(os.path.dirname(f"/work/etc/{target}"), 0o755, exist_ok=True)
            shutil.copyfile(f"/in/{name}", f"/work/etc/{target}")
    subprocess.run(["mount", "--bind", "/work/etc", "/etc"], check=True)
    os.mkdir("/work/home")
    with open("/work/pip.conf", "w") as file:
        file.write(asked["pip"])
    if asked["netrc"] is not None:
        with open("/work/home/.netrc", "w") as file:
            file.write(asked["netrc"])
    return {**os.environ, "HOME": "/work/home", "PIP_CONFIG_FILE": "/work/pip.conf", "TMPDIR": "/work"}


def closure(request, environment):
    report = "/work/report.json"
    options = ["--only-binary", ":all:"] if request["onlyBinary"] else ["--prefer-binary"]
    options += ["--dry-run", "--ignore-installed", "--break-system-packages", "--root-user-action", "ignore"]
    options += ["--quiet", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--report", report]
    command = [sys.executable, "-B", __file__, json.dumps(request["without"]), "install", *options, "--"]
    done = subprocess.run([*command, *request["requirements"]], env=environment, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        sys.exit(1)
    with open(report) as file:
        found = [describe(item) for item in json.load(file)["install"]]
    return sorted(found, key=lambda entry: entry["name"])


def run_pip(without, arguments):
    """pip, to which some distributions are of no need to anything. It has no option for that."""
    # Imported here, where the certificates are in their place: pip's modules want them at once.
    from pip._internal.cli.main import main as pip
    from pip._internal.resolution.resolvelib.provider import PipProvider

    left = {canonicalize_name(name) for name in without}
    whole = PipProvider.get_dependencies

    def get_dependencies(self, candidate):
        return [need for need in whole(self, candidate) if canonicalize_name(need.project_name) not in left]

    PipProvider.get_dependencies = get_dependencies
    return pip(arguments)


def canonicalize_name(name):
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def describe(item):
    url = item["download_info"]["url"]
    archive = item["download_info"].get("archive_info")
    if archive is None:
        sys.exit(f"{url}: only distributions from an index or a directory can be pinned")
    sha256 = archive.get("hashes", {}).get("sha256")
    path = unquote(urlsplit(url).path)
    if sha256 is None and url.startswith("file:"):
        with open(url2pathname(path), "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is None:
        sys.exit(f"{url}: the index gives no sha256")
    return {
        "name": canonicalize_name(item["metadata"]["name"]),
        "version": item["metadata"]["version"],
        "filename": path.rsplit("/", 1)[-1],
        "sha256": sha256,
        "sdist": not path.endswith(".whl"),
    }


if len(sys.argv) > 1:
    sys.exit(run_pip(json.loads(sys.argv[1]), sys.argv[2:]))
main()
